// Which form the gradients of one layer take under a schedule: exact, over non-zeros, or after
// unbiased rounding, whichever the clock finds the fastest among those that the phase allows.
#pragma once

#include <algorithm>
#include <utility>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/growing_interval.hpp"
#include "adr/adapt/layer_timings.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Tries what may pay for a few steps and keeps it if it does.
///
/// Dense gradients are timed first; `exact` follows and goes back to dense where looking
/// for non-zeros does not pay; where a phase allows rounding, `rounded` is tried beside it.
/// Forms are compared again after measure_interval steps. Rounding that lost is soon tried again,
/// then less and less often, and at once where the form that took its place turns out to be no
/// faster: the machine was slow then. Without times, predicted costs decide. Thread-safety: none.
/// Source: this library.
class GradientChoice {
 public:
  explicit GradientChoice(const SchedulerOptions& options)
      : options_(&options),
        rounding_wait_(options.tuning.first_measure_interval, options.tuning.measure_interval) {}

  /// Sets the forms of a setting.
  void apply_to(Plan& config) const {
    constexpr InputGradient input[] = {InputGradient::dense, InputGradient::exact,
                                       InputGradient::rounded};
    constexpr WeightGradient weights[] = {WeightGradient::dense, WeightGradient::exact,
                                          WeightGradient::rounded};
    config.input_gradient = input[static_cast<int>(form_)];
    config.weight_gradient = weights[static_cast<int>(form_)];
    if (form_ == Form::rounded) {
      config.gradient_rounding = rounding_step_;
      config.input_gradient = rounded_input();
    }
  }

  /// Whether anything but dense gradients has run.
  [[nodiscard]] bool has_started() const noexcept { return steps_ > 0; }

  /// Takes the statistics of a step, and changes the forms for the next one. `dense` holds the
  /// times of dense gradients.
  void step(Tunable& layer, const Report& stats, const PassTimings& dense,
            double gradient_rounding) {
    ++steps_;
    if (form_ == Form::dense && steps_ >= retry_) {
      retry_ = steps_ + options_->tuning.measure_interval;
      if (non_zeros_may_pay(layer)) return use(layer, Form::exact);
    }
    note(stats);
    calibrate(layer, stats, dense);
    if (form_ == Form::rounded && gradient_rounding != rounding_step_) {
      rounding_step_ = gradient_rounding;
      return use(layer, gradient_rounding > 0 ? Form::rounded : Form::exact);
    }
    if (seen_ < k_enough) return;
    judge(layer, stats, dense, gradient_rounding);
  }

  /// Ends rounding for now: its noise may be what the loss does not bear.
  void retreat(Tunable& layer) {
    if (form_ != Form::rounded) return;
    rounding_retry_ = steps_ + options_->tuning.measure_interval;
    use(layer, Form::exact);
  }

  /// Tells the layer what gradients over non-zeros were found to cost.
  void set_costs(Tunable& layer) const {
    GradientCosts costs;
    if (weight_cost_.median() > 0) costs.sparse_weights = weight_cost_.median();
    if (input_cost_.median() > 0) costs.sparse_input = input_cost_.median();
    layer.set_gradient_costs(costs);
  }

  void exchange(StateArchive& archive) {
    archive.choice("gradient form", form_, Form::rounded);
    archive("gradient_rounding", rounding_step_);
    archive("gradient steps", steps_);
    archive("steps with the form", seen_);
    archive("gradient retry", retry_);
    archive("rounding retry", rounding_retry_);
    rounding_wait_.exchange("rounding wait", archive);
    archive("next doubt", doubt_);
    now_.exchange("seconds of the form", archive);
    archive("seconds of exact gradients", cheapest_);
    archive("seconds of rounded gradients", rounded_);
    weight_cost_.exchange("cost of sparse weight gradients", archive);
    input_cost_.exchange("cost of sparse input gradients", archive);
  }

 private:
  enum class Form { dense, exact, rounded };
  static constexpr index_t k_enough = 6;

  void use(Tunable& layer, Form form) {
    form_ = form;
    seen_ = 0;
    now_.clear();
    Plan config = layer.plan();
    apply_to(config);
    layer.set_plan(config);
  }

  void note(const Report& stats) {
    const double seconds = PassTimings::backward_seconds(stats.seconds);
    if (seen_++ > 0 && seconds > 0) now_.add(seconds);
  }

  /// What a multiply-add over non-zeros costs on this layer, as a multiple of a dense one.
  void calibrate(Tunable& layer, const Report& stats, const PassTimings& dense) {
    const PassSeconds& seconds = stats.seconds;
    const auto cost = [](double sparse, double dense_seconds, const PassWork& work) {
      const double share = 1.0 - work.saved_share();
      return share > 0 && dense_seconds > 0 ? sparse / dense_seconds / share : 0.0;
    };
    const auto is_sparse = [](auto form) {
      using Gradient = decltype(form);
      return form == Gradient::over_non_zeros || form == Gradient::rounded;
    };
    const auto note = [](PassTimings::Median& costs, double timed) {
      if (timed > 0) costs.add(timed);
    };
    if (is_sparse(stats.weight_gradient_form)) {
      note(weight_cost_,
           cost(seconds.weight_gradient, dense.weight_gradient(), stats.weight_gradient));
    }
    if (is_sparse(stats.input_gradient_form)) {
      note(input_cost_, cost(seconds.input_gradient, dense.input_gradient(), stats.input_gradient));
    }
    set_costs(layer);
  }

