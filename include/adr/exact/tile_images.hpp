// How tiles read and write images of either layout: in place where the channels lie side by side,
// through a few transposed rows where they do not. The tensor is never reordered as a whole.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

namespace detail {

template <bool Gaps, class Use>
void for_each_tile_run(const TileList& list, const TileGrid& grid, index_t first, index_t last,
                       const Use& use) {
  while (first < last) {
    const index_t row_end = (list[first] / grid.columns + 1) * grid.columns;
    index_t next = first + 1;
    while (next < last && list[next] < row_end && (Gaps || list[next] == list[next - 1] + 1)) {
      ++next;
    }
    use(first, next, grid.place(list[first]));
    first = next;
  }
}

}  // namespace detail

/// Calls use(first, last, place) for runs of positions whose tiles lie in one row of one image;
/// place is that of the first. The last tile of a run is list[last - 1].
template <class Use>
void for_each_tile_row(const TileList& list, const TileGrid& grid, index_t first, index_t last,
                       const Use& use) {
  detail::for_each_tile_run<true>(list, grid, first, last, use);
}

/// The same for runs without gaps between their tiles, whose pixels can be written as a whole.
template <class Use>
void for_each_row_of_neighbours(const TileList& list, const TileGrid& grid, index_t first,
                                index_t last, const Use& use) {
  detail::for_each_tile_run<false>(list, grid, first, last, use);
}

/// A rectangle of pixels of one image.
struct PixelRect {
  index_t first_y = 0;
  index_t last_y = 0;
  index_t first_x = 0;
  index_t last_x = 0;

  [[nodiscard]] index_t width() const noexcept { return last_x - first_x; }
};

/// The images from the first channel of a group on, in the place of their own first channel.
template <class T>
TensorView<T> images_from_group(const TensorView<T>& images, index_t groups,
                                index_t group) noexcept {
  TensorView<T> from = images;
  if (images.data != nullptr) {
    const index_t step = images.layout == Layout::nhwc ? 1 : images.height * images.width;
    from.data += group * (images.channels / groups) * step;
  }
  return from;
}

/// The channels of one group in a batch of images.
template <class T>
struct GroupImages {
  TensorView<T> images;
  index_t first_channel = 0;
  index_t channels = 0;

  [[nodiscard]] bool channels_last() const noexcept { return images.layout == Layout::nhwc; }
  /// All of one image in place. Requires: channels_last().
  [[nodiscard]] PixelWindow<T> in_place(index_t image) const noexcept {
    return {images.image(image) + first_channel, 0, 0, images.width * images.channels,
            images.channels};
  }
  /// Elements of scratch for `rows` rows of pixels with their channels side by side.
  [[nodiscard]] index_t gathered_size(index_t rows, index_t most_channels) const {
    return channels_last() ? 0 : checked_product("tile rows", rows, images.width, most_channels);
  }
  /// The first plane of the group, and where a pixel lies in it. Requires: !channels_last().
  [[nodiscard]] T* plane(index_t image, index_t channel) const noexcept {
    return images.image(image) + (first_channel + channel) * images.height * images.width;
  }
};

/// The same channels, to be read.
template <class T>
GroupImages<const T> as_const(const GroupImages<T>& group) noexcept {
  return {group.images, group.first_channel, group.channels};
}

/// A window on the pixels of a rectangle, copied to scratch where they do not lie side by side.
template <class T>
PixelWindow<const T> read_pixels(const GroupImages<const T>& source, index_t image,
                                 const PixelRect& rect, T* scratch) noexcept {
  if (source.channels_last()) {
    const PixelWindow<const T> window = source.in_place(image);
    // In the order of memory, because tiles jump from row to row.
    if (rect.width() > 0) {
      for (index_t y = rect.first_y; y < rect.last_y; ++y) {
        simd::bring_near(window.at(y, rect.first_x),
                         (rect.width() - 1) * window.pixel_stride + source.channels);
      }
    }
    return window;
  }
  const index_t plane = source.images.height * source.images.width;
  const index_t stride = simd::padded(source.channels);
  for (index_t y = rect.first_y; y < rect.last_y; ++y) {
    simd::transpose(source.plane(image, 0) + y * source.images.width + rect.first_x, plane,
                    source.channels, rect.width(),
                    scratch + (y - rect.first_y) * rect.width() * stride, stride);
  }
  return {scratch, rect.first_y, rect.first_x, rect.width() * stride, stride};
}

/// The pixels that the tiles of one row, from `place` to that of tile `last`, compute.
inline PixelRect written_rect(const TileGrid& grid, const TilePlace& place,
                              const TilePlace& last) noexcept {
  return {place.y, std::min(place.y + grid.step, grid.out_height), place.x,
          std::min(last.x + grid.step, grid.out_width)};
}
/// The pixels inside the image that they read, with `inputs` pixels for a tile in one dimension.
inline PixelRect read_rect(const TileGrid& grid, const TilePlace& place, const TilePlace& last,
                           index_t inputs) noexcept {
  const auto inside = [](index_t at, index_t size) { return std::clamp<index_t>(at, 0, size); };
  return {inside(place.y - grid.before_y, grid.in_height),
          inside(place.y - grid.before_y + inputs, grid.in_height),
          inside(place.x - grid.before_x, grid.in_width),
          inside(last.x - grid.before_x + inputs, grid.in_width)};
}

}  // namespace exact
ADR_NAMESPACE_END
