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
    std::fill_n(sums, pixels.channels, T(0));
    for (index_t b = 0; b < pixels.images; ++b) {
      for (index_t p = 0; p < pixels.pixels; ++p) {
        simd::add(pixels.at(b, p, 0), sums, pixels.channels);
      }
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
