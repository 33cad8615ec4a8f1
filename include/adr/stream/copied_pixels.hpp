// Rectangles of pixels from one batch of images to another.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_images.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// Copies the pixels of a rectangle of one image to a place in another of the same layout and as
/// many channels. Requires: no overlap.
template <class T>
void copy_pixels(const exact::GroupImages<const T>& from, index_t image,
                 const exact::PixelRect& rect, const exact::GroupImages<T>& to, index_t to_image,
                 index_t y, index_t x) noexcept {
  const index_t height = rect.last_y - rect.first_y;
  const index_t width = rect.width();
  if (height <= 0 || width <= 0) return;
  if (!from.channels_last()) {
    for (index_t c = 0; c < from.channels; ++c) {
      const T* read = from.plane(image, c) + rect.first_y * from.images.width + rect.first_x;
      T* written = to.plane(to_image, c) + y * to.images.width + x;
      for (index_t i = 0; i < height; ++i) {
        std::copy_n(read + i * from.images.width, width, written + i * to.images.width);
      }
    }
    return;
  }
  const exact::PixelWindow<const T> source = from.in_place(image);
  const exact::PixelWindow<T> target = to.in_place(to_image);
  const bool one_run = source.pixel_stride == from.channels && target.pixel_stride == from.channels;
  for (index_t i = 0; i < height; ++i) {
    const T* read = source.at(rect.first_y + i, rect.first_x);
    T* written = target.at(y + i, x);
    if (one_run) {
      std::copy_n(read, width * from.channels, written);
      continue;
    }
    for (index_t j = 0; j < width; ++j) {
      std::copy_n(read + j * source.pixel_stride, from.channels, written + j * target.pixel_stride);
    }
  }
}

/// Copies all images. Requires: the same layout and sizes, no overlap.
template <class T>
void copy_images(const TensorView<const T>& from, const TensorView<T>& to, int threads) {
  constexpr index_t k_at_once = index_t{1} << 16;
  const index_t pieces = blocks_of(from.image_size(), k_at_once);
  parallel_for(from.batch * pieces, threads, [&](index_t task, int) {
    const IndexRange range = partition(from.image_size(), pieces, task % pieces);
    std::copy_n(from.image(task / pieces) + range.first, range.size(),
                to.image(task / pieces) + range.first);
  });
}

}  // namespace stream
ADR_NAMESPACE_END
