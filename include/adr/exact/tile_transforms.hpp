// From pixels to the panels that are multiplied, and from products back to pixels: the transforms
// of one tile, all channels, in registers.
//
// Frequencies lie far apart, so that the products of one frequency read one block of memory:
// element (frequency, channel, tile) of TilePanels is at
//   frequency * frequency_stride + (channel / width * places + tile) * width + channel % width.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/types.hpp"
#include "adr/exact/finish.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/micro_kernel.hpp"
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

  /// Places for that many tiles: an odd number, for the reason of frequency_stride.
  static constexpr index_t places(index_t tiles) noexcept { return tiles | 1; }
  [[nodiscard]] T* at(index_t frequency, index_t channel, index_t tile) const noexcept {
    return data + frequency * frequency_stride + (channel / width * places(tiles) + tile) * width +
           channel % width;
  }
};

/// The distance between frequencies: an odd number of cache lines, so that the lines of one tile
/// spread over all sets of a cache. (Even ones fall into few sets: with 28 tiles of 64 channels all
/// 36 frequencies into four, which costs more time than the transform itself.)
inline index_t frequency_stride(index_t elements) noexcept {
  constexpr index_t k_line = 16;
  return ((elements + k_line - 1) / k_line | 1) * k_line;
}

namespace detail {

/// B^T x B of an input tile.
struct InputTransform {
  template <class Algorithm>
  static constexpr index_t size = Algorithm::inputs;
  template <class Algorithm, class B>
  [[gnu::always_inline]] static void apply(const B* from, B* to) noexcept {
    Algorithm::input(from, to);
  }
};
/// A y A^T of a tile of output gradients.
struct OutputGradientTransform {
  template <class Algorithm>
  static constexpr index_t size = Algorithm::outputs;
  template <class Algorithm, class B>
  [[gnu::always_inline]] static void apply(const B* from, B* to) noexcept {
    Algorithm::output_gradient(from, to);
  }
};

/// Tiles of one row whose columns are transformed before their rows are: those that neighbours
/// share once, and what is read stays in the first-level cache.
inline constexpr index_t k_tiles_at_once = 8;
/// Channels that are carried through both steps together: one cache line of floats.
inline constexpr index_t k_lanes_at_once = 16;

/// One column of pixels of a row of tiles, `Size` high, transformed downwards to
/// column[product * k_lanes_at_once + channel - first_channel]. rows: the pixel of the column in
/// every row, null beyond the image.
template <class Algorithm, class Transform, class T, class B, index_t Size>
[[gnu::always_inline]] inline void transform_column(
    const std::array<const T*, static_cast<std::size_t>(Size)>& rows, index_t offset,
    index_t channels, T* column) noexcept {
  constexpr index_t k_products = Algorithm::products;
  for (index_t lane = 0; lane < channels; lane += B::size) {
    B from[Size];
    B to[k_products];
    simd::unrolled<Size>([&](auto i) ADR_INLINE_LAMBDA {
      from[i] = rows[i] == nullptr ? B::broadcast(T(0))
                                   : simd::load_part<B>(rows[i] + offset + lane, channels - lane);
    });
    Transform::template apply<Algorithm, B>(from, to);
    simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
      to[i].store(column + static_cast<index_t>(i) * k_lanes_at_once + lane);
    });
  }
}

/// Transforms `tiles` neighbours of one row of tiles, the first at pixel (y, x) of `window`.
template <class Algorithm, class Transform, class T, class B>
void transform_neighbours(const PixelWindow<const T>& window, index_t y, index_t x, index_t tiles,
                          index_t height, index_t width, index_t channels,
                          const TilePanels<T>& panels, index_t first_tile) noexcept {
  constexpr index_t k_size = Transform::template size<Algorithm>;
  constexpr index_t k_products = Algorithm::products;
  constexpr index_t k_step = Algorithm::outputs;
  constexpr index_t k_column = k_products * k_lanes_at_once;
  alignas(64) T columns[(k_tiles_at_once * k_step + k_size) * k_column];
  const index_t first_x = std::max<index_t>(x, 0);
  const index_t last_x = std::min(x + (tiles - 1) * k_step + k_size, width);
  std::array<const T*, static_cast<std::size_t>(k_size)> rows;
  for (index_t i = 0; i < k_size; ++i) {
    const bool inside = y + i >= 0 && y + i < height && first_x < last_x;
    rows[static_cast<std::size_t>(i)] = inside ? window.at(y + i, first_x) : nullptr;
  }
  for (index_t channel = 0; channel < channels; channel += k_lanes_at_once) {
    const index_t some = std::min(k_lanes_at_once, channels - channel);
    for (index_t i = x; i < x + (tiles - 1) * k_step + k_size; ++i) {
      T* column = columns + (i - x) * k_column;
      if (i < first_x || i >= last_x) {
        std::fill_n(column, k_column, T(0));
      } else {
        transform_column<Algorithm, Transform, T, B, k_size>(
            rows, (i - first_x) * window.pixel_stride + channel, some, column);
      }
    }
    for (index_t tile = 0; tile < tiles; ++tile) {
      const T* tile_columns = columns + tile * k_step * k_column;
      for (index_t lane = 0; lane < some; lane += B::size) {
        T* target = panels.at(0, channel + lane, first_tile + tile);
        simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
          B from[k_size];
          B to[k_products];
          simd::unrolled<k_size>([&](auto j) ADR_INLINE_LAMBDA {
            from[j] = B::load(tile_columns + static_cast<index_t>(j) * k_column +
                              static_cast<index_t>(i) * k_lanes_at_once + lane);
          });
          Transform::template apply<Algorithm, B>(from, to);
          T* frequency = target + static_cast<index_t>(i) * k_products * panels.frequency_stride;
          simd::unrolled<k_products>([&](auto j) ADR_INLINE_LAMBDA {
            to[j].store(frequency + static_cast<index_t>(j) * panels.frequency_stride);
          });
        });
      }
    }
  }
}

