// Chooses how the layers of a network reuse and round as training proceeds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/ladder.hpp"
#include "adr/adapt/layer_policy.hpp"
#include "adr/adapt/loss_trend.hpp"
#include "adr/adapt/plan_label.hpp"
#include "adr/adapt/policy_state.hpp"
#include "adr/adapt/published_policy.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/adapt/tuner.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Chooses the settings of attached layers, step by step, from the loss and from their statistics.
///
///     adr::ReuseScheduler scheduler;
///     scheduler.attach(conv);           // before the first step
///     ... forward, backward, update the weights ...
///     scheduler.observe(loss);          // after every step
///
/// Requires: the layers stay where they are while they are attached; a scheduler that ends before
/// them leaves each with the plan that it has (which may be that of a trial or a measurement), and
/// without a tuner unless it was detached. It is a state machine: it reads no clock and touches no
/// matrices, so that equal sequences of losses and statistics give equal decisions. Phases of
/// training follow each other when the loss stops falling, or at shares of
/// SchedulerOptions::planned_steps; what they mean is up to the strategy (docs/adaptive.md). Every
/// decision is in Report::decision of its layer, and in a line of the log when there is one.
/// Errors: std::invalid_argument for options out of range. Memory: a ladder per layer. Cost: some
/// microseconds per layer and step. Thread-safety: none. Source: Ning et al., ICDE 2019, for the
/// published strategies; this library.
class ReuseScheduler {
 public:
  /// What takes the lines of the log.
  using Log = std::function<void(const std::string&)>;

  /// Begins before the first step. Errors: std::invalid_argument for options out of range.
  explicit ReuseScheduler(SchedulerOptions options = {})
      : options_(std::make_unique<SchedulerOptions>(std::move(options))), trend_(options_->loss) {
    const std::string problem = options_->validate();
    detail::require(problem.empty(), "SchedulerOptions: ", problem);
  }
  /// The default options with another strategy.
  explicit ReuseScheduler(Strategy strategy) : ReuseScheduler(with(strategy)) {}

  /// Takes charge of the setting of a layer, which must stay where it is for as long as it is
  /// attached. What the layer has now is the basis: seed, gradients of the published strategies,
  /// checks. Errors: std::invalid_argument when it is attached already.
  void attach(Tunable& layer, std::string name = {}) {
    for (const Attached& other : layers_) {
      detail::require(other.layer != &layer, "attach: this layer is attached already, as ",
                      other.name);
    }
    if (name.empty()) name = "layer " + std::to_string(layers_.size() + 1);
    std::unique_ptr<LayerPolicy> policy;
    if (options_->strategy == Strategy::error_budget) {
      policy = std::make_unique<Tuner>(layer.plan(), *options_);
    } else {
      Plan base = layer.plan();
      // Under another method nothing has asked whether the vectors fit the layer.
      base.vector_length = std::min(base.vector_length, layer.layer_shape().columns);
      policy = std::make_unique<PublishedPolicy>(base, *options_);
    }
    policy->start(layer);
    layer.hand_over(true);
    layers_.push_back({&layer, std::move(name), std::move(policy), {}, {}});
    log_changes(layers_.back());
  }
  /// Leaves a layer with the setting that was chosen last, until an automatic one chooses another.
  /// Errors: std::invalid_argument when it is not attached.
  void detach(const Tunable& layer) {
    const auto found = std::find_if(layers_.begin(), layers_.end(),
                                    [&](const Attached& a) { return a.layer == &layer; });
    detail::require(found != layers_.end(), "detach: this layer is not attached");
    found->policy->release(*found->layer);
    found->layer->hand_over(false);
    layers_.erase(found);
  }

  /// One line for every change of a decision; an empty function ends it.
  void set_log(Log log) { log_ = std::move(log); }

  /// Follows a step of training: the loss of its batch, and the statistics that the layers have of
  /// their last forward and backward pass. After a loss that is no number, or diverges, layers run
  /// dense and round no gradients for a while; those of a published strategy go to their next rung.
  void observe(double loss) {
    ++steps_;
    switch (trend_.observe(loss)) {
      case LossVerdict::learning:
        break;
      case LossVerdict::plateau:
        if (options_->planned_steps == 0 || options_->strategy != Strategy::error_budget) {
          next_phase();
        }
        break;
      case LossVerdict::diverging:
      case LossVerdict::not_finite:
        for (Attached& a : layers_) a.policy->retreat(*a.layer);
        break;
    }
    follow_plan();
    for (Attached& a : layers_) {
      a.policy->step(*a.layer, phase_);
      log_changes(a);
    }
  }

  /// Tells of a new learning rate; a lower one ends a phase if the options say so.
  void note_learning_rate(double rate) {
    const bool dropped = learning_rate_ > 0 && rate < learning_rate_;
    learning_rate_ = rate;
    if (dropped && options_->next_phase_at_rate_drop) next_phase();
  }

