// Packing for the micro-kernel: right factors become panels, transposed left factors groups of
// columns, and blocks of both are multiplied into results of any width.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Columns of a panel.
template <class T>
inline constexpr index_t k_panel_width = simd::KernelShape<simd::Batch<T>>::width;

/// Most rows of a left block: with k_most_depth columns of floats 96 KB, which stay in the second
/// cache while panels pass through the first.
inline constexpr index_t k_most_left_rows = 96;
/// Most terms of a sum before it is added to the result: a panel of 16 KB with AVX2 leaves room for
/// rows of the left block in a first cache of 32 KB.
inline constexpr index_t k_most_depth = 256;

template <class T>
index_t panel_count(index_t cols) noexcept {
  return (cols + k_panel_width<T> - 1) / k_panel_width<T>;
}
/// Columns of whole panels.
template <class T>
index_t panel_cols(index_t cols) noexcept {
  return panel_count<T>(cols) * k_panel_width<T>;
}

/// Cuts a common dimension into nearly equal blocks, whole chunks each but the last.
inline index_t depth_block(index_t depth, index_t most = k_most_depth) noexcept {
  if (depth <= most) return std::max<index_t>(depth, 1);
  const index_t blocks = blocks_of(depth, most);
  const index_t even = blocks_of(depth, blocks);
  return (even + simd::k_chunk - 1) / simd::k_chunk * simd::k_chunk;
}

/// Copies Width elements that the compiler knows the number of.
template <index_t Width, class T, std::size_t... V>
[[gnu::always_inline]] inline void copy_registers(
    const T* from, T* to, std::index_sequence<V...> /*registers*/) noexcept {
  using B = simd::Batch<T>;
  (B::load(from + static_cast<index_t>(V) * B::size).store(to + static_cast<index_t>(V) * B::size),
   ...);
}
template <index_t Width, class T>
[[gnu::always_inline]] inline void copy_width(const T* from, T* to) noexcept {
  static_assert(Width % simd::Batch<T>::size == 0);
  copy_registers<Width>(
      from, to, std::make_index_sequence<static_cast<std::size_t>(Width / simd::Batch<T>::size)>());
}

/// Elements from panel to panel or from group to group. One line more than they need, because
/// panels a power of two apart would drive each other out of the caches while they are packed side
/// by side.
inline index_t panel_stride(index_t depth, index_t width) noexcept { return (depth + 1) * width; }

/// Panels of a right factor whose rows lie along its columns: to[p][k][j] = from[k * stride +
/// p Width + j], with zeros behind the last column; panels are to_stride apart.
template <index_t Width, class T>
void pack_rows(const T* from, index_t stride, index_t depth, index_t cols, T* to,
               index_t to_stride) noexcept {
  // A few panels at once, so that the source is read by whole lines and pages.
  constexpr index_t k_together = 8;
  constexpr index_t k_rows_ahead = 8;
  const index_t whole = cols / Width;
  for (index_t first = 0; first < whole; first += k_together) {
    const index_t last = std::min(whole, first + k_together);
    for (index_t k = 0; k < depth; ++k) {
      const T* row = from + k * stride + first * Width;
      T* place = to + first * to_stride + k * Width;
      const T* later = from + std::min(k + k_rows_ahead, depth - 1) * stride + first * Width;
      for (index_t p = first; p < last; ++p, row += Width, later += Width, place += to_stride) {
        __builtin_prefetch(later);
        copy_width<Width>(row, place);
      }
    }
  }
  if (const index_t rest = cols - whole * Width; rest > 0) {
    T* panel = to + whole * to_stride;
    for (index_t k = 0; k < depth; ++k) {
      std::fill_n(panel + k * Width, Width, T(0));
      simd::copy(from + k * stride + whole * Width, panel + k * Width, rest);
    }
  }
}

/// The same of a factor that is stored transposed: to[p][k][j] = from[(p Width + j) * stride + k].
template <index_t Width, class T>
void pack_columns(const T* from, index_t stride, index_t depth, index_t cols, T* to,
                  index_t to_stride) noexcept {
  for (index_t first = 0; first < cols; first += Width, to += to_stride) {
    const index_t count = std::min(Width, cols - first);
    simd::transpose(from + first * stride, stride, count, depth, to, Width);
    if (count == Width) continue;
    for (index_t k = 0; k < depth; ++k) {
      for (index_t j = count; j < Width; ++j) to[k * Width + j] = T(0);
    }
  }
}

