// Windows of images in layout nchw, where neighbouring output pixels are neighbours in memory: one
// stretch of pixels after the other is copied for every column of the unfolded matrix.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/exact/panels.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/plane_column.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Neighbouring output pixels of one line of one image; `at` says where the first of them goes.
struct PixelStretch {
  index_t image;
  index_t oy;
  index_t ox;
  index_t count;
  index_t at;
};

/// Cuts output pixels [first, first + count) of a batch into stretches of one line and at most
/// `most` pixels, all of them within one of the pieces of `most` pixels that start at first.
/// Calls use(stretch, piece, place in the piece).
template <class Use>
void for_each_stretch(const ConvGeometry& g, index_t first, index_t count, index_t most,
                      const Use& use) {
  const index_t width = g.out_width();
  const index_t height = g.out_height();
  index_t ox = first % width;
  index_t oy = first / width % height;
  index_t image = first / width / height;
  for (index_t done = 0; done < count;) {
    const index_t place = done % most;
    const index_t length = std::min({width - ox, most - place, count - done});
    use(PixelStretch{image, oy, ox, length, done}, done / most, place);
    done += length;
    ox += length;
    if (ox < width) continue;
    ox = 0;
    if (++oy < height) continue;
    oy = 0;
    ++image;
  }
}

/// to[i] = line[start + i * step] for i < count, with zeros outside the line.
template <class T>
void copy_pixels(const T* line, index_t line_length, index_t start, index_t step, index_t count,
                 T* to) noexcept {
  index_t i = 0;
  for (; i < count && start + i * step < 0; ++i) to[i] = T(0);
  const index_t room = line_length - 1 - start;
  const index_t inside = room < 0 ? 0 : std::min(count, room / step + 1);
  if (step == 1) {
    if (inside > i) simd::copy(line + start + i, to + i, inside - i);
    i = std::max(i, inside);
  } else {
    for (; i < inside; ++i) to[i] = line[start + i * step];
  }
  for (; i < count; ++i) to[i] = T(0);
}

/// Columns [first_col, first_col + col_count) of one stretch: column k goes to to + k * col_stride.
template <class T>
void copy_plane_stretch(const ConvGeometry& g, const TensorView<const T>& images, index_t group,
                        const PixelStretch& s, index_t first_col, index_t col_count, T* to,
                        index_t col_stride) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  const index_t plane = g.in_height * g.in_width;
  const T* planes = images.image(s.image) + group * g.group_in_channels() * plane;
  const index_t first_y = s.oy * g.stride_height - g.pad_top;
  const index_t first_x = s.ox * g.stride_width - g.pad_left;
  const index_t reach = (s.count - 1) * g.stride_width;
  PlaneColumn column(g, first_col);
  for (index_t k = 0; k < col_count; ++k, column.next(g), to += col_stride) {
    const index_t y = first_y + column.ky * g.dilation_height;
    if (y < 0 || y >= g.in_height) {
      for (index_t i = 0; i < s.count; ++i) to[i] = T(0);
      continue;
    }
    const index_t x = first_x + column.kx * g.dilation_width;
    const T* line = planes + column.channel * plane + y * g.in_width;
    if (s.count == k_width && g.stride_width == 1 && x >= 0 && x + reach < g.in_width) {
      copy_width<k_width>(line + x, to);
    } else {
      copy_pixels(line, g.in_width, x, g.stride_width, s.count, to);
    }
  }
}

/// Windows of output pixels as panels for the micro-kernel: pixel i of piece p and column k at
/// to[p * panel_stride + k * width + i]; what is missing from the last panel is 0.
template <class T>
void gather_plane_panels(const ConvGeometry& g, const TensorView<const T>& images, index_t group,
                         index_t first_pixel, index_t pixel_count, index_t first_col,
                         index_t col_count, T* to, index_t to_stride) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  for_each_stretch(g, first_pixel, pixel_count, k_width,
                   [&](const PixelStretch& s, index_t panel, index_t lane) {
                     copy_plane_stretch(g, images, group, s, first_col, col_count,
                                        to + panel * to_stride + lane, k_width);
                   });
  const index_t lanes = pixel_count % k_width;
  if (lanes == 0) return;
  T* last = to + pixel_count / k_width * to_stride;
  for (index_t k = 0; k < col_count; ++k) {
    for (index_t i = lanes; i < k_width; ++i) last[k * k_width + i] = T(0);
  }
}

/// The same as a matrix with one row per column of the unfolded one, pixels along the rows.
template <class T>
void gather_plane_rows(const ConvGeometry& g, const TensorView<const T>& images, index_t group,
                       index_t first_pixel, index_t pixel_count, index_t first_col,
                       const MatrixView<T>& to) noexcept {
  for_each_stretch(
      g, first_pixel, pixel_count, k_panel_width<T>, [&](const PixelStretch& s, index_t, index_t) {
        copy_plane_stretch(g, images, group, s, first_col, to.rows, to.data + s.at, to.row_stride);
      });
}

}  // namespace detail
ADR_NAMESPACE_END
