// What the forms of the gradients cost, relative to the dense product.
#pragma once

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Time per multiply-add relative to the dense product of the same gradient. The defaults were
/// measured on conv2 of CifarNet; a scheduler puts in their place what it times on the layer
/// itself.
struct GradientCosts {
  double sparse_weights = 1.6;   ///< per non-zero and column
  double cluster_weights = 4.0;  ///< per addition or multiply-add
  double sparse_input = 1.6;     ///< per non-zero and column
  /// Looking for the non-zeros, per element of the output gradient and in dense multiply-adds.
  double listing = 8.0;
};

ADR_NAMESPACE_END
