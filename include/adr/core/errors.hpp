// How the library reports errors: one macro that throws, one that asserts, one builder of messages.
//
// Bad input is refused with std::invalid_argument (or std::overflow_error for sizes) before
// anything is written; the message names the rule and the values. A broken internal invariant is an
// ADR_ASSERT, compiled out with NDEBUG. User macros, to be defined before the first include:
//   ADR_THROW(exception)          what to do with an exception object; default: throw it, or,
//   without
//                                 exceptions, print its message to stderr and abort
//   ADR_ASSERT(condition, text)   default: print and abort in debug builds, nothing with NDEBUG
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>

#include "adr/core/abi.hpp"

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define ADR_HAS_EXCEPTIONS 1
#else
#define ADR_HAS_EXCEPTIONS 0
#endif

#ifndef ADR_THROW
#if ADR_HAS_EXCEPTIONS
#define ADR_THROW(exception) throw exception
#else
#define ADR_THROW(exception)                               \
  do {                                                     \
    std::fprintf(stderr, "adr: %s\n", (exception).what()); \
    std::abort();                                          \
  } while (false)
#endif
#endif

#ifndef ADR_ASSERT
#ifdef NDEBUG
#define ADR_ASSERT(condition, text) static_cast<void>(0)
#else
#define ADR_ASSERT(condition, text)                                                         \
  ((condition) ? static_cast<void>(0)                                                       \
               : (std::fprintf(stderr, "adr: %s:%d: broken invariant: %s (%s)\n", __FILE__, \
                               __LINE__, text, #condition),                                 \
                  std::abort()))
#endif
#endif

namespace adr {
/// For plain data, which is one type for all instruction sets.
namespace checks {

template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

/// Throws std::invalid_argument with the joined parts when the condition does not hold.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) ADR_THROW(std::invalid_argument(message(parts...)));
}

}  // namespace checks
}  // namespace adr

ADR_NAMESPACE_BEGIN
namespace detail {
using checks::message;
using checks::require;
}  // namespace detail
ADR_NAMESPACE_END
