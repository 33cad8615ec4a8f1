// How far a pass is from the exact result: some elements of it, computed in double precision by the
// definition.
#pragma once

#include <adr/core/random.hpp>
#include <cmath>

#include "bench/support/layer_pass.hpp"
#include "bench/support/layer_tensors.hpp"

namespace adr_bench {
namespace detail {

/// Single elements of the three results, in double precision. Layout nhwc.
class ExactElements {
 public:
  explicit ExactElements(LayerTensors& tensors) : t_(tensors), g_(tensors.geometry()) {}

  [[nodiscard]] double output(index_t n, index_t oy, index_t ox, index_t m) const {
    const index_t channels = g_.group_in_channels();
    const index_t first = m / g_.group_out_channels() * channels;
    double sum = 0;
    for (index_t ky = 0; ky < g_.kernel_height; ++ky) {
      for (index_t kx = 0; kx < g_.kernel_width; ++kx) {
        const float* x = input_pixel(n, oy, ox, ky, kx);
        if (x == nullptr) continue;
        const float* w = t_.weights().row(m) + (ky * g_.kernel_width + kx) * channels;
        for (index_t c = 0; c < channels; ++c) sum += double{x[first + c]} * double{w[c]};
      }
    }
    return sum;
  }

  [[nodiscard]] double weight_gradient(index_t m, index_t column) const {
    const index_t channels = g_.group_in_channels();
    const index_t c = m / g_.group_out_channels() * channels + column % channels;
    const index_t ky = column / channels / g_.kernel_width;
    const index_t kx = column / channels % g_.kernel_width;
    double sum = 0;
    for (index_t n = 0; n < t_.batch(); ++n) {
      for (index_t oy = 0; oy < g_.out_height(); ++oy) {
        for (index_t ox = 0; ox < g_.out_width(); ++ox) {
          const float* x = input_pixel(n, oy, ox, ky, kx);
          if (x != nullptr) sum += double{x[c]} * double{output_gradient(n, oy, ox)[m]};
        }
      }
    }
    return sum;
  }

  [[nodiscard]] double input_gradient(index_t n, index_t y, index_t x, index_t c) const {
    const index_t channels = g_.group_in_channels();
    const index_t outputs = g_.group_out_channels();
    const index_t first = c / channels * outputs;
    double sum = 0;
    for (index_t ky = 0; ky < g_.kernel_height; ++ky) {
      for (index_t kx = 0; kx < g_.kernel_width; ++kx) {
        const index_t above = y + g_.pad_top - ky * g_.dilation_height;
        const index_t left = x + g_.pad_left - kx * g_.dilation_width;
        if (above < 0 || left < 0 || above % g_.stride_height != 0 || left % g_.stride_width != 0) {
          continue;
        }
        const index_t oy = above / g_.stride_height;
        const index_t ox = left / g_.stride_width;
        if (oy >= g_.out_height() || ox >= g_.out_width()) continue;
        const index_t column = (ky * g_.kernel_width + kx) * channels + c % channels;
        const float* d_y = output_gradient(n, oy, ox) + first;
        for (index_t m = 0; m < outputs; ++m) {
          sum += double{d_y[m]} * double{t_.weights().row(first + m)[column]};
        }
      }
    }
    return sum;
  }

 private:
  /// Null where the window reaches into the padding.
  [[nodiscard]] const float* input_pixel(index_t n, index_t oy, index_t ox, index_t ky,
                                         index_t kx) const {
    const index_t y = oy * g_.stride_height - g_.pad_top + ky * g_.dilation_height;
    const index_t x = ox * g_.stride_width - g_.pad_left + kx * g_.dilation_width;
    if (y < 0 || y >= g_.in_height || x < 0 || x >= g_.in_width) return nullptr;
    return t_.input().image(n) + (y * g_.in_width + x) * g_.in_channels;
  }
  [[nodiscard]] const float* output_gradient(index_t n, index_t oy, index_t ox) const {
    return t_.output_gradient().image(n) + (oy * g_.out_width() + ox) * g_.out_channels;
  }

  LayerTensors& t_;
  const adr::ConvGeometry& g_;
};

}  // namespace detail

/// ||result - exact|| / ||exact|| over a sample of the elements of what a pass wrote to the
/// tensors, the same sample for every contender. pass: one of the three, no step. Layout nhwc.
inline double sampled_error(LayerTensors& tensors, LayerPass pass) {
  constexpr int k_samples = 64;
  const detail::ExactElements exact(tensors);
  const adr::ConvGeometry& g = tensors.geometry();
  adr::Random random(5);
  double difference = 0;
  double norm = 0;
  for (int i = 0; i < k_samples; ++i) {
    double value = 0;
    double expected = 0;
    if (pass == LayerPass::weight_gradient) {
      const index_t m = random.below(g.out_channels);
      const index_t column = random.below(g.columns());
      value = tensors.weight_gradient().row(m)[column];
      expected = exact.weight_gradient(m, column);
    } else {
      const bool forward = pass == LayerPass::forward;
      const adr::TensorView<float> result = forward ? tensors.output() : tensors.input_gradient();
      const index_t n = random.below(result.batch);
      const index_t y = random.below(result.height);
      const index_t x = random.below(result.width);
      const index_t c = random.below(result.channels);
      value = result.image(n)[(y * result.width + x) * result.channels + c];
      expected = forward ? exact.output(n, y, x, c) : exact.input_gradient(n, y, x, c);
    }
    difference += (value - expected) * (value - expected);
    norm += expected * expected;
  }
  return difference == 0 ? 0.0 : std::sqrt(difference / norm);
}

}  // namespace adr_bench
