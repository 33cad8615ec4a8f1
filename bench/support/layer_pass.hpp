// The passes of a convolution layer that are compared.
#pragma once

#include <vector>

#include "bench/support/conv_layers.hpp"

namespace adr_bench {

enum class LayerPass {
  forward,
  weight_gradient,
  input_gradient,
  step,                      ///< all that training does with the layer
  step_with_input_gradient,  ///< where training does without: as if another layer came before
};

inline const char* to_string(LayerPass pass) noexcept {
  constexpr const char* names[] = {"forward", "weight_gradient", "input_gradient", "step",
                                   "step_with_input_gradient"};
  return names[static_cast<int>(pass)];
}

inline std::vector<LayerPass> passes_of(const ConvLayer& layer) {
  std::vector<LayerPass> passes = {LayerPass::forward, LayerPass::weight_gradient,
                                   LayerPass::input_gradient, LayerPass::step};
  if (!layer.needs_input_gradient) passes.push_back(LayerPass::step_with_input_gradient);
  return passes;
}

/// What one run computes.
struct PassParts {
  bool forward = false;
  bool weight_gradient = false;
  bool input_gradient = false;
};

inline PassParts parts_of(LayerPass pass, const ConvLayer& layer) {
  const bool step = pass == LayerPass::step || pass == LayerPass::step_with_input_gradient;
  const bool step_without_input = pass == LayerPass::step && !layer.needs_input_gradient;
  return {step || pass == LayerPass::forward, step || pass == LayerPass::weight_gradient,
          (step && !step_without_input) || pass == LayerPass::input_gradient};
}

}  // namespace adr_bench
