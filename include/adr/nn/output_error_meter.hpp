// The true error of a reusing product, measured on a handful of its rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/random.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"

ADR_NAMESPACE_BEGIN

/// Compares sampled rows of an output with their dense products.
///
/// Math: sums over the sampled rows n of ||y_n - bias - x_n W||^2 and ||x_n W||^2. The rows are
/// spread over the batch, one drawn from each of as many equal parts; the seed and the pass decide
/// which. Cost: one in 64 rows, at least 1 and at most 16, times K M multiply-adds; with an
/// interval of 10 passes at most 1/640 of a dense forward pass of 64 rows and more. Thread-safety:
/// none. Source: this library.
class OutputErrorMeter {
 public:
  /// Counts a pass; returns whether it is to be measured: the first, and one in `interval`.
  bool is_due(index_t interval) noexcept {
    return interval > 0 && passes_++ % static_cast<std::uint64_t>(interval) == 0;
  }

  void exchange(StateArchive& archive) { archive("passes of the error meter", passes_); }

  template <class T>
  static std::size_t workspace_bytes(index_t rows, index_t columns, index_t outputs) {
    return scratch_bytes<Scratch<T>>(sampled_rows(rows), columns, outputs);
  }

  /// Adds to the energies of the statistics. Shapes: input N x K, weights K x M, output N x M as
  /// rows. Requires: scratch reserved.
  template <class T, class Input, class Output>
  void measure(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, std::uint64_t seed, const DenseGemm<T>& gemm, Context& context,
               Report& stats) const {
    const index_t count = sampled_rows(input.rows());
    if (count == 0) return;
    const Workspace::Frame frame(context.workspace());
    const index_t outputs = weights.cols();
    const Scratch<T> scratch(context.workspace(), count, input.cols(), outputs);
    const MatrixView<T> x(scratch.inputs, count, input.cols());
    const MatrixView<T> exact(scratch.outputs, count, outputs);
    const MatrixView<T> found(scratch.outputs + count * outputs, count, outputs);
    Random random(seed + passes_);
    for (index_t i = 0; i < count; ++i) {
      const IndexRange part = partition(input.rows(), count, i);
      const index_t row =
          part.first + static_cast<index_t>(random.below(static_cast<std::uint64_t>(part.size())));
      input.load(row, 0, x.middle_rows(i, 1));
      output.load(row, 0, found.middle_rows(i, 1));
    }
    gemm(as_is(x), weights, Update::replace, exact);
    for (index_t i = 0; i < count; ++i) {
      for (index_t j = 0; j < outputs; ++j) {
        const auto y = static_cast<double>(exact(i, j));
        const double without_bias = static_cast<double>(found(i, j)) -
                                    (bias.empty() ? 0.0 : static_cast<double>(bias.data[j]));
        stats.output_error_energy += (without_bias - y) * (without_bias - y);
        stats.sampled_output_energy += y * y;
      }
    }
  }

 private:
  template <class T>
  struct Scratch {
    T* inputs;   ///< the sampled rows
    T* outputs;  ///< their dense products, then what was found

    template <class Memory>
    Scratch(Memory& memory, index_t count, index_t columns, index_t outputs_)
        : inputs(memory.template take<T>(checked_product("sampled rows", count, columns))),
          outputs(memory.template take<T>(checked_product("sampled rows", 2 * count, outputs_))) {}
  };

  static index_t sampled_rows(index_t rows) noexcept {
    return std::min(rows, std::clamp<index_t>(rows / 64, 1, 16));
  }

  std::uint64_t passes_ = 0;
};

ADR_NAMESPACE_END
