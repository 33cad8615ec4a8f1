// What each convolution of a trained network could run with in inference: settings from coarse to
// exact, with their errors and times on the network's own activations, and what an error of each
// convolution does to the network's output.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "adr/adapt/ladder.hpp"
#include "adr/options.hpp"
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

/// Gives every convolution its setting, lets them learn from `batches` batches, and freezes them:
/// clusters are fitted to the first one and refined by the others.
template <class T>
void learn(training::Network<T>& network, const std::vector<adr::Plan>& plans,
           BatchStream<T>& stream, int batches) {
  const auto& convolutions = network.convolutions();
  for (std::size_t i = 0; i < convolutions.size(); ++i) {
    adr::Plan plan = plans[i];
    plan.refit_interval = std::max<index_t>(plan.refit_interval, batches);
    convolutions[i]->unfreeze();
    convolutions[i]->adaptive().set_plan(plan);
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
      seconds[i].push_back(convolutions[i]->report().seconds.forward);
    }
  }
  std::vector<double> medians;
  for (const auto& list : seconds) medians.push_back(median(list));
  return medians;
}

}  // namespace detail

/// A convolution as a choice of settings: what each takes, and what it costs the output.
struct LayerChoices {
  adr::Ladder ladder;        ///< costs relative to the dense pass
  double dense_seconds = 0;  ///< of a pass over a batch
  /// The square of the network's relative output error over that of this layer, alone.
  double influence = 1;
};

namespace detail {

/// What all other plans lose against.
inline adr::Plan exact_plan() { return adr::Options().plan(); }

/// Measures what a schedule would try on every convolution: the errors on a part of a batch that
/// was not learned from, under exact inputs; the times frozen, all layers at once.
template <class T>
std::vector<LayerChoices> measure_ladders(training::Network<T>& network, BatchStream<T>& stream) {
  const auto& convolutions = network.convolutions();
  const std::size_t count = convolutions.size();
  const std::vector<double> dense = forward_seconds(network, stream);
  for (auto* conv : convolutions) {
    adr::Tunable& layer = conv->adaptive();
    layer.request_measurements(adr::shared_candidates(layer.layer_shape(), exact_plan()));
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
  std::vector<adr::Plan> plans(count);
  for (std::size_t rung = 0; rung < most; ++rung) {
    for (std::size_t i = 0; i < count; ++i) {
      plans[i] = rung < rungs[i].size() ? rungs[i][rung].config : exact_plan();
    }
    learn(network, plans, stream, 1);
    const std::vector<double> seconds = forward_seconds(network, stream);
    for (std::size_t i = 0; i < count; ++i) {
      if (rung < rungs[i].size()) rungs[i][rung].cost = seconds[i] / dense[i];
    }
  }
  learn(network, std::vector<adr::Plan>(count, exact_plan()), stream, 0);
  std::vector<LayerChoices> layers;
  for (std::size_t i = 0; i < count; ++i) {
    layers.push_back({adr::make_ladder(rungs[i]), dense[i], 1.0});
  }
  return layers;
}

/// The squared error of logits over the squared size of the exact ones, each without the mean of
/// its image: what is the same for all classes decides nothing.
template <class T>
double squared_output_error(const std::vector<T>& logits, const adr::MatrixView<const T>& exact) {
  double error = 0;
  double total = 0;
  for (index_t i = 0; i < exact.rows; ++i) {
    const T* expected = exact.row(i);
    const T* actual = logits.data() + i * exact.cols;
    const auto classes = static_cast<double>(exact.cols);
    const double mean = std::accumulate(expected, expected + exact.cols, 0.0) / classes;
    const double shift = std::accumulate(actual, actual + exact.cols, 0.0) / classes - mean;
    for (index_t j = 0; j < exact.cols; ++j) {
      const double difference = actual[j] - expected[j] - shift;
      error += difference * difference;
      total += (expected[j] - mean) * (expected[j] - mean);
    }
  }
  return total > 0 ? error / total : 0;
}

}  // namespace detail

/// Sets each layer's influence: the output error of the network with this layer alone at the rung
/// whose error is nearest to 0.1, on a batch that was not learned from. Leaves the network dense.
template <class T>
void measure_influences(training::Network<T>& network, BatchStream<T>& stream,
                        std::vector<LayerChoices>& layers) {
  constexpr double k_error = 0.1;
  constexpr int k_learning_batches = 2;
  const std::vector<adr::Plan> dense(layers.size(), detail::exact_plan());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const adr::Ladder& ladder = layers[i].ladder;
    const auto rung = std::min_element(
        ladder.begin(), ladder.end() - 1, [&](const adr::Rung& a, const adr::Rung& b) {
          return std::abs(std::log(a.error / k_error)) < std::abs(std::log(b.error / k_error));
        });
    if (rung->error == 0) continue;  // nothing to choose from
    std::vector<adr::Plan> plans = dense;
    plans[i] = rung->config;
    learn(network, plans, stream, k_learning_batches);
    const training::Batch<T>& batch = stream.next();
    const adr::MatrixView<const T> logits = network.forward(batch.images.const_view());
    std::vector<T> with_reuse;
    for (index_t row = 0; row < logits.rows; ++row) {
      with_reuse.insert(with_reuse.end(), logits.row(row), logits.row(row) + logits.cols);
    }
    learn(network, dense, stream, 0);
    layers[i].influence =
        detail::squared_output_error<T>(with_reuse, network.forward(batch.images.const_view())) /
        (rung->error * rung->error);
  }
}

/// Everything above: what each convolution could run with, and what that does.
template <class T>
std::vector<LayerChoices> measure_choices(training::Network<T>& network, BatchStream<T>& stream) {
  std::vector<LayerChoices> layers = detail::measure_ladders(network, stream);
  measure_influences(network, stream, layers);
  return layers;
}

}  // namespace inference
