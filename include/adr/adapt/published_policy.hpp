// The published strategies for one layer: finer clusters, or no more cluster reuse, when the loss
// stops falling.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/layer_policy.hpp"
#include "adr/adapt/measurement_plan.hpp"
#include "adr/adapt/policy_state.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/core/state_archive.hpp"

ADR_NAMESPACE_BEGIN

/// Follows a ladder of the published method, one rung per plateau of the loss; it runs whether it
/// is faster than dense or not.
///
/// With Strategy::plateau_ladder the rungs are {L, H} from coarse to fine and the dense one, those
/// left out that another beats in cost and error on a sample of the layer's input; the setting of
/// the layer runs in the first two steps, until there is a ladder. With
/// Strategy::cluster_reuse_first there are two rungs: the setting of the layer with cluster reuse,
/// and without. With Strategy::fixed there is nothing to follow. Thread-safety: none. Source: Ning
/// et al., ICDE 2019; where the paper's rules are not public, this library.
class PublishedPolicy final : public LayerPolicy {
 public:
  PublishedPolicy(const Plan& base, const SchedulerOptions& options)
      : strategy_(options.strategy), meter_interval_(options.tuning.meter_interval), base_(base) {
    if (strategy_ == Strategy::fixed) return;
    base_.method = Method::published;
    base_.cluster_reuse = false;
    base_.max_product_age = 0;
    base_.meter_interval = meter_interval_;
    if (strategy_ != Strategy::cluster_reuse_first) return;
    Rung reusing;
    reusing.config = base_;
    reusing.config.cluster_reuse = true;
    reusing.config.max_product_age = options.max_product_age;
    Rung plain;
    plain.config = base_;
    ladder_ = {reusing, plain};
  }

  void start(Tunable& layer) override {
    decision_.reason = strategy_ == Strategy::fixed ? Reason::fixed : Reason::first_rung;
    if (strategy_ == Strategy::plateau_ladder) layer.set_plan(base_);
    if (strategy_ == Strategy::cluster_reuse_first) use(layer, 0, Reason::first_rung);
    layer.set_decision(decision_);
  }

  void step(Tunable& layer, int phase) override {
    if (strategy_ == Strategy::fixed) return layer.set_decision(decision_);
    if (ladder_.empty() && !has_asked_) {
      requested_ = published_candidates(layer.layer_shape(), base_);
      layer.request_measurements(requested_);
      has_asked_ = true;
    } else if (ladder_.empty()) {
      if (!layer.awaits_measurements()) {
        make_ladder_of(layer);
        use(layer, rung_of(phase), Reason::first_rung);
      }
    } else if (rung_of(phase) > rung_) {
      use(layer, rung_of(phase), Reason::loss_plateau);
    }
    if (layer.report().has_output_error()) decision_.error = layer.report().relative_output_error();
    decision_.phase = phase;
    layer.set_decision(decision_);
  }

  void retreat(Tunable& layer) override {
    if (!ladder_.empty() && rung_ + 1 < static_cast<int>(ladder_.size())) {
      use(layer, rung_ + 1, Reason::loss_diverged);
    }
  }

  [[nodiscard]] const Decision& decision() const noexcept override { return decision_; }

  void exchange(StateArchive& archive, Tunable& layer) override {
    archive("has asked for measurements", has_asked_);
    adr::exchange(archive, requested_, layer.layer_shape().columns);
    adr::exchange(archive, ladder_, layer.layer_shape().columns);
    archive.count("rung", rung_, -1, static_cast<index_t>(ladder_.size()) - 1);
    adr::exchange(archive, decision_);
    if (archive.is_reading() && has_asked_ && ladder_.empty()) {
      layer.request_measurements(requested_);
    }
  }

 private:
  [[nodiscard]] int rung_of(int phase) const noexcept {
    return std::max(rung_, std::min(phase, static_cast<int>(ladder_.size()) - 1));
  }

  void use(Tunable& layer, int rung, Reason reason) {
    const Rung& wanted = ladder_[static_cast<std::size_t>(rung)];
    rung_ = rung;
    decision_.reason = reason;
    decision_.rung = rung;
    decision_.rungs = static_cast<int>(ladder_.size());
    decision_.error = wanted.error;
    decision_.cost = wanted.cost;
    layer.set_plan(wanted.config);
  }

  void make_ladder_of(const Tunable& layer) {
    ladder_ = make_ladder(as_rungs(layer.measurements(), layer.layer_shape(), CostModel()),
                          Competitor::none);
    for (Rung& rung : ladder_) {
      if (rung.config.method != Method::exact) {
        rung.config.meter_interval = meter_interval_;
        continue;
      }
      rung.config.seed = base_.seed;
      rung.config.winograd = base_.winograd;
      rung.config.check_finite = base_.check_finite;
      rung.config.time_stages = base_.time_stages;
    }
  }

  Strategy strategy_;
  index_t meter_interval_;
  Plan base_;
  bool has_asked_ = false;
  std::vector<Plan> requested_;
  Ladder ladder_;
  int rung_ = -1;
  Decision decision_;
};

ADR_NAMESPACE_END
