// Batch normalisation: every channel with mean 0 and variance 1 over the batch, then scaled and
// shifted (Ioffe & Szegedy 2015).
//
// y = scale (x - mean) / sqrt(variance + 1e-5) + shift. While training, mean and variance are those
// of the batch, and running averages of them are kept; afterwards those take their place. The
// averages are parameters without a gradient, so that checkpoints hold them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/context.hpp"
#include "training/layers/layer.hpp"

namespace training {

template <class T>
class BatchNorm final : public Layer<T> {
 public:
  BatchNorm(std::string name, const ImageShape& shape, adr::Context& context)
      : Layer<T>(std::move(name)),
        shape_(shape),
        context_(context),
        scale_(this->name() + ".scale", 1, shape.channels, WeightDecay::off),
        shift_(this->name() + ".shift", 1, shape.channels, WeightDecay::off),
        running_mean_(this->name() + ".mean", 1, shape.channels, WeightDecay::off),
        running_variance_(this->name() + ".variance", 1, shape.channels, WeightDecay::off),
        mean_(static_cast<std::size_t>(shape.channels)),
        inverse_deviation_(mean_) {
    std::fill_n(scale_.value(), shape.channels, T(1));
    std::fill_n(running_variance_.value(), shape.channels, T(1));
  }

  [[nodiscard]] ImageShape output_shape() const override { return shape_; }
  std::vector<Parameter<T>*> parameters() override {
    return {&scale_, &shift_, &running_mean_, &running_variance_};
  }
  void set_training(bool training) override { training_ = training; }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    if (training_) {
      measure(x);
    } else {
      for (std::size_t c = 0; c < mean_.size(); ++c) {
        mean_[c] = running_mean_.value()[c];
        inverse_deviation_[c] = inverse_deviation(running_variance_.value()[c]);
      }
    }
    std::vector<T> factor(mean_.size());
    std::vector<T> offset(mean_.size());
    for (std::size_t c = 0; c < mean_.size(); ++c) {
      factor[c] = scale_.value()[c] * inverse_deviation_[c];
      offset[c] = shift_.value()[c] - factor[c] * mean_[c];
    }
    adr::parallel_for(x.batch, context_.threads(), [&](index_t n, int) {
      const T* from = x.image(n);
      T* to = y.image(n);
      for_each_element(x.layout,
                       [&](std::size_t c, index_t i) { to[i] = factor[c] * from[i] + offset[c]; });
    });
  }

  /// Requires: the last forward while training.
  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>&,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    const std::vector<T> d_shift =
        channel_sums(x, [&](index_t n, std::size_t, index_t i) { return d_y.image(n)[i]; });
    const std::vector<T> d_scale = channel_sums(x, [&](index_t n, std::size_t c, index_t i) {
      return d_y.image(n)[i] * (x.image(n)[i] - mean_[c]) * inverse_deviation_[c];
    });
    std::copy(d_shift.begin(), d_shift.end(), shift_.gradient());
    std::copy(d_scale.begin(), d_scale.end(), scale_.gradient());
    if (d_x.data == nullptr) return;
    const T count = element_count(x);
    std::vector<T> factor(mean_.size());
    std::vector<T> slope(mean_.size());
    std::vector<T> offset(mean_.size());
    for (std::size_t c = 0; c < mean_.size(); ++c) {
      factor[c] = scale_.value()[c] * inverse_deviation_[c];
      slope[c] = factor[c] * inverse_deviation_[c] * d_scale[c] / count;
      offset[c] = factor[c] * d_shift[c] / count - slope[c] * mean_[c];
    }
    adr::parallel_for(x.batch, context_.threads(), [&](index_t n, int) {
      const T* input = x.image(n);
      const T* from = d_y.image(n);
      T* to = d_x.image(n);
      for_each_element(x.layout, [&](std::size_t c, index_t i) {
        to[i] = factor[c] * from[i] - slope[c] * input[i] - offset[c];
      });
    });
  }

 private:
  static constexpr T k_momentum = T(0.1);  ///< the share of the last batch in the averages

  static T inverse_deviation(T variance) { return T(1) / std::sqrt(variance + T(1e-5)); }

  [[nodiscard]] T element_count(const adr::TensorView<const T>& x) const {
    return static_cast<T>(x.batch * shape_.height * shape_.width);
  }

  /// Calls visit(channel, index) for all elements of an image, in the order of memory.
  template <class Visit>
  void for_each_element(adr::Layout layout, const Visit& visit) const {
    const index_t pixels = shape_.height * shape_.width;
    const auto channels = static_cast<std::size_t>(shape_.channels);
    if (layout == adr::Layout::nhwc) {
      for (index_t p = 0; p < pixels; ++p) {
        const index_t first = p * shape_.channels;
        for (std::size_t c = 0; c < channels; ++c) visit(c, first + static_cast<index_t>(c));
      }
    } else {
      for (std::size_t c = 0; c < channels; ++c) {
        const index_t first = static_cast<index_t>(c) * pixels;
        for (index_t p = 0; p < pixels; ++p) visit(c, first + p);
      }
    }
  }

  /// The sum of term(image, channel, index) per channel, the same at any number of threads: image
  /// by image, then over the images.
  template <class Term>
  std::vector<T> channel_sums(const adr::TensorView<const T>& x, const Term& term) const {
    const std::size_t channels = mean_.size();
    std::vector<T> image_sums(static_cast<std::size_t>(x.batch) * channels, T(0));
    adr::parallel_for(x.batch, context_.threads(), [&](index_t n, int) {
      T* sums = image_sums.data() + static_cast<std::size_t>(n) * channels;
      for_each_element(x.layout, [&](std::size_t c, index_t i) { sums[c] += term(n, c, i); });
    });
    std::vector<T> totals(channels);
    for (std::size_t c = 0; c < channels; ++c) {
      double total = 0;
      for (std::size_t at = c; at < image_sums.size(); at += channels) {
        total += static_cast<double>(image_sums[at]);
      }
      totals[c] = static_cast<T>(total);
    }
    return totals;
  }

  void measure(const adr::TensorView<const T>& x) {
    const T count = element_count(x);
    const std::vector<T> sums =
        channel_sums(x, [&](index_t n, std::size_t, index_t i) { return x.image(n)[i]; });
    for (std::size_t c = 0; c < sums.size(); ++c) mean_[c] = sums[c] / count;
    const std::vector<T> squares = channel_sums(x, [&](index_t n, std::size_t c, index_t i) {
      const T deviation = x.image(n)[i] - mean_[c];
      return deviation * deviation;
    });
    for (std::size_t c = 0; c < squares.size(); ++c) {
      const T variance = squares[c] / count;
      inverse_deviation_[c] = inverse_deviation(variance);
      T& running_mean = running_mean_.value()[c];
      T& running_variance = running_variance_.value()[c];
      running_mean += k_momentum * (mean_[c] - running_mean);
      running_variance += k_momentum * (variance - running_variance);
    }
  }

  ImageShape shape_;
  adr::Context& context_;
  bool training_ = true;
  Parameter<T> scale_;
  Parameter<T> shift_;
  Parameter<T> running_mean_;
  Parameter<T> running_variance_;
  std::vector<T> mean_;  ///< of the last forward
  std::vector<T> inverse_deviation_;
};

}  // namespace training
