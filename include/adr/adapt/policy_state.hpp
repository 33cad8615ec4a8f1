// What policies keep in a state (core/state_archive.hpp): settings, ladders, decisions.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

inline constexpr index_t k_most_rungs = 256;

}  // namespace detail

/// A setting; a read one is valid for that many unfolded columns.
inline void exchange(StateArchive& archive, Plan& plan, index_t columns) {
  archive.choice("method", plan.method, Method::clustered);
  archive("vector_length", plan.vector_length);
  archive.count("hash_count", plan.hash_count, 0, 64);
  archive("radius", plan.radius);
  archive.choice("hash_center", plan.hash_center, HashCenter::mean);
  archive("shared_hyperplanes", plan.shared_hyperplanes);
  archive("cluster_reuse", plan.cluster_reuse);
  archive("max_product_age", plan.max_product_age);
  archive("cluster_cache_limit", plan.cluster_cache_limit);
  archive("refit_interval", plan.refit_interval);
  archive.choice("input_gradient", plan.input_gradient, InputGradient::exact);
  archive.choice("weight_gradient", plan.weight_gradient, WeightGradient::exact);
  archive("gradient_rounding", plan.gradient_rounding);
  archive("measure_rounding", plan.measure_rounding);
  archive.choice("neuron_vectors", plan.neuron_vectors, NeuronVectorKind::strip);
  archive("kept_coordinates", plan.kept_coordinates);
  archive("subspace_error", plan.subspace_error);
  archive("seed", plan.seed);
  archive("meter_interval", plan.meter_interval);
  archive("winograd", plan.winograd);
  archive("check_finite", plan.check_finite);
  archive("time_stages", plan.time_stages);
  const std::string problem = plan.validate(columns);
  archive.require(problem.empty(), problem);
}
inline void exchange(StateArchive& archive, std::vector<Plan>& plans, index_t columns) {
  auto size = static_cast<index_t>(plans.size());
  archive.count("settings", size, 0, detail::k_most_rungs);
  plans.resize(static_cast<std::size_t>(size));
  for (Plan& plan : plans) exchange(archive, plan, columns);
}
inline void exchange(StateArchive& archive, Ladder& ladder, index_t columns) {
  auto rungs = static_cast<index_t>(ladder.size());
  archive.count("rungs", rungs, 0, detail::k_most_rungs);
  ladder.resize(static_cast<std::size_t>(rungs));
  for (Rung& rung : ladder) {
    exchange(archive, rung.config, columns);
    archive("cost of a rung", rung.cost);
    archive("error of a rung", rung.error);
  }
}
inline void exchange(StateArchive& archive, Decision& decision) {
  constexpr index_t k_most = std::numeric_limits<int>::max();
  archive.choice("reason", decision.reason, Reason::loss_diverged);
  archive.count("rung", decision.rung, -1, k_most);
  archive.count("rungs", decision.rungs, 0, k_most);
  archive.count("phase", decision.phase, 0, k_most);
  archive("max_error", decision.max_error);
  archive("error", decision.error);
  archive("cost", decision.cost);
  archive("gradient noise", decision.gradient_noise);
}

ADR_NAMESPACE_END