/// Packs a whole right factor, one panel after the other.
template <class T>
void pack_right(const GemmFactor<T>& right, T* to) noexcept {
  const index_t depth = right.rows();
  const index_t stride = panel_stride(depth, k_panel_width<T>);
  const MatrixView<const T>& m = right.matrix;
  if (right.transposed) {
    pack_columns<k_panel_width<T>>(m.data, m.row_stride, depth, m.rows, to, stride);
  } else {
    pack_rows<k_panel_width<T>>(m.data, m.row_stride, depth, m.cols, to, stride);
  }
}

/// How the micro-kernel reads rows of a left factor.
enum class LeftForm {
  rows,     ///< in place, along the common dimension
  columns,  ///< in place, transposed
  groups,   ///< packed from a transposed matrix in groups of 16 rows, [group][k][16]
};

template <class T>
struct LeftRows {
  const T* data;
  index_t stride;  ///< from row to row, from k to k, or from group to group
  LeftForm form = LeftForm::rows;

  /// Requires: a multiple of 16 for groups.
  [[nodiscard]] LeftRows from(index_t row) const noexcept {
    const index_t step = form == LeftForm::rows      ? row * stride
                         : form == LeftForm::columns ? row
                                                     : row / simd::k_chunk * stride;
    return {data + step, stride, form};
  }
};

/// first_row: what the sums of Sums::start begin with, if anything; with LeftForm::rows.
template <class T>
void multiply_by_panel(const LeftRows<T>& left, index_t rows, const T* panel, index_t depth,
                       T* result, index_t result_stride, simd::Sums sums,
                       const T* first_row = nullptr) noexcept {
  if (left.form == LeftForm::rows) {
    simd::multiply_matrix_rows(left.data, left.stride, rows, panel, depth, result, result_stride,
                               sums, first_row);
  } else if (left.form == LeftForm::columns) {
    simd::multiply_matrix_columns(left.data, left.stride, rows, panel, depth, result, result_stride,
                                  sums);
  } else {
    for (index_t row = 0; row < rows; row += simd::k_chunk) {
      simd::multiply_chunk_columns(left.from(row).data, std::min(simd::k_chunk, rows - row), panel,
                                   depth, result + row * result_stride, result_stride, sums);
    }
  }
}

/// Whether a transposed left factor is better read in place: few panels pass over it, and its rows
/// are not a distance apart at which they would share the places of the first cache.
template <class T>
bool reads_columns_in_place(index_t stride, index_t cols) noexcept {
  constexpr index_t k_few_panels = 8;
  constexpr index_t k_shared = 2048 / static_cast<index_t>(sizeof(T));
  return panel_count<T>(cols) <= k_few_panels && stride % k_shared != 0;
}

/// A block of memory that is needed soon, brought near line by line while other work goes on: rows
/// that the micro-kernel reads six at a time, or results that it writes in strips, look like no
/// stream to the hardware.
template <bool ForWriting>
struct LinesAhead {
  static constexpr index_t k_line = 64;
  const char* at = nullptr;  ///< a row
  index_t row_bytes = 0;
  index_t row_step = 0;  ///< bytes
  index_t rows = 0;
  index_t offset = 0;  ///< in the row

  LinesAhead() = default;
  template <class T>
  LinesAhead(const T* from, index_t stride, index_t row_count, index_t cols) noexcept
      : at(reinterpret_cast<const char*>(from)),
        row_bytes(cols * static_cast<index_t>(sizeof(T))),
        row_step(stride * static_cast<index_t>(sizeof(T))),
        rows(row_count) {
    // Rows without gaps are one row.
    if (row_bytes == row_step && rows > 0) {
      row_bytes *= rows;
      rows = 1;
    }
  }
  [[nodiscard]] index_t lines() const noexcept { return rows * blocks_of(row_bytes, k_line); }
  void bring(index_t count) noexcept {
    while (count > 0 && rows > 0) {
      const char* line = at + offset;
      const index_t run = std::min(count, blocks_of(row_bytes - offset, k_line));
      for (index_t i = 0; i < run; ++i, line += k_line) {
        __builtin_prefetch(line, ForWriting ? 1 : 0, 2);
      }
      count -= run;
      offset += run * k_line;
      if (offset < row_bytes) continue;
      offset = 0;
      at += row_step;
      --rows;
    }
  }
};

