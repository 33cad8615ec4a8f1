// A glance at a few tiles of a batch: what share of them may repeat, at a small part of the cost of
// finding out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/first_equal.hpp"
#include "adr/exact/tile_inputs.hpp"
#include "adr/simd/word_sums.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

namespace detail {

/// A few elements of a window: different ones tell that tiles differ, the same ones little.
inline std::uint64_t glance(const TileInputs& tiles, index_t tile) noexcept {
  // One pixel of every quarter; every one with channels of its own, because some are always zero.
  constexpr index_t k_pixels = 4;
  const index_t most = tiles.x.channels_last() ? 8 : 2;
  const index_t channels = std::min(most, tiles.x.channels);
  const index_t last = tiles.inputs - 1;
  const index_t rows[k_pixels] = {0, last / 3, last - last / 3, last};
  const index_t columns[k_pixels] = {last / 3, last, 0, last - last / 3};
  const TilePlace place = tiles.grid.place(tile);
  std::uint64_t hash = 0;
  for (index_t i = 0; i < k_pixels; ++i) {
    const index_t first = (tiles.x.channels - channels) * i / (k_pixels - 1);
    const float* pixel = tiles.pixel(place.image, place.y - tiles.grid.before_y + rows[i],
                                     place.x - tiles.grid.before_x + columns[i]);
    std::uint64_t sum = 0;
    for (index_t c = 0; c < channels; ++c) {
      std::uint32_t bits = 0;
      if (pixel != nullptr) {
        std::memcpy(&bits, pixel + (first + c) * tiles.channel_stride(), sizeof(bits));
      }
      sum = (sum ^ bits) * 0x9fb21c651e98df25u;
      sum ^= sum >> 31;
    }
    hash = simd::mixed_bits(hash ^ sum);
  }
  return hash;
}

/// The tiles of a sample: the same places in many images, so that images which repeat are noticed,
/// spread over the map without repeating one.
class SampledTiles {
 public:
  SampledTiles(index_t images, index_t per_image, index_t count) noexcept
      : images_(images), per_image_(per_image) {
    used_ = std::clamp<index_t>(std::max(count / 8, blocks_of(count, per_image)), 1, images);
    step_ = std::max<index_t>(per_image * 5 / 8, 1);
    while (std::gcd(step_, per_image) != 1) ++step_;
  }
  [[nodiscard]] index_t operator[](index_t i) const noexcept {
    const index_t place = (per_image_ / 3 + i / used_ % per_image_ * step_) % per_image_;
    return i % used_ * images_ / used_ * per_image_ + place;
  }

 private:
  index_t images_;
  index_t per_image_;
  index_t used_;
  index_t step_;
};

}  // namespace detail

/// Cache lines that sampling one tile and its neighbour reads.
inline index_t sampled_lines(const TileInputs& tiles) noexcept {
  return tiles.x.channels_last() ? 8 : 16;
}

/// Estimates the share of tiles that repeat others, from a sample of `count` and their neighbours;
/// 0 where it seems to be below `worth`.
///
/// Math: estimate_repeats, by 8 to 32 elements of a window first. Requires: 0 < count <= tiles.
/// Deterministic. Memory: 4 KB of stack. Thread-safety: reentrant. Source: this library.
inline double sampled_repeats(const TileInputs& tiles, index_t count, double worth) noexcept {
  count = std::min(count, detail::k_most_sampled);
  const index_t columns = tiles.grid.columns;
  const detail::SampledTiles sampled(tiles.x.images.batch, tiles.grid.per_image(), count);
  return estimate_repeats(
      count, worth, [&](index_t i) { return sampled[i]; },
      [&](index_t tile) {
        if (columns == 1) return index_t{-1};
        return tile % columns > 0 ? tile - 1 : tile + 1;
      },
      [&](index_t tile) { return detail::glance(tiles, tile); },
      [&](index_t a, index_t b) { return same_tiles(tiles, a, b); });
}

}  // namespace exact
ADR_NAMESPACE_END
