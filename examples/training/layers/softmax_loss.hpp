// Softmax with cross entropy: the loss, its gradient and the number of correct answers of a batch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "adr/core/types.hpp"

namespace training {

using adr::index_t;

struct BatchResult {
  double loss_sum = 0;
  index_t correct = 0;
};

namespace detail {

/// A row with a NaN has no correct answer, whatever its label.
template <class T>
bool is_correct(const T* logits, index_t classes, index_t label) {
  const T* best = std::max_element(logits, logits + classes);
  return best - logits == label &&
         std::all_of(logits, logits + classes, [](T v) { return std::isfinite(v); });
}

}  // namespace detail

/// Counts the rows whose largest logit is that of the label.
template <class T>
index_t count_correct(const adr::MatrixView<const T>& logits,
                      const std::vector<std::uint8_t>& labels) {
  index_t correct = 0;
  for (index_t i = 0; i < logits.rows; ++i) {
    correct += detail::is_correct(logits.row(i), logits.cols, labels[static_cast<std::size_t>(i)]);
  }
  return correct;
}

/// d_logits receives the gradient of the mean loss over the batch.
template <class T>
BatchResult softmax_loss(const adr::MatrixView<const T>& logits,
                         const std::vector<std::uint8_t>& labels,
                         const adr::MatrixView<T>& d_logits) {
  BatchResult result;
  const double scale = 1.0 / static_cast<double>(logits.rows);
  std::vector<double> exponentials(static_cast<std::size_t>(logits.cols));
  for (index_t i = 0; i < logits.rows; ++i) {
    const T* row = logits.row(i);
    const index_t label = labels[static_cast<std::size_t>(i)];
    const auto largest = static_cast<double>(*std::max_element(row, row + logits.cols));
    double sum = 0;
    for (index_t j = 0; j < logits.cols; ++j) {
      const double e = std::exp(static_cast<double>(row[j]) - largest);
      exponentials[static_cast<std::size_t>(j)] = e;
      sum += e;
    }
    for (index_t j = 0; j < logits.cols; ++j) {
      const double probability = exponentials[static_cast<std::size_t>(j)] / sum;
      d_logits(i, j) = static_cast<T>((probability - (j == label ? 1.0 : 0.0)) * scale);
    }
    result.loss_sum += std::log(sum) - (static_cast<double>(row[label]) - largest);
    result.correct += detail::is_correct(row, logits.cols, label);
  }
  return result;
}

}  // namespace training
