// col2im: adds a block of the unfolded matrix back onto the images; the adjoint of im2col.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/unfold_runs.hpp"

ADR_NAMESPACE_BEGIN

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
          for (index_t i = 0; i < count; ++i) {
            const index_t position = run.line_offset + (ox + i) * lines.line_step;
            const index_t head = std::clamp<index_t>(-position, 0, run.length);
            const index_t tail =
                std::clamp<index_t>(lines.line_length - position, head, run.length);
            if (tail == head) continue;
            simd::add(block.row(row + i) + run.column + head, line + position + head, tail - head);
          }
        });
  });
}

ADR_NAMESPACE_END
