// The weights of a convolution as tiles want them, and their gradient on the way back.
//
// Transformed weights are panels: element (frequency, depth, output) is at
//   frequency * frequency_stride + (output / width * depths + depth) * width + output % width.
// For the forward pass depth is the input channel and output the output channel; for the input
// gradient they change places and the kernel is turned by 180 degrees.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "adr/core/types.hpp"
#include "adr/exact/tile_transforms.hpp"
#include "adr/exact/weight_use.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/simd/unrolled.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// The filters of one group, one per row, as the caller has them: (ky, kx, channel) in layout nhwc,
/// (channel, ky, kx) in nchw.
template <class T>
struct Filters {
  MatrixView<T> matrix;
  index_t channels = 0;
  Layout layout = Layout::nhwc;

  [[nodiscard]] index_t count() const noexcept { return matrix.rows; }
};

/// The common dimension and the outputs of a product with filters.
template <class T>
index_t depths_of(const Filters<T>& filters, WeightUse use) noexcept {
  return use == WeightUse::forward ? filters.channels : filters.count();
}
template <class T>
index_t outputs_of(const Filters<T>& filters, WeightUse use) noexcept {
  return use == WeightUse::forward ? filters.count() : filters.channels;
}

namespace detail {

/// How many depths are gathered at once: some cache lines of channels in a row, because filters lie
/// so far apart that every jump between them waits for memory; as many as fit 40 KB.
template <class T, index_t Taps>
inline constexpr index_t k_gathered = std::max(index_t{1},
                                               (index_t{40} << 10) /
                                                   (16 * Taps * Taps * index_t{sizeof(T)} *
                                                    simd::KernelShape<simd::Batch<T>>::width)) *
                                      16;

/// Some weights with the outputs of one panel side by side: weight (depth, tap) is at
/// first + depth * depth_step + tap * tap_step.
template <class T>
struct GatheredWeights {
  const T* first;
  index_t depth_step;
  index_t tap_step;
};

/// Brings together `count` depths from first_depth on for the outputs of the panel that begins with
/// first_output, in place where they lie side by side. Lanes beyond the outputs are zero. For the
/// input gradient taps are counted from the last one backwards. buffer: k_gathered * Taps * Taps *
/// panel width elements.
template <index_t Taps, class T>
GatheredWeights<T> gather_weights(const Filters<const T>& filters, WeightUse use,
                                  index_t first_output, index_t first_depth, index_t count,
                                  T* buffer) noexcept {
  constexpr index_t k_width = simd::KernelShape<simd::Batch<T>>::width;
  constexpr index_t k_plane = Taps * Taps;
  const index_t outputs = std::min(k_width, outputs_of(filters, use) - first_output);
  const index_t stride = filters.matrix.row_stride;
  const bool nhwc = filters.layout == Layout::nhwc;
  if (use == WeightUse::input_gradient && nhwc && outputs == k_width) {
    return {filters.matrix.row(first_depth) + (k_plane - 1) * filters.channels + first_output,
            stride, -filters.channels};
  }
  if (outputs < k_width) std::fill_n(buffer, count * k_plane * k_width, T(0));
  if (use == WeightUse::forward) {
    const T* rows = filters.matrix.row(first_output);
    if (!nhwc) {
      simd::transpose(rows + first_depth * k_plane, stride, outputs, count * k_plane, buffer,
                      k_width);
      return {buffer, k_plane * k_width, k_width};
    }
    for (index_t tap = 0; tap < k_plane; ++tap) {
      simd::transpose(rows + tap * filters.channels + first_depth, stride, outputs, count,
                      buffer + tap * count * k_width, k_width);
    }
    return {buffer, k_width, count * k_width};
  }
  for (index_t depth = 0; depth < count; ++depth) {
    const T* filter = filters.matrix.row(first_depth + depth);
    T* target = buffer + depth * k_plane * k_width;
    if (nhwc) {
      for (index_t tap = 0; tap < k_plane; ++tap) {
        simd::copy(filter + tap * filters.channels + first_output, target + tap * k_width, outputs);
      }
    } else {
      simd::transpose(filter + first_output * k_plane, k_plane, outputs, k_plane, target, k_width);
    }
  }
  return {buffer + (k_plane - 1) * k_width, k_plane * k_width, -k_width};
}

/// Asks for the weights that gather_weights will read, in time: they lie in lines far apart.
template <index_t Taps, class T>
void prefetch_weights(const Filters<const T>& filters, WeightUse use, index_t first_output,
                      index_t first_depth, index_t count) noexcept {
  constexpr index_t k_width = simd::KernelShape<simd::Batch<T>>::width;
  constexpr index_t k_plane = Taps * Taps;
  constexpr index_t k_line = 64 / static_cast<index_t>(sizeof(T));
  const index_t outputs = std::min(k_width, outputs_of(filters, use) - first_output);
  const bool forward = use == WeightUse::forward;
  const index_t first_row = forward ? first_output : first_depth;
  const index_t rows = forward ? outputs : count;
  const index_t first_channel = forward ? first_depth : first_output;
  const index_t channels = forward ? count : outputs;
  const bool nhwc = filters.layout == Layout::nhwc;
  const index_t pieces = nhwc ? k_plane : 1;
  const index_t length = nhwc ? channels : channels * k_plane;
  for (index_t i = 0; i < rows; ++i) {
    const T* row = filters.matrix.row(first_row + i) + first_channel * (nhwc ? 1 : k_plane);
    for (index_t piece = 0; piece < pieces; ++piece) {
      for (index_t j = 0; j < length; j += k_line) {
        __builtin_prefetch(row + piece * filters.channels + j);
      }
    }
  }
}

template <class Algorithm, class T, class B>
void transform_gathered(const GatheredWeights<T>& gathered, index_t count, T* panel,
                        index_t frequency_stride) noexcept {
  constexpr index_t k_width = simd::KernelShape<B>::width;
  constexpr index_t k_taps = Algorithm::taps;
  constexpr index_t k_products = Algorithm::products;
  for (index_t depth = 0; depth < count; ++depth) {
    const T* weights = gathered.first + depth * gathered.depth_step;
    const index_t step = gathered.tap_step;
    for (index_t lane = 0; lane < k_width; lane += B::size) {
      std::array<std::array<B, static_cast<std::size_t>(k_taps)>,
                 static_cast<std::size_t>(k_products)>
          half;
      simd::unrolled<k_taps>([&](auto j) ADR_INLINE_LAMBDA {
        B from[k_taps];
        B to[k_products];
        simd::unrolled<k_taps>([&](auto i) ADR_INLINE_LAMBDA {
          from[i] = B::load(weights + static_cast<index_t>(i * k_taps + j) * step + lane);
        });
        Algorithm::weights(from, to);
        simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA { half[i][j] = to[i]; });
      });
      T* target = panel + depth * k_width + lane;
      simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
        B to[k_products];
        Algorithm::weights(half[i].data(), to);
        simd::unrolled<k_products>([&](auto j) ADR_INLINE_LAMBDA {
          to[j].store(target + static_cast<index_t>(i * k_products + j) * frequency_stride);
        });
      });
    }
  }
}

}  // namespace detail

