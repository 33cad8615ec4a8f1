// The networks that can be named: they are what the papers describe, and they can be built.
#include <cstddef>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/nn/unfolded_convolution.hpp"
#include "support/catch.hpp"
#include "training/network.hpp"
#include "training/networks.hpp"

namespace {

using namespace training;
using adr_test::contains;

/// Weights and biases of a description, by following its shapes.
index_t parameter_count(const NetworkDescription& description) {
  index_t count = 0;
  ImageShape shape = description.input;
  for (const LayerDescription& layer : description.layers) {
    if (const auto* conv = std::get_if<ConvLayer>(&layer)) {
      const adr::ConvGeometry g = conv_geometry(*conv, shape, adr::Layout::nchw);
      count += (g.columns() + 1) * g.out_channels;
      shape = {g.out_channels, g.out_height(), g.out_width()};
    } else if (const auto* pool = std::get_if<MaxPoolLayer>(&layer)) {
      adr::Context context(1);
      shape =
          MaxPool<float>("pool", shape, pool->window, pool->stride, false, context).output_shape();
    } else if (std::holds_alternative<BatchNormLayer>(layer)) {
      count += 4 * shape.channels;  // scale, shift and two running averages
    } else if (const auto* linear = std::get_if<LinearLayer>(&layer)) {
      count += (shape.size() + 1) * linear->out_features;
      shape = {linear->out_features, 1, 1};
    }
  }
  return count;
}

std::size_t linear_count(const NetworkDescription& description) {
  std::size_t count = 0;
  for (const LayerDescription& layer : description.layers) {
    count += std::holds_alternative<LinearLayer>(layer);
  }
  return count;
}

}  // namespace

TEST_CASE("Networks have the layers and parameters of their papers") {
  struct Known {
    const char* name;
    std::size_t convolutions;
    std::size_t linear;
    index_t parameters;
  };
  // The forms for 224 x 224 pixels as published; the others counted by hand.
  const std::vector<Known> known = {
      {"cifarnet", 2, 3, 1756426},     {"alexnet", 5, 3, 23272266},
      {"vgg19", 16, 1, 20029514},      {"vgg19-bn", 16, 1, 20029514 + 4 * 5504},
      {"alexnet-224", 5, 3, 61100840}, {"vgg19-224", 16, 3, 143667240}};
  REQUIRE(network_names().size() == known.size());
  for (const Known& network : known) {
    INFO(network.name);
    const NetworkDescription description = network_by_name(network.name);
    CHECK(description.name == network.name);
    CHECK(conv_count(description) == network.convolutions);
    CHECK(description.published.size() == network.convolutions);
    CHECK(linear_count(description) == network.linear);
    CHECK(parameter_count(description) == network.parameters);
  }
}

TEST_CASE("Every network for small images is built from its description") {
  adr::Context context(1);
  for (const char* name : {"cifarnet", "alexnet", "vgg19", "vgg19-bn"}) {
    INFO(name);
    const NetworkDescription description = network_by_name(name);
    NetworkSettings<float> settings;
    settings.convolutions.resize(conv_count(description));
    Network<float> network(description, settings, context);
    index_t count = 0;
    for (const Parameter<float>* parameter : network.parameters()) count += parameter->size();
    CHECK(count == parameter_count(description));
    CHECK(network.input_shape() == ImageShape{3, 32, 32});
  }
}

TEST_CASE("A network that is not there is refused") {
  CHECK_THROWS_WITH(network_by_name("resnet"), contains("got resnet"));
}

TEST_CASE("Layers of one geometry share a dense convolution") {
  adr::Context context(1);
  const NetworkDescription description = network_by_name("vgg19");
  NetworkSettings<float> settings;
  settings.convolutions.resize(conv_count(description));
  int made = 0;
  settings.dense_convolution = [&made](const adr::ConvGeometry& geometry) {
    ++made;
    return std::make_shared<adr::UnfoldedConvolution<float>>(geometry, adr::DenseGemm<float>(), 1);
  };
  const Network<float> network(description, settings, context);
  // conv6 to 8, 10 to 12 and 13 to 16 are alike.
  CHECK(made == 9);
}
