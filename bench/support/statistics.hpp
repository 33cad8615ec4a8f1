// Summaries of repeated measurements that a few disturbed ones cannot move.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace adr_bench {

/// The median; 0 of nothing.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

/// The least and the largest; 0 of nothing.
inline double least(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}
inline double most(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

/// The median over rounds of numerator / denominator. What disturbs a whole round, such as a busy
/// neighbour on the machine, slows both and cancels, which it would not in a ratio of two medians.
inline double median_ratio(const std::vector<double>& numerator,
                           const std::vector<double>& denominator) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(numerator.size(), denominator.size()); ++i) {
    ratios.push_back(numerator[i] / denominator[i]);
  }
  return median(ratios);
}

}  // namespace adr_bench
