// The product of a factor with many zeros and a matrix that is large beside it, as fully connected
// layers have them behind a ReLU: zeros are left out, and nothing else.
//
// A block of 64 rows and a strip of columns of the right factor is copied into the first cache and
// met by every row of the left one, which keeps the strip's sums in registers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/panels.hpp"
#include "adr/gemm/masked_rows.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/masked_sums.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Fills up `rows` strips behind `cols` elements with zeros.
template <class T>
void fill_up_strips(T* strips, index_t rows, index_t cols) noexcept {
  constexpr index_t k_strip = simd::k_strip<T>;
  for (index_t k = 0; cols < k_strip && k < rows; ++k) {
    std::fill_n(strips + k * k_strip + cols, k_strip - cols, T(0));
  }
}

/// A right factor that lies in memory as a matrix.
template <class T>
struct FactorStrips {
  GemmFactor<T> factor;

  [[nodiscard]] index_t cols() const noexcept { return factor.cols(); }
  /// Copies the block to one strip per row, filled up with zeros.
  void load(index_t first_row, index_t rows, index_t first_col, index_t cols,
            T* strips) const noexcept {
    constexpr index_t k_strip = simd::k_strip<T>;
    const GemmFactor<T> block = factor.block(first_row, first_col, rows, cols);
    if (block.transposed) {
      simd::transpose(block.matrix.data, block.matrix.row_stride, cols, rows, strips, k_strip);
    } else {
      for (index_t k = 0; k < rows; ++k) {
        simd::copy(block.matrix.row(k), strips + k * k_strip, cols);
      }
    }
    fill_up_strips(strips, rows, cols);
  }
  /// The lines of a block that is loaded later.
  [[nodiscard]] LinesAhead<false> ahead(index_t first_row, index_t rows, index_t first_col,
                                        index_t cols) const noexcept {
    const MatrixView<const T> block = factor.block(first_row, first_col, rows, cols).matrix;
    return {block.data, block.row_stride, block.rows, block.cols};
  }
};

/// A result that lies in memory as a matrix.
template <class T>
struct ResultStrips {
  GemmResult<T> result;
  Update update = Update::replace;

  /// Where a whole strip of a row is written; null: by store.
  [[nodiscard]] T* strip(index_t row, index_t first_col) const noexcept {
    if (result.transposed || update == Update::accumulate) return nullptr;
    return result.matrix.row(row) + first_col;
  }
  /// Writes or adds a block.
  void store(index_t first_row, index_t first_col,
             const MatrixView<const T>& block) const noexcept {
    const MatrixView<T> to = result.block(first_row, first_col, block.rows, block.cols).matrix;
    if (result.transposed) {
      if (update == Update::replace) {
        simd::transpose(block.data, block.row_stride, block.rows, block.cols, to.data,
                        to.row_stride);
      } else {
        simd::transpose_add(block.data, block.row_stride, block.rows, block.cols, to.data,
                            to.row_stride);
      }
      return;
    }
    for (index_t i = 0; i < block.rows; ++i) {
      if (update == Update::replace) {
        simd::copy(block.row(i), to.row(i), block.cols);
      } else {
        simd::add(block.row(i), to.row(i), block.cols);
      }
    }
  }
};

/// What a thread works on: the strips of a block of the right factor, and the sums of some rows.
template <class T>
struct MaskedScratch {
  /// Rows that meet a block: their sums fill a part of the second cache.
  static constexpr index_t k_most_rows = 256;
  static constexpr index_t k_strips = MaskedRows<T>::k_block * simd::k_strip<T>;
  static constexpr index_t k_elements = k_strips + k_most_rows * simd::k_strip<T>;

  T* elements;

  template <class Memory>
  MaskedScratch(Memory& memory, int threads)
      : elements(memory.template take<T>(threads * k_elements)) {}
  [[nodiscard]] T* strips(int thread) const noexcept { return elements + thread * k_elements; }
  [[nodiscard]] T* sums(int thread) const noexcept { return strips(thread) + k_strips; }
};

/// Into how many parts rows are cut. Rows have sums of their own, so that this may depend on the
/// number of threads.
template <class T>
index_t masked_row_parts(index_t rows, index_t strips, int threads) noexcept {
  constexpr index_t k_fewest_rows = 32;
  return std::max(blocks_of(rows, MaskedScratch<T>::k_most_rows),
                  parts_for_threads(strips, rows, k_fewest_rows, threads));
}

/// One strip of the results of some rows.
template <class T, class Right, class Result>
void multiply_masked_strip(const MaskedRows<T>& left, const Right& right, const Result& result,
                           IndexRange rows, index_t first_col, T* strips, T* sums) noexcept {
  constexpr index_t k_strip = simd::k_strip<T>;
  const index_t cols = std::min(k_strip, right.cols() - first_col);
  const bool writes_strips = cols == k_strip && result.strip(rows.first, first_col) != nullptr;
  for (index_t b = 0; b < left.blocks(); ++b) {
    const index_t first = b * MaskedRows<T>::k_block;
    const index_t terms = left.block_cols(b);
    // Zero times what is not finite is no zero.
    bool finite = true;
    if (terms > 0) {
      right.load(first, terms, first_col, cols, strips);
      finite = simd::all_finite(strips, terms * k_strip);
    }
    const bool last = b + 1 == left.blocks();
    Ahead ahead;
    if (!last) {
      ahead.right = right.ahead(first + terms, left.block_cols(b + 1), first_col, cols);
      ahead.plan(rows.size());
    }
    for (index_t i = rows.first; i < rows.last; ++i) {
      ahead.bring();
      T* sum = sums + (i - rows.first) * k_strip;
      const std::uint64_t mask =
          finite ? left.mask(b, i) : ~std::uint64_t{0} >> (MaskedRows<T>::k_block - terms);
      simd::masked_sums(left.values(b, i), mask, strips, b == 0 ? nullptr : sum,
                        last && writes_strips ? result.strip(i, first_col) : sum);
    }
  }
  if (!writes_strips) {
    result.store(rows.first, first_col, MatrixView<const T>(sums, rows.size(), cols, k_strip));
  }
}

