// The convolutions of a network on images of whatever size there is, every one on what the exact
// ones before it hand on.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/exact/convolution_passes.hpp>
#include <adr/options.hpp>
#include <adr/reuse_conv2d.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/reuse/comparison.hpp"
#include "bench/reuse/data.hpp"
#include "bench/reuse/frame_streams.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/matrix.hpp"

namespace adr_bench {

/// Layers one behind the other: enter one, compare engines on it, leave it.
class LayerStack {
 public:
  LayerStack(const ReuseData& images, std::string network, int rounds, int threads)
      : name_(images.name),
        network_(std::move(network)),
        rounds_(rounds),
        threads_(threads),
        batch_(images.count),
        channels_(images.channels),
        height_(images.height),
        width_(images.width),
        values_(channels_last(images.elements, images.count, images.channels)) {}

  [[nodiscard]] bool fits(const adr::ConvGeometry& g) const {
    return height_ + g.pad_top + g.pad_bottom >= g.kernel_height &&
           width_ + g.pad_left + g.pad_right >= g.kernel_width;
  }

  /// A layer of these kernels on images of whatever size has come here. Requires: fits.
  void enter(const ConvLayer& layer) {
    layer_ = layer.name;
    geometry_ = layer.geometry(adr::Layout::nhwc);
    geometry_.in_channels = channels_;
    geometry_.in_height = height_;
    geometry_.in_width = width_;
    geometry_.groups = channels_ == layer.in_channels ? layer.groups : 1;
    const double deviation = std::sqrt(2.0 / static_cast<double>(geometry_.columns()));
    weights_ = normal_matrix(geometry_.out_channels, geometry_.columns(), deviation, 12);
  }

  /// Computes the layer with every setting, the first of which is exact, and without a look for
  /// equal tiles, on all images at once.
  ReuseCase compare(const std::vector<adr::Setting>& settings) {
    const adr::ConvGeometry& g = geometry_;
    const index_t elements = batch_ * g.out_channels * g.out_pixels();
    LayerTensors::Tensor output(static_cast<std::size_t>(elements));
    const adr::TensorView<const float> x(values_.data(), batch_, channels_, height_, width_,
                                         g.layout);
    const adr::TensorView<float> y(output.data(), batch_, g.out_channels, g.out_height(),
                                   g.out_width(), g.layout);
    exact_.clear();
    adr::Context context(threads_);
    std::vector<std::unique_ptr<adr::ReuseConv2d<float>>> layers;
    std::vector<ReuseEngine> engines;
    for (const adr::Setting& setting : settings) {
      layers.push_back(
          std::make_unique<adr::ReuseConv2d<float>>(g, options_with(setting), context));
      adr::ReuseConv2d<float>& conv = *layers.back();
      engines.push_back({engine_of(setting), adr::forward_label(options_with(setting).plan()),
                         [&] { conv.forward(x, weights_.view(), {}, y); },
                         [&]() -> const adr::Report& {
                           if (exact_.empty()) exact_.assign(output.begin(), output.end());
                           return conv.report();
                         }});
    }
    // What equal tiles save the exact engine is reuse, too.
    adr::exact::ConvolutionPasses<float> plain(g);
    plain.set_look(adr::exact::Look::never);
    const adr::Report nothing_reused;
    engines.push_back({"adr_exact", "exact, every tile",
                       [&] { plain.forward(x, weights_.view(), {}, false, y, context); },
                       [&]() -> const adr::Report& { return nothing_reused; }});
    ReuseCase result = empty_case(name_, batch_);
    result.results = compare_engines(engines, output.data(), elements, rounds_, threads_);
    return result;
  }

  /// Computes the layer image by image: exactly with kept weights, and as streams.
  ReuseCase compare_streams(const std::vector<double>& max_errors) {
    ReuseCase result = empty_case(message(name_, ", frame by frame"), 1);
    result.results =
        adr_bench::compare_streams({geometry_, values_, batch_}, weights_, max_errors, threads_);
    return result;
  }

  /// Behind a ReLU the exact output is the input of what comes next. Requires: compare.
  void leave() {
    for (float& value : exact_) value = std::max(value, 0.0F);
    values_.swap(exact_);
    channels_ = geometry_.out_channels;
    height_ = geometry_.out_height();
    width_ = geometry_.out_width();
  }

  /// A maximum over 2 x 2 pixels, as far as whole ones go.
  void pool() {
    const index_t height = std::max<index_t>(height_ / 2, 1);
    const index_t width = std::max<index_t>(width_ / 2, 1);
    std::vector<float> pooled(static_cast<std::size_t>(batch_ * height * width * channels_));
    const auto at = [&](index_t n, index_t y, index_t x, index_t c) {
      y = std::min(y, height_ - 1);
      x = std::min(x, width_ - 1);
      return values_[static_cast<std::size_t>(((n * height_ + y) * width_ + x) * channels_ + c)];
    };
    std::size_t i = 0;
    for (index_t n = 0; n < batch_; ++n) {
      for (index_t y = 0; y < height; ++y) {
        for (index_t x = 0; x < width; ++x) {
          for (index_t c = 0; c < channels_; ++c) {
            pooled[i++] = std::max({at(n, 2 * y, 2 * x, c), at(n, 2 * y + 1, 2 * x, c),
                                    at(n, 2 * y, 2 * x + 1, c), at(n, 2 * y + 1, 2 * x + 1, c)});
          }
        }
      }
    }
    values_ = std::move(pooled);
    height_ = height;
    width_ = width;
  }

 private:
  [[nodiscard]] ReuseCase empty_case(const std::string& data, index_t batch) const {
    return {data,
            network_,
            layer_,
            batch * geometry_.out_pixels(),
            geometry_.columns(),
            geometry_.out_channels,
            {}};
  }

  std::string name_;
  std::string network_;
  int rounds_;
  int threads_;
  index_t batch_;
  index_t channels_;
  index_t height_;
  index_t width_;
  std::vector<float> values_;  // in layout nhwc
  std::vector<float> exact_;   // the output of the layer, before it is left
  std::string layer_;
  adr::ConvGeometry geometry_;
  Matrix weights_;
};

}  // namespace adr_bench
