// Half of a program that includes the library in two translation units; odr_b.cpp is the other
// half.
#include <cstdio>

#include "odr_b.hpp"
#include "small_product.hpp"

int main() {
  const double here = small_product();
  const double there = product_of_other_unit();
  std::printf("%g and %g, expected 48 twice\n", here, there);
  return here == 48 && there == 48 ? 0 : 1;
}
