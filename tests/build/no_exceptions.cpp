// Built with -fno-exceptions: the library has to compile and work, and to abort with its message on
// bad input, here when the program is given an argument.
#include "small_product.hpp"

int main(int argument_count, char**) {
  if (small_product() != 48) return 1;
  if (argument_count > 1) {
    adr::ReuseConfig config;
    config.hash_count = 65;
    adr::ReuseGemm<float> refused(config);
  }
  return 0;
}