/// The product, whatever the right factor and the result are.
template <class T, class Right, class Result>
void multiply_masked(const MaskedRows<T>& left, const Right& right, const Result& result,
                     const MaskedScratch<T>& scratch, int threads) {
  const index_t strips = blocks_of(right.cols(), simd::k_strip<T>);
  if (strips == 0 || left.rows() == 0) return;
  const index_t parts = masked_row_parts<T>(left.rows(), strips, threads);
  parallel_for(strips * parts, threads, [&](index_t task, int thread) {
    multiply_masked_strip(left, right, result, partition(left.rows(), parts, task % parts),
                          task / parts * simd::k_strip<T>, scratch.strips(thread),
                          scratch.sums(thread));
  });
}

template <class T>
struct MaskedGemmScratch {
  MaskedRows<T> left;
  MaskedScratch<T> scratch;

  template <class Memory>
  MaskedGemmScratch(Memory& memory, index_t rows, index_t depth, int threads)
      : left(memory, rows, depth), scratch(memory, threads) {}
};

}  // namespace detail

/// Whether a left factor of that shape is small enough to be copied. Thread-safety: reentrant.
template <class T>
bool fits_masked_rows(index_t rows, index_t cols) noexcept {
  constexpr index_t k_most_elements = index_t{1} << 22;
  if (cols > k_most_elements) return false;
  const index_t filled_up = round_up(std::max<index_t>(cols, 1), MaskedRows<T>::k_block);
  return rows <= k_most_elements / filled_up;
}
/// Whether a product of that shape is ever computed over non-zeros alone: where its left factor
/// fits, and the product is large enough to gain from it on two threads. Thread-safety: reentrant.
template <class T>
bool may_leave_out_zeros(index_t rows, index_t depth, index_t cols) noexcept {
  constexpr index_t k_fewest_rows = 16;
  constexpr index_t k_fewest_strips = 2;
  constexpr index_t k_least_work = index_t{1} << 24;
  if (rows < k_fewest_rows || cols < simd::k_strip<T>) return false;
  if (!fits_masked_rows<T>(rows, depth) || rows * depth < k_least_work / cols) return false;
  return cols / simd::k_strip<T> * (rows / k_fewest_rows) >= k_fewest_strips;
}
/// Whether a product leaves out the zeros of this left factor: the shape allows it, and a sample
/// finds few non-zeros. Measured on shapes of 16 to 512 rows: with a density of 0.5 seven tenths of
/// the dense product's time, with 0.75 all of it. Cost: that of the sample. Thread-safety:
/// reentrant.
template <class T>
bool leaves_out_zeros(const GemmFactor<T>& left, index_t cols) noexcept {
  constexpr double k_most_density = 0.65;
  return may_leave_out_zeros<T>(left.rows(), left.cols(), cols) &&
         sampled_non_zeros(left.matrix) <= k_most_density;
}

/// Bytes of scratch that masked_gemm takes: a copy of the left factor and, per thread, some strips.
template <class T>
std::size_t masked_gemm_workspace_bytes(index_t rows, index_t depth, int threads) {
  return scratch_bytes<detail::MaskedGemmScratch<T>>(rows, depth, threads);
}

/// Multiplies over the non-zeros of the left factor.
///
/// Math: result = left right or result += left right; zeros are left out but where they meet
/// something that is not finite. Shapes: left n x k, right k x m, result n x m. Returns the share
/// of the left factor that is not zero. Requires: matching shapes, result overlaps no factor,
/// scratch reserved. Cost: about 0.1 + 1.2 times that share of the dense product, more where the
/// result is large beside the right factor. Sums: of 64 terms in order, added up in order; the bits
/// depend neither on threads nor on the other rows. Thread-safety: as Context. Source: this
/// library.
template <class T>
double masked_gemm(const GemmFactor<T>& left, const GemmFactor<T>& right, Update update,
                   const GemmResult<T>& result, Context& context) {
  const Workspace::Frame frame(context.workspace());
  const detail::MaskedGemmScratch<T> scratch(context.workspace(), left.rows(), left.cols(),
                                             context.threads());
  scratch.left.load(left, context.threads());
  detail::multiply_masked(scratch.left, detail::FactorStrips<T>{right},
                          detail::ResultStrips<T>{result, update}, scratch.scratch,
                          context.threads());
  const index_t elements = left.rows() * left.cols();
  return elements == 0
             ? 1
             : static_cast<double>(scratch.left.non_zeros()) / static_cast<double>(elements);
}

ADR_NAMESPACE_END
