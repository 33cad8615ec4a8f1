// CifarNet, the smallest network of the papers: two convolutions of 64 channels and three fully
// connected layers on 32x32 images.
#pragma once

#include <utility>

#include "training/network_description.hpp"

namespace training {

enum class Normalisation { none, lrn };

inline NetworkDescription cifarnet(Normalisation normalisation) {
  const LrnLayer lrn{9, 0.001};
  NetworkDescription network;
  network.name = "cifarnet";
  network.input = {3, 32, 32};
  network.default_reuse = {{15, 10}, {25, 10}};
  // ReLU and max pooling commute; pooling first leaves a quarter of the elements to the ReLU.
  for (int block = 0; block < 2; ++block) {
    network.layers.emplace_back(ConvLayer{64, 5, 1, 2});
    network.layers.emplace_back(MaxPoolLayer{2, 2});
    network.layers.emplace_back(ReluLayer{});
    if (normalisation == Normalisation::lrn) network.layers.emplace_back(lrn);
  }
  network.layers.emplace_back(LinearLayer{384});
  network.layers.emplace_back(ReluLayer{});
  network.layers.emplace_back(LinearLayer{192});
  network.layers.emplace_back(ReluLayer{});
  network.layers.emplace_back(LinearLayer{10});
  return network;
}

}  // namespace training