  /// What it was made with.
  [[nodiscard]] const SchedulerOptions& options() const noexcept { return *options_; }
  /// How many steps were observed.
  [[nodiscard]] index_t steps() const noexcept { return steps_; }
  /// The phase of the training, from 0 on.
  [[nodiscard]] int phase() const noexcept { return phase_; }
  /// How many layers are attached.
  [[nodiscard]] std::size_t layer_count() const noexcept { return layers_.size(); }
  /// The decision in force for the i-th attached layer. Requires: i < layer_count().
  [[nodiscard]] const Decision& decision(std::size_t i) const {
    return layers_[i].policy->decision();
  }

  /// Writes the state of the schedule: phase, loss, ladders, timings, decisions. What the layers
  /// have learned is their own to save (save_state). Errors: std::runtime_error when the file
  /// cannot be written, and then what was there before is there still.
  void save_state(const std::string& path) {
    StateWriter writer;
    StateArchive archive(writer);
    exchange(archive);
    writer.save(path);
  }
  /// Goes on from a saved state with the same layers attached in the same order, and gives them
  /// the settings that they had. Errors: std::runtime_error when the file cannot be read, is
  /// damaged, or is of another strategy or other layers; the schedule must then be made anew.
  void load_state(const std::string& path) {
    StateReader reader(path);
    StateArchive archive(reader);
    exchange(archive);
    reader.require_end();
  }

 private:
  struct Attached {
    Tunable* layer;
    std::string name;
    std::unique_ptr<LayerPolicy> policy;
    std::string logged_config;
    Decision logged;
  };

  static SchedulerOptions with(Strategy strategy) {
    SchedulerOptions options;
    options.strategy = strategy;
    return options;
  }

  [[nodiscard]] int last_phase() const noexcept {
    switch (options_->strategy) {
      case Strategy::fixed:
        return 0;
      case Strategy::plateau_ladder:
        return 255;
      case Strategy::cluster_reuse_first:
        return 1;
      case Strategy::error_budget:
        break;
    }
    return static_cast<int>(options_->phases.size()) - 1;
  }
  void next_phase() {
    phase_ = std::min(phase_ + 1, last_phase());
    trend_.restart();
  }

  /// With planned steps, phases of an error budget end at their shares of them.
  void follow_plan() {
    if (options_->planned_steps == 0 || options_->strategy != Strategy::error_budget) return;
    const double done = static_cast<double>(steps_) / static_cast<double>(options_->planned_steps);
    while (phase_ < last_phase() &&
           done >= options_->phases[static_cast<std::size_t>(phase_)].end) {
      next_phase();
    }
  }

  void log_changes(Attached& a) {
    if (!log_) return;
    const Decision& now = a.policy->decision();
    std::string config = label(a.layer->plan());
    if (now.reason == a.logged.reason && now.phase == a.logged.phase && config == a.logged_config) {
      return;
    }
    a.logged = now;
    a.logged_config = std::move(config);
    std::string line = detail::message("step ", steps_, ", ", a.name, ": ", a.logged_config);
    if (now.rung >= 0) line += detail::message(", rung ", now.rung + 1, " of ", now.rungs);
    line += detail::message(", phase ", now.phase + 1);
    if (now.max_error > 0) line += detail::message(", budget ", rounded(now.max_error));
    if (now.gradient_noise > 0) {
      line += detail::message(", gradient noise ", rounded(now.gradient_noise));
    }
    line += detail::message(", error ", rounded(now.error), ", cost ", rounded(now.cost), ": ",
                            to_string(now.reason));
    log_(line);
  }
  static double rounded(double value) { return std::round(value * 1000) / 1000; }

  void exchange(StateArchive& archive) {
    archive.agree("strategy", to_string(options_->strategy));
    archive.agree("phases", static_cast<index_t>(options_->phases.size()));
    for (const Phase& phase : options_->phases) {
      archive.agree("max_error of a phase", detail::exact_text(phase.max_error));
      archive.agree("gradient_rounding of a phase", detail::exact_text(phase.gradient_rounding));
      archive.agree("gradient_noise of a phase", detail::exact_text(phase.gradient_noise));
      archive.agree("end of a phase", detail::exact_text(phase.end));
    }
    archive.agree("planned steps", options_->planned_steps);
    archive.agree("rounds input gradients", options_->round_input_gradients ? 1 : 0);
    archive.agree("layers", static_cast<index_t>(layers_.size()));
    archive("steps", steps_);
    archive.count("phase", phase_, 0, last_phase());
    archive("learning rate", learning_rate_);
    trend_.exchange(archive);
    for (Attached& a : layers_) {
      archive.agree("columns", a.layer->layer_shape().columns);
      archive.agree("outputs", a.layer->layer_shape().outputs);
      Plan config = a.layer->plan();
      adr::exchange(archive, config, a.layer->layer_shape().columns);
      a.policy->exchange(archive, *a.layer);
      if (!archive.is_reading()) continue;
      a.layer->set_plan(config);
      a.layer->set_decision(a.policy->decision());
    }
  }

  std::unique_ptr<SchedulerOptions> options_;  // policies point to it
  LossTrend trend_;
  std::vector<Attached> layers_;
  Log log_;
  index_t steps_ = 0;
  int phase_ = 0;
  double learning_rate_ = 0;
};

ADR_NAMESPACE_END
