// The library's exact convolution as an object of its own: what a layer runs where nothing is
// reused, for users who want just that.
#pragma once

#include <cstddef>
#include <string>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/kept_weights.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// Convolutions that lose nothing but rounding, on tiles where that is faster.
///
/// Math, shapes, errors of results, scratch, determinism: exact::ConvolutionPasses. Errors:
/// std::invalid_argument from the constructor for an impossible geometry or a thread count below 1.
/// Memory: scratch that is kept from call to call, so that the steady state allocates nothing.
/// Thread-safety: none. Source: this library.
template <class T>
class ExactConvolution final : public DenseConvolution<T> {
 public:
  explicit ExactConvolution(const ConvGeometry& geometry, int threads = 1,
                            exact::Winograd winograd = exact::Winograd::where_it_pays)
      : passes_(checked(geometry), winograd), context_(threads) {}

  [[nodiscard]] const exact::ConvolutionPasses<T>& passes() const noexcept { return passes_; }

  /// Whether forward passes end in y = y < 0 ? 0 : y, so that a NaN stays one.
  void set_relu(bool relu) noexcept { relu_ = relu; }

  /// Transforms the weights once: until forget_weights, forward passes use what they were then and
  /// do not read the weights they are given, but for those of direct form (also of batches too
  /// small for tiles), which go on reading them. For inference. Memory: 4 times the weights for
  /// kernels of 3 x 3, 2.56 for 5 x 5.
  void keep_weights(const MatrixView<const T>& w) { kept_.keep(passes_, w, context_.threads()); }
  void forget_weights() noexcept { kept_.forget(); }

  /// Bytes of scratch that the most demanding pass takes.
  [[nodiscard]] std::size_t workspace_bytes(index_t batch) const {
    return passes_.workspace_bytes(batch, context_.threads());
  }

  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y) override {
    passes_.forward(x, w, bias, relu_, y, context_, kept_.data());
  }
  void weight_gradient(const TensorView<const T>& x, const TensorView<const T>& d_y,
                       const MatrixView<T>& d_w) override {
    passes_.weight_gradient(x, d_y, d_w, context_);
  }
  void input_gradient(const TensorView<const T>& d_y, const MatrixView<const T>& w,
                      const TensorView<T>& d_x) override {
    passes_.input_gradient(d_y, w, d_x, context_);
  }

 private:
  static const ConvGeometry& checked(const ConvGeometry& geometry) {
    const std::string problem = geometry.validate();
    detail::require(problem.empty(), "ConvGeometry: ", problem);
    return geometry;
  }

  exact::ConvolutionPasses<T> passes_;
  Context context_;
  exact::KeptWeights<T> kept_;
  bool relu_ = false;
};

ADR_NAMESPACE_END
