// The largest value of every window of pixels, channel by channel, and its positive part where a
// ReLU follows.
//
// The position of each maximum is remembered in one byte, so that the backward pass reads no
// activations. Windows that stick out at the bottom or right are clipped, as in Caffe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "training/errors.hpp"
#include "training/layers/layer.hpp"

namespace training {

template <class T>
class MaxPool final : public Layer<T> {
 public:
  /// rectifies: y = max(y, 0) as well, while an image is in the caches.
  MaxPool(std::string name, const ImageShape& input, index_t window, index_t stride, bool rectifies,
          adr::Context& context)
      : Layer<T>(std::move(name)),
        input_(input),
        window_(window),
        stride_(stride),
        rectifies_(rectifies),
        context_(context) {
    require(window >= 1 && window <= k_largest_window, "max pool: the window must be 1 to ",
            k_largest_window, ", got ", window);
    require(stride >= 1 && stride <= window,
            "max pool: the stride must be between 1 and the window (", window, "), got ", stride);
    require(window <= input.height && window <= input.width,
            "max pool: the window must fit the image, got a window of ", window, " on ",
            input.height, " x ", input.width);
    output_ = {input.channels, extent(input.height), extent(input.width)};
  }

  [[nodiscard]] ImageShape output_shape() const override { return output_; }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    winners_.resize(x.batch * output_.size());
    adr::parallel_for(x.batch, context_.threads(), [&](index_t image, int) {
      std::uint8_t* winners = winners_.data() + image * output_.size();
      if (x.layout == adr::Layout::nhwc) {
        pool_pixels(x.image(image), y.image(image), winners);
      } else {
        pool_planes(x.image(image), y.image(image), winners);
      }
    });
  }

  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>&,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    adr::parallel_for(x.batch, context_.threads(), [&](index_t image, int) {
      const std::uint8_t* winners = winners_.data() + image * output_.size();
      T* to = d_x.image(image);
      if (x.layout == adr::Layout::nhwc && stride_ == window_) {
        // Every input pixel is in one window.
        scatter_pixels(d_y.image(image), winners, to, [](T& sum, T value) { sum = value; });
        return;
      }
      std::fill(to, to + input_.size(), T(0));
      if (x.layout == adr::Layout::nhwc) {
        scatter_pixels(d_y.image(image), winners, to, [](T& sum, T value) { sum += value; });
      } else {
        scatter_planes(d_y.image(image), winners, to);
      }
    });
  }

 private:
  /// So that the positions in a window leave one number for none.
  static constexpr index_t k_largest_window = 15;
  static constexpr std::uint8_t k_no_position = 255;

  [[nodiscard]] index_t extent(index_t in) const {
    return (in - window_ + stride_ - 1) / stride_ + 1;
  }

  /// Calls visit(output pixel, input pixel, position in the window) for every pixel of every
  /// window.
  template <class Visit>
  void for_each_window_pixel(const Visit& visit) const {
    for (index_t oy = 0; oy < output_.height; ++oy) {
      const index_t y_end = std::min(oy * stride_ + window_, input_.height);
      for (index_t ox = 0; ox < output_.width; ++ox) {
        const index_t x_end = std::min(ox * stride_ + window_, input_.width);
        const index_t out_pixel = oy * output_.width + ox;
        for (index_t iy = oy * stride_; iy < y_end; ++iy) {
          for (index_t ix = ox * stride_; ix < x_end; ++ix) {
            const index_t position = (iy - oy * stride_) * window_ + (ix - ox * stride_);
            visit(out_pixel, iy * input_.width + ix, static_cast<std::uint8_t>(position));
          }
        }
      }
    }
  }

  void pool_pixels(const T* x, T* y, std::uint8_t* winners) const {
    const index_t channels = input_.channels;
    if (window_ == 2 && stride_ == 2 && input_.height % 2 == 0 && input_.width % 2 == 0) {
      return rectifies_ ? pool_quads<true>(x, y, winners) : pool_quads<false>(x, y, winners);
    }
    for_each_window_pixel([&](index_t out_pixel, index_t in_pixel, std::uint8_t position) {
      const T* from = x + in_pixel * channels;
      T* best = y + out_pixel * channels;
      std::uint8_t* winner = winners + out_pixel * channels;
      if (position == 0) {
        std::copy(from, from + channels, best);
        std::fill(winner, winner + channels, std::uint8_t{0});
        return;
      }
      for (index_t c = 0; c < channels; ++c) {
        const bool larger = from[c] > best[c];
        best[c] = larger ? from[c] : best[c];
        winner[c] = larger ? position : winner[c];
      }
    });
    if (rectifies_) rectify(y, winners);
  }

  /// Whole windows of 2 x 2 that do not overlap: nothing is written before it is final.
  template <bool Rectifies>
  void pool_quads(const T* x, T* y, std::uint8_t* winners) const {
    const index_t channels = input_.channels;
    const index_t row = input_.width * channels;
    for (index_t oy = 0; oy < output_.height; ++oy, x += row) {
      for (index_t ox = 0; ox < output_.width; ++ox) {
        for (index_t c = 0; c < channels; ++c) {
          // Comparisons as numbers instead of conditions: compilers turn this into code for many
          // channels at once.
          const T first = x[c];
          const T second = x[channels + c];
          const T third = x[row + c];
          const T fourth = x[row + channels + c];
          const T of_two = second > first ? second : first;
          const T of_three = third > of_two ? third : of_two;
          const int second_wins = second > first;
          const int third_wins = third > of_two;
          const int fourth_wins = fourth > of_three;
          const T of_four = fourth > of_three ? fourth : of_three;
          const int winner = std::max({second_wins, 2 * third_wins, 3 * fourth_wins});
          const int none_wins = Rectifies ? !(of_four > T(0)) : 0;
          y[c] = Rectifies && of_four < T(0) ? T(0) : of_four;
          winners[c] = static_cast<std::uint8_t>(winner | -none_wins);
        }
        x += 2 * channels;
        y += channels;
        winners += channels;
      }
    }
  }

  /// Where the output is not positive, no input gets its gradient. A NaN passes forward: a diverged
  /// network must not look like a dead one.
  void rectify(T* y, std::uint8_t* winners) const {
    static_assert(k_no_position == 255, "all bits are set");
    for (index_t i = 0; i < output_.size(); ++i) {
      const int is_zero = !(y[i] > T(0));
      winners[i] = static_cast<std::uint8_t>(winners[i] | -is_zero);
      y[i] = y[i] < T(0) ? T(0) : y[i];
    }
  }

  /// Calls put(gradient of an input element, what a window gives it), a zero where it is not the
  /// window's maximum.
  template <class Put>
  void scatter_pixels(const T* d_y, const std::uint8_t* winners, T* d_x, const Put& put) const {
    const index_t channels = input_.channels;
    for_each_window_pixel([&](index_t out_pixel, index_t in_pixel, std::uint8_t position) {
      const T* from = d_y + out_pixel * channels;
      const std::uint8_t* winner = winners + out_pixel * channels;
      T* to = d_x + in_pixel * channels;
      for (index_t c = 0; c < channels; ++c) put(to[c], winner[c] == position ? from[c] : T(0));
    });
  }

  void pool_planes(const T* x, T* y, std::uint8_t* winners) const {
    const index_t out_pixels = output_.height * output_.width;
    for (index_t c = 0; c < input_.channels; ++c) {
      const T* from = x + c * input_.height * input_.width;
      T* best = y + c * out_pixels;
      std::uint8_t* winner = winners + c * out_pixels;
      for_each_window_pixel([&](index_t out_pixel, index_t in_pixel, std::uint8_t position) {
        if (position == 0 || from[in_pixel] > best[out_pixel]) {
          best[out_pixel] = from[in_pixel];
          winner[out_pixel] = position;
        }
      });
    }
    if (rectifies_) rectify(y, winners);
  }

  void scatter_planes(const T* d_y, const std::uint8_t* winners, T* d_x) const {
    const index_t out_pixels = output_.height * output_.width;
    for (index_t c = 0; c < input_.channels; ++c) {
      T* to = d_x + c * input_.height * input_.width;
      for (index_t oy = 0; oy < output_.height; ++oy) {
        for (index_t ox = 0; ox < output_.width; ++ox) {
          const index_t out = c * out_pixels + oy * output_.width + ox;
          if (winners[out] == k_no_position) continue;
          const index_t iy = oy * stride_ + winners[out] / window_;
          const index_t ix = ox * stride_ + winners[out] % window_;
          to[iy * input_.width + ix] += d_y[out];
        }
      }
    }
  }

  ImageShape input_;
  ImageShape output_;
  index_t window_;
  index_t stride_;
  bool rectifies_;
  adr::Context& context_;
  adr::AlignedBuffer<std::uint8_t> winners_;
};

}  // namespace training
