// Local response normalisation across channels, as in AlexNet and the published CifarNet.
//
// y_i = x_i / s_i^(3/4), s_i = 1 + alpha / size * (sum of x_j^2 over the size channels around i).
// The exponent is fixed because every published network uses it and two square roots vectorise
// where a power does not. The scales are computed again in the backward pass, so nothing is kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/context.hpp"
#include "training/errors.hpp"
#include "training/layers/layer.hpp"

namespace training {

template <class T>
class Lrn final : public Layer<T> {
 public:
  Lrn(std::string name, const ImageShape& shape, index_t size, double alpha, adr::Context& context)
      : Layer<T>(std::move(name)),
        shape_(shape),
        size_(size),
        factor_(static_cast<T>(alpha / static_cast<double>(size))),
        context_(context) {
    require(size >= 1 && size % 2 == 1, "lrn: the size must be odd and positive, got ", size);
  }

  [[nodiscard]] ImageShape output_shape() const override { return shape_; }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    for_each_image(x, [&](index_t image, const Pixels& pixels, Scratch& s) {
      for (index_t p = 0; p < pixels.count; ++p) {
        pixels.load(x.image(image), p, s.x);
        fill_scales(s);
        for (std::size_t c = 0; c < s.x.size(); ++c) s.x[c] *= power(s.scale[c]);
        pixels.store(s.x, p, y.image(image));
      }
    });
  }

  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>& y,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    for_each_image(x, [&](index_t image, const Pixels& pixels, Scratch& s) {
      for (index_t p = 0; p < pixels.count; ++p) {
        pixels.load(x.image(image), p, s.x);
        pixels.load(y.image(image), p, s.y);
        pixels.load(d_y.image(image), p, s.d_y);
        fill_scales(s);
        const std::size_t margin = static_cast<std::size_t>(size_ / 2);
        for (std::size_t c = 0; c < s.x.size(); ++c) {
          s.padded[margin + c] = s.d_y[c] * s.y[c] / s.scale[c];
        }
        fill_window_sums(s);
        const T slope = T(1.5) * factor_;
        for (std::size_t c = 0; c < s.x.size(); ++c) {
          s.x[c] = s.d_y[c] * power(s.scale[c]) - slope * s.x[c] * s.sum[c];
        }
        pixels.store(s.x, p, d_x.image(image));
      }
    });
  }

 private:
  /// The channels of one pixel at a time, whatever the layout.
  struct Pixels {
    index_t count;
    index_t pixel_stride;
    index_t channel_stride;

    void load(const T* image, index_t pixel, std::vector<T>& channels) const {
      const T* from = image + pixel * pixel_stride;
      for (T& value : channels) {
        value = *from;
        from += channel_stride;
      }
    }
    void store(const std::vector<T>& channels, index_t pixel, T* image) const {
      T* to = image + pixel * pixel_stride;
      for (const T value : channels) {
        *to = value;
        to += channel_stride;
      }
    }
  };

  struct Scratch {
    Scratch(index_t channels, index_t size)
        : x(static_cast<std::size_t>(channels)),
          y(x),
          d_y(x),
          scale(x),
          sum(x),
          padded(static_cast<std::size_t>(channels + size - 1), T(0)) {}
    std::vector<T> x, y, d_y, scale, sum;
    std::vector<T> padded;  ///< channels between two margins of zeros, size / 2 each
  };

  template <class Task>
  void for_each_image(const adr::TensorView<const T>& x, const Task& task) const {
    const index_t pixel_count = shape_.height * shape_.width;
    const Pixels pixels = x.layout == adr::Layout::nhwc ? Pixels{pixel_count, shape_.channels, 1}
                                                        : Pixels{pixel_count, 1, pixel_count};
    adr::parallel_for(x.batch, context_.threads(), [&](index_t image, int) {
      Scratch scratch(shape_.channels, size_);
      task(image, pixels, scratch);
    });
  }

  /// sum[c] = padded summed over the window around channel c.
  void fill_window_sums(Scratch& s) const {
    std::fill(s.sum.begin(), s.sum.end(), T(0));
    for (index_t offset = 0; offset < size_; ++offset) {
      const T* shifted = s.padded.data() + offset;
      for (std::size_t c = 0; c < s.sum.size(); ++c) s.sum[c] += shifted[c];
    }
  }

  void fill_scales(Scratch& s) const {
    const std::size_t margin = static_cast<std::size_t>(size_ / 2);
    for (std::size_t c = 0; c < s.x.size(); ++c) s.padded[margin + c] = s.x[c] * s.x[c];
    fill_window_sums(s);
    for (std::size_t c = 0; c < s.x.size(); ++c) s.scale[c] = T(1) + factor_ * s.sum[c];
  }

  /// scale^(-3/4)
  static T power(T scale) {
    const T root = std::sqrt(scale);
    return T(1) / (root * std::sqrt(root));
  }

  ImageShape shape_;
  index_t size_;
  T factor_;
  adr::Context& context_;
};

}  // namespace training
