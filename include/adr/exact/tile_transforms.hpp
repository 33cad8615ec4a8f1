// From pixels to the panels that are multiplied, and from products back to pixels: the transforms
// of one tile, all channels, in registers.
//
// Frequencies lie far apart, so that the products of one frequency read one block of memory:
// element (frequency, channel, tile) of TilePanels is at
//   frequency * frequency_stride + (channel / width * tiles + tile) * width + channel % width.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/types.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/unrolled.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// The transformed tiles of a block.
template <class T>
struct TilePanels {
  T* data = nullptr;
  index_t frequency_stride = 0;
  index_t tiles = 0;  ///< of the block
  index_t width = 0;  ///< channels that lie side by side, a multiple of a register

  [[nodiscard]] T* at(index_t frequency, index_t channel, index_t tile) const noexcept {
    return data + frequency * frequency_stride + (channel / width * tiles + tile) * width +
           channel % width;
  }
};

/// The distance between frequencies: one that is near a multiple of a page would put all of them
/// into the same few sets of the caches.
inline index_t frequency_stride(index_t elements) noexcept {
  constexpr index_t k_page = 1024;
  constexpr index_t k_line = 16;
  const index_t beyond = elements % k_page;
  return beyond < k_line || beyond > k_page - k_line ? elements + 3 * k_line : elements;
}

namespace detail {

/// Pixels of a tile that lies inside the image.
template <class T>
struct InsidePixels {
  const T* first;
  index_t row_stride;
  index_t pixel_stride;

  template <class B>
  [[gnu::always_inline]] B load(std::size_t i, std::size_t j, index_t channel,
                                index_t /*count*/) const noexcept {
    return B::load(first + static_cast<index_t>(i) * row_stride +
                   static_cast<index_t>(j) * pixel_stride + channel);
  }
};

/// Pixels of any tile, zero beyond the image, and of channels that do not fill a register.
template <class T, index_t Size>
struct ListedPixels {
  std::array<const T*, static_cast<std::size_t>(Size* Size)> pixel;  ///< null: beyond the image

  template <class B>
  [[gnu::always_inline]] B load(std::size_t i, std::size_t j, index_t channel,
                                index_t count) const noexcept {
    const T* from = pixel[i * static_cast<std::size_t>(Size) + j];
    if (from == nullptr) return B::broadcast(T(0));
    return count == B::size ? B::load(from + channel) : simd::load_part<B>(from + channel, count);
  }
};

/// Size x Size pixels from (y, x) on; those outside [0, height) x [0, width) are null.
template <index_t Size, class T>
ListedPixels<T, Size> listed_pixels(const PixelWindow<const T>& window, index_t y, index_t x,
                                    index_t height, index_t width) noexcept {
  ListedPixels<T, Size> listed;
  for (index_t i = 0; i < Size; ++i) {
    for (index_t j = 0; j < Size; ++j) {
      const bool inside = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width;
      listed.pixel[static_cast<std::size_t>(i * Size + j)] =
          inside ? window.at(y + i, x + j) : nullptr;
    }
  }
  return listed;
}

/// B^T x B of an input tile.
struct InputTransform {
  template <class Algorithm, class B>
  [[gnu::always_inline]] static void apply(const B* from, B* to) noexcept {
    Algorithm::input(from, to);
  }
};
/// A y A^T of a tile of output gradients.
struct OutputGradientTransform {
  template <class Algorithm, class B>
  [[gnu::always_inline]] static void apply(const B* from, B* to) noexcept {
    Algorithm::output_gradient(from, to);
  }
};

/// Transforms the channels [first, last) of one tile, a register at a time. Requires: first begins
/// a register.
template <class Algorithm, class Transform, index_t Size, class T, class Pixels, class B>
void transform_channels(const Pixels& pixels, index_t first, index_t last,
                        const TilePanels<T>& panels, index_t tile) noexcept {
  constexpr index_t k_products = Algorithm::products;
  for (index_t channel = first; channel < last; channel += B::size) {
    const index_t count = std::min(B::size, last - channel);
    std::array<std::array<B, static_cast<std::size_t>(Size)>, static_cast<std::size_t>(k_products)>
        half;
    simd::unrolled<Size>([&](auto j) ADR_INLINE_LAMBDA {
      B from[Size];
      B to[k_products];
      simd::unrolled<Size>([&](auto i) ADR_INLINE_LAMBDA {
        from[i] = pixels.template load<B>(i, j, channel, count);
      });
      Transform::template apply<Algorithm, B>(from, to);
      simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA { half[i][j] = to[i]; });
    });
    T* target = panels.at(0, channel, tile);
    simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
      B to[k_products];
      Transform::template apply<Algorithm, B>(half[i].data(), to);
      simd::unrolled<k_products>([&](auto j) ADR_INLINE_LAMBDA {
        to[j].store(target + static_cast<index_t>(i * k_products + j) * panels.frequency_stride);
      });
    });
  }
}

