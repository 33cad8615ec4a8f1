// A user's own dense convolution: what a layer computes with where nothing is reused, in place of
// unfolding and DenseGemm.
#pragma once

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The dense passes of one convolution layer, whose shape the implementation knows.
///
/// Math: y = x * w + bias; d_w = the gradient with respect to w, d_x that with respect to x; every
/// call replaces what was in its result. Shapes: x, d_x batch x in_channels x in_height x in_width
/// and y, d_y batch x out_channels x out_height x out_width, all in the layout of the layer; any
/// batch of at least 1, images possibly with gaps between them (image_stride). w, d_w out_channels
/// x K, one filter per row, rows possibly with gaps: OIHW in layout nchw, OHWI in nhwc. bias
/// out_channels elements or empty. Units: strides in elements. Requires: matching shapes, results
/// that overlap no operand (the layers check before they call). Errors: an implementation may
/// throw; the layer passes it on. Thread-safety: one call at a time; the threads of a call are the
/// implementation's own. Determinism: that of the implementation. Source: the user, or
/// adr/onednn.hpp.
template <class T>
class DenseConvolution {
 public:
  DenseConvolution() = default;
  virtual ~DenseConvolution() = default;
  DenseConvolution(const DenseConvolution&) = delete;
  DenseConvolution& operator=(const DenseConvolution&) = delete;

  /// Computes y = x * w + bias.
  virtual void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
                       const VectorView<const T>& bias, const TensorView<T>& y) = 0;
  /// Computes d_w, the sum over images and pixels of d_y times the window of x that it saw.
  virtual void weight_gradient(const TensorView<const T>& x, const TensorView<const T>& d_y,
                               const MatrixView<T>& d_w) = 0;
  /// Computes d_x, for each pixel the sum of d_y times the weights that it met.
  virtual void input_gradient(const TensorView<const T>& d_y, const MatrixView<const T>& w,
                              const TensorView<T>& d_x) = 0;
};

ADR_NAMESPACE_END
