// The product in which nothing is reused but what is equal, and nothing left out but zeros:
// convolutions by the exact engine or the user's implementation, everything else by rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "adr/gemm/masked_product.hpp"
#include "adr/product/dense_passes.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// What an exact forward pass computed: of the rows, the others being copies of results of equal
/// ones, and of the multiply-adds of those, the others having a zero for a factor.
struct ComputedShares {
  double rows = 1;
  double terms = 1;
};

/// What an exact weight gradient computed: the share of its multiply-adds, and whether the sums of
/// the output's channels, which some forms have at hand.
struct ComputedGradient {
  double share = 1;
  bool channel_sums = false;
};

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

  /// The density of an output gradient up to which gradients over its non-zeros are expected to be
  /// faster than these; 0: never. Zeros of matrices are left out here.
  [[nodiscard]] double densest_non_zeros(index_t rows) const noexcept {
    if constexpr (Domain::k_images) return images_.densest_non_zeros(rows);
    return 0;
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
      return dense_forward_workspace_bytes<T>(columns_, outputs_, threads);
    }
    return std::max(dense_forward_once_workspace_bytes<T>(rows, columns_, outputs_, threads),
                    masked_workspace_bytes(rows, columns_, outputs_, threads));
  }
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(index_t rows, int threads) const {
    return weight_gradient_workspace_bytes(rows, outputs_, threads);
  }
  /// The same of a matrix for some outputs alone.
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(index_t rows, index_t outputs,
                                                            int threads) const {
    if constexpr (Domain::k_images) {
      if (takes_images(rows)) return images_.weight_gradient_workspace_bytes(rows, threads);
    }
    return std::max(
        {dense_weight_gradient_workspace_bytes<T>(rows, columns_, outputs, copying(threads)),
         masked_workspace_bytes(outputs, rows, columns_, threads),
         masked_workspace_bytes(columns_, rows, outputs, threads)});
  }
  [[nodiscard]] std::size_t input_gradient_workspace_bytes(index_t rows, int threads) const {
    if constexpr (Domain::k_images) {
      if (takes_images(rows)) return images_.input_gradient_workspace_bytes(rows, threads);
    }
    return std::max(dense_input_gradient_workspace_bytes<T>(columns_, copying(threads)),
                    masked_workspace_bytes(rows, outputs_, columns_, threads));
  }

  /// Computes output = input weights + bias.
  ComputedShares forward(const Input& input, const GemmFactor<T>& weights,
                         const VectorView<const T>& bias, const Output& output, Context& context) {
    const auto rows = input.rows();
    if constexpr (Domain::k_images) {
      if (takes_images(rows.rows())) {
        return {images_.forward(input, by_output(weights), bias, output, context), 1};
      }
    }
    context.workspace().reserve(forward_workspace_bytes(rows.rows(), context.threads()));
    const auto results = output.rows();
    if constexpr (!Domain::k_images) {
      const GemmFactor<T> x = as_factor(input);
      // Asked first: what has bits of its own must not depend on a sample that depends on threads.
      if (masks(x, outputs_)) {
        const GemmResult<T> y{output.matrix, output.transposed};
        const double share = masked_gemm(x, weights, Update::replace, y, context);
        if (!bias.empty()) add_bias(bias, y, context.threads());
        return {1, share};
      }
      if (rows.in_place() && results.in_place() &&
          multiplies_equal_rows_once(x.matrix, outputs_, gemm_, context.threads())) {
        return {dense_forward_once(x.matrix, weights, bias, output.matrix, gemm_, context), 1};
      }
    }
    dense_forward(rows, weights, bias, results, gemm_, context);
    return {};
  }

  /// d_output_rows: d_output by rows, read unless takes_images of their number. channel_sums: null,
  /// or where the sums of d_output over all rows go if they are at hand. Requires, for both
  /// gradients: scratch reserved.
  ComputedGradient weight_gradient(const Input& input, const OutputGradient& d_output,
                                   const MatrixView<const T>& d_output_rows,
                                   const GemmResult<T>& d_weights, T* channel_sums,
                                   Context& context) const {
    if constexpr (Domain::k_images) {
      if (takes_images(d_output.pixels().rows())) {
        ADR_ASSERT(d_weights.transposed, "a convolution's weights have a row per output");
        return {1,
                images_.weight_gradient(input, d_output, d_weights.matrix, channel_sums, context)};
      }
    } else {
      // The sum over rows as it lies in memory, x^T d_y or d_y^T x.
      const GemmFactor<T> x = as_factor(input);
      const GemmFactor<T> d_y = as_is(d_output_rows);
      const GemmFactor<T> left = d_weights.transposed ? d_y.transpose() : x.transpose();
      const GemmFactor<T>& right = d_weights.transposed ? x : d_y;
      if (masks(left, right.cols())) {
        return {masked_gemm(left, right, Update::replace, GemmResult<T>{d_weights.matrix, false},
                            context),
                false};
      }
    }
    dense_weight_gradient(input.rows(), d_output_rows, d_weights, gemm_, context);
    return {};
  }
  /// Returns the share of the multiply-adds of the gradient for the input. Images are replaced
  /// where takes_images, else added to; a matrix says what it wants.
  double input_gradient(const OutputGradient& d_output, const MatrixView<const T>& d_output_rows,
                        const GemmFactor<T>& weights, const InputGradientOperand& d_input,
                        Context& context) const {
    if constexpr (Domain::k_images) {
      if (takes_images(d_output.pixels().rows())) {
        images_.input_gradient(d_output, by_output(weights), d_input, context);
        return 1;
      }
    } else {
      if (masks(as_is(d_output_rows), columns_)) {
        return masked_gemm(as_is(d_output_rows), weights.transpose(), d_input.update,
                           GemmResult<T>{d_input.matrix, d_input.transposed}, context);
      }
    }
    dense_input_gradient(d_output_rows, weights, d_input.rows(), gemm_, context);
    return 1;
  }

 private:
  /// How many of the threads unfold rows.
  static int copying(int threads) noexcept { return Domain::k_images ? threads : 0; }
  /// Whether the zeros of a left factor are left out: never with a product of the user's own.
  [[nodiscard]] bool masks(const GemmFactor<T>& left, index_t cols) const noexcept {
    return !gemm_.is_users_own() && leaves_out_zeros(left, cols);
  }
  [[nodiscard]] std::size_t masked_workspace_bytes(index_t rows, index_t depth, index_t cols,
                                                   int threads) const {
    const bool may =
        !Domain::k_images && !gemm_.is_users_own() && may_leave_out_zeros<T>(rows, depth, cols);
    return may ? masked_gemm_workspace_bytes<T>(rows, depth, threads) : 0;
  }
  static void add_bias(const VectorView<const T>& bias, const GemmResult<T>& y, int threads) {
    constexpr index_t k_rows = 32;
    const index_t parts = blocks_of(y.rows(), k_rows);
    parallel_for(parts, threads, [&](index_t part, int /*thread*/) {
      const IndexRange range = partition(y.rows(), parts, part);
      detail::add_to_rows(bias.data, y.middle_rows(range.first, range.size()));
    });
  }

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
