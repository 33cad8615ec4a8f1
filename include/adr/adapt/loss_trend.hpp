// Whether a noisy training loss still falls.
#pragma once

#include <algorithm>
#include <cmath>

#include "adr/adapt/loss_trend_options.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// What a step of training says about the loss.
enum class LossVerdict {
  learning,    ///< falling, or not known yet
  plateau,     ///< has not fallen for `patience` windows: said once, then windows count anew
  diverging,   ///< the mean of a window is far above the best one
  not_finite,  ///< this loss is no number, or infinite; it takes no part in means
};

/// Follows the loss step by step.
///
/// Math: means of successive windows after the warm-up, compared with the smallest one so far. A
/// verdict other than learning falls in the step that ends a window, not_finite in its own step.
/// Thread-safety: none. Source: this library.
class LossTrend {
 public:
  /// Begins before the first step. Requires: valid options.
  explicit LossTrend(const LossTrendOptions& options) : options_(options) {}

  /// Follows one step.
  LossVerdict observe(double loss) {
    ++steps_;
    // What means of a window could not hold is no number to go by, either.
    constexpr double k_most = 1e100;
    if (!(std::abs(loss) <= k_most)) return LossVerdict::not_finite;
    if (steps_ <= options_.warm_up) return LossVerdict::learning;
    sum_ += loss;
    if (++in_window_ < options_.window) return LossVerdict::learning;
    const double mean = sum_ / static_cast<double>(in_window_);
    sum_ = 0;
    in_window_ = 0;
    return judge(mean);
  }

  /// The mean of the last whole window; 0 before the first.
  [[nodiscard]] double smoothed() const noexcept { return smoothed_; }
  /// How many losses were observed.
  [[nodiscard]] index_t steps() const noexcept { return steps_; }

  /// Patience begins anew, and a window with it; the best mean stays.
  void restart() noexcept {
    sum_ = 0;
    in_window_ = 0;
    without_fall_ = 0;
  }

  /// Writes the state to an archive, or reads it back.
  void exchange(StateArchive& archive) {
    archive("loss steps", steps_);
    archive("steps in the window", in_window_);
    archive("loss of the window", sum_);
    archive("smoothed loss", smoothed_);
    archive("has a best loss", has_best_);
    archive("best loss", best_);
    archive("windows without a fall", without_fall_);
  }

 private:
  LossVerdict judge(double mean) {
    smoothed_ = mean;
    if (!has_best_ || mean < best_ - options_.min_drop * std::abs(best_)) {
      best_ = mean;
      has_best_ = true;
      without_fall_ = 0;
      return LossVerdict::learning;
    }
    if (best_ > 0 && mean > options_.divergence * best_) {
      without_fall_ = 0;
      return LossVerdict::diverging;
    }
    best_ = std::min(best_, mean);
    if (++without_fall_ < options_.patience) return LossVerdict::learning;
    without_fall_ = 0;
    return LossVerdict::plateau;
  }

  LossTrendOptions options_;
  index_t steps_ = 0;
  index_t in_window_ = 0;
  double sum_ = 0;
  double smoothed_ = 0;
  bool has_best_ = false;
  double best_ = 0;
  index_t without_fall_ = 0;
};

ADR_NAMESPACE_END
