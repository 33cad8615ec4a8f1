// The three products of a training step that a drop-in has to replace.
#pragma once

#include <string>
#include <vector>

#include "bench/support/user_error.hpp"

namespace adr_bench {

enum class Pass { forward, weight_gradient, input_gradient };

inline const std::vector<std::string>& pass_names() {
  static const std::vector<std::string> names = {"forward", "weight_gradient", "input_gradient"};
  return names;
}
inline const std::string& to_string(Pass pass) {
  return pass_names()[static_cast<std::size_t>(pass)];
}
inline Pass parse_pass(const std::string& name) {
  for (const Pass pass : {Pass::forward, Pass::weight_gradient, Pass::input_gradient}) {
    if (to_string(pass) == name) return pass;
  }
  throw UserError(
      message("--pass must be forward, weight_gradient or input_gradient, got '", name, "'"));
}

}  // namespace adr_bench
