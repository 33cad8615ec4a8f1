// A typical value that a few disturbed samples cannot move.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The median of the last Capacity samples. Memory: they lie in the object. Thread-safety: none.
template <int Capacity>
class RobustMedian {
  static constexpr auto k_size = static_cast<std::size_t>(Capacity);
  static_assert(Capacity >= 1 && Capacity % 2 == 1, "a median of an odd number is a sample");

 public:
  /// Samples in the order in which they came, the oldest first.
  struct Samples {
    std::array<double, k_size> values{};
    int count = 0;
  };

  /// Takes a sample; what is negative or not finite is left out.
  void add(double value) noexcept {
    if (!(value >= 0) || std::isinf(value)) return;
    if (samples_.count == Capacity) {
      std::copy(samples_.values.begin() + 1, samples_.values.end(), samples_.values.begin());
      --samples_.count;
    }
    samples_.values[static_cast<std::size_t>(samples_.count++)] = value;
  }
  void clear() noexcept { samples_.count = 0; }

  [[nodiscard]] int count() const noexcept { return samples_.count; }
  [[nodiscard]] bool empty() const noexcept { return samples_.count == 0; }
  /// The median of what is there, the lower one of two; 0 of nothing.
  [[nodiscard]] double median() const noexcept {
    if (empty()) return 0;
    std::array<double, k_size> sorted = samples_.values;
    const auto middle = sorted.begin() + (samples_.count - 1) / 2;
    std::nth_element(sorted.begin(), middle, sorted.begin() + samples_.count);
    return *middle;
  }

  /// For checkpoints.
  [[nodiscard]] const Samples& samples() const noexcept { return samples_; }
  void restore(const Samples& samples) noexcept { samples_ = samples; }

 private:
  Samples samples_;
};

ADR_NAMESPACE_END
