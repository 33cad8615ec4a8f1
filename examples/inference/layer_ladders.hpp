// What each convolution of a trained network could run with in inference: settings from coarse to
// exact, with their errors and times on the network's own activations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "adr/adapt/ladder.hpp"
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

 private:
  const training::BatchLoader<T>& loader_;
  index_t images_;
  index_t batch_size_;
  index_t position_ = 0;
  std::vector<index_t> indices_;
  training::Batch<T> batch_;
};

/// Gives every convolution its setting, lets them learn from `batches` batches, and freezes them.
template <class T>
void learn(training::Network<T>& network, const std::vector<adr::ReuseConfig>& configs,
           BatchStream<T>& stream, int batches) {
  const auto& convolutions = network.convolutions();
  for (std::size_t i = 0; i < convolutions.size(); ++i) {
    convolutions[i]->unfreeze();
    convolutions[i]->adaptive().set_config(configs[i]);
  }
  for (int i = 0; i < batches; ++i) network.forward(stream.next().images.const_view());
  for (auto* conv : convolutions) conv->freeze();
}

namespace detail {

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Per convolution, the median seconds of a few forward passes.
template <class T>
std::vector<double> forward_seconds(training::Network<T>& network, BatchStream<T>& stream) {
  constexpr std::size_t k_passes = 5;
  const auto& convolutions = network.convolutions();
  std::vector<std::vector<double>> seconds(convolutions.size());
  for (std::size_t pass = 0; pass <= k_passes; ++pass) {
    network.forward(stream.next().images.const_view());
    if (pass == 0) continue;  // makes tables
    for (std::size_t i = 0; i < convolutions.size(); ++i) {
      seconds[i].push_back(convolutions[i]->stats().seconds.forward);
    }
  }
  std::vector<double> medians;
  for (const auto& list : seconds) medians.push_back(median(list));
  return medians;
}

}  // namespace detail

/// Measures what a schedule would try on every convolution: the errors on a part of a batch that
/// was not learned from, under exact inputs; the times frozen, all layers at once. Costs are
/// relative to the dense passes of the network as it is.
template <class T>
std::vector<adr::Ladder> measure_ladders(training::Network<T>& network, BatchStream<T>& stream) {
  const auto& convolutions = network.convolutions();
  const std::size_t count = convolutions.size();
  const std::vector<double> dense = detail::forward_seconds(network, stream);
  for (auto* conv : convolutions) {
    adr::AdaptiveLayer& layer = conv->adaptive();
    layer.request_measurements(adr::shared_candidates(layer.layer_shape(), adr::ReuseConfig()));
  }
  network.forward(stream.next().images.const_view());

  std::size_t most = 0;
  std::vector<std::vector<adr::Rung>> rungs(count);
  for (std::size_t i = 0; i < count; ++i) {
    for (const adr::RungMeasurement& found : convolutions[i]->adaptive().measurements()) {
      rungs[i].push_back({found.config, 1.0, found.output_error});
    }
    most = std::max(most, rungs[i].size());
  }
  std::vector<adr::ReuseConfig> configs(count);
  const auto dense_config = [] {
    adr::ReuseConfig config;
    config.method = adr::Method::dense;
    return config;
  };
  for (std::size_t rung = 0; rung < most; ++rung) {
    for (std::size_t i = 0; i < count; ++i) {
      configs[i] = rung < rungs[i].size() ? rungs[i][rung].config : dense_config();
    }
    learn(network, configs, stream, 1);
    const std::vector<double> seconds = detail::forward_seconds(network, stream);
    for (std::size_t i = 0; i < count; ++i) {
      if (rung < rungs[i].size()) rungs[i][rung].cost = seconds[i] / dense[i];
    }
  }
  learn(network, std::vector<adr::ReuseConfig>(count, dense_config()), stream, 0);
  std::vector<adr::Ladder> ladders;
  for (const auto& measured : rungs) ladders.push_back(adr::make_ladder(measured));
  return ladders;
}

/// The cheapest setting of each ladder whose error is within the budget.
inline std::vector<adr::Rung> rungs_within(const std::vector<adr::Ladder>& ladders,
                                           double error_budget) {
  std::vector<adr::Rung> rungs;
  for (const adr::Ladder& ladder : ladders) {
    rungs.push_back(*std::find_if(ladder.begin(), ladder.end(), [&](const adr::Rung& rung) {
      return rung.error <= error_budget;
    }));
  }
  return rungs;
}

}  // namespace inference
