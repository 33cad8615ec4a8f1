// VGG-19 in two forms: on 224x224 images with three fully connected layers (Simonyan & Zisserman
// 2015), and its usual reduction to the 32x32 images of CIFAR-10, with one; the latter also with
// batch normalisation after every convolution. Without dropout.
#pragma once

#include <vector>

#include "training/network_description.hpp"

namespace training {

namespace detail {

/// Sixteen 3x3 convolutions in five blocks, each block with a pool at its end.
inline NetworkDescription vgg19_trunk(const ImageShape& input, bool normalised = false) {
  struct Block {
    index_t channels;
    int convolutions;
  };
  NetworkDescription network;
  network.input = input;
  for (const Block& block : std::vector<Block>{{64, 2}, {128, 2}, {256, 4}, {512, 4}, {512, 4}}) {
    const ConvLayer convolution{block.channels, 3, 1, 1};
    for (int i = 0; i < block.convolutions; ++i) {
      network.layers.emplace_back(convolution);
      if (normalised) network.layers.emplace_back(BatchNormLayer{});
      if (i + 1 == block.convolutions) network.layers.emplace_back(MaxPoolLayer{2, 2});
      network.layers.emplace_back(ReluLayer{});
    }
  }
  // The published settings are not known layer by layer: about a kernel row of some channels.
  network.published.assign(conv_count(network), {36, 10});
  network.published.front() = {9, 10};
  return network;
}

}  // namespace detail

inline NetworkDescription vgg19() {
  NetworkDescription network = detail::vgg19_trunk({3, 32, 32});
  add_classifier(network, {10});
  return network;
}

inline NetworkDescription vgg19_bn() {
  NetworkDescription network = detail::vgg19_trunk({3, 32, 32}, true);
  add_classifier(network, {10});
  return network;
}

inline NetworkDescription vgg19_224() {
  NetworkDescription network = detail::vgg19_trunk({3, 224, 224});
  add_classifier(network, {4096, 4096, 1000});
  return network;
}

}  // namespace training
