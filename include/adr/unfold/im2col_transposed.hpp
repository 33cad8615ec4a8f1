// im2col on its side: copies a block of the unfolded matrix with one row per column of the matrix,
// in single precision. This is the order in which rotations read.
#pragma once

#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/unfold/plane_column.hpp"
#include "adr/unfold/unfold_runs.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

inline void fill_zero(float* to, index_t count) noexcept {
  for (index_t i = 0; i < count; ++i) to[i] = 0;
}

/// to[i] = line[start + i] for i < count, with zeros outside the line.
template <class T>
void copy_shifted(const T* line, index_t start, index_t line_length, index_t count,
                  float* to) noexcept {
  const IndexRange inside = steps_inside(start, 1, line_length, count);
  fill_zero(to, inside.first);
  if (inside.size() > 0) {
    const T* from = line + (start + inside.first);
    if constexpr (std::is_same_v<T, float>) {
      simd::copy(from, to + inside.first, inside.size());
    } else {
      for (index_t i = 0; i < inside.size(); ++i) {
        to[inside.first + i] = static_cast<float>(from[i]);
      }
    }
  }
  fill_zero(to + inside.last, count - inside.last);
}

/// to[e * to_stride + i] = line[start + i * line_step + e] for first <= i < last, e < length, with
/// zeros outside the line.
template <class T>
void copy_border(const T* line, index_t start, const UnfoldLines& lines, index_t length,
                 index_t first, index_t last, float* to, index_t to_stride) noexcept {
  for (index_t i = first; i < last; ++i) {
    const index_t position = start + i * lines.line_step;
    for (index_t e = 0; e < length; ++e) {
      const index_t place = position + e;
      const bool inside = place >= 0 && place < lines.line_length;
      to[e * to_stride + i] = inside ? static_cast<float>(line[place]) : 0.0F;
    }
  }
}

/// Layout nchw, stride_width 1: every column is a row of pixels of one channel.
template <class T>
void im2col_transposed_planes(const ConvGeometry& g, const TensorView<const T>& images,
                              index_t group, index_t first_row, index_t first_col,
                              const MatrixView<float>& block) noexcept {
  const PlaneColumn first_column(g, first_col);
  const index_t plane = g.in_height * g.in_width;
  for_each_output_stretch(
      g, first_row, block.cols,
      [&](index_t image, index_t oy, index_t ox, index_t count, index_t at) {
        const T* planes = images.image(image) + group * g.group_in_channels() * plane;
        PlaneColumn column = first_column;
        for (index_t e = 0; e < block.rows; ++e, column.next(g)) {
          float* to = block.row(e) + at;
          const index_t y = oy * g.stride_height + column.ky * g.dilation_height - g.pad_top;
          if (y < 0 || y >= g.in_height) {
            fill_zero(to, count);
            continue;
          }
          copy_shifted(planes + column.channel * plane + y * g.in_width,
                       ox + column.kx * g.dilation_width - g.pad_left, g.in_width, count, to);
        }
      });
}

/// Any layout: a run of columns of neighbouring output pixels is a matrix in memory.
template <class T>
void im2col_transposed_runs(const ConvGeometry& g, const TensorView<const T>& images, index_t group,
                            index_t first_row, index_t first_col,
                            const MatrixView<float>& block) noexcept {
  const UnfoldLines lines(g);
  const index_t step = lines.line_step;
  for_each_run(g, group, first_col, block.rows, [&](const UnfoldRun& run) {
    const IndexRange whole = inside_range(lines, run, g.out_width());
    for_each_output_stretch(
        g, first_row, block.cols,
        [&](index_t image, index_t oy, index_t ox, index_t count, index_t at) {
          float* to = block.row(run.column) + at;
          const index_t y = run.y_offset + oy * g.stride_height;
          if (y < 0 || y >= g.in_height) {
            for (index_t e = 0; e < run.length; ++e) fill_zero(to + e * block.row_stride, count);
            return;
          }
          const T* line = images.image(image) + run.plane_offset + y * lines.line_length;
          const index_t start = run.line_offset + ox * step;
          const IndexRange inside = clipped(whole, ox, ox + count);
          const index_t first = inside.first - ox;
          const index_t last = inside.last - ox;
          copy_border(line, start, lines, run.length, 0, first, to, block.row_stride);
          copy_border(line, start, lines, run.length, last, count, to, block.row_stride);
          if (first == last) return;
          simd::transpose(line + start + first * step, step, last - first, run.length, to + first,
                          block.row_stride);
        });
  });
}

}  // namespace detail

/// Unfolds a block of the im2col matrix, transposed: block(e, i) = X(first_row + i, first_col + e)
/// of one group, as float, with X as in im2col.
///
/// Shapes: images as the geometry says, any batch; block within columns() x rows(batch). Requires:
/// what im2col requires. Cost: one copy of the block: contiguous pieces of image rows in layout
/// nchw without stride, else transposes in registers. Memory: none. Thread-safety: reentrant.
template <class T>
void im2col_transposed(const ConvGeometry& geometry, const TensorView<const T>& images,
                       index_t group, index_t first_row, index_t first_col,
                       const MatrixView<float>& block) noexcept {
  if (geometry.layout == Layout::nchw && geometry.stride_width == 1) {
    detail::im2col_transposed_planes(geometry, images, group, first_row, first_col, block);
  } else {
    detail::im2col_transposed_runs(geometry, images, group, first_row, first_col, block);
  }
}

ADR_NAMESPACE_END
