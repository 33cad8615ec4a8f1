// Linked with odr_b.cpp as compiled with -fno-exceptions: the library has to compile and work, and
// to abort with its message on bad input, here when the program is given an argument.
#include "odr_b.hpp"

int main(int argument_count, char**) {
  if (product_of_other_unit() != 48) return 1;
  if (argument_count > 1) refuse_in_other_unit();
  return 0;
}
