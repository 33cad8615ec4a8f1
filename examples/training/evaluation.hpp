// The share of correct answers over a whole set of images, by a network that is not training.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "training/batch_loader.hpp"
#include "training/layers/softmax_loss.hpp"
#include "training/network.hpp"

namespace training {

template <class T>
double accuracy(Network<T>& network, const BatchLoader<T>& loader, index_t image_count,
                index_t batch_size, Batch<T>& batch) {
  std::vector<index_t> order(static_cast<std::size_t>(image_count));
  std::iota(order.begin(), order.end(), index_t{0});
  index_t correct = 0;
  network.set_training(false);
  for (index_t first = 0; first < image_count; first += batch_size) {
    const index_t count = std::min(batch_size, image_count - first);
    loader.load(order.data() + first, count, {}, batch);
    correct += count_correct(network.forward(batch.images.const_view()), batch.labels);
  }
  network.set_training(true);
  return static_cast<double>(correct) / static_cast<double>(image_count);
}

}  // namespace training
