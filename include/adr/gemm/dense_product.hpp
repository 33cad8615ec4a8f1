// The dense product of an input seen as rows (core/matrix_rows.hpp) with a weight matrix, and its
// two gradients: the baseline, the fallback, and the exact form of single passes.
//
// Work is cut into tasks by shape alone and every task adds in a fixed order, so the bits do not
// depend on the number of threads. An unfolded convolution input exists one block at a time.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Adds a vector to every row of a result.
template <class T>
void add_to_rows(const T* vector, const GemmResult<T>& result) noexcept {
  const MatrixView<T>& y = result.matrix;
  for (index_t i = 0; i < y.rows; ++i) {
    if (!result.transposed) {
      simd::add(vector, y.row(i), y.cols);
    } else {
      for (index_t j = 0; j < y.cols; ++j) y(i, j) += vector[i];
    }
  }
}

/// Below this many tasks a product is cut along a second dimension too: fewer where every part
/// unfolds its rows again.
inline constexpr index_t k_wanted_tasks = 16;
inline constexpr index_t k_wanted_unfolding_tasks = 8;

/// Rows per block of an input with that many columns: a GEMM repacks its right factor for every
/// block, which a few hundred rows amortise; a block of about 4 MB of floats stays in the last
/// cache.
inline index_t dense_block_rows(index_t columns) noexcept {
  return std::clamp<index_t>((index_t{1} << 20) / std::max<index_t>(columns, 1), 64, 4096);
}

/// The same of an input that lies there as a matrix; blocks have half of the least at least.
inline constexpr index_t k_least_in_place_rows = 512;
inline index_t in_place_block_rows(index_t rows) noexcept {
  return std::clamp<index_t>(rows / k_wanted_tasks, k_least_in_place_rows, 4096);
}

/// How many parts columns may be cut into: 256 wide, where products are fastest, or narrower ones
/// where those would be fewer than four.
inline index_t most_column_parts(index_t cols) noexcept {
  constexpr index_t k_fewest_parts = 4;
  constexpr index_t k_fewest_cols = 96;
  return std::max({cols / 256, std::min(k_fewest_parts, cols / k_fewest_cols), index_t{1}});
}
/// How many parts to cut the outputs into, so that there are enough tasks.
inline index_t column_parts(index_t row_tasks, index_t cols, index_t wanted_tasks) noexcept {
  if (row_tasks == 0 || row_tasks >= wanted_tasks) return 1;
  return std::min(wanted_tasks / row_tasks, most_column_parts(cols));
}

/// How a weight gradient is cut: parts of the rows have a partial sum each, parts of the columns
/// not.
struct WeightGradientParts {
  index_t row_parts;
  index_t col_parts;
  WeightGradientParts(index_t rows, index_t columns) noexcept
      : row_parts(rows >= 8 * columns ? 4 : 1), col_parts(most_column_parts(columns)) {}
};

/// copying_threads: those that unfold rows; none where rows are a matrix.
template <class T>
struct DenseForwardScratch {
  index_t block_rows;
  T* unfolded;  ///< a block of every thread
  T* results;   ///< of such a block

  template <class Memory>
  DenseForwardScratch(Memory& memory, index_t columns, index_t outputs, int copying_threads)
      : block_rows(dense_block_rows(columns)),
        unfolded(memory.template take<T>(
            checked_product("dense block", copying_threads, block_rows, columns))),
        results(memory.template take<T>(
            checked_product("dense block", copying_threads, block_rows, outputs))) {}
};

template <class T>
struct DenseWeightGradientScratch {
  WeightGradientParts parts;
  index_t widest;  ///< columns of the largest part
  index_t block_rows;
  T* blocks;    ///< of unfolded rows, one of every thread
  T* partials;  ///< the sums of parts of the rows, but for the first one

  template <class Memory>
  DenseWeightGradientScratch(Memory& memory, index_t rows, index_t columns, index_t outputs,
                             int copying_threads)
      : parts(rows, columns),
        widest(partition(columns, parts.col_parts, 0).size()),
        block_rows(dense_block_rows(widest)),
        blocks(memory.template take<T>(
            checked_product("dense block", copying_threads, block_rows, widest))),
        partials(memory.template take<T>(
            checked_product("partial sums", parts.row_parts - 1, columns, outputs))) {}
};

template <class T>
struct DenseInputGradientScratch {
  index_t block_rows;
  T* blocks;  ///< of unfolded rows, one of every thread

