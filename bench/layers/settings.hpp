// The reuse settings that are compared on each layer.
#pragma once

#include <adr/adapt/ladder.hpp>
#include <adr/adapt/plan.hpp>
#include <adr/reuse_conv2d.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "bench/support/conv_layers.hpp"

namespace adr_bench {

struct LayerSetting {
  std::string engine;
  std::string label;  ///< short, for the screen
  adr::Plan config;
  /// True when only the gradients differ from the setting before, not the forward pass.
  bool gradients_only = false;
};

namespace detail {

/// The published method with the published settings.
inline LayerSetting hyperplane_setting(const ConvLayer& layer) {
  adr::Plan config;
  config.method = adr::Method::hyperplane;
  config.sub_vector_length = std::min<index_t>(layer.needs_input_gradient ? 25 : 15,
                                               layer.geometry(adr::Layout::nchw).columns());
  config.hash_count = 10;
  return {"adr_hyperplane", message("L", config.sub_vector_length, " H", config.hash_count),
          config};
}

/// The library without reuse.
inline LayerSetting exact_setting() {
  adr::Plan config;
  config.method = adr::Method::dense;
  config.weight_gradient = adr::WeightGradient::exact;
  config.input_gradient = adr::InputGradient::exact;
  return {"adr_exact", "", config};
}

inline LayerSetting subspace_setting(index_t kept_coordinates) {
  adr::Plan config;
  config.method = adr::Method::subspace;
  config.kept_coordinates = kept_coordinates;
  return {"adr_subspace", message("kept ", kept_coordinates), config};
}

/// The same forward pass with other gradients.
inline LayerSetting with_gradients(LayerSetting setting, const std::string& label,
                                   adr::WeightGradient weights, adr::InputGradient inputs) {
  setting.label += " " + label;
  setting.config.weight_gradient = weights;
  setting.config.input_gradient = inputs;
  setting.gradients_only = true;
  return setting;
}

/// Exact forward passes, and gradients over the non-zeros, of which rounding leaves fewer.
inline std::vector<LayerSetting> gradients_settings() {
  using adr::InputGradient;
  using adr::WeightGradient;
  LayerSetting dense = {"adr_gradients", "dense", {}};
  dense.config.method = adr::Method::dense;
  dense.config.rounding_step = 1.5;  // what deep networks are trained with
  LayerSetting exact = with_gradients(dense, "exact dW dX", WeightGradient::cheapest_exact,
                                      InputGradient::cheapest_exact);
  exact.gradients_only = false;
  return {exact, with_gradients(dense, "rounded dW dX", WeightGradient::sparsified,
                                InputGradient::sparsified)};
}

}  // namespace detail

/// How many settings are compared.
enum class SettingsAmount {
  all,    ///< many subspaces, and several forms of gradients
  few,    ///< what a schedule would consider for the width of the layer, thinned out
  smoke,  ///< enough to show that it works
};

namespace detail {

/// The published method, then rising numbers of coordinates, one of them with other gradients too.
inline std::vector<LayerSetting> many_settings(const ConvLayer& layer, SettingsAmount amount) {
  using adr::InputGradient;
  using adr::WeightGradient;
  std::vector<LayerSetting> settings = {exact_setting(), hyperplane_setting(layer)};
  constexpr index_t k_with_variants = 16;
  for (const index_t kept : {8, 12, 16, 24, 32, 48}) {
    if (amount == SettingsAmount::smoke && kept != k_with_variants) continue;
    const LayerSetting setting = subspace_setting(kept);
    settings.push_back(setting);
    if (kept != k_with_variants) continue;
    settings.push_back(with_gradients(setting, "clusters dW", WeightGradient::clusters,
                                      InputGradient::sparsified));
    settings.push_back(with_gradients(setting, "sparsified dW dX", WeightGradient::sparsified,
                                      InputGradient::sparsified));
  }
  return settings;
}

/// The published method, exact forward passes with gradients over non-zeros, exact and rounded, and
/// the subspaces that a schedule would try: nothing of the latter for vectors so long that fitting
/// to them takes minutes, which no schedule can afford.
inline std::vector<LayerSetting> few_settings(const ConvLayer& layer) {
  const adr::ConvGeometry geometry = layer.geometry(adr::Layout::nchw);
  const adr::LayerShape shape =
      adr::ReuseConv2d<float>(geometry, subspace_setting(0).config).layer_shape();
  std::vector<LayerSetting> settings = {exact_setting(), hyperplane_setting(layer)};
  for (const LayerSetting& setting : gradients_settings()) settings.push_back(setting);
  for (const adr::Plan& config : adr::shared_candidates(shape, adr::Plan())) {
    settings.push_back(subspace_setting(config.kept_coordinates));
  }
  return settings;
}

}  // namespace detail

inline std::vector<LayerSetting> layer_settings(const ConvLayer& layer, SettingsAmount amount) {
  return amount == SettingsAmount::few ? detail::few_settings(layer)
                                       : detail::many_settings(layer, amount);
}

}  // namespace adr_bench
