// What an optimiser updates: a weight matrix with its gradient and its velocity.
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"

namespace training {

using adr::index_t;

enum class WeightDecay { on, off };

template <class T>
class Parameter {
 public:
  Parameter(std::string name, index_t rows, index_t cols, WeightDecay decay)
      : name_(std::move(name)), rows_(rows), cols_(cols), decay_(decay) {
    value_.assign(rows * cols, T(0));
    gradient_.assign(rows * cols, T(0));
    velocity_.assign(rows * cols, T(0));
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool decays() const { return decay_ == WeightDecay::on; }
  [[nodiscard]] index_t size() const { return value_.size(); }

  [[nodiscard]] T* value() { return value_.data(); }
  [[nodiscard]] T* gradient() { return gradient_.data(); }
  [[nodiscard]] T* velocity() { return velocity_.data(); }

  [[nodiscard]] adr::MatrixView<const T> matrix() const { return {value_.data(), rows_, cols_}; }
  [[nodiscard]] adr::MatrixView<T> gradient_matrix() { return {gradient_.data(), rows_, cols_}; }
  [[nodiscard]] adr::VectorView<const T> vector() const { return {value_.data(), value_.size()}; }
  [[nodiscard]] adr::VectorView<T> gradient_vector() {
    return {gradient_.data(), gradient_.size()};
  }

 private:
  std::string name_;
  index_t rows_;
  index_t cols_;
  WeightDecay decay_;
  adr::AlignedBuffer<T> value_;
  adr::AlignedBuffer<T> gradient_;
  adr::AlignedBuffer<T> velocity_;
};

/// How wide the initial weights are spread, so that activations keep their scale:
/// it depends on what becomes of the outputs.
enum class FollowedBy {
  relu,      ///< variance 2 / fan_in (He): a ReLU follows
  max_pool,  ///< variance 0.65 / fan_in: a 2 x 2 maximum of normal numbers has mean square 1 / 0.65
  nothing,   ///< variance 2 / (fan_in + fan_out) (Xavier): the logits
};

/// Draws the weights of a layer whose outputs are the rows of the matrix.
template <class T>
void initialise(Parameter<T>& weights, FollowedBy next, adr::Random& random) {
  const auto fan_in = static_cast<double>(weights.matrix().cols);
  const auto fan_out = static_cast<double>(weights.matrix().rows);
  const double variance = next == FollowedBy::relu       ? 2.0 / fan_in
                          : next == FollowedBy::max_pool ? 0.65 / fan_in
                                                         : 2.0 / (fan_in + fan_out);
  const double deviation = std::sqrt(variance);
  for (index_t i = 0; i < weights.size(); ++i) {
    weights.value()[i] = static_cast<T>(deviation * random.normal());
  }
}

}  // namespace training
