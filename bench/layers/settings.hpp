// The library's settings that are compared on each layer.
#pragma once

#include <adr/adapt/ladder.hpp>
#include <adr/adapt/plan.hpp>
#include <adr/options.hpp>
#include <adr/reuse_conv2d.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "bench/support/conv_layers.hpp"
#include "bench/support/library_engines.hpp"

namespace adr_bench {

struct LayerSetting {
  std::string engine;
  std::string label;  ///< short, for the screen
  adr::Plan plan;
  /// True when only the gradients differ from the setting before, not the forward pass.
  bool gradients_only = false;
};

namespace detail {

inline LayerSetting setting_of(const adr::Setting& setting, const std::string& label) {
  return {engine_of(setting), label, options_with(setting).plan()};
}

/// The published method with the published L and H.
inline LayerSetting published_setting(const ConvLayer& layer) {
  adr::Published published;
  published.vector_length = std::min<index_t>(layer.needs_input_gradient ? 25 : 15,
                                              layer.geometry(adr::Layout::nchw).columns());
  published.hash_count = 10;
  return setting_of(published, message("L ", published.vector_length, " H ", published.hash_count));
}

inline LayerSetting exact_setting() { return setting_of(adr::Exact(), ""); }

inline LayerSetting subspace_setting(index_t coordinates) {
  return setting_of(adr::Subspace{coordinates}, message(coordinates, " coordinates"));
}

/// Exact forward passes, and gradients over the non-zeros, of which rounding leaves fewer: what an
/// automatic setting does where nothing else pays.
inline std::vector<LayerSetting> gradients_settings() {
  constexpr double k_rounding = 1.5;  // what deep networks are trained with
  LayerSetting non_zeros = {"adr_gradients", "over non-zeros", adr::Options().plan()};
  non_zeros.plan.weight_gradient = adr::WeightGradient::exact;
  non_zeros.plan.input_gradient = adr::InputGradient::exact;
  return {non_zeros,
          {"adr_gradients", "rounded", options_with(adr::Exact(), k_rounding).plan(), true}};
}

}  // namespace detail

/// How many settings are compared.
enum class SettingsAmount {
  all,    ///< many subspaces, and several forms of gradients
  few,    ///< what a schedule would consider for the width of the layer, thinned out
  smoke,  ///< enough to show that it works
};

namespace detail {

/// Exact, the published method, then rising numbers of coordinates, one of them with rounded
/// gradients too.
inline std::vector<LayerSetting> many_settings(const ConvLayer& layer, SettingsAmount amount) {
  std::vector<LayerSetting> settings = {exact_setting(), published_setting(layer)};
  constexpr index_t k_rounded_too = 16;
  constexpr double k_rounding = 2;
  for (const index_t coordinates : {8, 12, 16, 24, 32, 48}) {
    if (amount == SettingsAmount::smoke && coordinates != k_rounded_too) continue;
    settings.push_back(subspace_setting(coordinates));
    if (coordinates != k_rounded_too) continue;
    LayerSetting rounded = settings.back();
    rounded.label += " rounded dW dX";
    rounded.plan = options_with(adr::Subspace{coordinates}, k_rounding).plan();
    rounded.gradients_only = true;
    settings.push_back(rounded);
  }
  return settings;
}

/// The published method, exact forward passes with gradients over non-zeros, exact and rounded, and
/// the subspaces that a schedule would try: nothing of the latter for vectors so long that fitting
/// to them takes minutes, which no schedule can afford.
inline std::vector<LayerSetting> few_settings(const ConvLayer& layer) {
  const adr::ConvGeometry geometry = layer.geometry(adr::Layout::nchw);
  const adr::LayerShape shape =
      adr::ReuseConv2d<float>(geometry, options_with(adr::Subspace())).layer_shape();
  std::vector<LayerSetting> settings = {exact_setting(), published_setting(layer)};
  for (const LayerSetting& setting : gradients_settings()) settings.push_back(setting);
  for (const adr::Plan& plan : adr::shared_candidates(shape, adr::Options().plan())) {
    settings.push_back(subspace_setting(plan.kept_coordinates));
  }
  return settings;
}

}  // namespace detail

inline std::vector<LayerSetting> layer_settings(const ConvLayer& layer, SettingsAmount amount) {
  return amount == SettingsAmount::few ? detail::few_settings(layer)
                                       : detail::many_settings(layer, amount);
}

}  // namespace adr_bench
