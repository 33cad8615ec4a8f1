// Which form the gradients of one layer take under a schedule: exact, over non-zeros, or after
// unbiased rounding, whichever the clock finds the fastest among those that the phase allows.
#pragma once

#include <algorithm>
#include <optional>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/gradient_trials.hpp"
#include "adr/adapt/growing_interval.hpp"
#include "adr/adapt/rounding_steps.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Tries the forms that may pay in turns (GradientTrials), keeps the fastest of each gradient, and
/// tries again: soon at first and after a phase that rounds otherwise, then less and less often.
///
/// Rounding is among them where the phase allows it, by steps whose noise is measured before
/// (RoundingSteps). Without times, predicted costs decide.
/// Thread-safety: none. Source: this library.
class GradientChoice {
 public:
  explicit GradientChoice(const SchedulerOptions& options)
      : options_(&options),
        wait_(options.tuning.first_measure_interval, options.tuning.measure_interval) {}

  /// Sets the forms of a setting.
  void apply_to(Plan& config) const {
    const TriedForms forms = in_force();
    set_forms(config, forms);
    if (forms.rounds()) {
      config.gradient_rounding = hands_on_rounded(forms) ? rounding_.both() : rounding_.weights();
    }
    config.measure_rounding = rounding_.measuring();
  }

  /// Whether anything but dense gradients has run.
  [[nodiscard]] bool has_started() const noexcept { return steps_ > 0; }

  /// What rounding adds, as last measured.
  [[nodiscard]] double noise() const noexcept {
    return rounding_.noise(chosen_.weights == TriedForm::rounded, hands_on_rounded(chosen_));
  }

  /// Takes the statistics of a step, and changes the forms for the next one.
  void step(Tunable& layer, const Report& stats, const Phase& allowed) {
    ++steps_;
    if (rounding_.ask(allowed.gradient_rounding, allowed.gradient_noise)) {
      wait_.restart();
      try_forms(layer);
    } else if (rounding_.measuring()) {
      rounding_.note(stats);
      if (!rounding_.measuring()) begin_trials(layer);
    } else if (trials_.running()) {
      trials_.note(stats);
      if (!trials_.running()) choose(layer);
    } else if (steps_ >= next_trials_) {
      try_forms(layer);
    } else {
      return;
    }
    use(layer);
  }

  /// Ends rounding for now: its noise may be what the loss does not bear.
  void retreat(Tunable& layer) {
    // Forms in turn round now and then, and rounded ones may be found to be the fastest.
    if (trials_.running() ? !(rounding_.coarsest() > 0) : !in_force().rounds()) return;
    chosen_ = {TriedForm::exact, TriedForm::exact};
    next_trials_ = steps_ + options_->tuning.measure_interval;
    release(layer);
  }

  /// Leaves the forms that were chosen, whatever is on trial.
  void release(Tunable& layer) {
    trials_.end();
    rounding_.end();
    use(layer);
  }

  /// Tells the layer what gradients over non-zeros were found to cost. While forms are tried what
  /// they are expected to cost counts, so that more is tried than the shape alone would allow.
  void set_costs(Tunable& layer) const {
    GradientCosts costs = timed_;
    if (trials_.running()) {
      costs.sparse_weights = timed_.sparse_weights.value_or(GradientCosts::k_sparse);
      costs.sparse_input = timed_.sparse_input.value_or(GradientCosts::k_sparse);
    }
    layer.set_gradient_costs(costs);
  }

  void exchange(StateArchive& archive) {
    archive.choice("form of the weight gradient", chosen_.weights, TriedForm::rounded);
    archive.choice("form of the input gradient", chosen_.input, TriedForm::rounded);
    rounding_.exchange(archive);
    archive("gradient steps", steps_);
    archive("next trials of gradients", next_trials_);
    wait_.exchange("wait for trials of gradients", archive);
    trials_.exchange(archive);
    archive.optional("cost of sparse weight gradients", timed_.sparse_weights);
    archive.optional("cost of sparse input gradients", timed_.sparse_input);
  }

