// Both gradients of a product over the non-zeros of the output gradient, listed once where one list
// serves both.
#pragma once

#include <algorithm>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/gradient_density.hpp"
#include "adr/gemm/sparse_gradient.hpp"
#include "adr/gemm/sparse_rows.hpp"

ADR_NAMESPACE_BEGIN

/// The gradients of one product over the non-zeros of d_y, exactly or after unbiased stochastic
/// rounding. Memory: see SparseRows; kept from batch to batch. Thread-safety: none. Source: this
/// library.
template <class T>
class SparseGradients {
 public:
  /// How the values are listed: 0 as they are, else multiples of `rounding_step` root mean squares.
  struct Rounding {
    double step = 0;
    std::uint64_t seed = 0;
  };

  /// Looks at an output gradient, which must not change until the gradients are computed.
  GradientDensity measure(const PixelView<const T>& d_output, const VectorMap& map, index_t length,
                          Context& context, StageTimes* times) {
    StageClock clock(times);
    d_output_ = d_output;
    const GradientDensity density = rows_.measure(d_output, map, length, context);
    clock.finish(Stage::non_zeros);
    return density;
  }

  /// Lists the non-zeros for one or both gradients.
  void list(Rounding rounding, SparseUse use, Context& context, StageTimes* times) {
    StageClock clock(times);
    rows_.list(d_output_, rounding.step, rounding.seed, use, context);
    clock.finish(Stage::non_zeros);
  }

  [[nodiscard]] double listed() const noexcept { return static_cast<double>(rows_.non_zeros()); }

  /// Computes d_weights over what is listed. Errors: std::bad_alloc before anything is written.
  template <class Vectors>
  void weight_gradient(const Vectors& input, const index_t* columns, const GemmResult<T>& d_weights,
                       Context& context, StageTimes* times) const {
    context.workspace().reserve(sparse_weight_gradient_workspace_bytes<T>(
        input.map(), input.length(), d_output_.channels, context.threads()));
    StageClock clock(times);
    sparse_weight_gradient(rows_, input, columns, d_weights, context);
    clock.finish(Stage::sparse_weight_gradient);
  }

  /// Adds to d_input over what is listed.
  template <class Vectors>
  void input_gradient(const GemmFactor<T>& weights, const index_t* columns, const Vectors& d_input,
                      Context& context, StageTimes* times) const {
    context.workspace().reserve(sparse_input_gradient_workspace_bytes<T>(
        d_input.map(), d_input.length(), d_output_.channels, context.threads()));
    StageClock clock(times);
    sparse_input_gradient(rows_, weights, columns, d_input, context);
    clock.finish(Stage::sparse_input_gradient);
  }

 private:
  SparseRows<T> rows_;
  PixelView<const T> d_output_;
};

ADR_NAMESPACE_END
