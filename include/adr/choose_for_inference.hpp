// Settings of a whole trained network for inference: the fastest found that keep its accuracy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "adr/adapt/error_allocation.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/robust_median.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/options.hpp"

ADR_NAMESPACE_BEGIN

/// Examples with known answers, in two halves.
enum class Half {
  choosing,  ///< settings are chosen by their accuracy on it
  judging,   ///< what was chosen is judged on it
};

/// A trained network as choose_for_inference sees it.
template <class T>
struct TrainedNetwork {
  /// Those whose settings are chosen; they outlive the choice.
  std::vector<Tunable*> layers;
  /// Goes on to another batch of the examples that layers may learn from.
  std::function<void()> next_batch;
  /// Runs the network forward over that batch and returns its outputs, one row per example, valid
  /// until the next call.
  std::function<MatrixView<const T>()> forward;
  /// Runs the network forward over a half of the examples with known answers and returns the share
  /// of right ones, in [0, 1].
  std::function<double(Half)> accuracy;
};

/// What an inference may cost.
struct InferenceOptions {
  double max_drop = 0.05;    ///< of the accuracy, in points (hundredths)
  int learning_passes = 40;  ///< batches that settings learn from
  /// The expected errors of the network's output that are tried, the largest first.
  std::vector<double> max_errors = {0.4,  0.3,  0.25, 0.2,  0.16, 0.13, 0.1,
                                    0.08, 0.06, 0.05, 0.04, 0.03, 0.02};

  /// Returns an empty string, or one sentence that names the rule and the value.
  [[nodiscard]] std::string validate() const {
    using checks::message;
    if (!(max_drop >= 0 && max_drop <= 100)) {
      return message("max_drop must be 0 to 100 points, got ", max_drop);
    }
    if (learning_passes < 1) {
      return message("learning_passes must be at least 1, got ", learning_passes);
    }
    for (const double error : max_errors) {
      if (!(error > 0 && error < 1)) {
        return message("max_errors must be above 0 and below 1, got ", error);
      }
    }
    return {};
  }
};

/// What was chosen, and what it was chosen for.
struct InferenceChoice {
  std::vector<Plan> plans;           ///< one per layer
  std::vector<double> errors;        ///< of each layer's output, measured alone; 0: exact
  double max_error = 0;              ///< the expected error of the output; 0: all layers exact
  double exact_seconds = 0;          ///< of a forward pass through the layers
  double seconds = 0;                ///< expected of the choice
  double exact_accuracy = 0;         ///< on Half::choosing
  double accuracy = 0;               ///< of the choice, on Half::choosing
  double exact_accuracy_judged = 0;  ///< on Half::judging
  double accuracy_judged = 0;        ///< of the choice, on Half::judging

  /// What the choice loses on the half that it was not chosen on, in points.
  [[nodiscard]] double judged_drop() const noexcept {
    return 100 * (exact_accuracy_judged - accuracy_judged);
  }
};

namespace detail {

/// The squared error of outputs over the squared size of the exact ones, each without the mean of
/// its row: what is the same for all classes decides nothing. Of one output a row everything
/// counts.
template <class T>
double squared_output_error(const std::vector<T>& outputs, const MatrixView<const T>& exact) {
  double error = 0;
  double total = 0;
  for (index_t i = 0; i < exact.rows; ++i) {
    const T* expected = exact.row(i);
    const T* actual = outputs.data() + i * exact.cols;
    const auto classes = static_cast<double>(exact.cols);
    const auto mean_of = [&](const T* row) {
      return exact.cols > 1 ? std::accumulate(row, row + exact.cols, 0.0) / classes : 0.0;
    };
    const double mean = mean_of(expected);
    const double shift = mean_of(actual) - mean;
    for (index_t j = 0; j < exact.cols; ++j) {
      const double difference = actual[j] - expected[j] - shift;
      error += difference * difference;
      total += (expected[j] - mean) * (expected[j] - mean);
    }
  }
  return total > 0 ? error / total : 0;
}

/// The search of choose_for_inference.
template <class T>
class InferenceSearch {
 public:
  InferenceSearch(const TrainedNetwork<T>& network, const InferenceOptions& options)
      : network_(network), options_(options), layers_(network.layers) {
    for (const Tunable* layer : layers_) {
      exact_plans_.push_back(fitted_once(exact_plan_of(layer->plan())));
    }
  }

