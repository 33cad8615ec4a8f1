// How large a change may be that is left aside, so that all of those together stay within a budget.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// The largest limit for which the sum of the changes up to it is at most `budget`, on a scale of
/// eight steps to a factor of two.
///
/// changes: at least 0, or no number, which is above every limit. Returns at most `most`; 0 where
/// no change above 0 fits. Cost: one read; 16 KB of stack. Deterministic.
inline float change_limit(const float* changes, index_t count, double budget, float most) noexcept {
  constexpr int k_dropped_bits = 20;  // all but the exponent and three digits
  std::array<double, std::size_t{1} << (31 - k_dropped_bits)> sums{};
  for (index_t i = 0; i < count; ++i) {
    if (!(changes[i] > 0)) continue;
    std::uint32_t bits = 0;
    std::memcpy(&bits, changes + i, sizeof(bits));
    sums[bits >> k_dropped_bits] += static_cast<double>(changes[i]);
  }
  float limit = 0;
  double sum = 0;
  for (std::size_t step = 0; step < sums.size(); ++step) {
    sum += sums[step];
    if (!(sum <= budget)) break;
    const auto last =
        (static_cast<std::uint32_t>(step) << k_dropped_bits) | ((1U << k_dropped_bits) - 1U);
    float top = 0;
    std::memcpy(&top, &last, sizeof(top));
    if (!(top < most)) return most;
    limit = top;
  }
  return limit;
}

}  // namespace stream
ADR_NAMESPACE_END
