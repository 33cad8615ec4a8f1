// The unfolded matrix described as runs: stretches of columns that come from consecutive elements
// of one line of the input image.
//
// im2col copies runs and col2im adds them, so both walk exactly the same elements and are adjoint
// by construction. A line is one row of pixels: of one channel in layout nchw, of all channels in
// nhwc.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Columns [column, column + length) of the unfolded matrix. For output pixel (oy, ox) they are the
/// elements starting at position line_offset + ox * line_step of input line y_offset + oy *
/// stride_height; positions outside [0, line_length) and lines outside the image are padding.
struct UnfoldRun {
  index_t column;
  index_t length;
  index_t y_offset;      ///< input y of output row 0; negative inside the top padding
  index_t line_offset;   ///< position in the line for output column 0; negative inside the padding
  index_t plane_offset;  ///< element where line 0 of the image starts
};

/// What all runs of a geometry have in common.
struct UnfoldLines {
  index_t line_length;  ///< elements in a line
  index_t line_step;    ///< elements between neighbouring output pixels

  explicit UnfoldLines(const ConvGeometry& g) noexcept
      : line_length(g.layout == Layout::nchw ? g.in_width : g.in_width * g.in_channels),
        line_step(g.layout == Layout::nchw ? g.stride_width : g.stride_width * g.in_channels) {}
};

/// Calls use(run) for the runs that make up columns [first_col, first_col + col_count) of a group.
template <class Use>
void for_each_run(const ConvGeometry& g, index_t group, index_t first_col, index_t col_count,
                  const Use& use) {
  const index_t channels = g.group_in_channels();
  const index_t last_col = first_col + col_count;
  const bool nchw = g.layout == Layout::nchw;
  // The longest stretch of columns that is contiguous in a line: kernel columns of one channel,
  // channels of one pixel, or, when neighbouring pixels touch, channels of all kernel columns.
  const bool pixels_touch = g.dilation_width == 1 && (nchw || g.groups == 1);
  const index_t inner = nchw ? g.kernel_width : g.kernel_width * channels;
  const index_t unit = nchw ? 1 : channels;
  const index_t stretch = pixels_touch ? inner : unit;
  for (index_t column = first_col; column < last_col;) {
    const index_t outer_index = column / inner;
    const index_t within = column % inner;
    const index_t length = std::min(stretch - within % stretch, last_col - column);
    const index_t kx = within / unit;
    const index_t channel_in_pixel = within % unit;
    const index_t ky = nchw ? outer_index % g.kernel_height : outer_index;
    const index_t channel = group * channels + (nchw ? outer_index / g.kernel_height : 0);
    const index_t x = kx * g.dilation_width - g.pad_left;
    UnfoldRun run{};
    run.column = column - first_col;
    run.length = length;
    run.y_offset = ky * g.dilation_height - g.pad_top;
    run.line_offset = nchw ? x : x * g.in_channels + channel + channel_in_pixel;
    run.plane_offset = nchw ? channel * g.in_height * g.in_width : 0;
    use(run);
    column += length;
  }
}

/// Calls use(image, oy, ox, count, row) for the stretches of neighbouring output pixels that make
/// up rows [first_row, first_row + row_count); row counts from first_row.
template <class Use>
void for_each_output_stretch(const ConvGeometry& g, index_t first_row, index_t row_count,
                             const Use& use) {
  const index_t width = g.out_width();
  const index_t height = g.out_height();
  index_t ox = first_row % width;
  index_t oy = first_row / width % height;
  index_t image = first_row / width / height;
  for (index_t row = 0; row < row_count;) {
    const index_t count = std::min(width - ox, row_count - row);
    use(image, oy, ox, count, row);
    row += count;
    ox = 0;
    if (++oy == height) {
      oy = 0;
      ++image;
    }
  }
}

/// The output columns [first, last) whose run lies inside the line entirely.
inline IndexRange inside_range(const UnfoldLines& lines, const UnfoldRun& run,
                               index_t out_width) noexcept {
  const index_t before = std::max<index_t>(-run.line_offset, 0);
  const index_t room = lines.line_length - run.length - run.line_offset;
  const index_t first = std::min(out_width, (before + lines.line_step - 1) / lines.line_step);
  const index_t last = room < 0 ? 0 : std::min(out_width, room / lines.line_step + 1);
  return {first, std::max(first, last)};
}

/// The part of a range that lies in [first, last); empty parts lie at the nearer end.
inline IndexRange clipped(const IndexRange& range, index_t first, index_t last) noexcept {
  return {std::clamp(range.first, first, last), std::clamp(range.last, first, last)};
}

}  // namespace detail
ADR_NAMESPACE_END