/// What the next block of a product reads and writes, brought near in equal steps.
struct Ahead {
  LinesAhead<false> left = {};
  LinesAhead<false> right = {};
  LinesAhead<true> result = {};
  index_t left_step = 0;
  index_t right_step = 0;
  index_t result_step = 0;

  void plan(index_t steps) noexcept {
    left_step = (left.lines() + steps - 1) / steps;
    right_step = (right.lines() + steps - 1) / steps;
    result_step = (result.lines() + steps - 1) / steps;
  }
  void bring() noexcept {
    left.bring(left_step);
    right.bring(right_step);
    result.bring(result_step);
  }
};

/// Steps in which the rows of a block are multiplied: two calls of the micro-kernel each, cut as
/// evenly as the micro-kernel cuts its rows, or 16 rows of a group.
template <class T>
index_t step_count(LeftForm form, index_t rows) noexcept {
  constexpr index_t k_most = simd::KernelShape<simd::Batch<T>>::most_rows;
  if (form == LeftForm::groups) return (rows + simd::k_chunk - 1) / simd::k_chunk;
  return blocks_of(blocks_of(rows, k_most), 2);
}
template <class T>
IndexRange step_rows(LeftForm form, index_t rows, index_t step) noexcept {
  constexpr index_t k_most = simd::KernelShape<simd::Batch<T>>::most_rows;
  if (form == LeftForm::groups) {
    return {step * simd::k_chunk, std::min(rows, (step + 1) * simd::k_chunk)};
  }
  const index_t calls = blocks_of(rows, k_most);
  return {partition(rows, calls, 2 * step).first,
          partition(rows, calls, std::min(2 * step + 1, calls - 1)).last};
}

/// Results that are no whole panel wide pass through here.
template <class T>
struct alignas(64) ResultTile {
  T element[k_most_left_rows * k_panel_width<T>];
};

/// result = or += left panels, for at most k_most_left_rows rows and any number of columns.
/// Sums::continue_ is not for results that are no whole panels wide. first_row: panel_cols(cols)
/// elements that the sums of Sums::start begin with, if anything. Calls done(first_row, rows,
/// first_col, cols) for every part that is written.
template <class T, class Done>
void multiply_by_panels(const LeftRows<T>& left, index_t rows, const T* panels,
                        index_t panels_stride, index_t depth, index_t cols, T* result,
                        index_t result_stride, simd::Sums sums, const T* first_row, Ahead& ahead,
                        const Done& done) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  const index_t steps = step_count<T>(left.form, rows);
  for (index_t j = 0; j < cols; j += k_width, panels += panels_stride) {
    const index_t col_count = std::min(k_width, cols - j);
    const T* start = first_row != nullptr ? first_row + j : nullptr;
    for (index_t step = 0; step < steps; ++step) {
      const IndexRange part = step_rows<T>(left.form, rows, step);
      const index_t i = part.first;
      const index_t row_count = part.size();
      ahead.bring();
      T* to = result + i * result_stride + j;
      if (col_count == k_width) {
        multiply_by_panel(left.from(i), row_count, panels, depth, to, result_stride, sums, start);
      } else {
        ResultTile<T> tile;
        multiply_by_panel(left.from(i), row_count, panels, depth, tile.element, k_width,
                          simd::Sums::start, start);
        for (index_t r = 0; r < row_count; ++r, to += result_stride) {
          const T* from = tile.element + r * k_width;
          if (sums == simd::Sums::start) {
            simd::copy(from, to, col_count);
          } else {
            simd::add(from, to, col_count);
          }
        }
      }
      done(i, row_count, j, col_count);
    }
  }
}
template <class T>
void multiply_by_panels(const LeftRows<T>& left, index_t rows, const T* panels,
                        index_t panels_stride, index_t depth, index_t cols, T* result,
                        index_t result_stride, simd::Sums sums, Ahead ahead = {}) noexcept {
  multiply_by_panels(left, rows, panels, panels_stride, depth, cols, result, result_stride, sums,
                     static_cast<const T*>(nullptr), ahead,
                     [](index_t, index_t, index_t, index_t) {});
}

/// Memory of the calling thread for factors that a product packs; it grows to the largest block and
/// stays, so that the steady state allocates nothing.
template <class T>
T* packing_memory(index_t count) {
  thread_local AlignedBuffer<T> memory;
  if (memory.size() < count) {
    memory.clear();
    memory.resize(count);
  }
  return memory.data();
}

}  // namespace detail
ADR_NAMESPACE_END