  InferenceChoice run() {
    std::vector<LayerChoices> choices = measured_ladders();
    measure_influences(choices);
    InferenceChoice choice = exact_choice(choices);
    use(exact_plans_, 0);
    choice.exact_accuracy = choice.accuracy = network_.accuracy(Half::choosing);
    choice.exact_accuracy_judged = choice.accuracy_judged = network_.accuracy(Half::judging);
    require(choice.exact_accuracy >= 0 && choice.exact_accuracy <= 1,
            "accuracy must be a share of right answers in [0, 1], got ", choice.exact_accuracy);
    std::vector<double> max_errors = options_.max_errors;
    std::sort(max_errors.rbegin(), max_errors.rend());
    std::vector<Plan> tried;
    for (const double max_error : max_errors) {
      InferenceChoice next = choice_within(choices, max_error, choice);
      if (next.seconds >= choice.exact_seconds) break;  // finer ones are no faster
      if (next.plans == tried) continue;
      tried = next.plans;
      use(next.plans, options_.learning_passes);
      next.accuracy = network_.accuracy(Half::choosing);
      // A share that is no number is no reason to take what has it.
      constexpr double k_rounding = 1e-9;
      if (!(100 * (next.exact_accuracy - next.accuracy) <= options_.max_drop + k_rounding))
        continue;
      next.accuracy_judged = network_.accuracy(Half::judging);
      return next;
    }
    use(exact_plans_, 0);
    return choice;
  }

 private:
  /// With what the layer's own plan says of all methods.
  static Plan exact_plan_of(const Plan& own) {
    Plan plan = Options().plan();
    plan.winograd = own.winograd;
    plan.seed = own.seed;
    plan.check_finite = own.check_finite;
    return plan;
  }

  /// Gives every layer its plan, lets it learn, and ends learning.
  void use(const std::vector<Plan>& plans, int learning_passes) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      layers_[i]->set_learning(true);
      layers_[i]->set_plan(plans[i]);
    }
    for (int i = 0; i < learning_passes; ++i) forward_next();
    for (Tunable* layer : layers_) layer->set_learning(false);
  }

  /// Fitted to the first batch, and measured on all others.
  [[nodiscard]] Plan fitted_once(Plan plan) const {
    const auto tries = static_cast<index_t>(options_.max_errors.size()) + 1;
    plan.refit_interval = std::max<index_t>(plan.refit_interval, tries * options_.learning_passes);
    return plan;
  }

  MatrixView<const T> forward_next() {
    network_.next_batch();
    return network_.forward();
  }

  /// Per layer, the median seconds of a few forward passes.
  std::vector<double> forward_seconds() {
    constexpr int k_passes = 5;
    std::vector<RobustMedian<k_passes>> seconds(layers_.size());
    forward_next();  // transforms weights
    for (int pass = 0; pass < k_passes; ++pass) {
      forward_next();
      for (std::size_t i = 0; i < layers_.size(); ++i) {
        seconds[i].add(layers_[i]->report().seconds.forward);
      }
    }
    std::vector<double> medians;
    for (const auto& of_layer : seconds) medians.push_back(of_layer.median());
    return medians;
  }

  /// Errors on a part of a batch that was not learned from, under exact inputs; times without
  /// learning, all layers at once.
  std::vector<LayerChoices> measured_ladders() {
    const std::size_t count = layers_.size();
    use(exact_plans_, 1);
    const std::vector<double> exact = forward_seconds();
    for (std::size_t i = 0; i < count; ++i) {
      layers_[i]->set_learning(true);
      layers_[i]->request_measurements(
          shared_candidates(layers_[i]->layer_shape(), exact_plans_[i]));
    }
    forward_next();
    std::size_t most = 0;
    std::vector<std::vector<Rung>> rungs(count);
    for (std::size_t i = 0; i < count; ++i) {
      for (const RungMeasurement& found : layers_[i]->measurements()) {
        rungs[i].push_back({fitted_once(found.config), 1.0, found.output_error});
      }
      most = std::max(most, rungs[i].size());
    }
    for (std::size_t rung = 0; rung < most; ++rung) {
      std::vector<Plan> plans = exact_plans_;
      for (std::size_t i = 0; i < count; ++i) {
        if (rung < rungs[i].size()) plans[i] = rungs[i][rung].config;
      }
      use(plans, 1);
      const std::vector<double> seconds = forward_seconds();
      for (std::size_t i = 0; i < count; ++i) {
        if (rung < rungs[i].size() && exact[i] > 0) rungs[i][rung].cost = seconds[i] / exact[i];
      }
    }
    std::vector<LayerChoices> choices;
    for (std::size_t i = 0; i < count; ++i) {
      choices.push_back({make_ladder(rungs[i]), exact[i], 1.0});
    }
    return choices;
  }

  /// The output error of the network with one layer alone at the rung whose error is nearest to
  /// 0.1, on a batch that was not learned from.
  void measure_influences(std::vector<LayerChoices>& choices) {
    constexpr double k_error = 0.1;
    constexpr int k_learning_passes = 2;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      const Ladder& ladder = choices[i].ladder;
      const auto distance = [](const Rung& rung) {
        return std::abs(std::log(rung.error / k_error));
      };
      const auto rung =
          std::min_element(ladder.begin(), ladder.end() - 1,
                           [&](const Rung& a, const Rung& b) { return distance(a) < distance(b); });
      if (!(rung->error > 0)) continue;  // nothing to choose from
      std::vector<Plan> plans = exact_plans_;
      plans[i] = rung->config;
      use(plans, k_learning_passes);
      const MatrixView<const T> outputs = forward_next();
      std::vector<T> with_reuse;
      for (index_t row = 0; row < outputs.rows; ++row) {
        with_reuse.insert(with_reuse.end(), outputs.row(row), outputs.row(row) + outputs.cols);
      }
      use(exact_plans_, 0);
      choices[i].influence =
          squared_output_error<T>(with_reuse, network_.forward()) / (rung->error * rung->error);
    }
  }

  static double sum_of_seconds(const std::vector<LayerChoices>& choices,
                               const std::vector<Rung>& rungs) {
    double seconds = 0;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      seconds += rungs[i].cost * choices[i].exact_seconds;
    }
    return seconds;
  }
  InferenceChoice exact_choice(const std::vector<LayerChoices>& choices) const {
    InferenceChoice choice;
    choice.plans = exact_plans_;
    choice.errors.assign(layers_.size(), 0.0);
    for (const LayerChoices& layer : choices) choice.exact_seconds += layer.exact_seconds;
    choice.seconds = choice.exact_seconds;
    return choice;
  }
  static InferenceChoice choice_within(const std::vector<LayerChoices>& choices, double max_error,
                                       const InferenceChoice& exact) {
    const std::vector<Rung> rungs = rungs_within(choices, max_error);
    InferenceChoice choice = exact;
    choice.max_error = max_error;
    choice.seconds = sum_of_seconds(choices, rungs);
    for (std::size_t i = 0; i < rungs.size(); ++i) {
      if (rungs[i].config.method == Method::exact) continue;
      choice.plans[i] = rungs[i].config;
      choice.errors[i] = rungs[i].error;
    }
    return choice;
  }

  const TrainedNetwork<T>& network_;
  const InferenceOptions& options_;
  const std::vector<Tunable*>& layers_;
  std::vector<Plan> exact_plans_;
};

}  // namespace detail

