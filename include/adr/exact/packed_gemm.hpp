// Matrix products through the micro-kernel: any orientation, any size, one thread.
//
// The right factor of the micro-kernel is packed, its left one read where it lies unless it is
// transposed. Which factor of the product becomes which, and whether anything is packed at all,
// follows from shapes alone.
#pragma once

#include <algorithm>

#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/few_rows.hpp"
#include "adr/exact/panels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// How a product is cut into blocks.
struct GemmBlocks {
  index_t depth;  ///< terms of a sum before it is added to the result
  index_t cols;   ///< columns of the right factor that are packed at once
  index_t rows;   ///< rows of the left factor that a panel meets one after the other

  template <class T>
  static GemmBlocks of(index_t rows, index_t depth, index_t cols, bool transposed) noexcept {
    GemmBlocks blocks{};
    // Packed columns that only one block of rows meets are used up at once. They are short and
    // wide, so that whole pages of the source are read, and leave the second cache room for what
    // is packed next.
    const bool once = rows <= k_most_left_rows;
    blocks.depth = depth_block(depth, once ? k_short_depth : k_most_depth);
    const index_t room = (once ? k_short_room : k_room) / blocks.depth;
    blocks.cols = std::min(panel_cols<T>(cols),
                           std::max<index_t>(room / k_panel_width<T>, 1) * k_panel_width<T>);
    // A large result of few terms is written row by row, not in columns of one panel; a transposed
    // left factor is packed in groups of 16 rows.
    blocks.rows = depth > k_short_depth ? k_most_left_rows
                  : transposed          ? simd::k_chunk
                                        : k_written_rows;
    return blocks;
  }

 private:
  static constexpr index_t k_short_depth = 128;
  static constexpr index_t k_written_rows = 48;
  static constexpr index_t k_short_room = index_t{1} << 15;
  static constexpr index_t k_room = index_t{1} << 16;
};

/// Rows [first, first + count) and columns [k, k + depth) of a left factor that meets `cols`
/// columns, in place or packed.
template <class T>
LeftRows<T> left_rows(const GemmFactor<T>& left, index_t first, index_t count, index_t k,
                      index_t depth, index_t cols, T* memory) noexcept {
  const MatrixView<const T>& m = left.matrix;
  if (!left.transposed) return {m.row(first) + k, m.row_stride};
  if (reads_columns_in_place<T>(m.row_stride, cols)) {
    return {m.row(k) + first, m.row_stride, LeftForm::columns};
  }
  const index_t stride = panel_stride(depth, simd::k_chunk);
  pack_rows<simd::k_chunk>(m.row(k) + first, m.row_stride, depth, count, memory, stride);
  return {memory, stride, LeftForm::groups};
}

/// The rows of a left factor that are read next, and the terms of them.
template <class T>
LinesAhead<false> left_ahead(const GemmFactor<T>& left, index_t row, index_t rows, index_t term,
                             index_t terms) noexcept {
  if (left.transposed || row >= left.rows() || term >= left.cols()) return {};
  return {left.matrix.row(row) + term, left.matrix.row_stride, std::min(rows, left.rows() - row),
          std::min(terms, left.cols() - term)};
}

