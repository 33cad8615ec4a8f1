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
  /// changed; without a limit the coarsest step is the one, else steps begin with a fine one.
  /// Requires: both at least 0.
  bool ask(double coarsest, double limit) noexcept {
    if (coarsest == coarsest_ && limit == limit_) return false;
    coarsest_ = coarsest;
    limit_ = limit;
    weights_ = input_ = limit > 0 ? std::min(coarsest, k_first) : coarsest;
    weights_noise_ = input_noise_ = 0;
    end();
    return true;
  }

  /// Measures the passes to come if there is something to hold.
  void measure() noexcept {
    passes_left_ = coarsest_ > 0 && limit_ > 0 ? k_passes : 0;
    tries_left_ = k_tries;
  }
  void end() noexcept { passes_left_ = 0; }
  /// Whether the pass to come is to be measured (Plan::measure_rounding), with both().
  [[nodiscard]] bool measuring() const noexcept { return passes_left_ > 0; }

  /// Takes the report of a measured pass. Where several in a row have nothing to measure, steps
  /// become so fine that nothing is rounded. Requires: measuring.
  void note(const Report& report) noexcept {
    if (!report.has_gradient_noise()) {
      if (--tries_left_ > 0) return;
      weights_ = input_ = finest();
      return end();
    }
    const double step = both();
    const auto of_one = [step](double noise) {
      return std::isfinite(noise) ? noise / (step * step) : 0.0;
    };
    weights_noise_ = of_one(report.weight_gradient_noise());
    input_noise_ = of_one(report.input_gradient_noise());
    weights_ = held(step, report.weight_gradient_noise());
    input_ = held(step, report.input_gradient_noise());
    --passes_left_;
    tries_left_ = k_tries;
  }

  /// Whether rounding that is fine enough leaves any zeros: of the gradient of the weights, and of
  /// that of the input.
  [[nodiscard]] bool usable() const noexcept { return weights_ >= std::min(k_finest, coarsest_); }
  [[nodiscard]] bool usable_for_input() const noexcept {
    return both() >= std::min(k_finest, coarsest_);
  }
  /// For weight gradients alone.
  [[nodiscard]] double weights() const noexcept { return weights_; }
  /// For both gradients.
  [[nodiscard]] double both() const noexcept { return std::min(weights_, input_); }
  [[nodiscard]] double coarsest() const noexcept { return coarsest_; }
  /// What weights(), or both() where the input gradient is rounded, is expected to add by the last
  /// measurement: the larger share of the gradients that are rounded; 0 where nothing was measured.
  [[nodiscard]] double noise(bool of_weights, bool of_input) const noexcept {
    const double step = of_input ? both() : weights_;
    const double share = std::max(of_weights ? weights_noise_ : 0, of_input ? input_noise_ : 0);
    return share * step * step;
  }

  void exchange(StateArchive& archive) {
    archive("coarsest rounding", coarsest_);
    archive("limit of rounding noise", limit_);
    archive("rounding of weight gradients", weights_);
    archive("rounding of input gradients", input_);
    archive("noise of weight gradients", weights_noise_);
    archive("noise of input gradients", input_noise_);
    archive.count("passes to measure", passes_left_, 0, k_passes);
    archive.count("passes without a measurement", tries_left_, 0, k_tries);
  }

 private:
  static constexpr int k_passes = 2;
  static constexpr int k_tries = 4;
  static constexpr double k_first = 1;
  static constexpr double k_finest = 0.5;     ///< below it next to nothing becomes zero
  static constexpr double k_most_change = 4;  ///< of a step by one measurement

  /// From where a step comes back within one measurement.
  [[nodiscard]] double finest() const noexcept {
    return std::min(k_finest, coarsest_) / k_most_change;
  }
  /// The step whose noise is at the limit, by that of another one.
  [[nodiscard]] double held(double step, double noise) const noexcept {
    const double room = noise > 0 ? limit_ / noise : std::numeric_limits<double>::infinity();
    const double wanted = std::pow(room, room < 1 ? 1.0 / 2 : 1.0 / 3);
    const double change =
        std::isnan(noise) ? 0.0 : std::clamp(wanted, 1 / k_most_change, k_most_change);
    return std::clamp(step * change, finest(), coarsest_);
  }

  double coarsest_ = 0;
  double limit_ = 0;
  double weights_ = 0;
  double input_ = 0;
  double weights_noise_ = 0;  // of a step of 1, as the last measurement has it
  double input_noise_ = 0;
  int passes_left_ = 0;
  int tries_left_ = 0;
};

ADR_NAMESPACE_END
