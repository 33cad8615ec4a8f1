// What a scheduler sees of a layer: sizes, a setting to change, statistics to read. Layers derive
// from it, so that policy knows no matrices and computation knows no policy.
#pragma once

#include <vector>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"

ADR_NAMESPACE_BEGIN

/// What a setting does on a sample of a layer's own input.
struct RungMeasurement {
  ReuseConfig config;
  double output_error = 0;  ///< ||Y - Y_exact|| / ||Y_exact|| on rows that were not fitted
  double input_error = 0;   ///< from the energy within the clusters
};

/// A layer whose setting may be changed between steps.
class AdaptiveLayer {
 public:
  virtual ~AdaptiveLayer() = default;

  /// The sizes of the last pass; rows and vectors are 0 before the first.
  [[nodiscard]] virtual LayerShape layer_shape() const = 0;
  [[nodiscard]] virtual const ReuseConfig& config() const noexcept = 0;
  [[nodiscard]] virtual const ReuseStats& stats() const noexcept = 0;

  /// Changes the setting for the passes to come. Errors: std::invalid_argument when it does not fit
  /// the layer: nothing has changed then.
  virtual void set_config(const ReuseConfig& config) = 0;
  virtual void set_gradient_costs(const GradientCosts& costs) = 0;
  /// What statistics report as the decision behind the setting.
  virtual void set_decision(const Decision& decision) = 0;

  /// Lets the next forward pass, if the layer is not frozen, try these settings on a part of its
  /// input, beside computing its output under the setting in force. Cost: per setting a fit, and
  /// products on a few thousand rows.
  virtual void request_measurements(std::vector<ReuseConfig> configs) = 0;
  /// Whether a request is still to be followed.
  [[nodiscard]] virtual bool awaits_measurements() const noexcept = 0;
  /// What the last such pass found, in the order of the request; settings that cannot be used on
  /// the layer or its input are left out.
  [[nodiscard]] virtual const std::vector<RungMeasurement>& measurements() const noexcept = 0;

 protected:
  AdaptiveLayer() = default;
  AdaptiveLayer(const AdaptiveLayer&) = default;
  AdaptiveLayer(AdaptiveLayer&&) = default;
  AdaptiveLayer& operator=(const AdaptiveLayer&) = default;
  AdaptiveLayer& operator=(AdaptiveLayer&&) = default;
};

ADR_NAMESPACE_END
