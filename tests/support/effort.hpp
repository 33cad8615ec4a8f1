// How much work tests give a build.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

namespace adr_test {

/// Whether this build is slow: under sanitizers or an emulator every number takes ten to a hundred
/// times as long, and there are others that run all cases.

#if defined(ADR_TEST_FLOAT_ALONE) || defined(ADR_TEST_SLOW_BUILD) || defined(__aarch64__)
inline constexpr bool k_slow_build = true;
#else
inline constexpr bool k_slow_build = false;
#endif

/// A number of columns or outputs that grows with the registers: beside products of narrow rows,
/// which wide registers make cheap, a search does not pay.
constexpr adr::index_t as_dear(adr::index_t size) {
  return size * std::max<adr::index_t>(adr::simd::Batch<float>::size / 8, 1);
}

}  // namespace adr_test
