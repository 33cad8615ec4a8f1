// The passes of all layers, compiled once for all tests (tests/support/layer_instances_*.cpp):
// every test of a layer would otherwise compile every method, gradient and kernel again.
#pragma once

#include "adr/nn/layer_passes.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/operands.hpp"

/// Declares (prefix `extern template`) or defines (`template`) the passes over a domain.
#define ADR_TEST_PASSES_OF(prefix, Domain)                                                     \
  prefix void LayerProduct<Domain>::forward(                                                   \
      const Domain::Input&, const GemmFactor<Domain::Element>&,                                \
      const VectorView<const Domain::Element>&, const Domain::Output&, Context&);              \
  prefix void LayerProduct<Domain>::backward(                                                  \
      const Domain::Input&, const GemmFactor<Domain::Element>&, const Domain::OutputGradient&, \
      const GemmResult<Domain::Element>&, const Domain::InputGradient&, Context&)
#define ADR_TEST_LAYER_PASSES(prefix, T)      \
  ADR_TEST_PASSES_OF(prefix, ImageDomain<T>); \
  ADR_TEST_PASSES_OF(prefix, MatrixDomain<T>)

ADR_NAMESPACE_BEGIN
ADR_TEST_LAYER_PASSES(extern template, float);
ADR_TEST_LAYER_PASSES(extern template, double);
ADR_NAMESPACE_END
