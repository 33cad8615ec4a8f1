// Packing for the micro-kernel: right factors become panels, transposed left factors groups of
// columns, and blocks of both are multiplied into results of any width.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Columns of a panel.
template <class T>
inline constexpr index_t k_panel_width = simd::KernelShape<simd::Batch<T>>::width;

/// Most rows of a left block: with k_most_depth columns of floats 96 KB, which stay in the second
/// cache while panels pass through the first.
inline constexpr index_t k_block_rows = 96;
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
  const index_t blocks = (depth + most - 1) / most;
  const index_t even = (depth + blocks - 1) / blocks;
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
  const index_t whole = cols / Width;
  for (index_t first = 0; first < whole; first += k_together) {
    const index_t last = std::min(whole, first + k_together);
    for (index_t k = 0; k < depth; ++k) {
      const T* row = from + k * stride;
      for (index_t p = first; p < last; ++p) {
        copy_width<Width>(row + p * Width, to + p * to_stride + k * Width);
      }
    }
  }
  if (const index_t rest = cols - whole * Width; rest > 0) {
    T* panel = to + whole * to_stride;
    for (index_t k = 0; k < depth; ++k) {
      const T* row = from + k * stride + whole * Width;
      for (index_t j = 0; j < rest; ++j) panel[k * Width + j] = row[j];
      for (index_t j = rest; j < Width; ++j) panel[k * Width + j] = T(0);
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

/// Rows of a left factor as the micro-kernel reads them: in place, or packed in groups of 16 rows,
/// [group][k][16], as they come from a transposed matrix.
template <class T>
struct LeftRows {
  const T* data;
  index_t stride;  ///< from row to row, or from group to group
  bool grouped = false;

  [[nodiscard]] LeftRows from(index_t row) const noexcept {
    return {data + (grouped ? row / simd::k_chunk : row) * stride, stride, grouped};
  }
};

template <class T>
void multiply_by_panel(const LeftRows<T>& left, index_t rows, const T* panel, index_t depth,
                       T* result, index_t result_stride, simd::Sums sums) noexcept {
  if (!left.grouped) {
    simd::multiply_matrix_rows(left.data, left.stride, rows, panel, depth, result, result_stride,
                               sums);
    return;
  }
  for (index_t row = 0; row < rows; row += simd::k_chunk) {
    simd::multiply_chunk_columns(left.from(row).data, std::min(simd::k_chunk, rows - row), panel,
                                 depth, result + row * result_stride, result_stride, sums);
  }
}

/// How a block of results is written.
enum class Orientation { as_is, transposed };

/// Results that are no whole panel wide, or that lie transposed, pass through here.
template <class T>
struct alignas(64) ResultTile {
  T element[k_block_rows * k_panel_width<T>];
};

/// result = or += left panels, for at most k_block_rows rows and any number of columns; element
/// (i, j) lies at result[i * result_stride + j], or at [j * result_stride + i] if transposed.
/// Sums::continue_ is not for narrow or transposed results.
template <Orientation To, class T>
void multiply_by_panels(const LeftRows<T>& left, index_t rows, const T* panels,
                        index_t panels_stride, index_t depth, index_t cols, T* result,
                        index_t result_stride, simd::Sums sums) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  for (index_t first = 0; first < cols; first += k_width, panels += panels_stride) {
    const index_t count = std::min(k_width, cols - first);
    if (To == Orientation::as_is && count == k_width) {
      multiply_by_panel(left, rows, panels, depth, result + first, result_stride, sums);
      continue;
    }
    ResultTile<T> tile;
    multiply_by_panel(left, rows, panels, depth, tile.element, k_width, simd::Sums::start);
    if constexpr (To == Orientation::transposed) {
      T* to = result + first * result_stride;
      if (sums == simd::Sums::start) {
        simd::transpose(tile.element, k_width, rows, count, to, result_stride);
      } else {
        simd::transpose_add(tile.element, k_width, rows, count, to, result_stride);
      }
    } else {
      for (index_t i = 0; i < rows; ++i) {
        const T* from = tile.element + i * k_width;
        T* to = result + i * result_stride + first;
        if (sums == simd::Sums::start) {
          for (index_t j = 0; j < count; ++j) to[j] = from[j];
        } else {
          for (index_t j = 0; j < count; ++j) to[j] += from[j];
        }
      }
    }
  }
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
