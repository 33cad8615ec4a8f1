// A network as data: an input shape and a list of layers. A new network is a new description, not
// new code.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "adr/options.hpp"
#include "training/errors.hpp"
#include "training/tensor.hpp"

namespace training {

struct ConvLayer {
  index_t out_channels;
  index_t kernel;
  index_t stride;
  index_t pad;
};
struct ReluLayer {};
struct MaxPoolLayer {
  index_t window;
  index_t stride;
};
struct BatchNormLayer {};
struct LinearLayer {
  index_t out_features;
};

using LayerDescription =
    std::variant<ConvLayer, ReluLayer, MaxPoolLayer, BatchNormLayer, LinearLayer>;

struct NetworkDescription {
  std::string name;
  ImageShape input;
  std::vector<LayerDescription> layers;
  /// L and H where the user names nothing, one per convolution.
  std::vector<adr::Published> published;
};

/// A convolution, a pool and a ReLU. ReLU and max pooling commute; pooling first leaves fewer
/// elements to the ReLU.
inline void add_pooled_convolution(NetworkDescription& network, const ConvLayer& convolution,
                                   const MaxPoolLayer& pool) {
  network.layers.emplace_back(convolution);
  network.layers.emplace_back(pool);
  network.layers.emplace_back(ReluLayer{});
}

/// Fully connected layers with ReLUs between them.
inline void add_classifier(NetworkDescription& network, const std::vector<index_t>& features) {
  for (std::size_t i = 0; i < features.size(); ++i) {
    if (i > 0) network.layers.emplace_back(ReluLayer{});
    network.layers.emplace_back(LinearLayer{features[i]});
  }
}

inline std::string to_string(const LayerDescription& layer) {
  struct Printer {
    std::string operator()(const ConvLayer& l) const {
      return message("conv ", l.kernel, "x", l.kernel, "x", l.out_channels, " stride ", l.stride,
                     " pad ", l.pad);
    }
    std::string operator()(const ReluLayer&) const { return "relu"; }
    std::string operator()(const MaxPoolLayer& l) const {
      return message("max pool ", l.window, "x", l.window, " stride ", l.stride);
    }
    std::string operator()(const BatchNormLayer&) const { return "batch norm"; }
    std::string operator()(const LinearLayer& l) const {
      return message("linear ", l.out_features);
    }
  };
  return std::visit(Printer{}, layer);
}

inline std::string to_string(const NetworkDescription& network) {
  std::string text = message(network.name, ": ", network.input.channels, "x", network.input.height,
                             "x", network.input.width);
  for (const LayerDescription& layer : network.layers) text += ", " + to_string(layer);
  return text;
}

inline std::size_t conv_count(const NetworkDescription& network) {
  std::size_t count = 0;
  for (const LayerDescription& layer : network.layers) {
    count += std::holds_alternative<ConvLayer>(layer);
  }
  return count;
}

}  // namespace training
