// How the output pixels of a batch are cut into tiles whose neuron vectors, a strip of registers
// each, fit the first-level cache together, padding included.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/simd/sparse_kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Output pixels that are worked on together: rows of one image, or several whole images. They are
/// numbered image by image, row by row.
struct SparseTile {
  index_t first_image = 0;
  index_t images = 0;
  index_t first_row = 0;
  index_t rows = 0;
};

/// The cut of a batch into tiles, a function of the map, the length of the vectors and the element
/// type alone.
///
/// The vectors that a tile meets lie on a plane: per image, every grid row and column that some
/// output row or column of the tile meets at some offset, inside the grid or not. In it, every
/// kernel offset is a constant displacement from the place of an output pixel.
class SparseTiles {
 public:
  SparseTiles() = default;

  /// The plane of a tile shares the first-level cache of 32 kB with lists and sums.
  static constexpr index_t k_plane_bytes = 26 << 10;

  /// plane_bytes: what the plane of a tile may take, as far as there is a choice. Errors:
  /// std::overflow_error or std::invalid_argument when the places of a tile are too many to number.
  /// Requires: length > 0, a map with at least one offset.
  template <class T>
  static SparseTiles of(const VectorMap& map, index_t length, index_t plane_bytes = k_plane_bytes) {
    SparseTiles tiles;
    tiles.map_ = map;
    tiles.registers_ = simd::strip_registers<simd::Batch<T>>(map.offsets(), length);
    tiles.strip_ = tiles.registers_ * simd::Batch<T>::size;
    tiles.strips_ = blocks_of(length, tiles.strip_);
    tiles.cut(tiles.strip_ * static_cast<index_t>(sizeof(T)), plane_bytes);
    return tiles;
  }

  [[nodiscard]] const VectorMap& map() const noexcept { return map_; }
  /// Registers, elements, and number of the strips that vectors are cut into.
  [[nodiscard]] int registers() const noexcept { return registers_; }
  [[nodiscard]] index_t strip() const noexcept { return strip_; }
  [[nodiscard]] index_t strips() const noexcept { return strips_; }

  [[nodiscard]] index_t count() const noexcept { return count_; }
  /// Tiles of one image, which overlap in the plane where tiles_overlap(); 1 where a tile has whole
  /// images.
  [[nodiscard]] index_t bands() const noexcept { return bands_; }
  /// Whether tiles of the same image meet the same vectors.
  [[nodiscard]] bool tiles_overlap() const noexcept {
    return bands_ > 1 && plane_height(1) > map_.step_y;
  }
  [[nodiscard]] index_t most_pixels() const noexcept {
    return count_ == 0 ? 0 : tile_images_ * band_rows_ * map_.out_width;
  }
  [[nodiscard]] SparseTile tile(index_t t) const noexcept {
    if (bands_ == 1) {
      const index_t first = t * tile_images_;
      return {first, std::min(tile_images_, map_.images - first), 0, map_.out_height};
    }
    const index_t first = t % bands_ * band_rows_;
    return {t / bands_, 1, first, std::min(band_rows_, map_.out_height - first)};
  }
  [[nodiscard]] index_t pixels(const SparseTile& tile) const noexcept {
    return tile.images * tile.rows * map_.out_width;
  }

  [[nodiscard]] index_t plane_width() const noexcept {
    return (map_.out_width - 1) * map_.step_x + (map_.offset_cols - 1) * map_.dilation_x + 1;
  }
  [[nodiscard]] index_t plane_height(index_t rows) const noexcept {
    return (rows - 1) * map_.step_y + (map_.offset_rows - 1) * map_.dilation_y + 1;
  }
  /// Places of the plane of the largest tile.
  [[nodiscard]] index_t plane_places() const noexcept {
    return count_ == 0 ? 0 : tile_images_ * plane_height(band_rows_) * plane_width();
  }
  /// Where pixel p of a tile meets the plane at offset 0: the same for every tile that has it.
  [[nodiscard]] index_t place(index_t pixel) const noexcept {
    const index_t row = pixel / map_.out_width;
    const index_t top =
        row / band_rows_ * plane_height(band_rows_) + row % band_rows_ * map_.step_y;
    return top * plane_width() + pixel % map_.out_width * map_.step_x;
  }
  [[nodiscard]] index_t displacement(index_t offset) const noexcept {
    return offset / map_.offset_cols * map_.dilation_y * plane_width() +
           offset % map_.offset_cols * map_.dilation_x;
  }

