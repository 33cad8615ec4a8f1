// What the forms of the gradients cost, relative to the dense product.
#pragma once

#include <optional>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Time per multiply-add relative to the dense product of the same gradient. What is given was
/// measured on conv2 of CifarNet; a scheduler puts in its place what it times on the layer itself.
struct GradientCosts {
  static constexpr double k_sparse = 1.6;  ///< per non-zero and column

  /// Per non-zero and column, of this layer; none: not timed, so that exact gradients go by the
  /// density that its shape bears (exact::densest_non_zeros).
  std::optional<double> sparse_weights;
  std::optional<double> sparse_input;  ///< see sparse_weights
  double cluster_weights = 4.0;        ///< per addition or multiply-add
  /// Looking for the non-zeros, per element of the output gradient and in dense multiply-adds.
  double listing = 8.0;
};

ADR_NAMESPACE_END
