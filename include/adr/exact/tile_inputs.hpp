// The inputs of tiles bit by bit: hashes of the pixels of a row, and whether two windows are the
// same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "adr/core/types.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/simd/word_sums.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// Where tiles lie and what they read: `inputs` pixels in each dimension, zero beyond the image.
struct TileInputs {
  TileGrid grid;
  GroupImages<const float> x;
  index_t inputs = 0;

  [[nodiscard]] index_t tiles() const noexcept { return x.images.batch * grid.per_image(); }
  /// Pixels of one dimension from the first that a tile reads to the last, padding included.
  [[nodiscard]] index_t padded_rows() const noexcept { return padded(grid.rows); }
  [[nodiscard]] index_t padded_columns() const noexcept { return padded(grid.columns); }
  /// Elements from channel to channel of a pixel, and from pixel to pixel of a row.
  [[nodiscard]] index_t channel_stride() const noexcept {
    return x.channels_last() ? 1 : x.images.height * x.images.width;
  }
  [[nodiscard]] index_t pixel_stride() const noexcept {
    return x.channels_last() ? x.images.channels : 1;
  }
  /// The first channel of a pixel; null beyond the image.
  [[nodiscard]] const float* pixel(index_t image, index_t y, index_t x_at) const noexcept {
    if (y < 0 || y >= grid.in_height || x_at < 0 || x_at >= grid.in_width) return nullptr;
    return x.images.image(image) + x.first_channel * channel_stride() +
           (y * grid.in_width + x_at) * pixel_stride();
  }

 private:
  [[nodiscard]] index_t padded(index_t count) const noexcept {
    return count > 0 ? (count - 1) * grid.step + inputs : 0;
  }
};

namespace detail {

/// Whether the channels of two pixels have the same bits; null stands for zeros.
inline bool same_pixels(const float* a, const float* b, index_t channels, index_t stride) noexcept {
  if (a == b) return true;
  if (a == nullptr) std::swap(a, b);
  for (index_t c = 0; c < channels; ++c) {
    std::uint32_t bits = 0;
    std::uint32_t other = 0;
    std::memcpy(&bits, a + c * stride, sizeof(bits));
    if (b != nullptr) std::memcpy(&other, b + c * stride, sizeof(other));
    if (bits != other) return false;
  }
  return true;
}

/// The same for pixels inside the image whose channels lie side by side.
inline bool same_neighbours(const float* a, const float* b, index_t channels) noexcept {
  // Most pixels of noise differ in the first element, for which a call is dear.
  return std::memcmp(a, b, sizeof(float)) == 0 &&
         std::memcmp(a, b, static_cast<std::size_t>(channels) * sizeof(float)) == 0;
}

}  // namespace detail

