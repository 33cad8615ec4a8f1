// A typical value that a few disturbed samples cannot move.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The median of the last Capacity samples. Memory: they lie in the object. Thread-safety: none.
template <int Capacity>
class RobustMedian {
  static constexpr auto k_size = static_cast<std::size_t>(Capacity);
  static_assert(Capacity >= 1 && Capacity % 2 == 1, "a median of an odd number is a sample");

 public:
  /// Takes a sample; what is negative or not finite is left out.
  void add(double value) noexcept {
    if (!(value >= 0) || std::isinf(value)) return;
    if (count_ == Capacity) {
      std::copy(values_.begin() + 1, values_.end(), values_.begin());
      --count_;
    }
    values_[static_cast<std::size_t>(count_++)] = value;
  }
  void clear() noexcept { count_ = 0; }

  [[nodiscard]] int count() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  /// The median of what is there, the lower one of two; 0 of nothing.
  [[nodiscard]] double median() const noexcept {
    if (empty()) return 0;
    std::array<double, k_size> sorted = values_;
    const auto middle = sorted.begin() + (count_ - 1) / 2;
    std::nth_element(sorted.begin(), middle, sorted.begin() + count_);
    return *middle;
  }

  void exchange(std::string_view what, StateArchive& archive) {
    archive.count(what, count_, 0, Capacity);
    for (int i = 0; i < count_; ++i) archive(what, values_[static_cast<std::size_t>(i)]);
  }

 private:
  std::array<double, k_size> values_{};  // the oldest first
  int count_ = 0;
};

ADR_NAMESPACE_END
