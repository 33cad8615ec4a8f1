// The program of a user's project.
#include <cstdio>

#include "small_product.hpp"

int main() {
  const double product = small_product();
  std::printf("adr %d.%d.%d: %g, expected 48\n", ADR_VERSION_MAJOR, ADR_VERSION_MINOR,
              ADR_VERSION_PATCH, product);
  return product == 48 ? 0 : 1;
}
