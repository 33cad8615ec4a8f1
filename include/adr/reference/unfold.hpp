// im2col and col2im by their definition: one loop per index, one formula for the place of an
// element.
#pragma once

#include "adr/core/types.hpp"
#include "adr/reference/matrix.hpp"

ADR_NAMESPACE_BEGIN
namespace reference {

/// Element (n, channel, y, x) of a tensor of either layout.
template <class T>
T& element(const TensorView<T>& tensor, index_t n, index_t channel, index_t y, index_t x) {
  return tensor.layout == Layout::nchw
             ? tensor.image(n)[(channel * tensor.height + y) * tensor.width + x]
             : tensor.image(n)[(y * tensor.width + x) * tensor.channels + channel];
}

/// Where column k of the unfolded matrix looks: a channel of the group and a kernel offset.
struct KernelPlace {
  index_t channel;
  index_t ky;
  index_t kx;
};

/// Geometry is any type with the fields of adr::ConvGeometry.
template <class Geometry>
KernelPlace kernel_place(const Geometry& g, index_t column) {
  const index_t channels = g.in_channels / g.groups;
  if (g.layout == Layout::nchw) {
    return {column / (g.kernel_height * g.kernel_width), column / g.kernel_width % g.kernel_height,
            column % g.kernel_width};
  }
  return {column % channels, column / channels / g.kernel_width,
          column / channels % g.kernel_width};
}

/// Calls use(n, k, image, channel, y, x) for every element of the unfolded matrix of a group that
/// does not lie in the padding.
template <class Geometry, class Use>
void for_each_unfolded(const Geometry& g, index_t batch, index_t group, const Use& use) {
  const index_t channels = g.in_channels / g.groups;
  const index_t columns = g.kernel_height * g.kernel_width * channels;
  const index_t out_height =
      (g.in_height + g.pad_top + g.pad_bottom - g.dilation_height * (g.kernel_height - 1) - 1) /
          g.stride_height +
      1;
  const index_t out_width =
      (g.in_width + g.pad_left + g.pad_right - g.dilation_width * (g.kernel_width - 1) - 1) /
          g.stride_width +
      1;
  index_t n = 0;
  for (index_t image = 0; image < batch; ++image) {
    for (index_t oy = 0; oy < out_height; ++oy) {
      for (index_t ox = 0; ox < out_width; ++ox, ++n) {
        for (index_t k = 0; k < columns; ++k) {
          const KernelPlace place = kernel_place(g, k);
          const index_t y = oy * g.stride_height + place.ky * g.dilation_height - g.pad_top;
          const index_t x = ox * g.stride_width + place.kx * g.dilation_width - g.pad_left;
          if (y < 0 || y >= g.in_height || x < 0 || x >= g.in_width) continue;
          use(n, k, image, group * channels + place.channel, y, x);
        }
      }
    }
  }
}

/// The unfolded matrix of a group, batch * out_height * out_width x K, 0 in the padding.
template <class T, class Geometry>
Matrix im2col(const Geometry& g, const TensorView<T>& images, index_t group) {
  Matrix unfolded(images.batch * g.out_height() * g.out_width(),
                  g.kernel_height * g.kernel_width * g.in_channels / g.groups);
  for_each_unfolded(g, images.batch, group,
                    [&](index_t n, index_t k, index_t image, index_t c, index_t y, index_t x) {
                      unfolded(n, k) = static_cast<double>(element(images, image, c, y, x));
                    });
  return unfolded;
}

/// The adjoint of im2col: adds every element of an unfolded matrix to the place it came from.
template <class Geometry>
void col2im_add(const Geometry& g, const Matrix& unfolded, index_t group,
                const TensorView<double>& images) {
  for_each_unfolded(g, images.batch, group,
                    [&](index_t n, index_t k, index_t image, index_t c, index_t y, index_t x) {
                      element(images, image, c, y, x) += unfolded(n, k);
                    });
}

}  // namespace reference
ADR_NAMESPACE_END
