// Turns broken invariants into a count, so that a test can break them. Include before any header of
// the library; an executable includes it in all of its sources or in none.
#pragma once

#if defined(ADR_ASSERT)
#error "assert_recorder.hpp must come before the headers of the library"
#endif

namespace adr_test {

/// How many assertions have failed so far.
inline int& failed_assertions() noexcept {
  static int count = 0;
  return count;
}

}  // namespace adr_test

#define ADR_ASSERT(condition, text) \
  ((condition) ? static_cast<void>(0) : static_cast<void>(++adr_test::failed_assertions()))
