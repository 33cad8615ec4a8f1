// im2col: copies a block of the unfolded matrix out of the images. Any rows, any columns, so that
// callers can work through an unfolded input that never exists as a whole.
#pragma once

#include <algorithm>
#include <cstring>

#include "adr/core/types.hpp"
#include "adr/unfold/unfold_runs.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Copies a run of a length known to the compiler for output columns [range.first, range.last).
template <int Length, class T>
void copy_inside(const T* from, index_t step, index_t length, T* to, index_t to_stride,
                 index_t count) noexcept {
  const std::size_t run_bytes = sizeof(T) * static_cast<std::size_t>(Length > 0 ? Length : length);
  for (index_t i = 0; i < count; ++i) std::memcpy(to + i * to_stride, from + i * step, run_bytes);
}

/// Kernels of 1, 3, 5 and 7 columns make short runs, where a call to memcpy would cost more than
/// the copy; their lengths are compiled in.
template <class T>
void copy_runs(const T* from, index_t step, index_t length, T* to, index_t to_stride,
               index_t count) noexcept {
  switch (length) {
    case 1:
      return copy_inside<1>(from, step, length, to, to_stride, count);
    case 3:
      return copy_inside<3>(from, step, length, to, to_stride, count);
    case 5:
      return copy_inside<5>(from, step, length, to, to_stride, count);
    case 7:
      return copy_inside<7>(from, step, length, to, to_stride, count);
    default:
      return copy_inside<0>(from, step, length, to, to_stride, count);
  }
}

/// Copies one run that sticks out of its line at either end, with zeros for the padding.
template <class T>
void copy_clipped(const T* line, index_t position, index_t line_length, index_t length,
                  T* to) noexcept {
  const index_t head = std::clamp<index_t>(-position, 0, length);
  const index_t tail = std::clamp<index_t>(line_length - position, head, length);
  std::fill(to, to + head, T(0));
  if (tail > head) std::copy(line + position + head, line + position + tail, to + head);
  std::fill(to + tail, to + length, T(0));
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
  detail::for_each_run(geometry, group, first_col, block.cols, [&](const detail::UnfoldRun& run) {
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
          const auto clipped = [&](index_t first, index_t last) {
            for (index_t x = first; x < last; ++x) {
              detail::copy_clipped(line, run.line_offset + x * lines.line_step, lines.line_length,
                                   run.length, to + (x - ox) * block.row_stride);
            }
          };
          const detail::InsideRange inside = detail::inside_range(lines, run, ox, count);
          clipped(ox, inside.first);
          if (inside.last > inside.first) {
            detail::copy_runs(line + run.line_offset + inside.first * lines.line_step,
                              lines.line_step, run.length,
                              to + (inside.first - ox) * block.row_stride, block.row_stride,
                              inside.last - inside.first);
          }
          clipped(inside.last, ox + count);
        });
  });
}

ADR_NAMESPACE_END
