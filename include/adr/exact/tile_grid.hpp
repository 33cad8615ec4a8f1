// Where the tiles of a convolution lie: which outputs a tile computes and which inputs it reads.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// One tile: an image and the place of its first output in it.
struct TilePlace {
  index_t image;
  index_t y;
  index_t x;
};

/// The tiles of every image of a batch, row by row. Tiles at the right and lower border may reach
/// beyond the map; what lies there is not written, and inputs beyond the image are zero.
struct TileGrid {
  index_t rows = 0;     ///< of tiles, per image
  index_t columns = 0;  ///< of tiles, per image
  index_t step = 0;     ///< outputs of a tile in one dimension
  index_t out_height = 0;
  index_t out_width = 0;
  index_t in_height = 0;
  index_t in_width = 0;
  index_t before_y = 0;  ///< how far the inputs of a tile begin before its outputs
  index_t before_x = 0;

  [[nodiscard]] index_t per_image() const noexcept { return rows * columns; }
  [[nodiscard]] TilePlace place(index_t tile) const noexcept {
    const index_t image = tile / per_image();
    const index_t within = tile - image * per_image();
    const index_t row = within / columns;
    return {image, row * step, (within - row * columns) * step};
  }
};

/// The tiles of an algorithm on a convolution of stride 1. Requires: a kernel of Algorithm::taps.
template <class Algorithm>
TileGrid tile_grid(const ConvGeometry& geometry) noexcept {
  constexpr index_t k_step = Algorithm::outputs;
  TileGrid grid;
  grid.step = k_step;
  grid.out_height = geometry.out_height();
  grid.out_width = geometry.out_width();
  grid.in_height = geometry.in_height;
  grid.in_width = geometry.in_width;
  grid.rows = (grid.out_height + k_step - 1) / k_step;
  grid.columns = (grid.out_width + k_step - 1) / k_step;
  // An algorithm for whole maps knows the padding.
  grid.before_y = Algorithm::whole_map ? 0 : geometry.pad_top;
  grid.before_x = Algorithm::whole_map ? 0 : geometry.pad_left;
  return grid;
}

/// The tiles that a pass computes: all from 0 on, or those of an ascending list.
struct TileList {
  const index_t* tiles = nullptr;  ///< null: position and tile are the same
  index_t count = 0;

  [[nodiscard]] index_t operator[](index_t position) const noexcept {
    return tiles != nullptr ? tiles[position] : position;
  }
};

/// Part of one image with its channels side by side: pixel (y, x) begins at
/// data + (y - first_y) * row_stride + (x - first_x) * pixel_stride.
template <class T>
struct PixelWindow {
  T* data = nullptr;
  index_t first_y = 0;
  index_t first_x = 0;
  index_t row_stride = 0;
  index_t pixel_stride = 0;

  [[nodiscard]] T* at(index_t y, index_t x) const noexcept {
    return data + (y - first_y) * row_stride + (x - first_x) * pixel_stride;
  }
};

}  // namespace exact
ADR_NAMESPACE_END
