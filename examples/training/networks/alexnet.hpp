// AlexNet in two forms: one column on 224x224 images (Krizhevsky 2014), and its usual reduction to
// the 32x32 images of CIFAR-10. Without dropout and response normalisation.
#pragma once

#include "training/network_description.hpp"

namespace training {

namespace detail {

/// The three 3x3 convolutions that both forms have in common, and the last pool.
inline void add_alexnet_trunk(NetworkDescription& network, const MaxPoolLayer& pool) {
  for (const index_t channels : {384, 256}) {
    network.layers.emplace_back(ConvLayer{channels, 3, 1, 1});
    network.layers.emplace_back(ReluLayer{});
  }
  add_pooled_convolution(network, {256, 3, 1, 1}, pool);
}

}  // namespace detail

inline NetworkDescription alexnet() {
  const MaxPoolLayer pool{2, 2};
  NetworkDescription network;
  network.input = {3, 32, 32};
  network.published = {{9, 10}, {24, 10}, {36, 10}, {48, 10}, {48, 10}};
  add_pooled_convolution(network, {64, 3, 2, 1}, pool);
  add_pooled_convolution(network, {192, 3, 1, 1}, pool);
  detail::add_alexnet_trunk(network, pool);
  add_classifier(network, {4096, 4096, 10});
  return network;
}

inline NetworkDescription alexnet_224() {
  const MaxPoolLayer pool{3, 2};
  NetworkDescription network;
  network.input = {3, 224, 224};
  network.published = {{33, 10}, {40, 10}, {36, 10}, {48, 10}, {48, 10}};
  add_pooled_convolution(network, {64, 11, 4, 2}, pool);
  add_pooled_convolution(network, {192, 5, 1, 2}, pool);
  detail::add_alexnet_trunk(network, pool);
  add_classifier(network, {4096, 4096, 1000});
  return network;
}

}  // namespace training
