// The other half of odr_a.cpp, compiled with the same flags or with those of another instruction
// set.
#include "small_product.hpp"

double product_of_other_unit();
double product_of_other_unit() { return small_product(); }
