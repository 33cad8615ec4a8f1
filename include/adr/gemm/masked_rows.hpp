// A factor of a product with many zeros: its elements in blocks of columns, and which of them are
// not zero.
#pragma once

#include <algorithm>
#include <cstdint>

#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/non_zeros.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN

/// The rows of a factor, 64 columns at a time: those of a block lie one behind the other, so that a
/// pass over all rows reads a run of memory. NaN is not zero.
///
/// Memory: that of the factor, with columns filled up to whole blocks, and a bit per element, taken
/// from `memory`.
/// Thread-safety: different rows of a block may be written by different threads.
template <class T>
class MaskedRows {
 public:
  static constexpr index_t k_block = simd::k_mask_bits;

  /// Takes memory; the elements are anything.
  template <class Memory>
  MaskedRows(Memory& memory, index_t rows, index_t cols)
      : rows_(rows),
        cols_(cols),
        blocks_(std::max<index_t>(blocks_of(cols, k_block), 1)),
        values_(memory.template take<T>(checked_product("masked rows", blocks_, rows, k_block))),
        masks_(memory.template take<std::uint64_t>(blocks_ * rows)) {}

  /// Rows of the factor.
  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  /// Blocks of columns, at least one.
  [[nodiscard]] index_t blocks() const noexcept { return blocks_; }
  /// Columns of a block, before it is filled up.
  [[nodiscard]] index_t block_cols(index_t block) const noexcept {
    return std::min(k_block, cols_ - block * k_block);
  }

  /// The elements of a row of a block, k_block of them.
  [[nodiscard]] T* values(index_t block, index_t row) const noexcept {
    return values_ + (block * rows_ + row) * k_block;
  }
  /// Bit k is set where element k is not zero.
  [[nodiscard]] std::uint64_t mask(index_t block, index_t row) const noexcept {
    return masks_[block * rows_ + row];
  }
  /// Says so.
  void set_mask(index_t block, index_t row, std::uint64_t mask) const noexcept {
    masks_[block * rows_ + row] = mask;
  }

  /// Copies a factor of that size. Cost: one pass.
  void load(const GemmFactor<T>& from, int threads) const {
    constexpr index_t k_rows = 128;
    const index_t parts = std::max<index_t>(blocks_of(rows_, k_rows), 1);
    parallel_for(blocks_ * parts, threads, [&](index_t task, int /*thread*/) {
      const IndexRange range = partition(rows_, parts, task % parts);
      load_block(from, task / parts, range);
    });
  }

  /// How many elements are not zero.
  [[nodiscard]] index_t non_zeros() const noexcept {
    index_t count = 0;
    for (index_t i = 0; i < blocks_ * rows_; ++i) count += __builtin_popcountll(masks_[i]);
    return count;
  }

 private:
  void load_block(const GemmFactor<T>& from, index_t block, IndexRange range) const noexcept {
    const index_t cols = block_cols(block);
    const MatrixView<const T>& m = from.matrix;
    if (from.transposed && cols > 0) {
      simd::transpose(m.row(block * k_block) + range.first, m.row_stride, cols, range.size(),
                      values(block, range.first), k_block);
    }
    for (index_t i = range.first; i < range.last; ++i) {
      T* row = values(block, i);
      if (!from.transposed) std::copy_n(m.row(i) + block * k_block, cols, row);
      std::fill_n(row + cols, k_block - cols, T(0));
      set_mask(block, i, simd::non_zero_mask(row, k_block));
    }
  }

  index_t rows_;
  index_t cols_;
  index_t blocks_;
  T* values_;
  std::uint64_t* masks_;
};

/// An estimate of the share of elements that are not zero, from the same places of any matrix of
/// that shape. Cost: reading at most 16 runs of 4096. Thread-safety: reentrant.
template <class T>
double sampled_non_zeros(const MatrixView<const T>& matrix) noexcept {
  constexpr index_t k_rows = 16;
  constexpr index_t k_run = 4096;
  const index_t rows = std::min(k_rows, matrix.rows);
  const index_t run = std::min(k_run, matrix.cols);
  if (rows == 0 || run == 0) return 0;
  index_t found = 0;
  for (index_t i = 0; i < rows; ++i) {
    // Runs begin at different columns, since whole columns may be zero.
    const index_t first = (matrix.cols - run) * i / rows;
    found += simd::count_non_zeros(matrix.row(matrix.rows * i / rows) + first, run);
  }
  return static_cast<double>(found) / static_cast<double>(rows * run);
}

ADR_NAMESPACE_END
