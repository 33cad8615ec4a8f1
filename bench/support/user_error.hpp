// What the person at the keyboard can correct: an argument, a file, a variable of the environment.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace adr_bench {

struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

/// Throws UserError with the joined parts unless the condition holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw UserError(message(parts...));
}

}  // namespace adr_bench