  template <class Memory>
  DenseInputGradientScratch(Memory& memory, index_t columns, int copying_threads)
      : block_rows(dense_block_rows(columns)),
        blocks(memory.template take<T>(
            checked_product("dense block", copying_threads, block_rows, columns))) {}
};

}  // namespace detail

/// Bytes of scratch that dense_forward takes. copying_threads, here and for the gradients: the
/// threads of the context where rows are unfolded, 0 where they are a matrix.
template <class T>
std::size_t dense_forward_workspace_bytes(index_t columns, index_t outputs, int copying_threads) {
  return scratch_bytes<detail::DenseForwardScratch<T>>(columns, outputs, copying_threads);
}

/// Multiplies all rows of an input by the weights.
/// Math: output = input weights + bias. Shapes: input N x K, weights K x M, bias M or empty, output
/// N x M. Requires: matching shapes, scratch reserved (callers check). Cost: N K M multiply-adds.
template <class T, class Input, class Output>
void dense_forward(const Input& input, const GemmFactor<T>& weights,
                   const VectorView<const T>& bias, const Output& output, const DenseGemm<T>& gemm,
                   Context& context) {
  const index_t rows = input.rows();
  const index_t columns = input.cols();
  const index_t outputs = weights.cols();
  constexpr bool k_are_matrices = k_is_matrix<Input> && k_is_matrix<Output>;
  const Workspace::Frame frame(context.workspace());
  const detail::DenseForwardScratch<T> scratch(context.workspace(), columns, outputs,
                                               k_are_matrices ? 0 : context.threads());
  const index_t copied_rows = scratch.block_rows;
  const bool copies = !k_are_matrices && !(input.in_place() && output.in_place());
  const index_t block_rows = copies ? copied_rows : detail::in_place_block_rows(rows);
  const index_t row_tasks = blocks_of(rows, block_rows);
  const index_t wanted_tasks = k_is_matrix<Input> || input.in_place()
                                   ? detail::k_wanted_tasks
                                   : detail::k_wanted_unfolding_tasks;
  const index_t parts = k_is_matrix<Output> || output.in_place()
                            ? detail::column_parts(row_tasks, outputs, wanted_tasks)
                            : 1;
  parallel_for(row_tasks * parts, context.threads(), [&](index_t task, int thread) {
    // Nearly equal blocks: sums of few rows have other bits.
    const IndexRange block = partition(rows, row_tasks, task / parts);
    const index_t first = block.first;
    const index_t count = block.size();
    const IndexRange cols = partition(outputs, parts, task % parts);
    const GemmFactor<T> w = weights.block(0, cols.first, columns, cols.size());
    if constexpr (k_are_matrices) {
      const GemmResult<T> y = output.result(first, cols.first, count, cols.size());
      gemm(input.factor(first, 0, count, columns), w, Update::replace, y);
      if (!bias.empty()) detail::add_to_rows(bias.data + cols.first, y);
    } else {
      const MatrixView<const T> x =
          input.view(first, count, scratch.unfolded + thread * copied_rows * columns);
      const MatrixView<T> whole = output.target(
          first, count, scratch.results + thread * copied_rows * outputs, Keep::nothing);
      const MatrixView<T> y = whole.block(0, cols.first, count, cols.size());
      gemm(as_is(x), w, Update::replace, y);
      if (!bias.empty()) detail::add_to_rows(bias.data + cols.first, GemmResult<T>{y, false});
      output.store(first, whole);
    }
  });
}

/// Bytes of scratch that dense_weight_gradient takes.
template <class T>
std::size_t dense_weight_gradient_workspace_bytes(index_t rows, index_t columns, index_t outputs,
                                                  int copying_threads) {
  return scratch_bytes<detail::DenseWeightGradientScratch<T>>(rows, columns, outputs,
                                                              copying_threads);
}

