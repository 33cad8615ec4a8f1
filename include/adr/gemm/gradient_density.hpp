// What is known about an output gradient before its non-zeros are listed.
#pragma once

#include <cmath>
#include <limits>

#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"

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

namespace detail {

/// Whether the pixels of each channel are listed, and not the channels of each pixel: whichever are
/// contiguous in memory, the channels if both are.
template <class T>
bool lists_channels_first(const PixelView<T>& gradient) noexcept {
  const bool channels_are_contiguous = gradient.channel_stride == 1 && gradient.channels > 1;
  return !channels_are_contiguous && (gradient.pixel_stride == 1 || gradient.pixels <= 1);
}

/// The nearest number of 8 significant bits, so that small multiples of it are exact and rounding
/// errors of a root mean square do not show; 0 where that is no unit to round to.
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
