// CifarNet, the smallest network of the papers: two convolutions of 64 channels and three fully
// connected layers on 32x32 images. Without response normalisation.
#pragma once

#include "training/network_description.hpp"

namespace training {

inline NetworkDescription cifarnet() {
  NetworkDescription network;
  network.input = {3, 32, 32};
  network.published = {{15, 10}, {25, 10}};
  for (int block = 0; block < 2; ++block) {
    add_pooled_convolution(network, {64, 5, 1, 2}, {2, 2});
  }
  add_classifier(network, {384, 192, 10});
  return network;
}

}  // namespace training
