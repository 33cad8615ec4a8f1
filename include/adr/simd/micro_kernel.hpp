// The one kernel that multiplies blocks: a few rows of results stay in registers while the common
// dimension passes by. Tiles, unfolded windows, centroids and plain matrices all end here.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/unrolled.hpp"

#if !defined(ADR_NO_SIMD) && defined(__SSE2__)
#include <xmmintrin.h>
#endif

ADR_NAMESPACE_BEGIN
namespace simd {

/// How many results the micro-kernel keeps in registers.
///
/// Registers is the width of a panel; most_rows is what the register file holds beside it: 32
/// registers with AVX-512 and on 64-bit Arm, 16 elsewhere. One lane is for tests and for targets
/// that have no registers.
template <class B>
struct KernelShape {
#if defined(__AVX512F__)
  static constexpr int registers = B::size == 1 ? 4 : 2;
  static constexpr int most_rows = B::size == 1 ? 2 : 14;
#elif defined(__aarch64__)
  static constexpr int registers = 4;
  static constexpr int most_rows = B::size == 1 ? 2 : 6;
#else
  static constexpr int registers = B::size == 1 ? 4 : 2;
  static constexpr int most_rows = B::size == 1 ? 2 : 6;
#endif
  /// Columns of a panel.
  static constexpr index_t width = registers * B::size;
};

/// The left factor of panels is cut along the common dimension into chunks of this many elements,
/// one cache line of floats.
inline constexpr index_t k_chunk = 16;

/// What becomes of the results that are there already.
enum class Sums {
  start,           ///< they are replaced
  start_streamed,  ///< they are replaced past the caches; they begin registers
  continue_,       ///< the sum goes on from them, with the bits of one uninterrupted sum
  add,             ///< a sum of its own is added to them: less rounding over many blocks
};

/// Where the micro-kernel finds element (row, k) of its left factor: at
/// (row * row_stride + k % chunk * depth_stride) + k / chunk * chunk_stride; and how far the rows
/// of a right factor that is no panel lie apart.
struct LeftLayout {
  index_t row_stride;
  index_t depth_stride;
  index_t chunk_stride;
  index_t chunk = k_chunk;
  index_t right_stride = 0;
};

namespace detail {

/// Strides that the compiler knows cost no registers; 0 stands for one of run time.
template <index_t RowStride, index_t DepthStride, index_t Chunk = k_chunk, bool InPanels = true>
struct LeftStrides {};
using ChunkRows = LeftStrides<k_chunk, 1>;     ///< [k / 16][row][16]
using ChunkColumns = LeftStrides<1, k_chunk>;  ///< [k][16 rows]
using AnyRows = LeftStrides<0, 1>;             ///< a row-major matrix
using AnyColumns = LeftStrides<1, 0>;          ///< the transpose of one
using Windows = LeftStrides<0, 1, 0>;          ///< rows that are made of runs
/// The transpose of a row-major matrix, times a row-major one.
using AnyColumnsUnpacked = LeftStrides<1, 0, k_chunk, false>;

template <class B, int Registers>
struct RowSums {
  std::array<B, Registers> value;
};

template <class T, class B, std::size_t... V>
[[gnu::always_inline]] inline void load_row(const T* from, RowSums<B, sizeof...(V)>& row,
                                            std::index_sequence<V...> /*registers*/) noexcept {
  ((row.value[V] = B::load(from + static_cast<index_t>(V) * B::size)), ...);
}
template <class T, class B, std::size_t... V>
[[gnu::always_inline]] inline void store_row(const RowSums<B, sizeof...(V)>& row, T* to,
                                             std::index_sequence<V...> /*registers*/) noexcept {
  (row.value[V].store(to + static_cast<index_t>(V) * B::size), ...);
}
template <class T, class B, std::size_t... V>
[[gnu::always_inline]] inline void stream_row(const RowSums<B, sizeof...(V)>& row, T* to,
                                              std::index_sequence<V...> /*registers*/) noexcept {
  (row.value[V].stream(to + static_cast<index_t>(V) * B::size), ...);
}
template <class B, std::size_t... V>
[[gnu::always_inline]] inline void multiply_row(B left, const RowSums<B, sizeof...(V)>& right,
                                                RowSums<B, sizeof...(V)>& sums,
                                                std::index_sequence<V...> /*registers*/) noexcept {
  ((sums.value[V] = multiply_add(left, right.value[V], sums.value[V])), ...);
}
template <class B, std::size_t... V>
[[gnu::always_inline]] inline void add_row(const RowSums<B, sizeof...(V)>& more,
                                           RowSums<B, sizeof...(V)>& sums,
                                           std::index_sequence<V...> /*registers*/) noexcept {
  ((sums.value[V] = sums.value[V] + more.value[V]), ...);
}

/// Rows of the panel ahead of use: with AVX-512 a panel outgrows the first cache and its stream is
/// too short for the hardware to notice (measured: a tenth of the kernel's time; nothing with
/// AVX2).
template <class T>
[[gnu::always_inline]] inline void prefetch_panel(const T* panel_row) noexcept {
#if !defined(ADR_NO_SIMD) && defined(__AVX512F__)
  constexpr index_t k_rows_ahead = 16;
  constexpr index_t k_width = KernelShape<Batch<T>>::width;
  constexpr index_t k_line = 64 / static_cast<index_t>(sizeof(T));
  for (index_t i = 0; i < k_width; i += k_line) {
    _mm_prefetch(reinterpret_cast<const char*>(panel_row + k_rows_ahead * k_width + i),
                 _MM_HINT_T0);
  }
#else
  static_cast<void>(panel_row);
#endif
}

/// A row of results, which is needed when the sums are complete.
template <class B, class T>
[[gnu::always_inline]] inline void prefetch_result(const T* row) noexcept {
  __builtin_prefetch(row, 1);
  __builtin_prefetch(row + KernelShape<B>::width - 1, 1);
}

/// sizeof...(Row) rows of results. Everything is unrolled by the language and not by the optimiser,
/// so that the sums stay in registers whatever the compiler's flags are.
template <class B, class T, index_t RowStride, index_t DepthStride, index_t Chunk, bool InPanels,
          std::size_t... Row>
void multiply_block(LeftStrides<RowStride, DepthStride, Chunk, InPanels> /*known*/, const T* left,
                    const LeftLayout& layout, const T* panel, index_t depth, T* result,
                    index_t result_stride, Sums sums_mode, const T* first_row,
                    const T* first_column, std::index_sequence<Row...> /*rows*/) noexcept {
  constexpr int k_registers = KernelShape<B>::registers;
  constexpr index_t k_width = KernelShape<B>::width;
  constexpr auto registers = std::make_index_sequence<k_registers>();
  using Sums_ = RowSums<B, k_registers>;
  const index_t row_stride = RowStride != 0 ? RowStride : layout.row_stride;
  const index_t depth_stride = DepthStride != 0 ? DepthStride : layout.depth_stride;
  const index_t chunk = Chunk != 0 ? Chunk : layout.chunk;
  const index_t right_stride = InPanels ? k_width : layout.right_stride;
  if (sums_mode != Sums::start_streamed) {
    (prefetch_result<B>(result + static_cast<index_t>(Row) * result_stride), ...);
  }
  std::array<Sums_, sizeof...(Row)> sums;
  if (sums_mode == Sums::continue_) {
    (load_row<T, B>(result + static_cast<index_t>(Row) * result_stride, sums[Row], registers), ...);
  } else if (first_row != nullptr) {
    load_row<T, B>(first_row, sums[0], registers);
    ((sums[Row] = sums[0]), ...);
  } else if (first_column != nullptr) {
    (fill_registers(sums[Row].value, B::broadcast(first_column[Row])), ...);
  } else {
    const B zero = B::broadcast(T(0));
    (fill_registers(sums[Row].value, zero), ...);
  }
  for (index_t first = 0; first < depth; first += chunk, left += layout.chunk_stride) {
    const index_t count = std::min(chunk, depth - first);
    for (index_t k = 0; k < count; ++k, panel += right_stride) {
      Sums_ right;
      load_row<T, B>(panel, right, registers);
      if (InPanels) prefetch_panel(panel);
      const T* column = left + k * depth_stride;
      (multiply_row<B>(B::broadcast(column[static_cast<index_t>(Row) * row_stride]), right,
                       sums[Row], registers),
       ...);
    }
  }
  if (sums_mode == Sums::add) {
    Sums_ before;
    ((load_row<T, B>(result + static_cast<index_t>(Row) * result_stride, before, registers),
      add_row<B>(before, sums[Row], registers)),
     ...);
  }
  if (sums_mode == Sums::start_streamed) {
    (stream_row<T, B>(sums[Row], result + static_cast<index_t>(Row) * result_stride, registers),
     ...);
  } else {
    (store_row<T, B>(sums[Row], result + static_cast<index_t>(Row) * result_stride, registers),
     ...);
  }
}

template <class B, class T, class Strides>
using BlockKernel = void (*)(const T*, const LeftLayout&, const T*, index_t, T*, index_t, Sums,
                             const T*, const T*);

template <class B, class T, class Strides, std::size_t Rows>
void block_kernel(const T* left, const LeftLayout& layout, const T* panel, index_t depth, T* result,
                  index_t result_stride, Sums sums, const T* first_row,
                  const T* first_column) noexcept {
  multiply_block<B>(Strides(), left, layout, panel, depth, result, result_stride, sums, first_row,
                    first_column, std::make_index_sequence<Rows>());
}

/// The kernel of `rows` rows is at [rows - 1].
template <class B, class T, class Strides, std::size_t... I>
constexpr auto block_kernels(std::index_sequence<I...> /*rows - 1*/) noexcept {
  return std::array<BlockKernel<B, T, Strides>, sizeof...(I)>{
      &block_kernel<B, T, Strides, I + 1>...};
}

/// Cuts the rows into blocks of nearly equal size, so that none is left with a row or two, whose
/// kernels wait for the latency of their few sums.
template <class B, class T, class Strides>
void multiply_rows(const T* left, const LeftLayout& layout, index_t rows, const T* panel,
                   index_t depth, T* result, index_t result_stride, Sums sums,
                   const T* first_row = nullptr, const T* first_column = nullptr) noexcept {
  constexpr index_t k_most = KernelShape<B>::most_rows;
  static constexpr auto kernels =
      block_kernels<B, T, Strides>(std::make_index_sequence<static_cast<std::size_t>(k_most)>());
  const index_t blocks = (rows + k_most - 1) / k_most;
  if (blocks == 0) return;
  // Spares the division where it would show, in short products of whole blocks.
  const index_t small = rows % k_most == 0 ? k_most : rows / blocks;
  const index_t large_blocks = rows - small * blocks;
  for (index_t i = 0; i < blocks; ++i) {
    const index_t count = small + (i < large_blocks ? 1 : 0);
    kernels[static_cast<std::size_t>(count - 1)](left, layout, panel, depth, result, result_stride,
                                                 sums, first_row, first_column);
    if (first_column != nullptr) first_column += count;
    left += count * layout.row_stride;
    result += count * result_stride;
  }
}

}  // namespace detail

/// Multiplies rows that lie in chunks by one panel.
///
/// Math: result[r, :] = or += sum over k of left(r, k) panel[k, :]. Shapes: left [depth / 16
/// rounded up][...][16], row r of a chunk at r * 16 and chunk_stride elements from chunk to chunk;
/// panel depth x width; result rows x width, result_stride apart. Sums run in the order of k with
/// fused multiply-adds. Cost: rows * depth * width multiply-adds.
template <class T, class B = Batch<T>>
void multiply_chunk_rows(const T* left, index_t chunk_stride, index_t rows, const T* panel,
                         index_t depth, T* result, index_t result_stride, Sums sums) noexcept {
  detail::multiply_rows<B, T, detail::ChunkRows>(left, {k_chunk, 1, chunk_stride}, rows, panel,
                                                 depth, result, result_stride, sums);
}

/// The same for the transpose of such rows: left(r, k) is at k * 16 + r, for at most 16 rows.
template <class T, class B = Batch<T>>
void multiply_chunk_columns(const T* left, index_t rows, const T* panel, index_t depth, T* result,
                            index_t result_stride, Sums sums) noexcept {
  detail::multiply_rows<B, T, detail::ChunkColumns>(left, {1, k_chunk, k_chunk * k_chunk}, rows,
                                                    panel, depth, result, result_stride, sums);
}

/// The same for a row-major matrix: left(r, k) is at r * row_stride + k. With Sums::start, sums may
/// begin with a row that all rows of them share, or with a column, one element for every row: a
/// bias, in either layout.
template <class T, class B = Batch<T>>
void multiply_matrix_rows(const T* left, index_t row_stride, index_t rows, const T* panel,
                          index_t depth, T* result, index_t result_stride, Sums sums,
                          const T* first_row = nullptr, const T* first_column = nullptr) noexcept {
  detail::multiply_rows<B, T, detail::AnyRows>(left, {row_stride, 1, k_chunk}, rows, panel, depth,
                                               result, result_stride, sums, first_row,
                                               first_column);
}

/// The same for the transpose of a row-major matrix: left(r, k) is at k * depth_stride + r.
template <class T, class B = Batch<T>>
void multiply_matrix_columns(const T* left, index_t depth_stride, index_t rows, const T* panel,
                             index_t depth, T* result, index_t result_stride, Sums sums) noexcept {
  detail::multiply_rows<B, T, detail::AnyColumns>(left, {1, depth_stride, k_chunk * depth_stride},
                                                  rows, panel, depth, result, result_stride, sums);
}

/// The same for windows of an image whose pixels lie side by side: left(r, k) is at
/// r * row_stride + k / run * run_stride + k % run.
template <class T, class B = Batch<T>>
void multiply_windows(const T* left, index_t row_stride, index_t run, index_t run_stride,
                      index_t rows, const T* panel, index_t depth, T* result, index_t result_stride,
                      Sums sums, const T* first_row = nullptr) noexcept {
  detail::multiply_rows<B, T, detail::Windows>(left, {row_stride, 1, run_stride, run}, rows, panel,
                                               depth, result, result_stride, sums, first_row);
}

/// The transpose of a row-major matrix, left(r, k) at k * depth_stride + r, times the first columns
/// of another one, right_stride between rows, in place of a panel.
template <class T, class B = Batch<T>>
void multiply_columns_unpacked(const T* left, index_t depth_stride, index_t rows, const T* right,
                               index_t right_stride, index_t depth, T* result,
                               index_t result_stride, Sums sums) noexcept {
  detail::multiply_rows<B, T, detail::AnyColumnsUnpacked>(
      left, {1, depth_stride, k_chunk * depth_stride, k_chunk, right_stride}, rows, right, depth,
      result, result_stride, sums);
}

}  // namespace simd
ADR_NAMESPACE_END
