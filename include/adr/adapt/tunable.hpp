// What a scheduler sees of a layer: sizes, a setting to change, statistics to read. Layers derive
// from it, so that policy knows no matrices and computation knows no policy.
#pragma once

#include <vector>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"

ADR_NAMESPACE_BEGIN

/// What a plan does on a sample of a layer's own input.
struct RungMeasurement {
  Plan config;                 ///< what was measured
  double output_error = 0;     ///< ||Y - Y_exact|| / ||Y_exact||, of a fit on rows it did not see
  double input_error = 0;      ///< from the energy within the clusters
  double remaining_ratio = 1;  ///< clusters / rows, of Method::clustered
};

/// A layer whose plan may be changed between steps: what a ReuseScheduler takes charge of.
///
/// ReuseGemm, ReuseLinear and ReuseConv2d are such layers. Thread-safety: none. Source: this
/// library.
class Tunable {
 public:
  virtual ~Tunable() = default;

  /// The sizes of the last pass; rows and vectors are 0 before the first.
  [[nodiscard]] virtual LayerShape layer_shape() const = 0;
  /// What the layer runs with.
  [[nodiscard]] virtual const Plan& plan() const noexcept = 0;
  /// What the last forward pass did, and the backward passes after it.
  [[nodiscard]] virtual const Report& report() const noexcept = 0;

  /// Changes the plan for the passes to come. Errors: std::invalid_argument when it does not fit
  /// the layer: nothing has changed then.
  virtual void set_plan(const Plan& config) = 0;
  /// Changes what the forms of the gradients are taken to cost, by which automatic forms are
  /// chosen.
  virtual void set_gradient_costs(const GradientCosts& costs) = 0;
  /// Without learning, what was learned stays as it is (Mode::inference).
  virtual void set_learning(bool learns) = 0;
  /// Whether a scheduler takes charge of the setting: then the layer does not choose it itself.
  virtual void hand_over(bool /*taken*/) {}
  /// What reports state as the decision behind the setting.
  virtual void set_decision(const Decision& decision) = 0;

  /// Lets the next forward pass, if the layer is not frozen, try these settings on a part of its
  /// input, beside computing its output under the setting in force. Cost: per setting a fit, and
  /// products on a few thousand rows, or for clusters a pass over the input.
  virtual void request_measurements(std::vector<Plan> configs) = 0;
  /// Whether a request is still to be followed.
  [[nodiscard]] virtual bool awaits_measurements() const noexcept = 0;
  /// What the last such pass found, in the order of the request; settings that cannot be used on
  /// the layer or its input are left out.
  [[nodiscard]] virtual const std::vector<RungMeasurement>& measurements() const noexcept = 0;

 protected:
  /// @cond only layers are copied and moved
  Tunable() = default;
  Tunable(const Tunable&) = default;
  Tunable(Tunable&&) = default;
  Tunable& operator=(const Tunable&) = default;
  Tunable& operator=(Tunable&&) = default;
  /// @endcond
};

ADR_NAMESPACE_END
