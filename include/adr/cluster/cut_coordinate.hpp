// Scalar quantisation of a sample: where to cut one coordinate into cells, and which of several
// coordinates deserve finer ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One coordinate of a sample, cut into 2^bits() cells: cell c holds the values above threshold
/// c - 1 up to threshold c. It knows what one bit more would bring.
///
/// Math: every cell is split at its mean, then the thresholds move to the middle between the means
/// of neighbouring cells for as long as that lowers the error. Cost: n log n, then per bit a few
/// rounds of 2^bits log n. Source: scalar quantisation after Lloyd, by splitting.
class CutCoordinate {
 public:
  /// Requires: at least one value.
  explicit CutCoordinate(std::vector<double> values) : values_(std::move(values)) {
    std::sort(values_.begin(), values_.end());
    // Sums of squares are taken from the middle, far from which they would lose their digits.
    center_ = values_[values_.size() / 2];
    sums_.reserve(values_.size() + 1);
    sums_.push_back({0, 0});
    for (const double value : values_) {
      const double v = value - center_;
      sums_.push_back({sums_.back().first + v, sums_.back().second + v * v});
    }
    error_ = measure(thresholds_, means_);
    look_ahead();
  }

  [[nodiscard]] int bits() const noexcept { return bits_; }
  [[nodiscard]] const std::vector<double>& thresholds() const noexcept { return thresholds_; }
  /// The sum of squared distances of the values to the means of their cells.
  [[nodiscard]] double error() const noexcept { return error_; }
  /// By how much one bit more would lower the error.
  [[nodiscard]] double gain() const noexcept { return error_ - next_error_; }

  /// Takes one bit more.
  void refine() {
    ++bits_;
    thresholds_.swap(next_thresholds_);
    means_.swap(next_means_);
    error_ = next_error_;
    look_ahead();
  }

 private:
  using Values = std::vector<double>;

  /// Splits every cell and moves the new thresholds.
  void look_ahead() {
    constexpr int k_most_rounds = 30;
    next_thresholds_.clear();
    for (std::size_t c = 0; c < means_.size(); ++c) {
      if (c > 0) next_thresholds_.push_back(thresholds_[c - 1]);
      next_thresholds_.push_back(means_[c]);
    }
    next_error_ = measure(next_thresholds_, next_means_);
    Values moved(next_thresholds_.size());
    Values moved_means;
    for (int round = 0; round < k_most_rounds; ++round) {
      for (std::size_t c = 0; c < moved.size(); ++c) {
        moved[c] = 0.5 * (next_means_[c] + next_means_[c + 1]);
      }
      const double moved_error = measure(moved, moved_means);
      if (!(moved_error < next_error_)) break;
      next_error_ = moved_error;
      next_thresholds_.swap(moved);
      next_means_.swap(moved_means);
    }
  }

  /// Writes the means of the cells and returns their error. The mean of an empty cell is one of its
  /// ends, so that means never fall.
  double measure(const Values& thresholds, Values& means) const {
    means.resize(thresholds.size() + 1);
    double error = 0;
    std::size_t first = 0;
    for (std::size_t c = 0; c < means.size(); ++c) {
      std::size_t last = values_.size();
      if (c < thresholds.size()) {
        const auto from = values_.begin() + static_cast<std::ptrdiff_t>(first);
        last = static_cast<std::size_t>(std::upper_bound(from, values_.end(), thresholds[c]) -
                                        values_.begin());
      }
      if (first == last) {
        means[c] = thresholds[std::min(c, thresholds.size() - 1)];
        continue;
      }
      const double mean =
          (sums_[last].first - sums_[first].first) / static_cast<double>(last - first);
      const double squares = sums_[last].second - sums_[first].second;
      error += std::max(0.0, squares - mean * mean * static_cast<double>(last - first));
      means[c] = center_ + mean;
      first = last;
    }
    return error;
  }

  Values values_;  // rising
  double center_ = 0;
  std::vector<std::pair<double, double>> sums_;  // of v and v^2 over the first i values
  int bits_ = 0;
  Values thresholds_;
  Values means_;
  double error_ = 0;
  Values next_thresholds_;
  Values next_means_;
  double next_error_ = 0;
};

/// Deals bits out one by one, each to the coordinate whose error it lowers most. Stops early where
/// no bit would lower the error by more than its rounding.
inline void deal_bits(std::vector<CutCoordinate>& coordinates, int bits) {
  double least = 0;
  for (const CutCoordinate& c : coordinates) least += 1e-12 * c.error();
  for (int b = 0; b < bits; ++b) {
    const auto best = std::max_element(
        coordinates.begin(), coordinates.end(),
        [](const CutCoordinate& p, const CutCoordinate& q) { return p.gain() < q.gain(); });
    // Also false for a gain that is NaN.
    if (best == coordinates.end() || !(best->gain() > least)) return;
    best->refine();
  }
}

}  // namespace detail

ADR_NAMESPACE_END
