// Kept images and outputs that move on by whole blocks, as windows that slide over a signal do.
#pragma once

#include <cstddef>
#include <cstring>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/stream/window_grid.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// Along one axis: the block whose results are those of `block` after a shift by `blocks` blocks;
/// -1 where there is none that saw the same: padding does not move.
inline index_t source_of(const WindowAxis& axis, index_t block, index_t blocks) noexcept {
  const index_t source = block - blocks;
  if (blocks == 0) return block;
  if (source < 0 || source >= axis.blocks) return -1;
  const bool whole = axis.seen(block).size() == axis.size && axis.seen(source).size() == axis.size;
  return whole && axis.written(block).size() == axis.written(source).size() ? source : -1;
}

/// Moves the pixels of every image by (dy, dx), inside the image; what is not moved over stays.
template <class T>
void shift_pixels(const exact::GroupImages<T>& images, index_t dy, index_t dx) noexcept {
  const index_t height = images.images.height;
  const index_t width = images.images.width;
  const IndexRange columns{dx > 0 ? dx : 0, dx < 0 ? width + dx : width};
  if (columns.size() <= 0) return;
  const auto move = [&](const T* from, T* to, index_t count) {
    std::memmove(to, from, static_cast<std::size_t>(count) * sizeof(T));
  };
  for (index_t n = 0; n < images.images.batch; ++n) {
    for (index_t i = 0; i < height; ++i) {
      // In the order in which nothing is overwritten that is still to be moved.
      const index_t y = dy > 0 ? height - 1 - i : i;
      if (y - dy < 0 || y - dy >= height) continue;
      if (images.channels_last()) {
        const auto window = images.in_place(n);
        if (window.pixel_stride == images.channels) {
          move(window.at(y - dy, columns.first - dx), window.at(y, columns.first),
               columns.size() * images.channels);
          continue;
        }
        for (index_t j = 0; j < columns.size(); ++j) {
          const index_t x = dx > 0 ? columns.last - 1 - j : columns.first + j;
          move(window.at(y - dy, x - dx), window.at(y, x), images.channels);
        }
        continue;
      }
      for (index_t c = 0; c < images.channels; ++c) {
        T* plane = images.plane(n, c);
        move(plane + (y - dy) * width + columns.first - dx, plane + y * width + columns.first,
             columns.size());
      }
    }
  }
}

}  // namespace stream
ADR_NAMESPACE_END