/// Computes the gradient with respect to the weights.
/// Math: d_weights = input^T d_output. Shapes: input N x K, d_output N x M, d_weights K x M.
/// Requires: matching shapes, scratch reserved (callers check). Cost: N K M multiply-adds.
template <class T, class Input>
void dense_weight_gradient(const Input& input, const MatrixView<const T>& d_output,
                           const GemmResult<T>& d_weights, const DenseGemm<T>& gemm,
                           Context& context) {
  const index_t rows = input.rows();
  const index_t columns = input.cols();
  const index_t outputs = d_output.cols;
  const Workspace::Frame frame(context.workspace());
  const detail::DenseWeightGradientScratch<T> scratch(context.workspace(), rows, columns, outputs,
                                                      k_is_matrix<Input> ? 0 : context.threads());
  const detail::WeightGradientParts& parts = scratch.parts;
  const index_t block_rows = scratch.block_rows;
  const auto partial = [&](index_t part) {
    return GemmResult<T>{MatrixView<T>(scratch.partials + (part - 1) * columns * outputs,
                                       d_weights.matrix.rows, d_weights.matrix.cols),
                         d_weights.transposed};
  };
  parallel_for(parts.row_parts * parts.col_parts, context.threads(), [&](index_t task, int thread) {
    const index_t row_part = task % parts.row_parts;
    const IndexRange cols = partition(columns, parts.col_parts, task / parts.row_parts);
    const IndexRange range = partition(rows, parts.row_parts, row_part);
    const GemmResult<T> whole = row_part == 0 ? d_weights : partial(row_part);
    const GemmResult<T> sum = whole.middle_rows(cols.first, cols.size());
    if (range.size() == 0) detail::set_zero(sum.matrix);
    for (index_t first = range.first; first < range.last; first += block_rows) {
      const index_t count = std::min(block_rows, range.last - first);
      const auto block = [&] {
        if constexpr (k_is_matrix<Input>) {
          return input.factor(first, cols.first, count, cols.size());
        } else {
          const MatrixView<T> copy(scratch.blocks + thread * block_rows * scratch.widest, count,
                                   cols.size());
          input.load(first, cols.first, copy);
          return as_is(copy);
        }
      }();
      gemm(block.transpose(), as_is(d_output.middle_rows(first, count)),
           first == range.first ? Update::replace : Update::accumulate, sum);
    }
  });
  for (index_t part = 1; part < parts.row_parts; ++part) {
    const MatrixView<T> sum = partial(part).matrix;
    for (index_t i = 0; i < sum.rows; ++i) {
      simd::add(sum.row(i), d_weights.matrix.row(i), sum.cols);
    }
  }
}

/// Bytes of scratch that dense_input_gradient takes.
template <class T>
std::size_t dense_input_gradient_workspace_bytes(index_t columns, int copying_threads) {
  return scratch_bytes<detail::DenseInputGradientScratch<T>>(columns, copying_threads);
}

/// Adds the gradient with respect to the input, or replaces what a matrix holds.
/// Math: d_input += d_output weights^T. Shapes: d_output N x M, weights K x M, d_input N x K.
/// Requires: matching shapes, scratch reserved (callers check). Cost: N K M multiply-adds.
template <class T, class InputGradient>
void dense_input_gradient(const MatrixView<const T>& d_output, const GemmFactor<T>& weights,
                          const InputGradient& d_input, const DenseGemm<T>& gemm,
                          Context& context) {
  const index_t rows = d_input.rows();
  const index_t columns = d_input.cols();
  const Workspace::Frame frame(context.workspace());
  const detail::DenseInputGradientScratch<T> scratch(
      context.workspace(), columns, k_is_matrix<InputGradient> ? 0 : context.threads());
  const index_t block_rows = scratch.block_rows;
  const index_t unit = d_input.independent_rows();
  const index_t row_tasks = blocks_of(rows, unit);
  const index_t parts = d_input.columns_are_independent()
                            ? detail::column_parts(row_tasks, columns, detail::k_wanted_tasks)
                            : 1;
  parallel_for(row_tasks * parts, context.threads(), [&](index_t task, int thread) {
    const IndexRange cols = partition(columns, parts, task % parts);
    const index_t last = std::min(rows, (task / parts + 1) * unit);
    for (index_t first = task / parts * unit; first < last; first += block_rows) {
      const index_t count = std::min(block_rows, last - first);
      const GemmFactor<T> back = weights.middle_rows(cols.first, cols.size()).transpose();
      if constexpr (k_is_matrix<InputGradient>) {
        gemm(as_is(d_output.middle_rows(first, count)), back, d_input.update(),
             d_input.result(first, cols.first, count, cols.size()));
      } else {
        T* memory = scratch.blocks + thread * block_rows * columns;
        const MatrixView<T> block(memory, count, cols.size());
        gemm(as_is(d_output.middle_rows(first, count)), back, Update::replace, block);
        d_input.add(first, cols.first, block);
      }
    }
  });
}

ADR_NAMESPACE_END