/// Chooses the setting of every layer of a trained network for inference, and leaves the layers
/// with these settings, learned and without learning (Mode::inference).
///
/// Each layer's candidates are measured on the network's own batches: errors on examples that were
/// not learned from, times frozen, and what an error of the layer does to the network's output.
/// Settings are then shared out so that the expected output error stays within the first of
/// max_errors whose accuracy on Half::choosing is at most max_drop points below the exact one;
/// where none is, and where nothing is faster, all layers are exact. The accuracy on Half::judging,
/// which nothing was chosen by, is in the result. Requires: the same weights throughout; layers
/// without a scheduler that run forward passes of `forward` and `accuracy` and nothing else
/// meanwhile. Their own tuners are not in charge from then on (Tunable::hand_over). The choice goes
/// by the clock: InferenceChoice::plans repeat it, and save_state of a layer keeps what it learned.
/// Errors: std::invalid_argument for an option out of range, no layer, a missing layer or callback:
/// nothing has changed then; for an accuracy that is no share; what the callbacks throw. Cost:
/// forward passes over some 40 batches, 4 for every layer, and learning_passes and an evaluation
/// for each setting that is tried. Thread-safety: none. Source: this library.
template <class T>
InferenceChoice choose_for_inference(const TrainedNetwork<T>& network,
                                     const InferenceOptions& options = {}) {
  const std::string problem = options.validate();
  detail::require(problem.empty(), "InferenceOptions: ", problem);
  detail::require(!network.layers.empty(), "choose_for_inference needs at least 1 layer, got 0");
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    detail::require(network.layers[i] != nullptr, "choose_for_inference: layer ", i, " is null");
  }
  detail::require(network.next_batch && network.forward && network.accuracy,
                  "choose_for_inference needs next_batch, forward and accuracy, one is empty");
  for (Tunable* layer : network.layers) layer->hand_over(true);
  return detail::InferenceSearch<T>(network, options).run();
}

ADR_NAMESPACE_END