 private:
  [[nodiscard]] TriedForms in_force() const noexcept {
    if (rounding_.measuring()) return {TriedForm::rounded, TriedForm::rounded};
    return trials_.running() ? TriedForms{trials_.turn(), trials_.turn()} : chosen_;
  }
  [[nodiscard]] bool hands_on_rounded(const TriedForms& forms) const noexcept {
    return forms.input == TriedForm::rounded && rounds_input();
  }
  /// Whether input gradients may be rounded: what rounding would add to them is within the limit.
  [[nodiscard]] bool rounds_input() const noexcept {
    return options_->round_input_gradients &&
           (rounding_.measuring() || rounding_.usable_for_input());
  }
  void set_forms(Plan& plan, const TriedForms& forms) const noexcept {
    constexpr WeightGradient weights[] = {WeightGradient::dense, WeightGradient::exact,
                                          WeightGradient::rounded};
    constexpr InputGradient input[] = {InputGradient::dense, InputGradient::exact,
                                       InputGradient::rounded};
    const bool kept_exact = forms.input == TriedForm::rounded && !rounds_input();
    plan.weight_gradient = weights[static_cast<int>(forms.weights)];
    plan.input_gradient = input[static_cast<int>(kept_exact ? TriedForm::exact : forms.input)];
  }
  void use(Tunable& layer) const {
    set_costs(layer);
    Plan config = layer.plan();
    apply_to(config);
    layer.set_plan(config);
  }

  /// Begins to measure rounding, or trials, where more than one form may pay.
  void try_forms(Tunable& layer) {
    trials_.end();
    if (!non_zeros_may_pay(layer)) {
      rounding_.end();
      chosen_ = {};
      next_trials_ = steps_ + options_->tuning.measure_interval;
      return;
    }
    if (may_round(layer)) rounding_.measure();
    if (!rounding_.measuring()) begin_trials(layer);
  }
  void begin_trials(const Tunable& layer) {
    trials_.begin({true, true, may_round(layer) && rounding_.usable()});
  }

  void choose(const Tunable& layer) {
    chosen_ = trials_.has_times() ? trials_.fastest(options_->tuning.max_cost) : predicted(layer);
    next_trials_ = steps_ + wait_.take();
    calibrate();
  }

  /// What a multiply-add over non-zeros costs on this layer, as a multiple of a dense one.
  void calibrate() {
    constexpr TriedForm exact = TriedForm::exact;
    const auto cost = [](double sparse, double dense, double work) {
      const bool timed = sparse > 0 && dense > 0 && work > 0 && work < 1;
      return timed ? std::optional<double>(sparse / dense / work) : std::nullopt;
    };
    const auto weights = cost(trials_.weights(exact), trials_.weights(TriedForm::dense),
                              trials_.weights_work(exact));
    const auto input =
        cost(trials_.input(exact), trials_.input(TriedForm::dense), trials_.input_work(exact));
    if (weights) timed_.sparse_weights = weights;
    if (input) timed_.sparse_input = input;
  }

  /// Where there is no clock.
  [[nodiscard]] TriedForms predicted(const Tunable& layer) const {
    const double density = layer.report().gradient_density;
    TriedForm best = TriedForm::dense;
    double least = backward_cost(layer, best, density);
    const auto consider = [&](TriedForm form, double share) {
      const double cost = backward_cost(layer, form, share);
      if (cost < options_->tuning.max_cost * least) {
        least = cost;
        best = form;
      }
    };
    consider(TriedForm::exact, density);
    if (may_round(layer) && rounding_.usable())
      consider(TriedForm::rounded, std::min(density, k_rounded_density));
    return {best, best};
  }

  /// Of both gradients, relative to dense ones.
  [[nodiscard]] double backward_cost(const Tunable& layer, TriedForm form, double density) const {
    Plan plan = layer.plan();
    set_forms(plan, {form, form});
    const PassCosts costs = predicted_costs(layer.layer_shape(), plan, density);
    return 0.5 * (costs.weight_gradient + costs.input_gradient);
  }

  /// Whether gradients over next to no non-zeros are predicted to be faster than dense ones: not so
  /// where looking for them takes as long as all the rest.
  [[nodiscard]] bool non_zeros_may_pay(const Tunable& layer) const {
    return backward_cost(layer, TriedForm::exact, 0.0) < options_->tuning.max_cost;
  }

  [[nodiscard]] bool may_round(const Tunable& layer) const {
    // The noise of rounding averages out over the elements that an image contributes. Of the few
    // logits of a classifier all layers would get the noise.
    constexpr index_t k_least_elements = 1024;
    return rounding_.coarsest() > 0 && layer.layer_shape().image_outputs >= k_least_elements &&
           backward_cost(layer, TriedForm::rounded, k_rounded_density) < options_->tuning.max_cost;
  }

  static constexpr double k_rounded_density = 0.08;

  const SchedulerOptions* options_;
  GradientTrials trials_;
  TriedForms chosen_;
  RoundingSteps rounding_;
  index_t steps_ = 0;
  index_t next_trials_ = 0;
  GrowingInterval wait_;
  GradientCosts timed_;
};

ADR_NAMESPACE_END
