// Products with a handful of rows, such as fully connected layers at batch 1 to 8: every weight is
// used a few times only, so nothing is packed and the weights are read once, where they lie.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "adr/core/types.hpp"
#include "adr/exact/streamed_results.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/unrolled.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

// ---- Both factors lie along the common dimension
// -----------------------------------------------------

template <class B, std::size_t Rights>
using DotSums = std::array<B, Rights>;

template <class T, class B, std::size_t... R>
[[gnu::always_inline]] inline void load_rights(const T* right, index_t stride,
                                               DotSums<B, sizeof...(R)>& to,
                                               std::index_sequence<R...> /*rights*/) noexcept {
  ((to[R] = B::load(right + static_cast<index_t>(R) * stride)), ...);
}
template <class B, std::size_t... R>
[[gnu::always_inline]] inline void multiply_rights(B left, const DotSums<B, sizeof...(R)>& right,
                                                   DotSums<B, sizeof...(R)>& sums,
                                                   std::index_sequence<R...> /*rights*/) noexcept {
  ((sums[R] = multiply_add(left, right[R], sums[R])), ...);
}

/// Where dot products of left row l and right row r go: to[l * left_step + r * right_step].
template <class T>
struct DotResult {
  T* to;
  index_t left_step;
  index_t right_step;
  bool add;
};

/// The dot products of sizeof...(L) left rows with Rights right rows: one register of sums each.
template <std::size_t Rights, class T, std::size_t... L>
[[gnu::always_inline]] inline void dot_block(const T* left, index_t left_stride, const T* right,
                                             index_t right_stride, index_t depth,
                                             const DotResult<T>& result,
                                             std::index_sequence<L...> /*lefts*/) noexcept {
  using B = simd::Batch<T>;
  constexpr auto rights = std::make_index_sequence<Rights>();
  std::array<DotSums<B, Rights>, sizeof...(L)> sums;
  (simd::fill_registers(sums[L], B::broadcast(T(0))), ...);
  index_t k = 0;
  for (; k + B::size <= depth; k += B::size) {
    DotSums<B, Rights> right_values;
    load_rights<T, B>(right + k, right_stride, right_values, rights);
    (multiply_rights<B>(B::load(left + static_cast<index_t>(L) * left_stride + k), right_values,
                        sums[L], rights),
     ...);
  }
  for (std::size_t l = 0; l < sizeof...(L); ++l) {
    for (std::size_t r = 0; r < Rights; ++r) {
      T total = sum(sums[l][r]);
      const T* x = left + static_cast<index_t>(l) * left_stride;
      const T* y = right + static_cast<index_t>(r) * right_stride;
      for (index_t i = k; i < depth; ++i) total += x[i] * y[i];
      T& place = result.to[static_cast<index_t>(l) * result.left_step +
                           static_cast<index_t>(r) * result.right_step];
      place = result.add ? place + total : total;
    }
  }
}

/// All right rows with sizeof...(L) left rows, Rights at a time.
template <std::size_t Lefts, std::size_t Rights, class T>
void dot_rows(const T* left, index_t left_stride, const T* right, index_t right_stride,
              index_t right_rows, index_t depth, const DotResult<T>& result) noexcept {
  constexpr auto k_rights = static_cast<index_t>(Rights);
  constexpr auto lefts = std::make_index_sequence<Lefts>();
  const auto at = [&](index_t r) {
    return DotResult<T>{result.to + r * result.right_step, result.left_step, result.right_step,
                        result.add};
  };
  index_t r = 0;
  for (; r + k_rights <= right_rows; r += k_rights) {
    dot_block<Rights>(left, left_stride, right + r * right_stride, right_stride, depth, at(r),
                      lefts);
  }
  for (; r < right_rows; ++r) {
    dot_block<1>(left, left_stride, right + r * right_stride, right_stride, depth, at(r), lefts);
  }
}

/// result(l, r) = or += left row l . right row r.
///
/// Both along the common dimension. The left rows are few: blocks of 3 x 4 sums, 2 x 4 or 1 x 8
/// hide the latency of their multiply-adds and read each right row once from memory, again from the
/// first or second cache for further left rows.
template <class T>
void multiply_by_dots(const MatrixView<const T>& left, const MatrixView<const T>& right,
                      DotResult<T> result) noexcept {
  constexpr index_t k_together = 8;  // right rows that all left rows see before the next ones
  constexpr index_t k_most_terms = 8192;
  // They stay in the second cache, and the left rows in the first.
  const index_t block = std::max<index_t>(k_most_terms / std::max<index_t>(left.rows, 2), 1024);
  for (index_t k = 0; k < left.cols; k += block) {
    const index_t depth = std::min(block, left.cols - k);
    for (index_t r = 0; r < right.rows; r += k_together) {
      const index_t rights = std::min(k_together, right.rows - r);
      const T* rows = right.row(r) + k;
      for (index_t l = 0; l < left.rows;) {
        // 4 rows are two twos and not three and one.
        const index_t left_over = left.rows - l;
        const index_t lefts = left_over == 1 ? 1 : left_over == 2 || left_over == 4 ? 2 : 3;
        const T* x = left.row(l) + k;
        const DotResult<T> to{result.to + l * result.left_step + r * result.right_step,
                              result.left_step, result.right_step, result.add};
        if (lefts == 3) {
          dot_rows<3, 4>(x, left.row_stride, rows, right.row_stride, rights, depth, to);
        } else if (lefts == 2) {
          dot_rows<2, 4>(x, left.row_stride, rows, right.row_stride, rights, depth, to);
        } else {
          dot_rows<1, 8>(x, left.row_stride, rows, right.row_stride, rights, depth, to);
        }
        l += lefts;
      }
    }
    result.add = true;
  }
}