  /// Whether a row of output pixels meets vectors, and not padding alone, at a row of offsets.
  [[nodiscard]] bool meets_grid(index_t row, index_t offset_row) const noexcept {
    const index_t y = row * map_.step_y + offset_row * map_.dilation_y - map_.pad_top;
    return y >= 0 && y < map_.grid_height;
  }

  /// Whether the planes of all tiles together hold every vector of the grid exactly once.
  [[nodiscard]] bool cover_grid_once() const noexcept {
    if (count_ == 0 || map_.pad_top < 0 || map_.pad_left < 0) return false;
    return (bands_ == 1 || plane_height(1) == map_.step_y) &&
           plane_height(map_.out_height) >= map_.grid_height + map_.pad_top &&
           plane_width() >= map_.grid_width + map_.pad_left;
  }

  /// Calls use(first vector, first place, count) for runs of vectors that follow each other in the
  /// source and on the plane of a tile.
  template <class Use>
  void for_each_run(const SparseTile& tile, const Use& use) const noexcept {
    const index_t left = std::clamp<index_t>(map_.pad_left, 0, plane_width());
    const index_t right = std::min(plane_width(), map_.grid_width + map_.pad_left);
    const index_t cols = right - left;
    if (cols <= 0) return;
    const index_t height = plane_height(tile.rows);
    index_t vector = 0;
    index_t place = 0;
    index_t count = 0;
    for (index_t row = 0; row < tile.images * height; ++row) {
      const index_t y = tile.first_row * map_.step_y - map_.pad_top + row % height;
      if (y < 0 || y >= map_.grid_height) continue;
      const index_t image = tile.first_image + row / height;
      const index_t next_vector =
          image * map_.grid_size() + y * map_.grid_width + left - map_.pad_left;
      const index_t next_place = row * plane_width() + left;
      if (vector + count != next_vector || place + count != next_place) {
        if (count > 0) use(vector, place, count);
        vector = next_vector;
        place = next_place;
        count = 0;
      }
      count += cols;
    }
    if (count > 0) use(vector, place, count);
  }

 private:
  /// What a plane may take, from the second-level cache, where rows that tiles share would be many.
  static constexpr index_t k_large_plane_bytes = 128 << 10;

  [[nodiscard]] index_t rows_that_fit(index_t bytes, index_t vector_bytes) const noexcept {
    const index_t height = bytes / vector_bytes / plane_width();
    return height < plane_height(1) ? 0 : (height - plane_height(1)) / map_.step_y + 1;
  }

  void cut(index_t vector_bytes, index_t plane_bytes) {
    if (map_.rows() == 0) {
      count_ = 0;
      return;
    }
    // Rows that neighbouring tiles both load.
    const index_t shared = (plane_height(1) - 1) / map_.step_y;
    index_t rows = rows_that_fit(plane_bytes, vector_bytes);
    if (rows < 2 * shared) {
      rows = std::max(rows, std::min(rows_that_fit(k_large_plane_bytes, vector_bytes), 4 * shared));
    }
    rows = std::clamp<index_t>(rows, 1, map_.out_height);
    bands_ = blocks_of(map_.out_height, rows);
    band_rows_ = blocks_of(map_.out_height, bands_);
    bands_ = blocks_of(map_.out_height, band_rows_);
    if (bands_ == 1) {
      const index_t images =
          plane_bytes / vector_bytes / plane_width() / plane_height(map_.out_height);
      tile_images_ = std::clamp<index_t>(images, 1, map_.images);
      count_ = blocks_of(map_.images, tile_images_);
    } else {
      count_ = map_.images * bands_;
    }
    const index_t places = checked_product("neuron vectors of a tile", tile_images_,
                                           plane_height(band_rows_), plane_width());
    detail::require(places <= std::numeric_limits<std::int32_t>::max(),
                    "a tile of output pixels meets ", places, " neuron vectors; at most ",
                    std::numeric_limits<std::int32_t>::max(), " can be numbered");
  }

  VectorMap map_;
  int registers_ = 1;
  index_t strip_ = 1;
  index_t strips_ = 0;
  index_t count_ = 0;
  index_t bands_ = 1;
  index_t band_rows_ = 1;
  index_t tile_images_ = 1;
};

ADR_NAMESPACE_END
