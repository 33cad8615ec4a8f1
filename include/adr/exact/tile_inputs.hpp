// The inputs of tiles bit by bit: hashes of the pixels of a row, and whether two windows are the
// same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "adr/core/float_bits.hpp"
#include "adr/core/parallel.hpp"
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

/// How many of up to `most` pixels with their channels side by side are the same as the one before
/// them, from `pixel` on.
inline index_t equal_run(const float* pixel, index_t stride, index_t channels,
                         index_t most) noexcept {
  // Many at once, where nothing lies between them; most pixels of noise differ in the first
  // element, for which a call is dear.
  const index_t at_once = stride == channels ? 8 : 1;
  const auto equal = [&](const float* from, index_t count) {
    return adr::detail::equal_bits(from, from - stride, 1) &&
           adr::detail::equal_bits(from, from - stride, count * channels);
  };
  index_t run = 0;
  while (run + at_once <= most && equal(pixel + run * stride, at_once)) run += at_once;
  while (run < most && equal(pixel + run * stride, 1)) ++run;
  return run;
}

/// Whether two rows of pixels inside the image have the same bits, in as few pieces as memory has.
inline bool same_rows(const TileInputs& tiles, const float* a, const float* b,
                      index_t pixels) noexcept {
  const bool last = tiles.x.channels_last();
  const index_t channels = tiles.x.channels;
  const bool one_run = last && channels == tiles.pixel_stride();
  const index_t pieces = one_run ? 1 : last ? pixels : channels;
  const index_t size = one_run ? pixels * channels : last ? channels : pixels;
  const index_t stride = last ? tiles.pixel_stride() : tiles.channel_stride();
  for (index_t piece = 0; piece < pieces; ++piece) {
    if (!adr::detail::equal_bits(a + piece * stride, b + piece * stride, size)) return false;
  }
  return true;
}

}  // namespace detail

/// Hashes `count` pixels of an image, in the order of memory from `first` on, and compares each
/// with the one before it.
///
/// hashes, differs: count elements; differs[i] is 0 where pixel first + i has the bits of pixel
/// first + i - 1, and 1 elsewhere and for the first pixel of the image. keys: fill_hash_keys for
/// `places` channels. Cost: one read.
inline void hash_pixels(const TileInputs& tiles, index_t image, index_t first, index_t count,
                        const std::uint32_t* keys, index_t places, std::uint64_t* hashes,
                        unsigned char* differs) noexcept {
  const index_t channels = tiles.x.channels;
  const index_t stride = tiles.pixel_stride();
  const float* pixels = tiles.pixel(image, 0, 0) + first * stride;
  if (!tiles.x.channels_last()) {
    for (index_t i = 0; i < count; i += simd::k_hash_columns) {
      simd::hash_columns(pixels + i, tiles.channel_stride(), channels,
                         std::min(simd::k_hash_columns, count - i), first + i > 0, keys, places,
                         hashes + i, differs + i);
    }
    return;
  }
  for (index_t i = 0; i < count;) {
    hashes[i] = simd::hash_words(pixels + i * stride, channels, keys, places);
    differs[i] = 1;
    // The first one may repeat what lies before it, but has no hash to take over.
    if (i == 0 && first > 0) {
      differs[0] = detail::equal_run(pixels, stride, channels, 1) == 1 ? 0 : 1;
    }
    const index_t run =
        detail::equal_run(pixels + (i + 1) * stride, stride, channels, count - i - 1);
    std::fill_n(hashes + i + 1, run, hashes[i]);
    std::fill_n(differs + i + 1, run, static_cast<unsigned char>(0));
    i += run + 1;
  }
}

/// One row of pixels as its tiles see it, with the padding around it: hashes, and where runs of the
/// same pixel begin.
///
/// hashes, differs: what hash_pixels has made of the row, null for a row of padding. padded,
/// run_starts: padded_columns() elements. padded[i] is the hash of the pixel at x = i - before_x;
/// run_starts[i] is the first pixel of the run that i belongs to.
inline void pad_pixel_row(const TileInputs& tiles, index_t image, index_t y,
                          const std::uint64_t* hashes, const unsigned char* differs,
                          std::uint64_t* padded, index_t* run_starts) noexcept {
  const index_t columns = tiles.padded_columns();
  const std::uint64_t zero = simd::hash_of_sums(0, 0);
  if (hashes == nullptr) {
    std::fill_n(padded, columns, zero);
    std::fill_n(run_starts, columns, index_t{0});
    return;
  }
  const index_t before = tiles.grid.before_x;
  const index_t width = tiles.grid.in_width;
  const auto is_zero = [&](index_t x) {
    return hashes[x] == zero && detail::same_pixels(tiles.pixel(image, y, x), nullptr,
                                                    tiles.x.channels, tiles.channel_stride());
  };
  std::fill_n(padded, before, zero);
  std::fill_n(run_starts, before, index_t{0});
  std::copy_n(hashes, width, padded + before);
  index_t start = before > 0 && is_zero(0) ? 0 : before;
  run_starts[before] = start;
  for (index_t x = 1; x < width; ++x) {
    if (differs[x] != 0) start = before + x;
    run_starts[before + x] = start;
  }
  if (before + width < columns && !is_zero(width - 1)) start = before + width;
  std::fill_n(padded + before + width, columns - before - width, zero);
  std::fill_n(run_starts + before + width, columns - before - width, start);
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
  // Columns of the windows that lie inside the image.
  const auto inside = [&](const TilePlace& place) {
    const index_t x = place.x - grid.before_x;
    return IndexRange{std::clamp<index_t>(-x, 0, tiles.inputs),
                      std::clamp<index_t>(grid.in_width - x, 0, tiles.inputs)};
  };
  const IndexRange columns = inside(first);
  const IndexRange other_columns = inside(second);
  const bool alike = columns.first == other_columns.first && columns.last == other_columns.last;
  if (alike && columns.size() <= 0) return true;
  for (index_t i = 0; i < tiles.inputs; ++i) {
    const index_t y = i - grid.before_y;
    const auto at = [&](const TilePlace& place, index_t j) {
      return tiles.pixel(place.image, place.y + y, place.x - grid.before_x + j);
    };
    const float* row = at(first, columns.first);
    const float* other = at(second, columns.first);
    if (alike && (row == nullptr) == (other == nullptr)) {
      if (row != nullptr && !detail::same_rows(tiles, row, other, columns.size())) return false;
      continue;
    }
    for (index_t j = 0; j < tiles.inputs; ++j) {
      if (!detail::same_pixels(at(first, j), at(second, j), tiles.x.channels,
                               tiles.channel_stride())) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace exact
ADR_NAMESPACE_END
