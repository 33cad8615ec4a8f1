// The other half of odr_a.cpp and of no_exceptions.cpp, compiled with the flags of another
// instruction set.
#include "odr_b.hpp"

#include "small_product.hpp"

double product_of_other_unit() { return small_product(); }

void refuse_in_other_unit() {
  adr::Plan config;
  config.hash_count = 65;
  adr::ReuseGemm<float> refused(config);
}