/// Transforms the depths [first_depth, first_depth + count) of one panel of outputs into
/// panel[frequency * frequency_stride + (depth - first_depth) * width + output - first_output].
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_weights(const Filters<const T>& filters, WeightUse use, index_t first_output,
                       index_t first_depth, index_t count, T* panel,
                       index_t frequency_stride) noexcept {
  constexpr index_t k_width = simd::KernelShape<B>::width;
  constexpr index_t k_gathered = detail::k_gathered<T, Algorithm::taps>;
  alignas(64) T buffer[k_gathered * Algorithm::taps * Algorithm::taps * k_width];
  for (index_t depth = 0; depth < count; depth += k_gathered) {
    const index_t some = std::min(k_gathered, count - depth);
    const index_t next = depth + some;
    if (next < count) {
      detail::prefetch_weights<Algorithm::taps>(filters, use, first_output, first_depth + next,
                                                std::min(k_gathered, count - next));
    }
    const auto gathered = detail::gather_weights<Algorithm::taps>(
        filters, use, first_output, first_depth + depth, some, buffer);
    detail::transform_gathered<Algorithm, T, B>(gathered, some, panel + depth * k_width,
                                                frequency_stride);
  }
}

/// Transforms the sums of one piece back and writes the gradient of its weights.
///
/// sums: [frequency][row][panel width], a row per filter from first_filter on, lanes are input
/// channels from first_channel on; frequency_stride apart. stream: past the caches, for filters in
/// layout nhwc whose channels are whole panels and begin registers; finish_streaming is due.
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_weight_gradient(const T* sums, index_t frequency_stride, index_t first_filter,
                               index_t filter_count, index_t first_channel,
                               const Filters<T>& d_filters, bool stream) noexcept {
  constexpr index_t k_width = simd::KernelShape<B>::width;
  constexpr index_t k_taps = Algorithm::taps;
  constexpr index_t k_plane = k_taps * k_taps;
  constexpr index_t k_products = Algorithm::products;
  const index_t channels = std::min(k_width, d_filters.channels - first_channel);
  const bool in_place = d_filters.layout == Layout::nhwc && !stream;
  alignas(64) T buffer[k_plane * k_width];
  for (index_t row = 0; row < filter_count; ++row) {
    T* filter = d_filters.matrix.row(first_filter + row);
    T* taps = in_place ? filter + first_channel : buffer;
    const index_t tap_step = in_place ? d_filters.channels : k_width;
    for (index_t lane = 0; lane < channels; lane += B::size) {
      const index_t count = std::min(B::size, channels - lane);
      std::array<std::array<B, static_cast<std::size_t>(k_products)>,
                 static_cast<std::size_t>(k_taps)>
          half;
      simd::unrolled<k_products>([&](auto j) ADR_INLINE_LAMBDA {
        B from[k_products];
        B to[k_taps];
        simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
          from[i] = B::load(sums + static_cast<index_t>(i * k_products + j) * frequency_stride +
                            row * k_width + lane);
        });
        Algorithm::weight_gradient(from, to);
        simd::unrolled<k_taps>([&](auto i) ADR_INLINE_LAMBDA { half[i][j] = to[i]; });
      });
      simd::unrolled<k_taps>([&](auto i) ADR_INLINE_LAMBDA {
        B to[k_taps];
        Algorithm::weight_gradient(half[i].data(), to);
        simd::unrolled<k_taps>([&](auto j) ADR_INLINE_LAMBDA {
          simd::store_part(to[j], taps + static_cast<index_t>(i * k_taps + j) * tap_step + lane,
                           count);
        });
      });
    }
    if (d_filters.layout == Layout::nchw) {
      simd::transpose(buffer, k_width, k_plane, channels, filter + first_channel * k_plane,
                      k_plane);
    } else if (stream) {
      // Whole cache lines: a tap has few channels of the panel, and taps lie far apart.
      for (index_t tap = 0; tap < k_plane; ++tap) {
        T* run = filter + tap * d_filters.channels + first_channel;
        for (index_t lane = 0; lane < k_width; lane += B::size) {
          B::load(buffer + tap * k_width + lane).stream(run + lane);
        }
      }
    }
  }
}

}  // namespace exact
ADR_NAMESPACE_END