/// Hashes the padded pixels of row y of an image and finds runs of the same pixel.
///
/// hashes, run_starts: padded_columns() elements. hashes[i] is that of the pixel at x = i -
/// before_x; run_starts[i] is the first pixel of the run of equal ones, bit for bit, that i ends or
/// goes through. keys: fill_hash_keys for `places` channels. Cost: one read.
inline void hash_pixel_row(const TileInputs& tiles, index_t image, index_t y,
                           const std::uint32_t* keys, index_t places, std::uint64_t* hashes,
                           index_t* run_starts) noexcept {
  const index_t columns = tiles.padded_columns();
  const index_t channels = tiles.x.channels;
  const std::uint64_t zero = simd::hash_of_sums(0, 0);
  const float* first = tiles.pixel(image, y, 0);
  if (first == nullptr) {
    std::fill_n(hashes, columns, zero);
    std::fill_n(run_starts, columns, index_t{0});
    return;
  }
  const index_t before = tiles.grid.before_x;
  const index_t width = tiles.grid.in_width;
  const index_t stride = tiles.channel_stride();
  std::fill_n(hashes, before, zero);
  std::fill_n(run_starts, before, index_t{0});
  const auto starts_as = [&](index_t i, bool same) {
    run_starts[i] = same && i > 0 ? run_starts[i - 1] : i;
  };
  if (tiles.x.channels_last()) {
    hashes[before] = simd::hash_words(first, channels, keys, places);
    for (index_t i = 1; i < width; ++i) {
      const float* pixel = first + i * tiles.pixel_stride();
      const bool same = detail::same_neighbours(pixel, pixel - tiles.pixel_stride(), channels);
      hashes[before + i] =
          same ? hashes[before + i - 1] : simd::hash_words(pixel, channels, keys, places);
      run_starts[before + i] = same ? 0 : before + i;
    }
  } else {
    // The first alone: there may be nothing before it to compare with.
    std::uint32_t sums[2] = {0, 0};
    for (index_t c = 0; c < channels; ++c) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, first + c * stride, sizeof(bits));
      bits ^= bits >> 16;
      sums[0] += bits * keys[c];
      sums[1] += bits * keys[places + c];
    }
    hashes[before] = simd::hash_of_sums(sums[0], sums[1]);
    for (index_t i = 1; i < width; i += simd::k_hash_words) {
      // The last ones overlap those before, where there are as many.
      const index_t at = std::max<index_t>(std::min(i, width - simd::k_hash_words), 1);
      const index_t count = std::min(simd::k_hash_words, width - at);
      const std::uint32_t differs = simd::hash_columns(first + at, stride, channels, count, keys,
                                                       places, hashes + before + at);
      for (index_t v = 0; v < count; ++v) {
        run_starts[before + at + v] = (differs >> v & 1U) == 0 ? 0 : before + at + v;
      }
    }
  }
  // Now run_starts[i] is 0 where a pixel goes on, and i where one begins.
  starts_as(before, detail::same_pixels(first, nullptr, channels, stride));
  for (index_t i = before + 1; i < before + width; ++i) starts_as(i, run_starts[i] == 0);
  const float* last = first + (width - 1) * tiles.pixel_stride();
  for (index_t i = before + width; i < columns; ++i) {
    hashes[i] = zero;
    starts_as(i, i > before + width || detail::same_pixels(last, nullptr, channels, stride));
  }
}

/// Whether two tiles have the same inputs, bit for bit, and as many outputs in the map.
inline bool same_tiles(const TileInputs& tiles, index_t a, index_t b) noexcept {
  const TileGrid& grid = tiles.grid;
  const TilePlace first = grid.place(a);
  const TilePlace second = grid.place(b);
  const auto written = [&](index_t at, index_t size) { return std::min(grid.step, size - at); };
  if (written(first.y, grid.out_height) != written(second.y, grid.out_height) ||
      written(first.x, grid.out_width) != written(second.x, grid.out_width)) {
    return false;
  }
  const auto inside = [&](const TilePlace& place) {
    return place.x >= grid.before_x && place.x - grid.before_x + tiles.inputs <= grid.in_width;
  };
  const bool whole_rows = inside(first) && inside(second);
  const bool one_run = tiles.x.channels_last() && tiles.x.channels == tiles.x.images.channels;
  const index_t channels = tiles.x.channels;
  for (index_t i = 0; i < tiles.inputs; ++i) {
    const index_t y = i - grid.before_y;
    const float* row = tiles.pixel(first.image, first.y + y, first.x - grid.before_x);
    const float* other = tiles.pixel(second.image, second.y + y, second.x - grid.before_x);
    if (whole_rows && row == nullptr && other == nullptr) continue;
    if (whole_rows && row != nullptr && other != nullptr) {
      // In as few pieces as memory has.
      const index_t pieces = one_run ? 1 : tiles.x.channels_last() ? tiles.inputs : channels;
      const index_t size = one_run                   ? tiles.inputs * channels
                           : tiles.x.channels_last() ? channels
                                                     : tiles.inputs;
      const index_t stride =
          tiles.x.channels_last() ? tiles.pixel_stride() : tiles.channel_stride();
      for (index_t piece = 0; piece < pieces; ++piece) {
        if (std::memcmp(row + piece * stride, other + piece * stride,
                        static_cast<std::size_t>(size) * sizeof(float)) != 0) {
          return false;
        }
      }
      continue;
    }
    for (index_t j = 0; j < tiles.inputs; ++j) {
      const index_t x = j - grid.before_x;
      if (!detail::same_pixels(tiles.pixel(first.image, first.y + y, first.x + x),
                               tiles.pixel(second.image, second.y + y, second.x + x), channels,
                               tiles.channel_stride())) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace exact
ADR_NAMESPACE_END
