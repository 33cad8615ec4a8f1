// Which settings are worth trying on a part of a layer's input, and what it costs, so that small
// layers are spared.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// What a measurement learns from, and what it is judged on: some so many neuron vectors and rows
/// of the layer's input, in whole images.
inline constexpr index_t k_learned_vectors = 4096;
inline constexpr index_t k_judged_rows = 1024;

/// Seconds per multiply-add of a measurement, on one core of the machines that we know; a rough
/// figure, because it decides nothing but how many settings are measured.
inline constexpr double k_measurement_seconds = 4e-11;

/// Multiply-adds, or what takes as long, of one entry of Tunable::request_measurements.
///
/// Math: principal axes of a sample (n l^2 + 10 l^3 for n vectors of l elements), and forward
/// passes over a few thousand rows.
inline double measurement_work(const LayerShape& shape) noexcept {
  constexpr double k_decomposition = 10;
  const auto length = static_cast<double>(shape.vector_length);
  const auto sample = static_cast<double>(std::min(k_learned_vectors, shape.vectors));
  const auto rows = static_cast<double>(std::min(k_judged_rows, shape.rows));
  return sample * length * length + k_decomposition * length * length * length +
         rows * static_cast<double>(shape.columns) * static_cast<double>(shape.outputs);
}

/// The same for all settings of a request; those of clusters with a radius multiply the whole batch
/// where that pays, and are at most an exact pass.
inline double measurement_work(const LayerShape& shape, const std::vector<Plan>& configs) noexcept {
  double work = 0;
  for (const Plan& config : configs) {
    work += config.method == Method::clustered ? shape.dense_work() : measurement_work(shape);
  }
  return work;
}

/// What is tried before all else, in their order: the finest setting of every method, and all
/// clusters with a radius, since a coarse one may pay where a finer one finds too few rows.
inline std::vector<Plan> first_tries(const std::vector<Plan>& candidates) {
  std::vector<Plan> tries;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const bool last =
        i + 1 == candidates.size() || candidates[i + 1].method != candidates[i].method;
    if (last || candidates[i].method == Method::clustered) tries.push_back(candidates[i]);
  }
  return tries;
}

/// Leaves out every other candidate, never the last and finest, until is_affordable() says that the
/// rest may be measured; leaves none where not even the last alone may.
template <class IsAffordable>
void thin_out(std::vector<Plan>& candidates, const IsAffordable& is_affordable) {
  while (!candidates.empty() && !is_affordable()) {
    std::vector<Plan> half;
    const std::size_t last = candidates.size() - 1;
    for (std::size_t i = last % 2; last > 0 && i <= last; i += 2) half.push_back(candidates[i]);
    candidates = std::move(half);
  }
}

/// Whether every rung of a ladder but the last, which is dense, clusters as one of the settings.
inline bool has_rungs_of(const std::vector<Plan>& settings, const Ladder& ladder) noexcept {
  const auto is_there = [&](const Rung& rung) {
    return std::any_of(settings.begin(), settings.end(),
                       [&](const Plan& setting) { return setting.clusters_as(rung.config); });
  };
  return ladder.empty() || std::all_of(ladder.begin(), ladder.end() - 1, is_there);
}

/// The candidates whose forward pass is predicted to take less than most_cost dense ones, method by
/// method from coarse to fine.
inline std::vector<Plan> promising_candidates(const LayerShape& shape, const Plan& base,
                                              const CostModel& costs, double most_cost) {
  std::vector<Plan> candidates = clustered_candidates(shape, base);
  for (const Plan& config : shared_candidates(shape, base)) candidates.push_back(config);
  const auto is_slow = [&](const Plan& config) {
    return costs.predict_forward(shape, config) >= most_cost;
  };
  candidates.erase(std::remove_if(candidates.begin(), candidates.end(), is_slow), candidates.end());
  return candidates;
}

/// What was measured, with the costs that are predicted.
inline std::vector<Rung> as_rungs(const std::vector<RungMeasurement>& measurements,
                                  const LayerShape& shape, const CostModel& costs) {
  std::vector<Rung> rungs;
  for (const RungMeasurement& m : measurements) {
    rungs.push_back(
        {m.config, costs.predict_forward(shape, m.config, m.remaining_ratio), m.output_error});
  }
  return rungs;
}

ADR_NAMESPACE_END
