// How long the passes of one layer take: robust figures of what its statistics report.
#pragma once

#include <algorithm>

#include "adr/adapt/report.hpp"
#include "adr/adapt/robust_median.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Medians of the passes of one setting, forward passes with a fit apart. The first passes after a
/// change are left out: they allocate. Thread-safety: none. Source: this library.
class PassTimings {
 public:
  static constexpr int k_capacity = 9;
  using Median = RobustMedian<k_capacity>;

  void note(const Report& stats) {
    note_forward(stats);
    if (seen_ > 1) note_backward(stats.seconds);
  }
  void note_forward(const Report& stats) {
    if (seen_++ > 0 && stats.seconds.forward > 0) {
      (stats.fits > 0 ? fitting_ : forward_).add(stats.seconds.forward);
    }
  }
  void restart_forward() {
    seen_ = 0;
    forward_.clear();
    fitting_.clear();
  }
  void restart() {
    restart_forward();
    backward_.clear();
    weight_gradient_.clear();
    input_gradient_.clear();
  }

  /// How many forward passes without a fit the figures rest on, at most k_capacity.
  [[nodiscard]] int forward_count() const { return forward_.count(); }

  /// Seconds of a forward pass, its share of a fit every so many passes included; 0 when none was
  /// timed.
  [[nodiscard]] double forward(index_t refit_interval) const {
    const double plain = forward_.median();
    if (fitting_.empty()) return plain;
    return plain + std::max(0.0, fitting_.median() - plain) / static_cast<double>(refit_interval);
  }
  /// Seconds of both gradients and of looking for non-zeros; 0 when none was timed.
  [[nodiscard]] double backward() const { return backward_.median(); }
  [[nodiscard]] double weight_gradient() const { return weight_gradient_.median(); }
  [[nodiscard]] double input_gradient() const { return input_gradient_.median(); }
  /// The same of passes without fits.
  [[nodiscard]] PassSeconds seconds() const {
    PassSeconds seconds;
    seconds.forward = forward_.median();
    seconds.weight_gradient = weight_gradient();
    seconds.input_gradient = input_gradient();
    return seconds;
  }

  void exchange(StateArchive& archive) {
    archive("passes timed", seen_);
    forward_.exchange("forward seconds", archive);
    fitting_.exchange("fitting seconds", archive);
    backward_.exchange("backward seconds", archive);
    weight_gradient_.exchange("weight gradient seconds", archive);
    input_gradient_.exchange("input gradient seconds", archive);
  }

 private:
  void note_backward(const PassSeconds& seconds) {
    const double all = seconds.weight_gradient + seconds.input_gradient + seconds.gradient_listing;
    if (!(all > 0)) return;
    backward_.add(all);
    weight_gradient_.add(seconds.weight_gradient);
    input_gradient_.add(seconds.input_gradient);
  }

  index_t seen_ = 0;
  Median forward_;
  Median fitting_;
  Median backward_;
  Median weight_gradient_;
  Median input_gradient_;
};

ADR_NAMESPACE_END
