// The gradient with respect to the input of a convolution as a convolution itself, where it is one.
#pragma once

#include <utility>

#include "adr/core/types.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// Whether the gradient with respect to the input is a convolution of the output gradient with the
/// flipped kernel.
inline bool has_flipped_convolution(const ConvGeometry& g) noexcept {
  const index_t reach_y = g.dilation_height * (g.kernel_height - 1);
  const index_t reach_x = g.dilation_width * (g.kernel_width - 1);
  return g.stride_height == 1 && g.stride_width == 1 && g.pad_top <= reach_y &&
         g.pad_bottom <= reach_y && g.pad_left <= reach_x && g.pad_right <= reach_x;
}

/// The convolution that carries an output gradient back. Requires: has_flipped_convolution.
inline ConvGeometry flipped_convolution(const ConvGeometry& g) noexcept {
  ConvGeometry flipped = g;
  std::swap(flipped.in_channels, flipped.out_channels);
  flipped.in_height = g.out_height();
  flipped.in_width = g.out_width();
  const index_t reach_y = g.dilation_height * (g.kernel_height - 1);
  const index_t reach_x = g.dilation_width * (g.kernel_width - 1);
  flipped.pad_top = reach_y - g.pad_top;
  flipped.pad_bottom = reach_y - g.pad_bottom;
  flipped.pad_left = reach_x - g.pad_left;
  flipped.pad_right = reach_x - g.pad_right;
  return flipped;
}

ADR_NAMESPACE_END