  /// Compares what ran in the last steps with what ran before them. Nothing is compared with times
  /// from long ago: the machine may have become slower since.
  void judge(Tunable& layer, const Report& stats, const PassTimings& dense,
             double gradient_rounding) {
    const double seconds = now_.median();
    switch (form_) {
      case Form::dense:
        if (seconds > 0 && cheapest_ > 0 && seconds > cheapest_ / k_as_fast) {
          return use(layer, Form::exact);  // it was not slower after all
        }
        return;
      case Form::rounded:
        if (seconds > 0 && cheapest_ > 0 &&
            (seconds > options_->tuning.max_cost * cheapest_ || steps_ >= rounding_retry_)) {
          rounded_ = seconds;
          rounding_retry_ = steps_ + rounding_wait_.take();
          use(layer, Form::exact);
        }
        return;
      case Form::exact:
        break;
    }
    cheapest_ = seconds;
    const double rounded = std::exchange(rounded_, 0.0);
    if (gradient_rounding > 0 && rounded > 0 && rounded <= options_->tuning.max_cost * cheapest_) {
      rounding_wait_.restart();
      return round(layer, gradient_rounding);  // the machine was slower, not the rounding
    }
    // Before it is given up: rounding may pay where looking for exact zeros does not.
    if (gradient_rounding > 0 && steps_ >= rounding_retry_ && may_pay(layer, stats, dense)) {
      return round(layer, gradient_rounding);
    }
    if (seconds > k_as_fast * dense.backward() && dense.backward() > 0 && steps_ >= doubt_) {
      doubt_ = retry_ = steps_ + options_->tuning.measure_interval;
      use(layer, Form::dense);
    }
  }

  void round(Tunable& layer, double gradient_rounding) {
    rounding_retry_ = steps_ + options_->tuning.measure_interval;
    rounding_step_ = gradient_rounding;
    use(layer, Form::rounded);
  }

  /// The form of the input gradient beside a rounded weight gradient.
  [[nodiscard]] InputGradient rounded_input() const noexcept {
    return options_->round_input_gradients ? InputGradient::rounded : InputGradient::exact;
  }

  /// Whether gradients over next to no non-zeros are predicted to be faster than dense ones: not so
  /// where looking for them takes as long as all the rest.
  [[nodiscard]] bool non_zeros_may_pay(const Tunable& layer) const {
    Plan sparse = layer.plan();
    sparse.weight_gradient = WeightGradient::over_non_zeros;
    return predicted_costs(layer.layer_shape(), sparse, 0.0).weight_gradient <
           options_->tuning.max_cost;
  }

  /// Whether rounding is predicted to be faster than what runs.
  [[nodiscard]] bool may_pay(const Tunable& layer, const Report& stats,
                             const PassTimings& dense) const {
    constexpr double k_density_after_rounding = 0.08;
    // The noise of rounding averages out over the elements that an image contributes. Of the few
    // logits of a classifier all layers would get the noise.
    constexpr index_t k_least_elements = 1024;
    const LayerShape shape = layer.layer_shape();
    if (shape.image_outputs < k_least_elements) return false;
    Plan rounded = layer.plan();
    rounded.weight_gradient = WeightGradient::rounded;
    rounded.input_gradient = rounded_input();
    const double density = std::min(stats.gradient_density, k_density_after_rounding);
    PassCosts after = predicted_costs(shape, rounded, density);
    if (!options_->round_input_gradients) {
      after.input_gradient = predicted_costs(shape, rounded, stats.gradient_density).input_gradient;
    }
    const double expected = 0.5 * (after.weight_gradient + after.input_gradient);
    if (dense.backward() > 0)
      return expected * dense.backward() < options_->tuning.max_cost * cheapest_;
    const PassCosts now = predicted_costs(shape, layer.plan(), stats.gradient_density);
    return expected < options_->tuning.max_cost * 0.5 * (now.weight_gradient + now.input_gradient);
  }

  /// A look at a few rows that finds nothing to gain costs less than this.
  static constexpr double k_as_fast = 1.02;

  const SchedulerOptions* options_;
  Form form_ = Form::dense;
  double rounding_step_ = 0;
  index_t steps_ = 0;
  index_t seen_ = 0;
  index_t retry_ = 0;
  index_t rounding_retry_ = 0;
  GrowingInterval rounding_wait_;  // after the next time that rounding loses
  index_t doubt_ = 0;
  PassTimings::Median now_;
  double cheapest_ = 0;
  double rounded_ = 0;  // of those that were just given up
  PassTimings::Median weight_cost_;
  PassTimings::Median input_cost_;
};

ADR_NAMESPACE_END
