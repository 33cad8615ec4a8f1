// The passes of all layers, compiled once for all tests (tests/support/layer_instances_*.cpp):
// every test of a layer would otherwise compile every method, gradient and kernel again.
#pragma once

#include "adr/nn/layer_product.hpp"
#include "adr/nn/operands.hpp"

/// Declares (prefix `extern template`) or defines (`template`) the passes for an element type.
#define ADR_TEST_LAYER_PASSES(prefix, T)                                                     \
  prefix void LayerProduct<T>::forward(const ConvInput<const T>&, const GemmFactor<T>&,      \
                                       const VectorView<const T>&, const ConvOutput<T>&,     \
                                       Context&);                                            \
  prefix void LayerProduct<T>::backward(const ConvInput<const T>&, const GemmFactor<T>&,     \
                                        const ConvOutput<const T>&, const GemmResult<T>&,    \
                                        const ConvInput<T>&, Context&);                      \
  prefix void LayerProduct<T>::backward(const ConvInput<const T>&, const GemmFactor<T>&,     \
                                        const ConvOutput<const T>&, const GemmResult<T>&,    \
                                        const NoOperand&, Context&);                         \
  prefix void LayerProduct<T>::forward(const MatrixOperand<const T>&, const GemmFactor<T>&,  \
                                       const VectorView<const T>&, const MatrixOperand<T>&,  \
                                       Context&);                                            \
  prefix void LayerProduct<T>::backward(const MatrixOperand<const T>&, const GemmFactor<T>&, \
                                        const MatrixOperand<const T>&, const GemmResult<T>&, \
                                        const MatrixOperand<T>&, Context&);                  \
  prefix void LayerProduct<T>::backward(const MatrixOperand<const T>&, const GemmFactor<T>&, \
                                        const MatrixOperand<const T>&, const GemmResult<T>&, \
                                        const NoOperand&, Context&);                         \
  prefix void LayerProduct<T>::backward(const MatrixOperand<T>&, const GemmFactor<T>&,       \
                                        const MatrixOperand<const T>&, const GemmResult<T>&, \
                                        const MatrixOperand<T>&, Context&)

ADR_NAMESPACE_BEGIN
ADR_TEST_LAYER_PASSES(extern template, float);
ADR_TEST_LAYER_PASSES(extern template, double);
ADR_NAMESPACE_END
