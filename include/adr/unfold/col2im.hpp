// col2im: adds a block of the unfolded matrix back onto the images; the adjoint of im2col.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/unfold_runs.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Adds the runs of `count` neighbouring output pixels to their line.
///
/// Neighbouring runs overlap in the line. Adding them one after the other would wait for each store
/// before the next load; going through one column at a time touches every place of the line once.
/// Long runs (channels of layout nhwc) fill whole registers, which matters more.
template <class T>
void add_runs(const T* from, index_t from_stride, index_t length, T* line, index_t position,
              index_t step, index_t line_length, index_t count) noexcept {
  constexpr index_t k_short_run = 8;
  if (length <= k_short_run) {
    for (index_t j = 0; j < length; ++j) {
      const index_t start = position + j;
      const index_t first = start >= 0 ? 0 : std::min(count, (-start + step - 1) / step);
      const index_t room = line_length - 1 - start;
      const index_t last = room < 0 ? 0 : std::min(count, room / step + 1);
      for (index_t i = first; i < last; ++i) line[start + i * step] += from[i * from_stride + j];
    }
    return;
  }
  for (index_t i = 0; i < count; ++i) {
    const index_t start = position + i * step;
    const index_t head = std::clamp<index_t>(-start, 0, length);
    const index_t tail = std::clamp<index_t>(line_length - start, head, length);
    if (tail > head) simd::add(from + i * from_stride + head, line + start + head, tail - head);
  }
}

}  // namespace detail

/// Adds a block of the im2col matrix to the elements it came from; what lies in the padding is
/// lost.
///
/// Math: images += U^T block, with U the linear map that im2col applies, restricted to the block.
/// Shapes, units and requirements: those of im2col, with images as the output. Elements are added
/// in the order of columns, then rows. Two blocks that touch the same image must not be added at
/// once. Cost: one addition per element of the block. Thread-safety: reentrant for disjoint images.
/// Source: col2im as in Caffe.
template <class T>
void col2im_add(const ConvGeometry& geometry, const MatrixView<const T>& block, index_t group,
                index_t first_row, index_t first_col, const TensorView<T>& images) noexcept {
  const detail::UnfoldLines lines(geometry);
  detail::for_each_run(geometry, group, first_col, block.cols, [&](const detail::UnfoldRun& run) {
    detail::for_each_output_stretch(
        geometry, first_row, block.rows,
        [&](index_t image, index_t oy, index_t ox, index_t count, index_t row) {
          const index_t y = run.y_offset + oy * geometry.stride_height;
          if (y < 0 || y >= geometry.in_height) return;
          T* line = images.image(image) + run.plane_offset + y * lines.line_length;
          detail::add_runs(block.row(row) + run.column, block.row_stride, run.length, line,
                           run.line_offset + ox * lines.line_step, lines.line_step,
                           lines.line_length, count);
        });
  });
}

ADR_NAMESPACE_END
