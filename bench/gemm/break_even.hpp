// Below which remaining ratio reuse is faster than the best dense product.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace adr_bench {

/// One measurement: at this remaining ratio, reuse takes this many times as long as dense.
struct RelativeCost {
  double remaining_ratio;
  double cost;
};

struct BreakEven {
  enum class Kind {
    at,      ///< reuse wins below remaining_ratio
    never,   ///< it loses at the smallest ratio that was measured, which is remaining_ratio
    always,  ///< it wins at every ratio that was measured; the largest is remaining_ratio
  };
  Kind kind = Kind::never;
  double remaining_ratio = 0;
  double cost = 0;  ///< for never and always: the cost there
};

/// Interpolates linearly between the two measurements around the break-even, which is right for a
/// cost of the form a + b r_c. Requires: at least one measurement.
inline BreakEven find_break_even(std::vector<RelativeCost> costs) {
  std::sort(costs.begin(), costs.end(), [](const RelativeCost& a, const RelativeCost& b) {
    return a.remaining_ratio < b.remaining_ratio;
  });
  if (costs.front().cost >= 1) {
    return {BreakEven::Kind::never, costs.front().remaining_ratio, costs.front().cost};
  }
  for (std::size_t i = 1; i < costs.size(); ++i) {
    const RelativeCost& below = costs[i - 1];
    const RelativeCost& above = costs[i];
    if (above.cost < 1) continue;
    const double share = (1 - below.cost) / (above.cost - below.cost);
    return {BreakEven::Kind::at,
            below.remaining_ratio + share * (above.remaining_ratio - below.remaining_ratio), 1};
  }
  return {BreakEven::Kind::always, costs.back().remaining_ratio, costs.back().cost};
}

inline const char* to_string(BreakEven::Kind kind) {
  constexpr const char* names[] = {"at", "never", "always"};
  return names[static_cast<int>(kind)];
}

/// A few words for a table: "below r_c = 0.21", "never", "up to r_c = 0.72".
inline std::string to_text(const BreakEven& result) {
  if (result.kind == BreakEven::Kind::never) return "never";
  char text[48];
  const bool at = result.kind == BreakEven::Kind::at;
  std::snprintf(text, sizeof(text), at ? "below r_c = %.3f" : "up to r_c = %.3f",
                result.remaining_ratio);
  return text;
}

}  // namespace adr_bench
