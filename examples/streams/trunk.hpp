// The convolutions and pools of a network over frames, once exactly and once as a stream.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "adr/nn/exact_convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "training/network.hpp"
#include "training/network_builder.hpp"
#include "training/network_description.hpp"

namespace streams {

using training::ImageShape;
using training::index_t;

/// What one convolution has taken and done since the first frame.
struct LayerTotals {
  std::string name;
  double exact_seconds = 0;
  double stream_seconds = 0;
  double computed = 0;   ///< sums over frames
  double threshold = 0;  ///< sums over frames
  double error = 0;      ///< the largest
};

/// Seconds of one frame.
struct FrameSeconds {
  double convolutions = 0;
  double pools = 0;
};

/// Every convolution ends in a ReLU; what comes after the last pool or ReLU is left out.
class Trunk {
 public:
  /// network: holds the weights, and outlives this. max_errors: one per convolution, or one for
  /// all.
  Trunk(const training::NetworkDescription& description, const training::Network<float>& network,
        const ImageShape& frame, adr::Layout layout, const std::vector<double>& max_errors,
        adr::Context& context)
      : layout_(layout), context_(context) {
    const std::size_t convolutions = network.convolutions().size();
    training::require(max_errors.size() == 1 || max_errors.size() == convolutions,
                      "--max-error: needs one value, or one per convolution (", convolutions,
                      "), got ", max_errors.size());
    ImageShape shape = frame;
    for (const training::LayerDescription& layer : description.layers) {
      if (const auto* conv = std::get_if<training::ConvLayer>(&layer)) {
        const std::size_t i = layers_.size() - pools_;
        add_convolution(training::conv_geometry(*conv, shape, layout), *network.convolutions()[i],
                        max_errors.size() == 1 ? max_errors.front() : max_errors[i]);
        shape = layers_.back().shape;
      } else if (const auto* pool = std::get_if<training::MaxPoolLayer>(&layer)) {
        add_pool(*pool, shape);
        shape = layers_.back().shape;
      } else {
        training::require(!std::holds_alternative<training::BatchNormLayer>(layer),
                          "--network: networks with batch norm are not supported");
      }
    }
  }

  /// The last feature map of a frame. The views are valid until the next call.
  adr::TensorView<const float> exact(adr::TensorView<const float> x, FrameSeconds& seconds) {
    return run(
        x, seconds,
        [&](Layer& layer, const adr::TensorView<const float>& input) {
          const auto y = layer.memory(layer.exact_output, input.batch, layout_);
          layer.exact->forward(input, layer.weights->matrix(), layer.bias->vector(), y);
          return adr::TensorView<const float>(y);
        },
        &LayerTotals::exact_seconds);
  }
  adr::TensorView<const float> stream(adr::TensorView<const float> x, FrameSeconds& seconds) {
    const adr::Stream* before = nullptr;
    return run(
        x, seconds,
        [&](Layer& layer, const adr::TensorView<const float>& input) {
          const auto y = layer.conv->forward(input, layer.weights->matrix(), layer.bias->vector(),
                                             layer.stream, before);
          before = &layer.stream;
          const adr::Report& report = layer.conv->report();
          layer.totals.computed += report.computed_share();
          layer.totals.threshold += report.stream_threshold;
          layer.totals.error = std::max(layer.totals.error, report.measured_error);
          computed_ += report.forward.multiply_adds_done;
          whole_ += report.forward.multiply_adds_dense;
          return y;
        },
        &LayerTotals::stream_seconds);
  }

  /// The share of all multiply-adds that the stream has computed since this was last asked.
  double take_computed_share() {
    const double share = whole_ > 0 ? computed_ / whole_ : 1;
    computed_ = whole_ = 0;
    return share;
  }
  /// Of the convolutions, since this was last asked.
  std::vector<LayerTotals> take_totals() {
    std::vector<LayerTotals> totals;
    for (Layer& layer : layers_) {
      if (layer.conv == nullptr) continue;
      totals.push_back(layer.totals);
      layer.totals = {layer.totals.name};
    }
    return totals;
  }

 private:
  struct Layer {
    ImageShape shape;
    std::unique_ptr<adr::ExactConvolution<float>> exact;
    std::unique_ptr<adr::ReuseConv2d<float>> conv;
    std::unique_ptr<training::MaxPool<float>> pool;
    adr::Stream stream{adr::Stream::Output::rectified};
    training::Parameter<float>* weights = nullptr;
    training::Parameter<float>* bias = nullptr;
    training::Tensor<float> exact_output;
    LayerTotals totals;

    adr::TensorView<float> memory(training::Tensor<float>& tensor, index_t batch,
                                  adr::Layout layout) const {
      tensor.resize(batch, shape, layout);
      return tensor.view();
    }
  };

  void add_convolution(const adr::ConvGeometry& geometry, training::Conv<float>& trained,
                       double max_error) {
    Layer layer;
    layer.shape = {geometry.out_channels, geometry.out_height(), geometry.out_width()};
    layer.weights = trained.parameters()[0];
    layer.bias = trained.parameters()[1];
    layer.exact = std::make_unique<adr::ExactConvolution<float>>(geometry, context_.threads());
    layer.exact->set_relu(true);
    layer.exact->keep_weights(layer.weights->matrix());
    adr::Options options;
    options.stream = true;
    options.max_error = max_error;
    layer.conv = std::make_unique<adr::ReuseConv2d<float>>(geometry, options, context_);
    layer.conv->set_mode(adr::Mode::inference);
    layer.totals.name = trained.name();
    layers_.push_back(std::move(layer));
  }
  void add_pool(const training::MaxPoolLayer& pool, const ImageShape& input) {
    Layer layer;
    layer.pool = std::make_unique<training::MaxPool<float>>("pool", input, pool.window, pool.stride,
                                                            false, context_);
    layer.shape = layer.pool->output_shape();
    layers_.push_back(std::move(layer));
    ++pools_;
  }

  template <class Convolve>
  adr::TensorView<const float> run(adr::TensorView<const float> x, FrameSeconds& seconds,
                                   const Convolve& convolve, double LayerTotals::*of_layer) {
    for (Layer& layer : layers_) {
      const double start = adr::steady_seconds();
      if (layer.pool != nullptr) {
        const auto y = layer.memory(layer.exact_output, x.batch, layout_);
        layer.pool->forward(x, y);
        x = y;
        seconds.pools += adr::steady_seconds() - start;
      } else {
        x = convolve(layer, x);
        const double taken = adr::steady_seconds() - start;
        layer.totals.*of_layer += taken;
        seconds.convolutions += taken;
      }
    }
    return x;
  }

  adr::Layout layout_;
  adr::Context& context_;
  std::vector<Layer> layers_;
  std::size_t pools_ = 0;
  double computed_ = 0;
  double whole_ = 0;
};

}  // namespace streams
