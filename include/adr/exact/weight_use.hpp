// What the weights of a convolution are multiplied for.
#pragma once

#include "adr/core/abi.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// The forward pass takes the filters as they are; the input gradient with input and output
/// channels exchanged, and kernels turned by 180 degrees.
enum class WeightUse { forward, input_gradient };

}  // namespace exact
ADR_NAMESPACE_END