/// result = or += left right with the right factor in panels.
template <class T>
void multiply_in_blocks(const GemmFactor<T>& left, const GemmFactor<T>& right, Update update,
                        const MatrixView<T>& result) {
  const index_t rows = left.rows();
  const index_t depth = left.cols();
  const index_t cols = right.cols();
  const GemmBlocks blocks = GemmBlocks::of<T>(rows, depth, cols, left.transposed);
  const index_t right_size = blocks.cols * (blocks.depth + 1);
  T* panels = packing_memory<T>(right_size + k_most_left_rows * (blocks.depth + 1));
  for (index_t j = 0; j < cols; j += blocks.cols) {
    const index_t col_count = std::min(blocks.cols, cols - j);
    for (index_t k = 0; k < depth; k += blocks.depth) {
      const index_t term_count = std::min(blocks.depth, depth - k);
      pack_right(right.block(k, j, term_count, col_count), panels);
      const simd::Sums sums =
          k == 0 && update == Update::replace ? simd::Sums::start : simd::Sums::add;
      for (index_t i = 0; i < rows; i += blocks.rows) {
        const index_t row_count = std::min(blocks.rows, rows - i);
        const LeftRows<T> x =
            left_rows(left, i, row_count, k, term_count, cols, panels + right_size);
        Ahead ahead;
        const bool last = i + row_count == rows;
        ahead.left = left_ahead(left, last ? 0 : i + row_count, blocks.rows,
                                last ? k + term_count : k, blocks.depth);
        if (rows <= k_most_left_rows && last && !right.transposed) {
          // What is packed next, below or beside.
          const bool below = k + term_count < depth;
          const index_t col = below ? j : j + col_count;
          if (col < cols) {
            const index_t term = below ? k + term_count : 0;
            ahead.right = LinesAhead<false>(right.matrix.row(term) + col, right.matrix.row_stride,
                                            std::min(blocks.depth, depth - term),
                                            std::min(blocks.cols, cols - col));
          }
        }
        ahead.plan(panel_count<T>(col_count) * step_count<T>(x.form, row_count));
        multiply_by_panels(x, row_count, panels, panel_stride(term_count, k_panel_width<T>),
                           term_count, col_count, result.row(i) + j, result.row_stride, sums,
                           ahead);
      }
    }
  }
}

/// result^T = or += left right, where the right factor is the small one: it is packed over the
/// whole depth, so that the rows of the left one pass once and results are transposed when they are
/// complete.
template <class T>
void multiply_transposed(const GemmFactor<T>& left, const GemmFactor<T>& right, Update update,
                         const MatrixView<T>& result) {
  const index_t rows = left.rows();
  const index_t depth = left.cols();
  const index_t block_depth = depth_block(depth);
  const index_t depth_blocks = blocks_of(depth, block_depth);
  constexpr index_t k_width = k_panel_width<T>;
  // 128 columns of 4096 terms: what is left over would read all rows of the left factor once more.
  constexpr index_t k_room = index_t{9} << 16;
  const index_t most_cols =
      std::clamp<index_t>(k_room / (depth + depth_blocks) / k_width, 1, 16) * k_width;
  const index_t block_cols = std::min(panel_cols<T>(right.cols()), most_cols);
  const index_t right_size = block_cols * (depth + depth_blocks);
  const index_t left_size = k_most_left_rows * (block_depth + 1);
  T* panels = packing_memory<T>(right_size + left_size + k_most_left_rows * block_cols);
  T* sums = panels + right_size + left_size;
  for (index_t j = 0; j < right.cols(); j += block_cols) {
    const index_t cols = std::min(block_cols, right.cols() - j);
    const index_t sum_stride = panel_cols<T>(cols);
    const auto packed = [&](index_t k) {
      return panels + k / block_depth * (block_depth + 1) * sum_stride;
    };
    for (index_t k = 0; k < depth; k += block_depth) {
      pack_right(right.block(k, j, std::min(block_depth, depth - k), cols), packed(k));
    }
    for (index_t i = 0; i < rows; i += k_most_left_rows) {
      const index_t row_count = std::min(k_most_left_rows, rows - i);
      for (index_t k = 0; k < depth; k += block_depth) {
        const index_t terms = std::min(block_depth, depth - k);
        const LeftRows<T> x = left_rows(left, i, row_count, k, terms, cols, panels + right_size);
        Ahead ahead;
        const bool last = k + terms == depth;
        ahead.left = left_ahead(left, last ? i + row_count : i, k_most_left_rows,
                                last ? 0 : k + terms, block_depth);
        ahead.plan(panel_count<T>(cols) * step_count<T>(x.form, row_count));
        multiply_by_panels(x, row_count, packed(k), panel_stride(terms, k_width), terms, sum_stride,
                           sums, sum_stride, k == 0 ? simd::Sums::start : simd::Sums::add, ahead);
      }
      T* to = result.row(j) + i;
      if (update == Update::replace) {
        simd::transpose(sums, sum_stride, row_count, cols, to, result.row_stride);
      } else {
        simd::transpose_add(sums, sum_stride, row_count, cols, to, result.row_stride);
      }
    }
  }
}

