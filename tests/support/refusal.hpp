// Error messages as values, so that a test shows the message that it got.
#pragma once

#include <stdexcept>
#include <string>

namespace adr_test {

/// The message of the exception of the given type that the call throws, or "(no error)". Other
/// exceptions pass.
template <class Exception, class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Exception& error) {
    return error.what();
  }
  return "(no error)";
}

/// The message with which bad input is refused.
template <class Call>
std::string refusal(const Call& call) {
  return message_of<std::invalid_argument>(call);
}

}  // namespace adr_test
