// im2col: copies a block of the unfolded matrix out of the images. Any rows, any columns, so that
// callers can work through an unfolded input that never exists as a whole.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/unfold/unfold_runs.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Copies one run for neighbouring output pixels: to[i, :] = line[position + i * step, ...], with
/// zeros outside the line; pixels [inside.first, inside.last) need no zeros. A run of a few
/// elements costs less than a call to memcpy, so short lengths are compiled in.
template <int Length, class T>
void copy_run(const T* line, index_t position, const UnfoldLines& lines, index_t run_length, T* to,
              index_t to_stride, index_t count, const IndexRange& inside) noexcept {
  const index_t length = Length > 0 ? Length : run_length;
  const auto copy_clipped = [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      for (index_t j = 0; j < length; ++j) {
        const index_t place = position + i * lines.line_step + j;
        const T value = line[std::clamp<index_t>(place, 0, lines.line_length - 1)];
        to[i * to_stride + j] = place >= 0 && place < lines.line_length ? value : T(0);
      }
    }
  };
  copy_clipped(0, inside.first);
  for (index_t i = inside.first; i < inside.last; ++i) {
    std::memcpy(to + i * to_stride, line + position + i * lines.line_step,
                sizeof(T) * static_cast<std::size_t>(length));
  }
  copy_clipped(inside.last, count);
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
