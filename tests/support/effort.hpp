// Whether this build is slow: under sanitizers or an emulator every number takes ten to a hundred
// times as long, and there are others that run all cases.
#pragma once

namespace adr_test {

#if defined(ADR_TEST_FLOAT_ALONE) || defined(ADR_TEST_SLOW_BUILD) || defined(__aarch64__)
inline constexpr bool k_slow_build = true;
#else
inline constexpr bool k_slow_build = false;
#endif

}  // namespace adr_test
