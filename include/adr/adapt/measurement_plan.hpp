// Which settings are worth trying on a part of a layer's input, and what it costs, so that small
// layers are spared.
#pragma once

#include <algorithm>
#include <vector>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/reuse_config.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// What a measurement learns from, and what it is judged on: some so many neuron vectors and rows
/// of the layer's input, in whole images.
inline constexpr index_t k_learned_vectors = 4096;
inline constexpr index_t k_judged_rows = 1024;

/// Seconds per multiply-add of a measurement, on one core of the machines that we know; a rough
/// figure, because it decides nothing but whether a layer is too small.
inline constexpr double k_measurement_seconds = 4e-11;

/// Multiply-adds, or what takes as long, of one entry of AdaptiveLayer::request_measurements.
///
/// Math: principal axes of a sample (n l^2 + 10 l^3 for n vectors of l elements), k-means of S
/// books (10 rounds over the sample, T entries), and forward passes over a few thousand rows.
inline double measurement_work(const LayerShape& shape, const ReuseConfig& config) noexcept {
  constexpr double k_rounds = 10;
  const auto length = static_cast<double>(shape.vector_length);
  const auto sample = static_cast<double>(std::min(k_learned_vectors, shape.vectors));
  double work = sample * length * length + k_rounds * length * length * length;
  if (config.method == Method::codebook) {
    work += k_rounds * sample * config.codebook_size * length;
  }
  const auto rows = static_cast<double>(std::min(k_judged_rows, shape.rows));
  return work + rows * static_cast<double>(shape.columns) * static_cast<double>(shape.outputs);
}

/// The same for all settings of a request.
inline double measurement_work(const LayerShape& shape,
                               const std::vector<ReuseConfig>& configs) noexcept {
  double work = 0;
  for (const ReuseConfig& config : configs) work += measurement_work(shape, config);
  return work;
}

/// The candidates whose forward pass is predicted to take less than most_cost dense ones, from
/// coarse to fine.
inline std::vector<ReuseConfig> promising_candidates(const LayerShape& shape,
                                                     const ReuseConfig& base,
                                                     const CostModel& costs, double most_cost) {
  std::vector<ReuseConfig> candidates = shared_candidates(shape, base);
  const auto is_slow = [&](const ReuseConfig& config) {
    return costs.predict_forward(shape, config) >= most_cost;
  };
  candidates.erase(std::remove_if(candidates.begin(), candidates.end(), is_slow), candidates.end());
  return candidates;
}

ADR_NAMESPACE_END
