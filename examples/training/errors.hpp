// How the training program reports what is wrong: one sentence that names the rule and the values.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace training {

/// Something the user can correct: an argument, a data file, a checkpoint.
struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The loss is no longer a finite number.
struct Diverged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw UserError(message(parts...));
}

}  // namespace training
