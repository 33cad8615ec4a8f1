// The list of an output gradient's non-zeros by pixel, rounded on the way.
#pragma once

#include <algorithm>
#include <cstdint>

#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/gradients/gradient_density.hpp"
#include "adr/gradients/sparse_entries.hpp"
#include "adr/gradients/sparse_tiles.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/non_zeros.hpp"
#include "adr/simd/rounding.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Pixels that are transposed at a time: a cache line of each channel.
inline constexpr index_t k_rounded_pixels = 16;

/// Elements of scratch of list_rounded: carries, a rounded pixel, and transposed ones.
inline index_t rounding_elements(index_t channels) noexcept {
  return (2 + k_rounded_pixels) * simd::padded(channels);
}

/// Rounds the pixels of a tile one after the other (simd::round_and_carry) and lists the channels
/// of each that are not zero then; returns how many are listed. Every channel of every tile has a
/// start of its own by the seed. Room: k_list_slack entries more than the tile has non-zeros.
template <class T>
index_t list_rounded(const PixelView<const T>& gradient, const SparseTiles& tiles, index_t t,
                     T unit, std::uint64_t seed, T* scratch,
                     const SparseList<std::int32_t, T>& to) noexcept {
  const SparseTile tile = tiles.tile(t);
  const index_t channels = gradient.channels;
  const index_t image_pixels = tile.rows * tiles.map().out_width;
  const index_t first_pixel = tile.first_row * tiles.map().out_width;
  const index_t row = simd::padded(channels);
  const bool transposes = lists_channels_first(gradient);
  const index_t stride = transposes ? row : gradient.pixel_stride;
  T* carry = scratch;
  T* rounded = scratch + row;
  T* transposed = scratch + 2 * row;
  simd::start_carries(seed, static_cast<std::uint64_t>(t * channels), channels, carry);
  index_t listed = 0;
  index_t pixel = 0;
  for (index_t b = 0; b < tile.images; ++b) {
    for (index_t p = 0; p < image_pixels; p += k_rounded_pixels) {
      const index_t count = std::min(k_rounded_pixels, image_pixels - p);
      const T* values = gradient.at(tile.first_image + b, first_pixel + p, 0);
      if (transposes) {
        simd::transpose(values, gradient.channel_stride, channels, count, transposed, row);
        values = transposed;
      }
      for (index_t i = 0; i < count; ++i) {
        simd::round_and_carry(values + i * stride, channels, unit, carry, rounded);
        to.starts[pixel++] = static_cast<std::int32_t>(listed);
        listed += simd::list_non_zeros(rounded, channels, to.indices + listed, to.values + listed);
      }
    }
  }
  to.starts[pixel] = static_cast<std::int32_t>(listed);
  return listed;
}

}  // namespace detail
ADR_NAMESPACE_END
