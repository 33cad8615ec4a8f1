// The share of correct answers over images, by a network that is not training.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "adr/core/parallel.hpp"
#include "training/batch_loader.hpp"
#include "training/layers/softmax_loss.hpp"
#include "training/network.hpp"

namespace training {

/// Of images [first, last); 0 where there are none. Requires: a network that is not training.
template <class T>
double accuracy(Network<T>& network, const BatchLoader<T>& loader, const adr::IndexRange& images,
                index_t batch_size, Batch<T>& batch) {
  std::vector<index_t> order(static_cast<std::size_t>(images.size()));
  std::iota(order.begin(), order.end(), images.first);
  index_t correct = 0;
  for (index_t first = 0; first < images.size(); first += batch_size) {
    const index_t count = std::min(batch_size, images.size() - first);
    loader.load(order.data() + first, count, {}, batch);
    correct += count_correct(network.forward(batch.images.const_view()), batch.labels);
  }
  if (images.size() == 0) return 0;
  return static_cast<double>(correct) / static_cast<double>(images.size());
}

}  // namespace training