// ---- The right factor lies along its columns
// ---------------------------------------------------------

/// Elements of a small left factor: element (i, k) is data[i * row_step + k * depth_step].
template <class T>
struct LeftElements {
  const T* data;
  index_t row_step;
  index_t depth_step;
  [[nodiscard]] T operator()(index_t i, index_t k) const noexcept {
    return data[i * row_step + k * depth_step];
  }
};

/// result[0, :] = or += sum of left(0, k) right[k, :] over sizeof...(K) rows.
template <bool Add, class T, std::size_t... K>
void add_scaled_rows(const LeftElements<T>& left, const T* right, index_t right_stride,
                     index_t cols, T* result, std::index_sequence<K...> /*depth*/) noexcept {
  using B = simd::Batch<T>;
  const std::array<B, sizeof...(K)> factor = {B::broadcast(left(0, static_cast<index_t>(K)))...};
  index_t j = 0;
  for (; j + B::size <= cols; j += B::size) {
    B sums = Add ? B::load(result + j) : B::broadcast(T(0));
    ((sums = multiply_add(factor[K], B::load(right + static_cast<index_t>(K) * right_stride + j),
                          sums)),
     ...);
    sums.store(result + j);
  }
  for (; j < cols; ++j) {
    T total = Add ? result[j] : T(0);
    ((total +=
      left(0, static_cast<index_t>(K)) * right[static_cast<index_t>(K) * right_stride + j]),
     ...);
    result[j] = total;
  }
}

/// result = column row. Results that no cache holds go past all of them: the old ones need not be
/// read.
template <class T>
void multiply_outer(const LeftElements<T>& column, const T* row,
                    const MatrixView<T>& result) noexcept {
  using B = simd::Batch<T>;
  const index_t cols = result.cols;
  const bool stream =
      exact::is_streamed<T>(result.data, result.row_stride, cols, result.rows * cols);
  for (index_t i = 0; i < result.rows; ++i) {
    T* to = result.row(i);
    const B factor = B::broadcast(column(i, 0));
    index_t j = 0;
    for (; j + B::size <= cols; j += B::size) {
      const B value = factor * B::load(row + j);
      stream ? value.stream(to + j) : value.store(to + j);
    }
    for (; j < cols; ++j) to[j] = column(i, 0) * row[j];
  }
  if (stream) simd::finish_streaming();
}

/// result = or += left right, with the rows of the right factor streaming past once.
template <class T>
void multiply_by_streaming(const LeftElements<T>& left, index_t rows,
                           const MatrixView<const T>& right, bool add,
                           const MatrixView<T>& result) noexcept {
  constexpr index_t k_group = 8;    // rows of the right factor for each load of a sum
  constexpr index_t k_cols = 1024;  // 32 KB of floats of them, for the next row of the result
  constexpr auto group = std::make_index_sequence<static_cast<std::size_t>(k_group)>();
  constexpr auto single = std::make_index_sequence<1>();
  for (index_t j = 0; j < right.cols; j += k_cols) {
    const index_t cols = std::min(k_cols, right.cols - j);
    for (index_t k = 0; k < right.rows;) {
      const bool whole = k + k_group <= right.rows;
      for (index_t i = 0; i < rows; ++i) {
        const LeftElements<T> x{left.data + i * left.row_step + k * left.depth_step, left.row_step,
                                left.depth_step};
        const T* from = right.row(k) + j;
        T* to = result.row(i) + j;
        if (add || k > 0) {
          whole ? add_scaled_rows<true>(x, from, right.row_stride, cols, to, group)
                : add_scaled_rows<true>(x, from, right.row_stride, cols, to, single);
        } else {
          whole ? add_scaled_rows<false>(x, from, right.row_stride, cols, to, group)
                : add_scaled_rows<false>(x, from, right.row_stride, cols, to, single);
        }
      }
      k += whole ? k_group : 1;
    }
  }
}

}  // namespace detail
ADR_NAMESPACE_END
