// Half of a program that includes the library in two translation units; odr_b.cpp or
// odr_kernel_b.cpp is the other half.
#include <cstdio>

#include "adr/extern_layers.hpp"
#include "kernel_sum.hpp"
#include "odr_b.hpp"
#include "small_product.hpp"

int main() {
  const double here = small_product();
  const double by_kernel = kernel_sum();
  const double there = product_of_other_unit();
  std::printf("%g, %g and %g, expected 48 three times\n", here, by_kernel, there);
  return here == 48 && by_kernel == 48 && there == 48 ? 0 : 1;
}
