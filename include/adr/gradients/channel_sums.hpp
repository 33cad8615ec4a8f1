// The sums of the channels of an output gradient: the gradient of a bias.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Writes sums[c] = sum over the pixels of channel c, in an order that depends on the shape and the
/// layout alone. Cost: one addition per element. Thread-safety: reentrant. Source: backpropagation.
template <class T>
void channel_sums(const PixelView<const T>& pixels, T* sums, int thread_count) {
  if (pixels.channel_stride == 1) {
    // Parts of the pixels have a partial sum each, of a few cache lines of channels at a time.
    constexpr index_t k_parts = 8;
    constexpr index_t k_channels = 64;
    constexpr index_t k_worth_threads = 131072;
    if (pixels.rows() * pixels.channels < k_worth_threads) thread_count = 1;
    for (index_t first = 0; first < pixels.channels; first += k_channels) {
      const index_t channels = std::min(k_channels, pixels.channels - first);
      alignas(64) T partial[k_parts][k_channels] = {};
      parallel_for(k_parts, thread_count, [&](index_t part, int /*thread*/) {
        const IndexRange rows = partition(pixels.rows(), k_parts, part);
        for_each_image_run(pixels.pixels, rows.first, rows.size(),
                           [&](index_t image, index_t pixel, index_t count, index_t /*at*/) {
                             simd::add_column_sums(pixels.at(image, pixel, first),
                                                   pixels.pixel_stride, count, channels,
                                                   partial[part]);
                           });
      });
      std::fill_n(sums + first, channels, T(0));
      for (const T* part : partial) simd::add(part, sums + first, channels);
    }
    return;
  }
  parallel_for(pixels.channels, thread_count, [&](index_t c, int /*thread*/) {
    T total = 0;
    for (index_t b = 0; b < pixels.images; ++b) {
      total += simd::total(pixels.at(b, 0, c), pixels.pixels);
    }
    sums[c] = total;
  });
}

ADR_NAMESPACE_END
