// The gradient with respect to a bias.
#pragma once

#include <algorithm>

#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/gradients/channel_sums.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Writes the sums of d_y over all pixels to d_bias, or adds them; nothing for an empty d_bias.
template <class T>
void bias_gradient(const PixelView<const T>& d_y, const VectorView<T>& d_bias, bool add,
                   int thread_count) {
  if (d_bias.empty()) return;
  if (!add) return channel_sums(d_y, d_bias.data, thread_count);
  constexpr index_t k_channels = 256;
  T sums[k_channels];
  PixelView<const T> part = d_y;
  for (index_t first = 0; first < d_y.channels; first += k_channels) {
    part.data = d_y.data + first * d_y.channel_stride;
    part.channels = std::min(k_channels, d_y.channels - first);
    channel_sums(part, sums, thread_count);
    simd::add(sums, d_bias.data + first, part.channels);
  }
}

ADR_NAMESPACE_END
