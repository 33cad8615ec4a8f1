// Strategy::error_budget for one layer: dense passes are timed, settings are measured, the fastest
// within the budget runs, and all of it is checked again and again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/gradient_choice.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/layer_policy.hpp"
#include "adr/adapt/layer_timings.hpp"
#include "adr/adapt/measurement_plan.hpp"
#include "adr/adapt/measurement_schedule.hpp"
#include "adr/adapt/policy_state.hpp"
#include "adr/adapt/rung_choice.hpp"
#include "adr/core/state_archive.hpp"

ADR_NAMESPACE_BEGIN

/// Keeps a layer on the coarsest rung whose error is within a budget, and on the dense rung where
/// none is faster.
///
/// Stages: timing (dense), measuring (the layer tries candidates on a part of its input; where it
/// runs dense, the finest subspace and every radius at first: no other is within a budget that they
/// leave),
/// running (a rung, or dense until the next measurement). Decisions depend on reports alone:
/// without times in them predicted costs decide. Thread-safety: none. Source: this library.
class Tuner final : public LayerPolicy {
 public:
  Tuner(const Plan& base, const SchedulerOptions& options)
      : options_(&options), base_(base), gradients_(options), measurements_(options) {
    base_.meter_interval = options.tuning.meter_interval;
  }

  void start(Tunable& layer) override { use_dense(layer, Reason::timing_dense); }

  void step(Tunable& layer, int phase) override {
    const Report& stats = layer.report();
    const Phase& allowed = options_->phases[static_cast<std::size_t>(phase)];
    ++steps_;
    measurements_.note(stats.seconds.total(),
                       stage_ == Stage::measuring ? stats.seconds.meter : 0.0);
    note_timings(stats);
    switch (stage_) {
      case Stage::timing:
        if (++timed_steps_ > TunerOptions::k_timing_steps) plan_measurement(layer, allowed);
        break;
      case Stage::measuring:
        if (layer.awaits_measurements()) break;
        take_measurements(layer, allowed);
        phase_ = phase;
        break;
      case Stage::confirming:
        if (++timed_steps_ > TunerOptions::k_timing_steps) confirm(layer);
        break;
      case Stage::running:
        run(layer, stats, phase, allowed);
        break;
    }
    if (stage_ != Stage::timing) gradients_.step(layer, stats, allowed);
    publish(layer, phase, allowed);
  }

  void retreat(Tunable& layer) override {
    gradients_.retreat(layer);
    if (is_dense(rung_)) return;
    stage_ = Stage::running;
    move_to(layer, dense_rung(), Reason::loss_diverged);
  }

  void release(Tunable& layer) override { gradients_.release(layer); }
  [[nodiscard]] PassSeconds exact_seconds() const override { return dense_.seconds(); }

  [[nodiscard]] const Decision& decision() const noexcept override { return decision_; }

  void exchange(StateArchive& archive, Tunable& layer) override {
    const index_t columns = layer.layer_shape().columns;
    archive.choice("stage", stage_, Stage::running);
    archive("steps", steps_);
    archive("seconds of the suspected rung", suspected_seconds_);
    archive("trusted until", trusted_until_);
    archive("timed steps", timed_steps_);
    adr::exchange(archive, requested_, columns);
    adr::exchange(archive, ladder_, columns);
    archive.count("rung", rung_, -1, static_cast<index_t>(ladder_.size()) - 1);
    archive.count("phase", phase_, 0, static_cast<index_t>(options_->phases.size()) - 1);
    archive("last move", last_move_);
    archive("passes above the budget", passes_above_);
    adr::exchange(archive, decision_);
    measurements_.exchange(archive);
    smoothed_.exchange(archive);
    dense_.exchange(archive);
    rung_timings_.exchange(archive);
    costs_.exchange(archive);
    gradients_.exchange(archive);
    if (!archive.is_reading()) return;
    // A ladder ends dense, the layer is on it, and no dense rung is suspected.
    archive.require(is_of(ladder_, rung_) && (stage_ != Stage::confirming || !is_dense(rung_)),
                    "rung ", rung_, " does not belong to a ladder of ", ladder_.size(), " rungs");
    gradients_.set_costs(layer);
    if (stage_ == Stage::measuring) layer.request_measurements(requested_);
  }

 private:
  enum class Stage { timing, measuring, confirming, running };

  static constexpr int k_enough_passes = 7;

  [[nodiscard]] int dense_rung() const noexcept { return static_cast<int>(ladder_.size()) - 1; }
  /// The dense rung is the last of a ladder, and all there is without one.
  [[nodiscard]] bool is_dense(int rung) const noexcept { return rung == dense_rung(); }
  [[nodiscard]] Rung& current() { return ladder_[static_cast<std::size_t>(rung_)]; }
  void apply(Tunable& layer, Plan config, Reason reason) {
    decision_.reason = reason;
    gradients_.apply_to(config);
    layer.set_plan(config);
    rung_timings_.restart();
    smoothed_.restart();
    passes_above_ = 0;
    last_move_ = steps_;
  }
  void use_dense(Tunable& layer, Reason reason) {
    Plan config = base_;
    config.method = Method::exact;
    apply(layer, config, reason);
  }
  void move_to(Tunable& layer, int rung, Reason reason) {
    rung_ = rung;
    if (is_dense(rung)) return use_dense(layer, reason);
    apply(layer, current().config, reason);
  }

