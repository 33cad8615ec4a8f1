// Where the gradients of a layer go.
#pragma once

#include "adr/core/types.hpp"

namespace adr {

/// Views of the gradients with respect to the input, the weights and the bias; an empty view is a
/// gradient that is not wanted.
///
/// Shapes: d_x as x, d_w as w, d_bias as bias. Units: strides in elements. Requires: what is viewed
/// outlives the call, and overlaps neither operands nor another gradient.
///
/// `Gradients{d_x, d_w, d_bias}` replaces what the views show; `.accumulate()` adds to it, as
/// frameworks do that gather gradients over several passes. For a convolution d_x is a TensorView,
/// for a linear layer a MatrixView. The layer's `Gradients` is this type.
template <class InputView, class WeightView, class BiasView>
struct Gradients {
  InputView d_x;               ///< with respect to the input
  WeightView d_w;              ///< with respect to the weights
  BiasView d_bias;             ///< with respect to the bias
  bool add_to_d_x = false;     ///< whether d_x is added to what is there
  bool add_to_d_w = false;     ///< whether d_w is added to what is there
  bool add_to_d_bias = false;  ///< whether d_bias is added to what is there

  Gradients() = default;
  /// Gradients that replace what is there; those left out are not wanted.
  Gradients(InputView d_x_, WeightView d_w_ = {}, BiasView d_bias_ = {})  // NOLINT: as a pair is
      : d_x(d_x_), d_w(d_w_), d_bias(d_bias_) {}

  /// The same views, with every gradient added to what is there.
  [[nodiscard]] Gradients accumulate() const {
    Gradients added = *this;
    added.add_to_d_x = added.add_to_d_w = added.add_to_d_bias = true;
    return added;
  }
};

/// @cond deduction guides
template <class T>
Gradients(TensorView<T>, MatrixView<T>, VectorView<T>)
    -> Gradients<TensorView<T>, MatrixView<T>, VectorView<T>>;
template <class T>
Gradients(TensorView<T>, MatrixView<T>) -> Gradients<TensorView<T>, MatrixView<T>, VectorView<T>>;
template <class T>
Gradients(MatrixView<T>, MatrixView<T>, VectorView<T>)
    -> Gradients<MatrixView<T>, MatrixView<T>, VectorView<T>>;
template <class T>
Gradients(MatrixView<T>, MatrixView<T>) -> Gradients<MatrixView<T>, MatrixView<T>, VectorView<T>>;
/// @endcond

}  // namespace adr
