// im2col: copies a block of the unfolded matrix out of the images. Any rows, any columns, so that
// callers can work through an unfolded input that never exists as a whole.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/unfold_runs.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// to[j] = line[position + j] for j < length, with zeros outside the line. The branch-free form
/// pays for short runs of a length known to the compiler, the other for long ones.
template <int Length, class T>
void copy_clipped(const T* line, index_t position, index_t line_length, index_t run_length,
                  T* to) noexcept {
  if constexpr (Length > 0) {
    for (index_t j = 0; j < Length; ++j) {
      const index_t place = position + j;
      const T value = line[std::clamp<index_t>(place, 0, line_length - 1)];
      to[j] = place >= 0 && place < line_length ? value : T(0);
    }
  } else {
    const index_t head = std::clamp<index_t>(-position, 0, run_length);
    const index_t tail = std::clamp<index_t>(line_length - position, head, run_length);
    std::fill(to, to + head, T(0));
    if (tail > head) simd::copy(line + position + head, to + head, tail - head);
    std::fill(to + tail, to + run_length, T(0));
  }
}

/// Copies one run for neighbouring output pixels: to[i, :] = line[position + i * step, ...], with
/// zeros outside the line; pixels [inside.first, inside.last) need no zeros. Length is that of the
/// run where the compiler may know it, else 0.
template <int Length, class T>
void copy_run(const T* line, index_t position, const UnfoldLines& lines, index_t length, T* to,
              index_t to_stride, index_t count, const IndexRange& inside) noexcept {
  const auto copy_border = [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      copy_clipped<Length>(line, position + i * lines.line_step, lines.line_length, length,
                           to + i * to_stride);
    }
  };
  copy_border(0, inside.first);
  for (index_t i = inside.first; i < inside.last; ++i) {
    const T* from = line + position + i * lines.line_step;
    if constexpr (Length > 0) {
      std::memcpy(to + i * to_stride, from, sizeof(T) * Length);
    } else {
      simd::copy(from, to + i * to_stride, length);
    }
  }
  copy_border(inside.last, count);
}

template <class T>
void copy_run_of_any_length(const T* line, index_t position, const UnfoldLines& lines,
                            index_t length, T* to, index_t to_stride, index_t count,
                            const IndexRange& inside) noexcept {
  const auto copy = [&](auto copy_length) {
    copy_run<decltype(copy_length)::value>(line, position, lines, length, to, to_stride, count,
                                           inside);
  };
  switch (length) {
    case 1:
      return copy(std::integral_constant<int, 1>());
    case 3:
      return copy(std::integral_constant<int, 3>());
    case 5:
      return copy(std::integral_constant<int, 5>());
    case 7:
      return copy(std::integral_constant<int, 7>());
    default:
      return copy(std::integral_constant<int, 0>());
  }
}

}  // namespace detail

/// Unfolds a block of the im2col matrix: block(i, j) = X(first_row + i, first_col + j) of one
/// group, where X(n, k) is the input element that weight k meets at output pixel n, 0 in the
/// padding.
///
/// Shapes: images as the geometry says, any batch; block within rows(batch) x columns(); the order
/// of rows and columns is that of ConvGeometry. Units: strides in elements. Requires: a valid
/// geometry, a group below groups, disjoint memory (callers check). Cost: one copy of the block.
/// Memory: none. Thread-safety: reentrant. Source: im2col as in Caffe.
template <class T>
void im2col(const ConvGeometry& geometry, const TensorView<const T>& images, index_t group,
            index_t first_row, index_t first_col, const MatrixView<T>& block) noexcept {
  const detail::UnfoldLines lines(geometry);
  const index_t out_width = geometry.out_width();
  detail::for_each_run(geometry, group, first_col, block.cols, [&](const detail::UnfoldRun& run) {
    const IndexRange inside = detail::inside_range(lines, run, out_width);
    detail::for_each_output_stretch(
        geometry, first_row, block.rows,
        [&](index_t image, index_t oy, index_t ox, index_t count, index_t row) {
          T* to = block.row(row) + run.column;
          const index_t y = run.y_offset + oy * geometry.stride_height;
          if (y < 0 || y >= geometry.in_height) {
            for (index_t i = 0; i < count; ++i) {
              std::fill_n(to + i * block.row_stride, run.length, T(0));
            }
            return;
          }
          const T* line = images.image(image) + run.plane_offset + y * lines.line_length;
          const IndexRange part = detail::clipped(inside, ox, ox + count);
          detail::copy_run_of_any_length(line, run.line_offset + ox * lines.line_step, lines,
                                         run.length, to, block.row_stride, count,
                                         {part.first - ox, part.last - ox});
        });
  });
}

ADR_NAMESPACE_END
