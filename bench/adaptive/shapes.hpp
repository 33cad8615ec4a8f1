// Layers on which reuse has nothing, or next to nothing, to gain: what an automatic mode must not
// lose on.
#pragma once

#include <adr/unfold/conv_geometry.hpp>
#include <functional>
#include <string>
#include <vector>

#include "bench/support/conv_layers.hpp"
#include "bench/support/layer_data.hpp"
#include "bench/support/user_error.hpp"

namespace adr_bench {

using adr::index_t;

/// What the input and the output gradient hold.
enum class Similarity {
  none,       ///< white noise: no two neuron vectors resemble each other
  rectified,  ///< white noise after a ReLU, the gradient with it: half of both is zero
  smooth,  ///< images of slow waves: much to share, so that it shows that the mode is not just off
  real,    ///< what a network has produced: AdaptiveShape::load
};

inline const char* to_string(Similarity similarity) {
  constexpr const char* names[] = {"noise", "rectified", "smooth", "real"};
  return names[static_cast<int>(similarity)];
}

/// A convolution; a plain product is one over images of a single pixel.
struct AdaptiveShape {
  std::string name;
  adr::ConvGeometry geometry;
  index_t batch = 1;
  bool needs_input_gradient = true;
  Similarity similarity = Similarity::none;
  /// Of real layers: k_training_batches batches.
  std::function<LayerData()> load;
};

/// A few batches in turn, so that no setting profits from having seen the batch before.
inline constexpr index_t k_training_batches = 3;

namespace detail {

inline AdaptiveShape convolution(index_t channels, index_t size, index_t outputs, index_t kernel,
                                 index_t stride, index_t batch, Similarity similarity) {
  AdaptiveShape shape;
  adr::ConvGeometry& g = shape.geometry;
  g.in_channels = channels;
  g.in_height = g.in_width = size;
  g.out_channels = outputs;
  g.set_kernel(kernel);
  g.set_stride(stride);
  g.set_padding(kernel / 2);
  shape.batch = batch;
  shape.similarity = similarity;
  shape.name = message(channels, "x", size, "x", size, "->", outputs, " ", kernel, "x", kernel, "/",
                       stride, " batch ", batch);
  return shape;
}

inline AdaptiveShape product(index_t rows, index_t columns, index_t outputs) {
  AdaptiveShape shape = convolution(columns, 1, outputs, 1, 1, rows, Similarity::none);
  shape.name = message(rows, "x", columns, "x", outputs);
  return shape;
}

}  // namespace detail

/// 46 layers: tiny ones, single outputs, 1x1 kernels of few channels, strides, wide ones, plain
/// products with few rows and with many; and some with much to share.
inline std::vector<AdaptiveShape> adaptive_shapes() {
  using detail::convolution;
  using detail::product;
  const auto none = Similarity::none;
  const auto rectified = Similarity::rectified;
  const auto smooth = Similarity::smooth;
  return {
      convolution(1, 8, 1, 3, 1, 1, none),
      convolution(1, 16, 4, 3, 1, 4, none),
      convolution(3, 16, 1, 5, 1, 8, none),
      convolution(3, 32, 16, 3, 1, 8, none),
      convolution(3, 32, 64, 5, 1, 16, none),
      convolution(3, 64, 32, 7, 2, 4, none),
      convolution(4, 16, 4, 1, 1, 8, none),
      convolution(8, 16, 8, 1, 1, 16, none),
      convolution(16, 16, 16, 1, 1, 16, none),
      convolution(32, 16, 64, 1, 1, 16, none),
      convolution(64, 16, 16, 1, 1, 16, none),
      convolution(64, 8, 256, 1, 1, 16, none),
      convolution(8, 16, 8, 3, 1, 16, none),
      convolution(16, 16, 16, 3, 1, 16, none),
      convolution(32, 16, 1, 3, 1, 16, none),
      convolution(32, 16, 32, 3, 1, 16, none),
      convolution(64, 16, 64, 3, 1, 8, none),
      convolution(64, 8, 64, 3, 1, 32, none),
      convolution(64, 16, 64, 5, 1, 8, none),
      convolution(128, 8, 128, 3, 1, 16, none),
      convolution(256, 4, 256, 3, 1, 16, none),
      convolution(32, 16, 64, 3, 2, 16, none),
      convolution(64, 16, 128, 3, 2, 8, none),
      convolution(96, 13, 64, 3, 1, 4, none),
      convolution(16, 16, 16, 3, 1, 16, rectified),
      convolution(32, 16, 32, 3, 1, 16, rectified),
      convolution(64, 16, 64, 3, 1, 8, rectified),
      convolution(64, 16, 64, 5, 1, 8, rectified),
      convolution(128, 8, 128, 3, 1, 16, rectified),
      convolution(64, 16, 16, 1, 1, 16, rectified),
      product(1, 64, 64),
      product(16, 256, 10),
      product(64, 1024, 1),
      product(128, 512, 128),
      product(128, 2048, 256),
      product(256, 64, 64),
      product(1024, 32, 32),
      product(1024, 256, 1),
      product(2048, 256, 64),
      product(4096, 16, 16),
      product(4096, 128, 128),
      product(8192, 64, 8),
      convolution(3, 32, 64, 5, 1, 16, smooth),
      convolution(64, 16, 64, 5, 1, 16, smooth),
      convolution(64, 16, 64, 3, 1, 16, smooth),
      convolution(128, 8, 128, 3, 1, 16, smooth),
  };
}

/// The layers of a network on what it has produced, as it is trained: in layout nhwc. The source
/// must outlive the shapes.
inline std::vector<AdaptiveShape> network_shapes(const Network& network, const DataSource& source,
                                                 index_t batch) {
  std::vector<AdaptiveShape> shapes;
  for (const ConvLayer& layer : network.layers) {
    if (!has_data(layer, source)) continue;
    AdaptiveShape shape;
    shape.name = network.name + " " + layer.name;
    shape.geometry = layer.geometry(adr::Layout::nhwc);
    shape.batch = batch;
    shape.similarity = Similarity::real;
    shape.needs_input_gradient = layer.needs_input_gradient;
    shape.load = [layer, &source, batch] {
      return load_layer(layer, k_training_batches * batch, source);
    };
    shapes.push_back(shape);
  }
  return shapes;
}

/// A few of them, small, to show that it works.
inline std::vector<AdaptiveShape> quick_adaptive_shapes() {
  return {detail::convolution(4, 8, 4, 1, 1, 2, Similarity::none), detail::product(64, 32, 8),
          detail::convolution(16, 8, 16, 3, 1, 4, Similarity::smooth)};
}

}  // namespace adr_bench