  void note_timings(const Report& stats) {
    if (stats.method != Method::exact) {
      rung_timings_.note(stats);
    } else if (stage_ == Stage::timing && !gradients_.has_started()) {
      dense_.note(stats);
    } else {
      dense_.note_forward(stats);
    }
  }

  /// Thins candidates out to what may be measured now; false: that leaves none, or out a rung.
  bool make_affordable(std::vector<Plan>& candidates, const LayerShape& shape) const {
    const std::size_t all = candidates.size();
    thin_out(candidates, [&] {
      return measurements_.is_affordable(measurement_work(shape, candidates), shape,
                                         dense_.forward(1) + dense_.backward());
    });
    return !candidates.empty() && (candidates.size() == all || has_rungs_of(candidates, ladder_));
  }

  /// Asks for measurements of what is predicted to pay, as far as they are worth their time.
  void plan_measurement(Tunable& layer, const Phase& allowed) {
    stage_ = Stage::running;
    if (!(allowed.max_error > 0)) return stay_dense(layer, Reason::no_rung_in_budget);
    measurements_.plan_next(steps_);
    const LayerShape shape = layer.layer_shape();
    auto candidates = promising_candidates(shape, base_, costs_, options_->tuning.max_cost);
    if (candidates.empty()) return stay_dense(layer, Reason::not_worthwhile);
    if (!make_affordable(candidates, shape)) {
      if (ladder_.empty()) return stay_dense(layer, Reason::too_small);
      if (!is_dense(rung_)) return;
      decision_.reason = Reason::no_rung_in_budget;
      return follow_budget(layer, allowed, Reason::first_rung);
    }
    if (is_dense(rung_)) candidates = first_tries(candidates);
    measure(layer, std::move(candidates));
  }

  /// Moves to the rung that the ladder has for the budget.
  void follow_budget(Tunable& layer, const Phase& allowed, Reason reason) {
    const int rung = rung_within(ladder_, allowed.max_error);
    if (rung != rung_) move_to(layer, rung, reason);
  }

  void measure(Tunable& layer, std::vector<Plan> configs) {
    requested_ = std::move(configs);
    layer.request_measurements(requested_);
    stage_ = Stage::measuring;
  }

  void stay_dense(Tunable& layer, Reason reason) {
    const bool was_dense = is_dense(rung_);
    ladder_.clear();
    rung_ = -1;
    if (!was_dense) return use_dense(layer, reason);
    decision_.reason = reason;
  }

  void take_measurements(Tunable& layer, const Phase& allowed) {
    stage_ = Stage::running;
    const LayerShape shape = layer.layer_shape();
    const Plan running = layer.plan();
    const auto competitor = options_->tuning.max_cost >= 1 ? Competitor::none : Competitor::dense;
    Ladder ladder = make_ladder(as_rungs(layer.measurements(), shape, costs_), competitor);
    const bool one_fits =
        rung_within(ladder, allowed.max_error) + 1 < static_cast<int>(ladder.size());
    if (is_dense(rung_) && first_tries(requested_).size() == requested_.size() && one_fits) {
      auto candidates = promising_candidates(shape, base_, costs_, options_->tuning.max_cost);
      if (!make_affordable(candidates, shape)) candidates.clear();
      if (candidates.size() > requested_.size()) return measure(layer, std::move(candidates));
      if (ladder_.size() > ladder.size()) ladder = ladder_;  // the others are not affordable again
    }
    ladder_ = std::move(ladder);
    // The rung that has run while measuring goes on if it is the one that the budget asks for.
    rung_ = rung_within(ladder_, allowed.max_error);
    if (is_dense(rung_)) {
      if (running.method != Method::exact) use_dense(layer, Reason::no_rung_in_budget);
      decision_.reason = Reason::no_rung_in_budget;
    } else if (running.clusters_as(current().config)) {
      const double seconds = rung_timings_.forward(base_.refit_interval);
      if (seconds > 0 && dense_.forward(1) > 0) current().cost = seconds / dense_.forward(1);
    } else {
      move_to(layer, rung_, Reason::first_rung);
    }
  }

