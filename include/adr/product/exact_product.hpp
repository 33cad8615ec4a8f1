// The product in which nothing is reused but what is equal: convolutions by the exact engine or the
// user's implementation, everything else by rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "adr/product/dense_passes.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// The exact product of any input with one weight matrix, and its exact gradients. Thread-safety:
/// none. Source: this library.
template <class Domain>
class ExactProduct {
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;
  using OutputGradient = typename Domain::OutputGradient;
  using InputGradientOperand = typename Domain::InputGradient;
  struct NoImages {};

 public:
  void set_shape(const ProductShape& shape, bool allow_winograd) {
    columns_ = shape.columns;
    outputs_ = shape.outputs;
    if constexpr (Domain::k_images) images_.set_geometry(*shape.convolution, allow_winograd);
  }
  /// Convolutions are unfolded for products of the user's own.
  void set_gemm(const DenseGemm<T>& gemm) {
    gemm_ = gemm;
    if constexpr (Domain::k_images) images_.set_own_products(gemm.is_users_own());
  }
  void set_convolution(std::shared_ptr<DenseConvolution<T>> convolution) noexcept {
    static_assert(Domain::k_images, "matrices are not convolved");
    images_.set_convolution(std::move(convolution));
  }
  void set_inference(bool inference) noexcept {
    if constexpr (Domain::k_images) images_.set_inference(inference);
  }

  /// Whether images are convolved as they are, and not by rows.
  [[nodiscard]] bool takes_images() const noexcept {
    if constexpr (Domain::k_images) return images_.takes_images();
    return false;
  }
  [[nodiscard]] bool takes_images(index_t rows) const noexcept {
    if constexpr (Domain::k_images) return images_.take_images(rows);
    return false;
  }

  /// The passes over images.
  [[nodiscard]] DensePasses<T>& images() noexcept {
    static_assert(Domain::k_images, "matrices are not convolved");
    return images_;
  }

  /// Bytes of scratch for passes of that many rows.
  [[nodiscard]] std::size_t forward_workspace_bytes(index_t rows, int threads) const {
    if constexpr (Domain::k_images) {
      if (takes_images(rows)) return images_.forward_workspace_bytes(rows, threads);
    }
    return dense_forward_once_workspace_bytes<T>(Domain::k_images ? 0 : rows, columns_, outputs_,
                                                 threads);
  }
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(index_t rows, int threads) const {
    if constexpr (Domain::k_images) {
      if (takes_images(rows)) return images_.weight_gradient_workspace_bytes(rows, threads);
    }
    return dense_weight_gradient_workspace_bytes<T>(rows, columns_, outputs_, threads);
  }
  [[nodiscard]] std::size_t input_gradient_workspace_bytes(index_t rows, int threads) const {
    if constexpr (Domain::k_images) {
      if (takes_images(rows)) return images_.input_gradient_workspace_bytes(rows, threads);
    }
    return dense_input_gradient_workspace_bytes<T>(columns_, threads);
  }

  /// Computes output = input weights + bias. Returns the share of the results that was computed,
  /// and not copied from those of equal inputs.
  double forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
                 const Output& output, Context& context) {
    const auto rows = input.rows();
    if constexpr (Domain::k_images) {
      if (takes_images(rows.rows())) {
        return images_.forward(input, by_output(weights), bias, output, context);
      }
    }
    context.workspace().reserve(forward_workspace_bytes(rows.rows(), context.threads()));
    const auto results = output.rows();
    if constexpr (!Domain::k_images) {
      if (rows.in_place() && results.in_place()) {
        return dense_forward_once(rows.view(0, rows.rows(), nullptr), weights, bias,
                                  results.target(0, rows.rows(), nullptr, Keep::nothing), gemm_,
                                  context);
      }
    }
    dense_forward(rows, weights, bias, results, gemm_, context);
    return 1;
  }

  /// d_output_rows: d_output by rows, read unless takes_images of their number. Requires, for both:
  /// scratch reserved.
  void weight_gradient(const Input& input, const OutputGradient& d_output,
                       const MatrixView<const T>& d_output_rows, const GemmResult<T>& d_weights,
                       Context& context) const {
    if constexpr (Domain::k_images) {
      if (takes_images(d_output.pixels().rows())) {
        ADR_ASSERT(d_weights.transposed, "a convolution's weights have a row per output");
        return images_.weight_gradient(input, d_output, d_weights.matrix, context);
      }
    }
    dense_weight_gradient(input.rows(), d_output_rows, d_weights, gemm_, context);
  }
  /// Images are replaced where takes_images, else added to; a matrix says what it wants.
  void input_gradient(const OutputGradient& d_output, const MatrixView<const T>& d_output_rows,
                      const GemmFactor<T>& weights, const InputGradientOperand& d_input,
                      Context& context) const {
    if constexpr (Domain::k_images) {
      if (takes_images(d_output.pixels().rows())) {
        return images_.input_gradient(d_output, by_output(weights), d_input, context);
      }
    }
    dense_input_gradient(d_output_rows, weights, d_input.rows(), gemm_, context);
  }

 private:
  static const MatrixView<const T>& by_output(const GemmFactor<T>& weights) noexcept {
    ADR_ASSERT(weights.transposed, "a convolution's weights have a row per output");
    return weights.matrix;
  }

  index_t columns_ = 0;
  index_t outputs_ = 0;
  DenseGemm<T> gemm_;
  std::conditional_t<Domain::k_images, DensePasses<T>, NoImages> images_;
};

ADR_NAMESPACE_END
