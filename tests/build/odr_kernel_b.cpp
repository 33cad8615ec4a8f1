// The other half of odr_a.cpp where kernels alone are compiled with other flags.
#include "kernel_sum.hpp"
#include "odr_b.hpp"

double product_of_other_unit() { return kernel_sum(); }
