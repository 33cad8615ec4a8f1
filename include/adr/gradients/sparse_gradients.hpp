// Both gradients of a product over the non-zeros of the output gradient, listed once where one list
// serves both.
#pragma once

#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gradients/gradient_density.hpp"
#include "adr/gradients/masked_gradients.hpp"
#include "adr/gradients/sparse_gradient.hpp"
#include "adr/gradients/sparse_rows.hpp"
#include "adr/product/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// The gradients of one product over the non-zeros of d_y, exactly or after unbiased
/// rounding. Memory: see SparseRows; kept from batch to batch. Thread-safety: none. Source: this
/// library.
template <class T>
class SparseGradients {
 public:
  /// How the values are listed: 0 as they are, else those below `step` root mean squares rounded to
  /// that or to zero.
  struct Rounding {
    double step = 0;
    std::uint64_t seed = 0;
  };

  /// Bytes of scratch of the gradients of one product. Errors: std::overflow_error,
  /// std::invalid_argument (absurd sizes).
  static std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                     const ProductShape& shape, int thread_count) {
    return masked(map, shape.input, shape.outputs)
               ? masked_weight_gradient_workspace_bytes<T>(map, shape.outputs, thread_count)
               : sparse_weight_gradient_workspace_bytes<T>(map, shape.input.length, shape.outputs,
                                                           thread_count);
  }
  static std::size_t input_gradient_workspace_bytes(const VectorMap& map, const ProductShape& shape,
                                                    int thread_count) {
    return masked(map, shape.input, shape.outputs)
               ? masked_input_gradient_workspace_bytes<T>(map, shape.outputs, thread_count)
               : sparse_input_gradient_workspace_bytes<T>(map, shape.input.length, shape.outputs,
                                                          thread_count);
  }

  /// Looks at an output gradient, which must not change until the gradients are computed.
  GradientDensity measure(const PixelView<const T>& d_output, const VectorMap& map,
                          const VectorShape& vectors, Context& context, StageTimes* times) {
    StageClock clock(times);
    d_output_ = d_output;
    masked_ = masked(map, vectors, d_output.channels);
    const GradientDensity density = rows_.measure(d_output, map, vectors.length, context);
    clock.finish(Stage::non_zeros);
    return density;
  }

  /// Lists the non-zeros for one or both gradients.
  void list(Rounding rounding, SparseUse use, Context& context, StageTimes* times) {
    StageClock clock(times);
    // One order serves both masked gradients.
    rows_.list(d_output_, rounding.step, rounding.seed, masked_ ? SparseUse::pixels : use, context);
    clock.finish(Stage::non_zeros);
  }

  [[nodiscard]] double listed() const noexcept { return static_cast<double>(rows_.non_zeros()); }

  /// Computes d_weights, K x M, over what is listed. Scratch is the caller's to reserve.
  template <class Vectors>
  void weight_gradient(const Vectors& input, const index_t* columns, const GemmResult<T>& d_weights,
                       Context& context, StageTimes* times) const {
    StageClock clock(times);
    if (masked_) {
      masked_weight_gradient(rows_, input, d_weights, context);
    } else {
      sparse_weight_gradient(rows_, input, columns, d_weights, context);
    }
    clock.finish(Stage::sparse_weight_gradient);
  }

  /// Whether input_gradient replaces d_input, of the gradient that was measured; else it adds.
  template <class Vectors>
  [[nodiscard]] bool replaces(const Vectors& d_input) const noexcept {
    return !masked_ && can_replace_input(rows_.tiles(), d_input);
  }
  /// Computes d_input over what is listed; likewise.
  template <class Vectors>
  void input_gradient(const GemmFactor<T>& weights, const index_t* columns, const Vectors& d_input,
                      Context& context, StageTimes* times) const {
    StageClock clock(times);
    if (masked_) {
      masked_input_gradient(rows_, weights, d_input, context);
    } else {
      sparse_input_gradient(rows_, weights, columns, d_input,
                            replaces(d_input) ? Update::replace : Update::accumulate, context);
    }
    clock.finish(Stage::sparse_input_gradient);
  }

 private:
  static bool masked(const VectorMap& map, const VectorShape& vectors, index_t outputs) {
    return vectors.pointwise && masks_gradients<T>(map, vectors.length, outputs);
  }

  SparseRows<T> rows_;
  bool masked_ = false;
  PixelView<const T> d_output_;
};

ADR_NAMESPACE_END
