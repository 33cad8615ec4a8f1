// Unfolding and a matrix product as a DenseConvolution: what a layer does by itself where nothing
// is reused, in a form that can be compared with other implementations.
#pragma once

#include <cstddef>
#include <string>

#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/row_major.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/product/operands.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// im2col block by block and DenseGemm.
///
/// Math, shapes: those of DenseConvolution; geometries of one group. Memory: per thread a block of
/// unfolded rows of about 4 MB and its products, and a copy of d_y where that is not row-major;
/// kept from call to call, so that the steady state allocates nothing. Cost: N K M multiply-adds.
/// Determinism: the bits do not depend on the number of threads. Errors: std::invalid_argument from
/// the constructor for an impossible geometry, several groups or a thread count below 1. Requires:
/// matching shapes (the layers check). Thread-safety: none. Source: this library.
template <class T>
class UnfoldedConvolution final : public DenseConvolution<T> {
 public:
  UnfoldedConvolution(const ConvGeometry& geometry, const DenseGemm<T>& gemm, int threads)
      : geometry_(geometry), gemm_(gemm), context_(threads) {
    const std::string problem = geometry.validate();
    detail::require(problem.empty(), "ConvGeometry: ", problem);
    detail::require(geometry.groups == 1, "UnfoldedConvolution: groups must be 1, got ",
                    geometry.groups);
  }

  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y) override {
    context_.workspace().reserve(dense_forward_workspace_bytes<T>(
        geometry_.columns(), geometry_.out_channels, context_.threads()));
    dense_forward(ConvInput<const T>{geometry_, x, 0}.rows(), transposed(w), bias,
                  ConvOutput<T>{geometry_, y, 0}.rows(), gemm_, context_);
  }

  void weight_gradient(const TensorView<const T>& x, const TensorView<const T>& d_y,
                       const MatrixView<T>& d_w) override {
    const auto d_output = ConvOutput<const T>{geometry_, d_y, 0}.rows();
    context_.workspace().reserve(copy_bytes(d_output) + dense_weight_gradient_workspace_bytes<T>(
                                                            d_output.rows(), geometry_.columns(),
                                                            geometry_.out_channels,
                                                            context_.threads()));
    const Workspace::Frame frame(context_.workspace());
    dense_weight_gradient(ConvInput<const T>{geometry_, x, 0}.rows(),
                          detail::row_major(d_output, context_), GemmResult<T>{d_w, true}, gemm_,
                          context_);
  }

  void input_gradient(const TensorView<const T>& d_y, const MatrixView<const T>& w,
                      const TensorView<T>& d_x) override {
    const auto d_output = ConvOutput<const T>{geometry_, d_y, 0}.rows();
    context_.workspace().reserve(
        copy_bytes(d_output) +
        dense_input_gradient_workspace_bytes<T>(geometry_.columns(), context_.threads()));
    const Workspace::Frame frame(context_.workspace());
    set_zero(pixel_view(d_x, 0, geometry_.in_channels), context_.threads());
    dense_input_gradient(detail::row_major(d_output, context_), transposed(w),
                         ConvInput<T>{geometry_, d_x, 0}.rows(), gemm_, context_);
  }

 private:
  using OutputRows = PixelRows<const T>;

  static std::size_t copy_bytes(const OutputRows& rows) {
    return rows.in_place() ? 0 : detail::row_major_bytes<T>("d_y", rows.rows(), rows.cols());
  }

  ConvGeometry geometry_;
  DenseGemm<T> gemm_;
  Context context_;
};

ADR_NAMESPACE_END
