// A dense network and one with reuse beside each other on the same images, batch by batch: accuracy
// and time of both.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

#include "adr/adapt/plan.hpp"
#include "adr/choose_for_inference.hpp"
#include "adr/core/parallel.hpp"
#include "training/batch_loader.hpp"
#include "training/layers/softmax_loss.hpp"
#include "training/network.hpp"

namespace inference {

using training::index_t;

/// A half of the test images: settings are chosen on the first and judged on the second. Whole
/// batches, but for the last.
inline adr::IndexRange half_of(index_t images, index_t batch_size, adr::Half half) {
  const index_t middle = (images / 2 + batch_size - 1) / batch_size * batch_size;
  return half == adr::Half::choosing ? adr::IndexRange{0, middle} : adr::IndexRange{middle, images};
}

/// Right answers on a half of the test images.
struct HalfResult {
  index_t images = 0;
  index_t dense_correct = 0;
  index_t correct = 0;

  /// Of the accuracy, in points; negative where reuse is right more often.
  [[nodiscard]] double points_lost() const {
    return images > 0
               ? 100.0 * static_cast<double>(dense_correct - correct) / static_cast<double>(images)
               : 0.0;
  }
};

struct Comparison {
  std::string name;
  double max_error = 0;  ///< expected of the network's output; 0: not chosen by one
  std::vector<adr::Plan> plans;
  std::vector<double> layer_errors;    ///< measured alone, 0 where unknown
  std::vector<double> layer_speedups;  ///< medians over batches
  HalfResult chosen_on;
  HalfResult judged_on;
  double dense_seconds = 0;  ///< of all batches
  double seconds = 0;
  double speedup = 1;              ///< of the whole network, the median over batches
  double convolution_speedup = 1;  ///< of the convolutions together

  [[nodiscard]] double dense_accuracy() const {
    return static_cast<double>(chosen_on.dense_correct + judged_on.dense_correct) /
           static_cast<double>(chosen_on.images + judged_on.images);
  }
  [[nodiscard]] double accuracy() const {
    return static_cast<double>(chosen_on.correct + judged_on.correct) /
           static_cast<double>(chosen_on.images + judged_on.images);
  }
};

namespace detail {

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct TimedPass {
  double seconds = 0;
  index_t correct = 0;
  std::vector<double> convolutions;  ///< seconds
};

template <class T>
TimedPass timed_forward(training::Network<T>& network, const training::Batch<T>& batch) {
  TimedPass pass;
  const auto start = std::chrono::steady_clock::now();
  const adr::MatrixView<const T> logits = network.forward(batch.images.const_view());
  pass.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  pass.correct = training::count_correct(logits, batch.labels);
  for (const auto* conv : network.convolutions()) {
    pass.convolutions.push_back(conv->report().seconds.forward);
  }
  return pass;
}

}  // namespace detail

/// Runs the first batch, so that what a network looks for in its first pass is found.
template <class T>
void warm_up(training::Network<T>& network, const training::BatchLoader<T>& loader,
             index_t batch_size) {
  std::vector<index_t> order(static_cast<std::size_t>(batch_size));
  std::iota(order.begin(), order.end(), index_t{0});
  training::Batch<T> batch;
  loader.load(order.data(), batch_size, {}, batch);
  network.forward(batch.images.const_view());
}

/// Runs both networks over the images, in turns of one batch that change their order. Fills
/// accuracy and times of the comparison. Requires: at least 2 batches.
template <class T>
void compare(training::Network<T>& dense, training::Network<T>& reuse,
             const training::BatchLoader<T>& loader, index_t images, index_t batch_size,
             Comparison& comparison) {
  std::vector<index_t> order(static_cast<std::size_t>(images));
  std::iota(order.begin(), order.end(), index_t{0});
  const index_t middle = half_of(images, batch_size, adr::Half::choosing).last;
  const std::size_t layers = dense.convolutions().size();
  std::vector<double> ratios;
  std::vector<double> convolution_ratios;
  std::vector<std::vector<double>> layer_ratios(layers);
  training::Batch<T> batch;
  for (index_t first = 0, turn = 0; first < images; first += batch_size, ++turn) {
    const index_t count = std::min(batch_size, images - first);
    loader.load(order.data() + first, count, {}, batch);
    detail::TimedPass a;
    detail::TimedPass b;
    if (turn % 2 == 0) a = detail::timed_forward(dense, batch);
    b = detail::timed_forward(reuse, batch);
    if (turn % 2 != 0) a = detail::timed_forward(dense, batch);
    HalfResult& half = first < middle ? comparison.chosen_on : comparison.judged_on;
    half.images += count;
    half.dense_correct += a.correct;
    half.correct += b.correct;
    if (count < batch_size) continue;  // a last, smaller batch is no measure of time
    comparison.dense_seconds += a.seconds;
    comparison.seconds += b.seconds;
    ratios.push_back(a.seconds / b.seconds);
    const auto sum = [](const std::vector<double>& v) {
      return std::accumulate(v.begin(), v.end(), 0.0);
    };
    convolution_ratios.push_back(sum(a.convolutions) / sum(b.convolutions));
    for (std::size_t i = 0; i < layers; ++i) {
      layer_ratios[i].push_back(a.convolutions[i] / b.convolutions[i]);
    }
  }
  comparison.speedup = detail::median(ratios);
  comparison.convolution_speedup = detail::median(convolution_ratios);
  for (const auto& list : layer_ratios) comparison.layer_speedups.push_back(detail::median(list));
}

}  // namespace inference
