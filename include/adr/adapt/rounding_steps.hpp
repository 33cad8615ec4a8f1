// The steps by which the gradients of one layer are rounded: as coarse as their noise allows.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "adr/adapt/report.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Holds the noise of rounding under a limit: the share of a weight gradient's variance over
/// batches, and of an input gradient's energy, that rounding may add (Report::weight_gradient_noise
/// and input_gradient_noise).
///
/// Math: noise grows with the square of the step, or faster. A measured pass with step s and noise
/// n asks for s (limit / n)^(1/2) where n is above the limit and for s (limit / n)^(1/3) where it
/// is below, a second pass for what is left; never more than the coarsest step. A weight gradient,
/// whose noise stays in its layer and averages over the batch, may have a coarser step than one
/// that is handed on. Thread-safety: none. Source: VCAS (ICLR 2024) for the limit; this library.
class RoundingSteps {
 public:
  /// Sets the coarsest step, 0: no rounding, and the limit, 0: none. Returns whether either
  /// changed; steps begin with the coarsest then. Requires: both at least 0.
  bool ask(double coarsest, double limit) noexcept {
    if (coarsest == coarsest_ && limit == limit_) return false;
    coarsest_ = weights_ = input_ = coarsest;
    limit_ = limit;
    noise_ = 0;
    end();
    return true;
  }

  /// Measures the passes to come if there is something to hold.
  void measure() noexcept { passes_left_ = coarsest_ > 0 && limit_ > 0 ? k_passes : 0; }
  void end() noexcept { passes_left_ = 0; }
  /// Whether the pass to come is to be measured (Plan::measure_rounding), with both().
  [[nodiscard]] bool measuring() const noexcept { return passes_left_ > 0; }

  /// Takes the report of a measured pass; one without a backward pass says nothing. Requires:
  /// measuring.
  void note(const Report& report) noexcept {
    if (!report.has_gradient_noise()) return;
    const double step = both();
    weights_ = held(step, report.weight_gradient_noise());
    input_ = held(step, report.input_gradient_noise());
    const double found = std::max(report.weight_gradient_noise(), report.input_gradient_noise());
    noise_ = found * (both() / step) * (both() / step);
    --passes_left_;
  }

  /// Whether rounding that is fine enough leaves any zeros.
  [[nodiscard]] bool usable() const noexcept { return both() >= std::min(k_finest, coarsest_); }
  /// For weight gradients alone.
  [[nodiscard]] double weights() const noexcept { return weights_; }
  /// For both gradients.
  [[nodiscard]] double both() const noexcept { return std::min(weights_, input_); }
  [[nodiscard]] double coarsest() const noexcept { return coarsest_; }
  /// The larger of both shares, expected for both() from what was last measured; 0 where nothing
  /// was.
  [[nodiscard]] double noise() const noexcept { return noise_; }

  void exchange(StateArchive& archive) {
    archive("coarsest rounding", coarsest_);
    archive("limit of rounding noise", limit_);
    archive("rounding of weight gradients", weights_);
    archive("rounding of input gradients", input_);
    archive("measured rounding noise", noise_);
    archive.count("passes to measure", passes_left_, 0, k_passes);
  }

 private:
  static constexpr int k_passes = 2;
  static constexpr double k_finest = 0.5;     ///< below it next to nothing becomes zero
  static constexpr double k_most_change = 4;  ///< of a step by one measurement

  /// The step whose noise is at the limit, by that of another one.
  [[nodiscard]] double held(double step, double noise) const noexcept {
    if (std::isnan(noise)) return std::min(step / k_most_change, coarsest_);
    const double room = noise > 0 ? limit_ / noise : std::numeric_limits<double>::infinity();
    const double change = std::pow(room, room < 1 ? 1.0 / 2 : 1.0 / 3);
    return std::min(step * std::clamp(change, 1 / k_most_change, k_most_change), coarsest_);
  }

  double coarsest_ = 0;
  double limit_ = 0;
  double weights_ = 0;
  double input_ = 0;
  double noise_ = 0;
  int passes_left_ = 0;
};

ADR_NAMESPACE_END
