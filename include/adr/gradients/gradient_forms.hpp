// Which form of each gradient is computed, where the setting leaves it open.
#pragma once

#include <algorithm>
#include <optional>

#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The forms of one backward pass; automatic stands for a gradient that is not wanted.
struct GradientForms {
  WeightGradient weights = WeightGradient::automatic;
  InputGradient input = InputGradient::automatic;

  [[nodiscard]] bool with_weights() const noexcept { return weights != WeightGradient::automatic; }
  [[nodiscard]] bool with_input() const noexcept { return input != InputGradient::automatic; }
  [[nodiscard]] bool sparse_weights() const noexcept {
    return weights == WeightGradient::over_non_zeros || weights == WeightGradient::rounded;
  }
  [[nodiscard]] bool sparse_input() const noexcept {
    return input == InputGradient::over_non_zeros || input == InputGradient::rounded;
  }
  /// Whether both gradients go over the same non-zeros.
  [[nodiscard]] bool one_list() const noexcept {
    return (weights == WeightGradient::over_non_zeros && input == InputGradient::over_non_zeros) ||
           (weights == WeightGradient::rounded && input == InputGradient::rounded);
  }
};

/// What the choice depends on.
struct GradientCase {
  double density = 1;       ///< share of non-zeros of the output gradient
  index_t columns = 1;      ///< K
  double dense_work = 0;    ///< multiply-adds of the dense product
  double cluster_work = 0;  ///< those of the gradient from clusters, additions included
  double densest = 0;  ///< up to which non-zeros are faster by the shape, where none were timed
  bool clusters_usable = true;  ///< false after a pass that fell back to the dense product
};

/// Whether the forms of the wanted gradients, or their values, need the non-zeros counted.
inline bool depends_on_density(const Plan& config, bool with_weights, bool with_input) noexcept {
  const bool learned = config.method == Method::subspace;
  const WeightGradient w = config.weight_gradient;
  const InputGradient x = config.input_gradient;
  const bool weights = w == WeightGradient::over_non_zeros || w == WeightGradient::rounded ||
                       w == WeightGradient::exact || (w == WeightGradient::automatic && learned);
  const bool input = x == InputGradient::over_non_zeros || x == InputGradient::rounded ||
                     x == InputGradient::exact || (x == InputGradient::automatic && learned);
  return (with_weights && weights) || (with_input && input);
}

/// Whether a look at a few rows is enough to leave the non-zeros uncounted: dense gradients are
/// exact as well, and counting costs a part of them that is large where columns are few.
inline bool asks_sample_first(const Plan& config, bool with_weights, bool with_input) noexcept {
  return (!with_weights || config.weight_gradient == WeightGradient::exact) &&
         (!with_input || config.input_gradient == InputGradient::exact);
}

/// Whether a gradient over non-zeros is expected to be faster than the dense one, if they have to
/// be looked for. Requires: columns > 0.
inline bool sparse_pays(const std::optional<double>& cost_per_non_zero, const GradientCase& c,
                        const GradientCosts& costs) noexcept {
  if (!cost_per_non_zero) return c.density < c.densest;
  return *cost_per_non_zero * c.density + costs.listing / static_cast<double>(c.columns) < 1.0;
}

/// The weight gradient: over non-zeros or from clusters, whichever costs less, and dense where
/// neither pays.
inline WeightGradient choose_weight_gradient(const Plan& config, const GradientCosts& costs,
                                             const GradientCase& c) noexcept {
  WeightGradient form = config.weight_gradient;
  if (form == WeightGradient::exact) {
    const bool sparse = sparse_pays(costs.sparse_weights, c, costs);
    return sparse ? WeightGradient::over_non_zeros : WeightGradient::dense;
  }
  const bool has_clusters = config.method != Method::exact;
  if (form == WeightGradient::automatic && !has_clusters) return WeightGradient::dense;
  const bool usual = config.method == Method::published || config.method == Method::clustered;
  if (form == WeightGradient::automatic && usual) {
    form = WeightGradient::clusters;
  }
  if (form == WeightGradient::automatic) {
    const double sparse =
        costs.sparse_weights.value_or(GradientCosts::k_sparse) * c.density * c.dense_work;
    const double clusters =
        c.clusters_usable ? costs.cluster_weights * c.cluster_work : c.dense_work;
    form = sparse <= clusters ? WeightGradient::over_non_zeros : WeightGradient::clusters;
    if (std::min(sparse, clusters) > c.dense_work) form = WeightGradient::dense;
  }
  const bool impossible = form == WeightGradient::clusters && (!c.clusters_usable || !has_clusters);
  return impossible ? WeightGradient::dense : form;
}

/// The input gradient: exact over the non-zeros as long as there are few of them, which costs no
/// accuracy; otherwise over those that unbiased rounding leaves.
inline InputGradient choose_input_gradient(const Plan& config, const GradientCosts& costs,
                                           const GradientCase& c) noexcept {
  constexpr double k_few = 0.25;
  const InputGradient form = config.input_gradient;
  if (form == InputGradient::exact) {
    const bool sparse = sparse_pays(costs.sparse_input, c, costs);
    return sparse ? InputGradient::over_non_zeros : InputGradient::dense;
  }
  if (config.method == Method::exact) {
    const bool needs_clusters =
        form == InputGradient::automatic || form == InputGradient::cluster_mean;
    return needs_clusters ? InputGradient::dense : form;
  }
  const bool means = form == InputGradient::cluster_mean ||
                     (form == InputGradient::automatic && config.method == Method::published);
  if (means) return c.clusters_usable ? InputGradient::cluster_mean : InputGradient::dense;
  if (form != InputGradient::automatic) return form;
  if (config.method == Method::clustered) return InputGradient::dense;
  return c.density <= k_few ? InputGradient::over_non_zeros : InputGradient::rounded;
}

ADR_NAMESPACE_END
