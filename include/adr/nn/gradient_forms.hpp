// Which form of each gradient is computed, where the setting leaves it open.
#pragma once

#include <algorithm>

#include "adr/adapt/reuse_config.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The forms of one backward pass; automatic stands for a gradient that is not wanted.
struct GradientForms {
  WeightGradient weights = WeightGradient::automatic;
  InputGradient input = InputGradient::automatic;

  [[nodiscard]] bool with_weights() const noexcept { return weights != WeightGradient::automatic; }
  [[nodiscard]] bool with_input() const noexcept { return input != InputGradient::automatic; }
  [[nodiscard]] bool sparse_weights() const noexcept {
    return weights == WeightGradient::sparse || weights == WeightGradient::sparsified;
  }
  [[nodiscard]] bool sparse_input() const noexcept {
    return input == InputGradient::sparse || input == InputGradient::sparsified;
  }
  /// Whether both gradients go over the same non-zeros.
  [[nodiscard]] bool one_list() const noexcept {
    return (weights == WeightGradient::sparse && input == InputGradient::sparse) ||
           (weights == WeightGradient::sparsified && input == InputGradient::sparsified);
  }
};

/// What the choice depends on.
struct GradientCase {
  double density = 1;           ///< share of non-zeros of the output gradient
  double dense_work = 0;        ///< multiply-adds of the dense product
  double cluster_work = 0;      ///< those of the gradient from clusters, additions included
  bool clusters_usable = true;  ///< false after a pass that fell back to the dense product
};

/// Whether the forms of the wanted gradients, or their values, need the non-zeros counted.
inline bool depends_on_density(const ReuseConfig& config, bool with_weights,
                               bool with_input) noexcept {
  if (config.method == Method::dense) return false;
  const bool published = config.method == Method::hyperplane;
  const WeightGradient w = config.weight_gradient;
  const InputGradient x = config.input_gradient;
  const bool weights = w == WeightGradient::sparse || w == WeightGradient::sparsified ||
                       (w == WeightGradient::automatic && !published);
  const bool input = x == InputGradient::sparse || x == InputGradient::sparsified ||
                     (x == InputGradient::automatic && !published);
  return (with_weights && weights) || (with_input && input);
}

/// The weight gradient: over non-zeros or from clusters, whichever costs less, and dense where
/// neither pays. The costs are time per multiply-add relative to the dense product, measured on
/// conv2 of CifarNet (docs/performance.md).
inline WeightGradient choose_weight_gradient(const ReuseConfig& config,
                                             const GradientCase& c) noexcept {
  constexpr double k_sparse_cost = 1.6;
  constexpr double k_cluster_cost = 4.0;
  if (config.method == Method::dense) return WeightGradient::exact;
  WeightGradient form = config.weight_gradient;
  if (form == WeightGradient::automatic && config.method == Method::hyperplane) {
    form = WeightGradient::clusters;
  }
  if (form == WeightGradient::automatic) {
    const double sparse = k_sparse_cost * c.density * c.dense_work;
    const double clusters = c.clusters_usable ? k_cluster_cost * c.cluster_work : c.dense_work;
    form = sparse <= clusters ? WeightGradient::sparse : WeightGradient::clusters;
    if (std::min(sparse, clusters) > c.dense_work) form = WeightGradient::exact;
  }
  const bool impossible = form == WeightGradient::clusters && !c.clusters_usable;
  return impossible ? WeightGradient::exact : form;
}

/// The input gradient: exact over the non-zeros as long as there are few of them, which costs no
/// accuracy; otherwise over those that unbiased rounding leaves.
inline InputGradient choose_input_gradient(const ReuseConfig& config,
                                           const GradientCase& c) noexcept {
  constexpr double k_few = 0.25;
  if (config.method == Method::dense) return InputGradient::exact;
  if (config.input_gradient != InputGradient::automatic) return config.input_gradient;
  if (config.method == Method::hyperplane) return InputGradient::cluster_mean;
  return c.density <= k_few ? InputGradient::sparse : InputGradient::sparsified;
}

ADR_NAMESPACE_END
