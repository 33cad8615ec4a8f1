// The convolution and its gradients by definition, straight from images and filters: no unfolding,
// so that the unfolded form has something independent to be compared with.
#pragma once

#include <cstddef>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/reference/unfold.hpp"

ADR_NAMESPACE_BEGIN
namespace reference {

/// Calls use(image, filter, oy, ox, k, channel, y, x) for every product of a convolution: output
/// (image, filter, oy, ox) takes weight (filter, k) times input (image, channel, y, x). Geometry is
/// any type with the fields of adr::ConvGeometry.
template <class Geometry, class Use>
void for_each_product(const Geometry& g, index_t batch, const Use& use) {
  const index_t channels = g.in_channels / g.groups;
  const index_t filters = g.out_channels / g.groups;
  for (index_t image = 0; image < batch; ++image) {
    for (index_t filter = 0; filter < g.out_channels; ++filter) {
      for (index_t oy = 0; oy < g.out_height(); ++oy) {
        for (index_t ox = 0; ox < g.out_width(); ++ox) {
          for (index_t c = 0; c < channels; ++c) {
            for (index_t ky = 0; ky < g.kernel_height; ++ky) {
              for (index_t kx = 0; kx < g.kernel_width; ++kx) {
                const index_t y = oy * g.stride_height + ky * g.dilation_height - g.pad_top;
                const index_t x = ox * g.stride_width + kx * g.dilation_width - g.pad_left;
                if (y < 0 || y >= g.in_height || x < 0 || x >= g.in_width) continue;
                const index_t k = g.layout == Layout::nchw
                                      ? (c * g.kernel_height + ky) * g.kernel_width + kx
                                      : (ky * g.kernel_width + kx) * channels + c;
                use(image, filter, oy, ox, k, filter / filters * channels + c, y, x);
              }
            }
          }
        }
      }
    }
  }
}

/// y = x * w + bias; w is out_channels x K, bias has out_channels elements or none.
template <class T, class Geometry>
void convolution(const Geometry& g, const TensorView<const T>& x, const Matrix& w,
                 const std::vector<double>& bias, const TensorView<double>& y) {
  for (index_t n = 0; n < y.batch; ++n) {
    for (index_t m = 0; m < y.channels; ++m) {
      for (index_t oy = 0; oy < y.height; ++oy) {
        for (index_t ox = 0; ox < y.width; ++ox) {
          element(y, n, m, oy, ox) = bias.empty() ? 0.0 : bias[static_cast<std::size_t>(m)];
        }
      }
    }
  }
  for_each_product(g, x.batch,
                   [&](index_t n, index_t m, index_t oy, index_t ox, index_t k, index_t c,
                       index_t iy, index_t ix) {
                     element(y, n, m, oy, ox) +=
                         w(m, k) * static_cast<double>(element(x, n, c, iy, ix));
                   });
}

/// The gradient with respect to w: out_channels x K.
template <class T, class Geometry>
Matrix convolution_weight_gradient(const Geometry& g, const TensorView<const T>& x,
                                   const TensorView<const T>& d_y) {
  Matrix d_w(g.out_channels, g.columns());
  for_each_product(g, x.batch,
                   [&](index_t n, index_t m, index_t oy, index_t ox, index_t k, index_t c,
                       index_t iy, index_t ix) {
                     d_w(m, k) += static_cast<double>(element(d_y, n, m, oy, ox)) *
                                  static_cast<double>(element(x, n, c, iy, ix));
                   });
  return d_w;
}

/// The gradient with respect to x, added to d_x.
template <class T, class Geometry>
void convolution_input_gradient(const Geometry& g, const TensorView<const T>& d_y, const Matrix& w,
                                const TensorView<double>& d_x) {
  for_each_product(g, d_y.batch,
                   [&](index_t n, index_t m, index_t oy, index_t ox, index_t k, index_t c,
                       index_t iy, index_t ix) {
                     element(d_x, n, c, iy, ix) +=
                         w(m, k) * static_cast<double>(element(d_y, n, m, oy, ox));
                   });
}

}  // namespace reference
ADR_NAMESPACE_END
