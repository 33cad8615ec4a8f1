// Stochastic gradient descent with momentum, weight decay and a step schedule.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "adr/core/context.hpp"
#include "training/errors.hpp"
#include "training/parameter.hpp"

namespace training {

struct SgdSettings {
  double learning_rate = 0.01;
  index_t step_epochs =
      3;  ///< the rate is multiplied by step_factor every so many epochs; 0: never
  double step_factor = 0.5;
  double momentum = 0.9;
  double weight_decay = 5e-4;

  /// Returns an empty string, or one sentence that names the rule and the value.
  [[nodiscard]] std::string validate() const {
    if (!(learning_rate > 0) || !std::isfinite(learning_rate)) {
      return message("--lr must be positive and finite, got ", learning_rate);
    }
    if (step_epochs < 0) return message("--lr-step must be at least 0 epochs, got ", step_epochs);
    if (!(step_factor > 0 && step_factor <= 1)) {
      return message("--lr-gamma must be above 0 and at most 1, got ", step_factor);
    }
    if (!(momentum >= 0 && momentum < 1)) {
      return message("--momentum must be at least 0 and below 1, got ", momentum);
    }
    if (!(weight_decay >= 0) || !std::isfinite(weight_decay)) {
      return message("--weight-decay must be at least 0 and finite, got ", weight_decay);
    }
    return {};
  }
};

class Sgd {
 public:
  explicit Sgd(const SgdSettings& settings) : settings_(settings) {}

  /// The learning rate of an epoch, counted from 0.
  [[nodiscard]] double learning_rate(index_t epoch) const {
    if (settings_.step_epochs == 0) return settings_.learning_rate;
    const auto steps = static_cast<double>(epoch / settings_.step_epochs);
    return settings_.learning_rate * std::pow(settings_.step_factor, steps);
  }

  /// velocity = momentum * velocity + gradient + decay * value; value -= rate * velocity.
  template <class T>
  void step(const std::vector<Parameter<T>*>& parameters, double learning_rate,
            adr::Context& context) const {
    constexpr index_t k_chunk = 16384;
    const T rate = static_cast<T>(learning_rate);
    const T momentum = static_cast<T>(settings_.momentum);
    for (Parameter<T>* parameter : parameters) {
      const T decay = static_cast<T>(parameter->decays() ? settings_.weight_decay : 0.0);
      const index_t size = parameter->size();
      adr::parallel_for((size + k_chunk - 1) / k_chunk, context.threads(), [&](index_t chunk, int) {
        const index_t last = std::min(size, (chunk + 1) * k_chunk);
        T* value = parameter->value();
        T* velocity = parameter->velocity();
        const T* gradient = parameter->gradient();
        for (index_t i = chunk * k_chunk; i < last; ++i) {
          velocity[i] = momentum * velocity[i] + gradient[i] + decay * value[i];
          value[i] -= rate * velocity[i];
        }
      });
    }
  }

 private:
  SgdSettings settings_;
};

}  // namespace training
