// A network beside what it may learn from: batches of training images, and settings that are
// learned from them and frozen.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "adr/choose_for_inference.hpp"
#include "training/batch_loader.hpp"
#include "training/network.hpp"

namespace inference {

using training::index_t;

/// Images in their order, a batch at a time, around again after the last.
template <class T>
class BatchStream {
 public:
  BatchStream(const training::BatchLoader<T>& loader, index_t images, index_t batch_size)
      : loader_(loader), images_(images), batch_size_(std::min(images, batch_size)) {}

  const training::Batch<T>& next() {
    indices_.resize(static_cast<std::size_t>(batch_size_));
    for (index_t& index : indices_) {
      index = position_;
      position_ = (position_ + 1) % images_;
    }
    loader_.load(indices_.data(), batch_size_, {}, batch_);
    return batch_;
  }
  [[nodiscard]] const training::Batch<T>& batch() const { return batch_; }

 private:
  const training::BatchLoader<T>& loader_;
  index_t images_;
  index_t batch_size_;
  index_t position_ = 0;
  std::vector<index_t> indices_;
  training::Batch<T> batch_;
};

/// Gives every convolution its plan, lets them learn from `batches` batches, and freezes all
/// layers.
template <class T>
void learn(training::Network<T>& network, const std::vector<adr::Plan>& plans,
           BatchStream<T>& stream, int batches) {
  const auto& convolutions = network.convolutions();
  for (std::size_t i = 0; i < convolutions.size(); ++i) {
    convolutions[i]->unfreeze();
    convolutions[i]->adaptive().set_plan(plans[i]);
  }
  for (int i = 0; i < batches; ++i) network.forward(stream.next().images.const_view());
  for (auto* layer : network.reused_layers()) layer->freeze();
}

/// What the library needs to choose the settings of the convolutions. `accuracy` is that of a half
/// of the test images.
template <class T>
adr::TrainedNetwork<T> trained_network(training::Network<T>& network, BatchStream<T>& stream,
                                       std::function<double(adr::Half)> accuracy) {
  adr::TrainedNetwork<T> trained;
  for (auto* conv : network.convolutions()) trained.layers.push_back(&conv->adaptive());
  trained.next_batch = [&stream] { stream.next(); };
  trained.forward = [&network, &stream] {
    return network.forward(stream.batch().images.const_view());
  };
  trained.accuracy = std::move(accuracy);
  return trained;
}

}  // namespace inference