  void run(Tunable& layer, const Report& stats, int phase, const Phase& allowed) {
    if (measurements_.is_due(steps_) && allowed.max_error > 0) {
      return check_again(layer, allowed);
    }
    const bool has_new_budget = phase != phase_;
    phase_ = phase;
    if (ladder_.empty()) return;
    if (has_new_budget) {
      // Errors as of now, if they can be had; else as they were measured, and metered since.
      if (!is_dense(rung_)) rescale_errors(ladder_, rung_, smoothed_.value());
      follow_budget(layer, allowed, Reason::new_budget);
      if (!(allowed.max_error > 0)) return;
      return plan_measurement(layer, allowed);
    }
    if (is_dense(rung_)) return;
    note_cost(layer);
    if (is_suspected()) {
      doubt(layer);
    } else if (stats.has_output_error()) {
      check_error(layer, stats, allowed);
    }
  }

  /// Settings are measured again; now and then the dense pass is timed once more before.
  void check_again(Tunable& layer, const Phase& allowed) {
    if (!measurements_.has_grown() || is_dense(rung_)) return plan_measurement(layer, allowed);
    stage_ = Stage::timing;
    timed_steps_ = TunerOptions::k_timing_steps;
    rung_ = dense_rung();
    use_dense(layer, Reason::timing_dense);
  }

  /// What the rung in force costs by the clock, once enough of its passes were timed.
  void note_cost(const Tunable& layer) {
    const double dense = dense_.forward(1);
    const int timed = rung_timings_.forward_count();
    if (!(dense > 0) || timed < k_enough_passes) return;
    current().cost = rung_timings_.forward(base_.refit_interval) / dense;
    if (timed > k_enough_passes) return;
    costs_.note(current().config.method,
                predicted_costs(layer.layer_shape(), current().config, 1.0,
                                layer.report().remaining_ratio())
                    .forward,
                current().cost);
  }
  [[nodiscard]] bool is_suspected() {
    const bool is_timed = rung_timings_.forward_count() >= k_enough_passes;
    return is_timed && steps_ >= trusted_until_ && current().cost > options_->tuning.max_cost;
  }
  /// The machine may have become slower since the dense pass was timed: it is timed once more.
  void doubt(Tunable& layer) {
    suspected_seconds_ = rung_timings_.forward(base_.refit_interval);
    stage_ = Stage::confirming;
    timed_steps_ = 0;
    dense_.restart_forward();
    use_dense(layer, Reason::timing_dense);
  }
  /// Drops the suspected rung, or trusts it for a while, now that both were timed one after the
  /// other.
  void confirm(Tunable& layer) {
    stage_ = Stage::running;
    const double dense = dense_.forward(1);  // 0 where the layer has not run meanwhile
    if (dense > 0) current().cost = suspected_seconds_ / dense;
    const bool is_slow = dense > 0 && current().cost > options_->tuning.max_cost;
    if (is_slow) {
      ladder_.erase(ladder_.begin() + rung_);
    } else {
      trusted_until_ = steps_ + options_->tuning.measure_interval;
    }
    move_to(layer, rung_, is_slow ? Reason::not_faster : Reason::first_rung);
  }

  void check_error(Tunable& layer, const Report& stats, const Phase& allowed) {
    const double budget = allowed.max_error;
    smoothed_.note(stats.output_error_energy, stats.sampled_output_energy);
    const double error = smoothed_.value();
    passes_above_ = error > TunerOptions::k_tolerance * budget ? passes_above_ + 1 : 0;
    if (passes_above_ >= TunerOptions::k_patience) {
      rescale_errors(ladder_, rung_, error);
      move_to(layer, std::max(rung_within(ladder_, budget), rung_ + 1), Reason::error_above_budget);
      return;
    }
    if (rung_ == 0 || steps_ - last_move_ < options_->tuning.min_stay) return;
    Ladder expected = ladder_;
    rescale_errors(expected, rung_, error);
    const int coarser = rung_within(expected, TunerOptions::k_room * budget);
    if (coarser >= rung_) return;
    ladder_ = std::move(expected);
    move_to(layer, coarser, Reason::error_below_budget);
  }

  void publish(Tunable& layer, int phase, const Phase& allowed) {
    decision_.rung = rung_;
    decision_.rungs = static_cast<int>(ladder_.size());
    decision_.phase = phase;
    decision_.max_error = allowed.max_error;
    decision_.gradient_noise = gradients_.noise();
    decision_.error = 0;
    decision_.cost = 1;
    if (!is_dense(rung_)) {
      decision_.error = smoothed_.empty() ? current().error : smoothed_.value();
      decision_.cost = current().cost;
    }
    layer.set_decision(decision_);
  }

  const SchedulerOptions* options_;
  Plan base_;
  GradientChoice gradients_;
  MeasurementSchedule measurements_;
  Stage stage_ = Stage::timing;
  index_t steps_ = 0;
  double suspected_seconds_ = 0;
  index_t trusted_until_ = 0;
  index_t timed_steps_ = 0;
  std::vector<Plan> requested_;
  Ladder ladder_;
  int rung_ = -1;
  int phase_ = 0;
  index_t last_move_ = 0;
  index_t passes_above_ = 0;
  Decision decision_;
  SmoothedError smoothed_;
  PassTimings dense_;
  PassTimings rung_timings_;
  CostModel costs_;
};

ADR_NAMESPACE_END
