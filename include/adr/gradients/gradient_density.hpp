// What is known about an output gradient before its non-zeros are listed.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/gradients/sparse_tiles.hpp"

ADR_NAMESPACE_BEGIN

/// How many elements of a gradient are not zero, and how large they are.
struct GradientDensity {
  index_t elements = 0;
  index_t non_zeros = 0;
  double sum_of_squares = 0;

  [[nodiscard]] double density() const noexcept {
    return elements == 0 ? 0 : static_cast<double>(non_zeros) / static_cast<double>(elements);
  }
  [[nodiscard]] double root_mean_square() const noexcept {
    return elements == 0 ? 0 : std::sqrt(sum_of_squares / static_cast<double>(elements));
  }
};

/// An estimate of the share of non-zeros from a few runs of pixels, spread over the batch and over
/// the places in an image. Cost: reading at most 64 pixels of all channels.
template <class T>
double sampled_density(const PixelView<const T>& gradient) {
  constexpr index_t k_runs = 8;
  constexpr index_t k_run = 8;
  const index_t rows = gradient.rows();
  const index_t pixels = gradient.pixels;
  const auto half_line = static_cast<index_t>(std::sqrt(static_cast<double>(pixels))) / 2;
  const index_t runs = std::min(k_runs, blocks_of(rows, k_run));
  GradientDensity found;
  for (index_t r = 0; r < runs; ++r) {
    // In turns from the left and the right, and where there are enough images from the top of one
    // to the bottom of the last.
    index_t first = rows * r / runs;
    const index_t aside = r % 2 * half_line;
    if (gradient.images >= runs) {
      const index_t place = pixels * (2 * r + 1) / (2 * runs) + aside;
      first += place % pixels - first % pixels;
    } else {
      first = std::min(first + aside, std::max<index_t>(rows - k_run, 0));
    }
    for_each_image_run(pixels, first, std::min(k_run, rows - first),
                       [&](index_t image, index_t pixel, index_t count, index_t /*at*/) {
                         for (index_t p = 0; p < count; ++p) {
                           for (index_t c = 0; c < gradient.channels; ++c) {
                             found.non_zeros += *gradient.at(image, pixel + p, c) != T(0);
                           }
                         }
                         found.elements += count * gradient.channels;
                       });
  }
  return found.density();
}

namespace detail {

/// Whether the pixels of each channel are listed, and not the channels of each pixel: whichever are
/// contiguous in memory, the channels if both are.
template <class T>
bool lists_channels_first(const PixelView<T>& gradient) noexcept {
  const bool channels_are_contiguous = gradient.channel_stride == 1 && gradient.channels > 1;
  return !channels_are_contiguous && (gradient.pixel_stride == 1 || gradient.pixels <= 1);
}

/// Calls use(data, count, first) for the stretches of a tile that are contiguous in memory; first
/// is the number of their first element, counted in the order in memory from that of the tile.
template <class T, class Use>
void for_each_stretch(const SparseTiles& tiles, const PixelView<const T>& gradient,
                      const SparseTile& tile, const Use& use) noexcept {
  const index_t channels = gradient.channels;
  const index_t width = tiles.map().out_width;
  const index_t pixels = tile.rows * width;
  const T* data = gradient.data + tile.first_image * gradient.image_stride +
                  tile.first_row * width * gradient.pixel_stride;
  if (lists_channels_first(gradient)) {
    for (index_t m = 0; m < channels; ++m) {
      for (index_t b = 0; b < tile.images; ++b) {
        use(data + b * gradient.image_stride + m * gradient.channel_stride, pixels,
            (m * tile.images + b) * pixels);
      }
    }
    return;
  }
  const index_t joined = gradient.pixel_stride == channels ? pixels : 1;
  for (index_t b = 0; b < tile.images; ++b) {
    for (index_t p = 0; p < pixels; p += joined) {
      use(data + b * gradient.image_stride + p * gradient.pixel_stride, joined * channels,
          (b * pixels + p) * channels);
    }
  }
}

/// The nearest number of 8 significant bits, so that rounding errors of a root mean square do not
/// show; 0 where that is no unit to round to.
template <class T>
T rounding_unit(double unit) noexcept {
  const bool usable = unit >= static_cast<double>(std::numeric_limits<T>::min()) * 512 &&
                      unit <= static_cast<double>(std::numeric_limits<T>::max()) / 512;
  if (!usable) return T(0);
  int exponent = 0;
  const double fraction = std::frexp(unit, &exponent);
  return static_cast<T>(std::ldexp(std::nearbyint(fraction * 256), exponent - 8));
}

}  // namespace detail

ADR_NAMESPACE_END