template <class Algorithm, class Transform, index_t Size, class T, class B>
void transform_tile(const PixelWindow<const T>& window, index_t y, index_t x, index_t height,
                    index_t width, index_t channels, const TilePanels<T>& panels,
                    index_t tile) noexcept {
  const bool inside = y >= 0 && x >= 0 && y + Size <= height && x + Size <= width;
  const index_t whole = inside ? channels / B::size * B::size : 0;
  if (whole > 0) {
    const InsidePixels<T> pixels = {window.at(y, x), window.row_stride, window.pixel_stride};
    transform_channels<Algorithm, Transform, Size, T, InsidePixels<T>, B>(pixels, 0, whole, panels,
                                                                          tile);
  }
  if (whole < channels) {
    transform_channels<Algorithm, Transform, Size, T, ListedPixels<T, Size>, B>(
        listed_pixels<Size, T>(window, y, x, height, width), whole, channels, panels, tile);
  }
}

}  // namespace detail

/// Transforms one tile of the input. Lanes of the last register beyond `channels` become zero.
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_input(const PixelWindow<const T>& window, const TileGrid& grid,
                     const TilePlace& place, index_t channels, const TilePanels<T>& panels,
                     index_t tile) noexcept {
  detail::transform_tile<Algorithm, detail::InputTransform, Algorithm::inputs, T, B>(
      window, place.y - grid.before_y, place.x - grid.before_x, grid.in_height, grid.in_width,
      channels, panels, tile);
}

/// Transforms one tile of the output gradient.
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_output_gradient(const PixelWindow<const T>& window, const TileGrid& grid,
                               const TilePlace& place, index_t channels,
                               const TilePanels<T>& panels, index_t tile) noexcept {
  detail::transform_tile<Algorithm, detail::OutputGradientTransform, Algorithm::outputs, T, B>(
      window, place.y, place.x, grid.out_height, grid.out_width, channels, panels, tile);
}

/// What is done to the results as they are written.
template <class T>
struct Finish {
  const T* bias = nullptr;  ///< one per channel of the layer; null: none
  bool relu = false;        ///< negative results and NaN become zero
  bool stream = false;      ///< results go past the caches
};

namespace detail {

template <class B, class T>
[[gnu::always_inline]] inline B finished(B value, B bias, const Finish<T>& finish) noexcept {
  const B zero = B::broadcast(T(0));
  if (finish.bias != nullptr) value = value + bias;
  if (finish.relu) value = select_less(zero, value, value, zero);
  return value;
}

}  // namespace detail

/// Transforms the products of one panel of channels back and writes its pixels.
///
/// products: [frequency][tile][panel width], frequency_stride apart; channel_count channels are
/// written, beginning at `window`'s first, for which finish.bias stands too.
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_output(const T* products, index_t frequency_stride, const TileGrid& grid,
                      const TilePlace& place, index_t channel_count, const Finish<T>& finish,
                      const PixelWindow<T>& window) noexcept {
  constexpr index_t k_outputs = Algorithm::outputs;
  constexpr index_t k_products = Algorithm::products;
  const index_t height = std::min(k_outputs, grid.out_height - place.y);
  const index_t width = std::min(k_outputs, grid.out_width - place.x);
  for (index_t channel = 0; channel < channel_count; channel += B::size) {
    const index_t count = std::min(B::size, channel_count - channel);
    std::array<std::array<B, static_cast<std::size_t>(k_products)>,
               static_cast<std::size_t>(k_outputs)>
        half;
    simd::unrolled<k_products>([&](auto j) ADR_INLINE_LAMBDA {
      B from[k_products];
      B to[k_outputs];
      simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
        from[i] = B::load(products + static_cast<index_t>(i * k_products + j) * frequency_stride +
                          channel);
      });
      Algorithm::output(from, to);
      simd::unrolled<k_outputs>([&](auto i) ADR_INLINE_LAMBDA { half[i][j] = to[i]; });
    });
    const B bias = finish.bias != nullptr ? simd::load_part<B>(finish.bias + channel, count)
                                          : B::broadcast(T(0));
    simd::unrolled<k_outputs>([&](auto i) ADR_INLINE_LAMBDA {
      if (static_cast<index_t>(i) >= height) return;
      B to[k_outputs];
      Algorithm::output(half[i].data(), to);
      T* row = window.at(place.y + static_cast<index_t>(i), place.x) + channel;
      simd::unrolled<k_outputs>([&](auto j) ADR_INLINE_LAMBDA {
        if (static_cast<index_t>(j) >= width) return;
        const B value = detail::finished(to[j], bias, finish);
        T* pixel = row + static_cast<index_t>(j) * window.pixel_stride;
        if (finish.stream) {
          value.stream(pixel);
        } else if (count == B::size) {
          value.store(pixel);
        } else {
          simd::store_part(value, pixel, count);
        }
      });
    });
  }
}

}  // namespace exact
ADR_NAMESPACE_END