/// What a product costs, in multiply-adds, with the right factor in panels.
template <class T>
double packed_cost(const GemmFactor<T>& left, const GemmFactor<T>& right) noexcept {
  // A packed element costs as much as this many multiply-adds, by copies or by transposes.
  constexpr double k_copied = 4;
  constexpr double k_transposed = 8;
  const auto rows = static_cast<double>(left.rows());
  const auto depth = static_cast<double>(left.cols());
  const auto cols = static_cast<double>(right.cols());
  return depth * (rows * static_cast<double>(panel_cols<T>(right.cols())) +
                  (left.transposed ? k_copied * rows : 0.0) +
                  (right.transposed ? k_transposed : k_copied) * cols);
}

/// Rows of a left factor for which nothing is packed: a panel would be half empty, or be read by
/// too few rows.
template <class T>
inline constexpr index_t k_most_dotted_rows = k_panel_width<T> / 2;
inline constexpr index_t k_most_streamed_rows = 4;

/// result^T = or += (right^T left^T) for few rows of left whose partner lies along the common
/// dimension; result(i, j) lies at result[i * row_step + j * col_step].
template <class T>
void multiply_few_dotted(const GemmFactor<T>& left, const MatrixView<const T>& right, Update update,
                         T* result, index_t row_step, index_t col_step) {
  MatrixView<const T> rows = left.matrix;
  if (left.transposed) {
    T* memory = packing_memory<T>(left.rows() * left.cols());
    simd::transpose(rows.data, rows.row_stride, rows.rows, rows.cols, memory, rows.rows);
    rows = MatrixView<const T>(memory, rows.cols, rows.rows);
  }
  multiply_by_dots(rows, right,
                   DotResult<T>{result, row_step, col_step, update == Update::accumulate});
}

}  // namespace detail

/// Multiplies two matrices on the calling thread.
///
/// Math: result = a b or result += a b. Shapes: a n x k, b k x m, result n x m, any of them 0.
/// Requires: matching shapes; result overlaps no factor. Cost: n k m multiply-adds. Up to 4 rows,
/// and up to half a panel (8 with AVX2) where both factors lie along k, read b once and pack
/// nothing; else one factor is packed, and the other one too where it lies across k and many panels
/// pass over it. Sums: blocks of at most 256 terms (2048 with few rows) in order, added up in
/// order; the bits follow from shapes, orientations and instruction set. Memory: at most 2.6 MB of
/// floats, or one panel over the whole depth where that is more, kept per thread, so that the
/// steady state allocates nothing. Errors: std::bad_alloc. Thread-safety: reentrant. Source: the
/// loops of GotoBLAS around the micro-kernel of simd/micro_kernel.hpp.
template <class T>
void packed_gemm(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                 const MatrixView<T>& result) {
  using namespace detail;
  const index_t rows = a.rows();
  const index_t depth = a.cols();
  const index_t cols = b.cols();
  if (depth == 0 && update == Update::replace) set_zero(result);
  if (rows == 0 || cols == 0 || depth == 0) return;
  if (rows <= k_most_dotted_rows<T> && b.transposed && rows <= cols) {
    multiply_few_dotted(a, b.matrix, update, result.data, result.row_stride, 1);
  } else if (cols <= k_most_dotted_rows<T> && !a.transposed && cols < rows) {
    multiply_few_dotted(b.transpose(), a.matrix, update, result.data, 1, result.row_stride);
  } else if ((rows <= k_most_streamed_rows || depth == 1) && !b.transposed) {
    const LeftElements<T> left{a.matrix.data, a.transposed ? 1 : a.matrix.row_stride,
                               a.transposed ? a.matrix.row_stride : 1};
    if (depth == 1 && update == Update::replace) {
      multiply_outer(left, b.matrix.data, result);
    } else {
      multiply_by_streaming(left, rows, b.matrix, update == Update::accumulate, result);
    }
  } else if (packed_cost(a, b) <= packed_cost(b.transpose(), a.transpose())) {
    multiply_in_blocks(a, b, update, result);
  } else {
    multiply_transposed(b.transpose(), a.transpose(), update, result);
  }
}

ADR_NAMESPACE_END