/// Transforms the tiles at the positions [first, last) of a list, all in one row of tiles, the
/// first at `place`, into the places of `panels` from first_tile on.
template <class Algorithm, class Transform, class T, class B>
void transform_row(const PixelWindow<const T>& window, const TileList& list, index_t first,
                   index_t last, const TilePlace& place, index_t before_y, index_t before_x,
                   index_t height, index_t width, index_t channels, const TilePanels<T>& panels,
                   index_t first_tile) noexcept {
  const index_t origin = list[first];
  for (index_t at = first; at < last;) {
    index_t next = at + 1;
    while (next < last && next - at < k_tiles_at_once && list[next] == list[at] + next - at) ++next;
    transform_neighbours<Algorithm, Transform, T, B>(
        window, place.y - before_y, place.x + (list[at] - origin) * Algorithm::outputs - before_x,
        next - at, height, width, channels, panels, first_tile + at - first);
    at = next;
  }
}

}  // namespace detail

/// Transforms tiles of the input that lie in one row of tiles: the positions [first, last) of a
/// list, the first at `place`, to the tiles of `panels` from first_tile on. Lanes of the last
/// register beyond `channels` become zero.
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_input(const PixelWindow<const T>& window, const TileGrid& grid, const TileList& list,
                     index_t first, index_t last, const TilePlace& place, index_t channels,
                     const TilePanels<T>& panels, index_t first_tile) noexcept {
  detail::transform_row<Algorithm, detail::InputTransform, T, B>(
      window, list, first, last, place, grid.before_y, grid.before_x, grid.in_height, grid.in_width,
      channels, panels, first_tile);
}

/// The same for tiles of the output gradient.
template <class Algorithm, class T, class B = simd::Batch<T>>
void transform_output_gradient(const PixelWindow<const T>& window, const TileGrid& grid,
                               const TileList& list, index_t first, index_t last,
                               const TilePlace& place, index_t channels,
                               const TilePanels<T>& panels, index_t first_tile) noexcept {
  detail::transform_row<Algorithm, detail::OutputGradientTransform, T, B>(
      window, list, first, last, place, 0, 0, grid.out_height, grid.out_width, channels, panels,
      first_tile);
}

namespace detail {

template <class B, class T>
[[gnu::always_inline]] inline B finished(B value, B bias, const Finish<T>& finish) noexcept {
  const B zero = B::broadcast(T(0));
  if (finish.bias != nullptr) value = value + bias;
  if (finish.relu) value = select_less(value, zero, zero, value);
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
  // Registers of one cache line go together, so that a line is written at once.
  constexpr index_t k_width = simd::KernelShape<B>::width;
  constexpr index_t k_registers = std::max<index_t>(
      std::min<index_t>(64 / static_cast<index_t>(sizeof(T)), k_width) / B::size, 1);
  constexpr index_t k_group = k_registers * B::size;
  const index_t height = std::min(k_outputs, grid.out_height - place.y);
  const index_t width = std::min(k_outputs, grid.out_width - place.x);
  for (index_t channel = 0; channel < channel_count; channel += k_group) {
    const index_t count = std::min(k_group, channel_count - channel);
    alignas(64) T half[k_outputs * k_products * k_group];
    B bias[k_registers];
    simd::unrolled<k_registers>([&](auto r) ADR_INLINE_LAMBDA {
      const index_t lane = static_cast<index_t>(r) * B::size;
      for (index_t j = 0; j < k_products; ++j) {
        B from[k_products];
        B to[k_outputs];
        const T* column = products + j * frequency_stride + channel + lane;
        simd::unrolled<k_products>([&](auto i) ADR_INLINE_LAMBDA {
          from[i] = B::load(column + static_cast<index_t>(i) * k_products * frequency_stride);
        });
        Algorithm::output(from, to);
        simd::unrolled<k_outputs>([&](auto i) ADR_INLINE_LAMBDA {
          to[i].store(half + (static_cast<index_t>(i) * k_products + j) * k_group + lane);
        });
      }
      bias[r] = finish.bias != nullptr && lane < count
                    ? simd::load_part<B>(finish.bias + channel + lane, count - lane)
                    : B::broadcast(T(0));
    });
    for (index_t i = 0; i < height; ++i) {
      B to[k_registers][k_outputs];
      simd::unrolled<k_registers>([&](auto r) ADR_INLINE_LAMBDA {
        B from[k_products];
        const T* row = half + i * k_products * k_group + static_cast<index_t>(r) * B::size;
        simd::unrolled<k_products>([&](auto j) ADR_INLINE_LAMBDA {
          from[j] = B::load(row + static_cast<index_t>(j) * k_group);
        });
        Algorithm::output(from, to[r]);
      });
      T* row = window.at(place.y + i, place.x) + channel;
      simd::unrolled<k_outputs>([&](auto j) ADR_INLINE_LAMBDA {
        if (static_cast<index_t>(j) >= width) return;
        simd::unrolled<k_registers>([&](auto r) ADR_INLINE_LAMBDA {
          const index_t lane = static_cast<index_t>(r) * B::size;
          if (lane >= count) return;
          const B value = detail::finished(to[r][j], bias[r], finish);
          T* pixel = row + static_cast<index_t>(j) * window.pixel_stride + lane;
          if (finish.stream) {
            value.stream(pixel);
          } else {
            simd::store_part(value, pixel, count - lane);
          }
        });
      });
    }
  }
}

}  // namespace exact
ADR_NAMESPACE_END
