// How a scheduler moves layers between settings: strategies and their parameters.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "adr/adapt/loss_trend_options.hpp"
#include "adr/adapt/tuner_options.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// When settings change during training.
enum class Strategy {
  fixed,                ///< never: the settings of the layers stay as they are
  plateau_ladder,       ///< published: a finer {L, H} whenever the loss stops falling
  cluster_reuse_first,  ///< published: clusters of earlier batches are reused until the loss stops
                        ///< falling, then no more
  error_budget,         ///< this library: the fastest setting within an error that shrinks by phase
};

/// The name of a strategy as it appears in files and command lines.
inline const char* to_string(Strategy strategy) noexcept {
  constexpr const char* names[] = {"fixed", "plateau_ladder", "cluster_reuse_first",
                                   "error_budget"};
  return names[static_cast<int>(strategy)];
}

/// What a phase of Strategy::error_budget allows.
struct Phase {
  /// The relative error of a layer's output that its setting may have; 0: dense forward passes.
  double max_error = 0.1;
  /// Plan::gradient_rounding of rounded gradients, with gradient_noise the most that it may be; 0:
  /// gradients are exact, over the non-zeros where that is faster.
  double gradient_rounding = 0;
  /// The share of planned_steps at which the phase ends; not read without planned_steps, nor in
  /// the last phase.
  double end = 1;
  /// How much noise rounding may add to a gradient: to that of the weights as a share of its own
  /// variance over batches, to that of the input as a share of its energy. What a step adds is
  /// measured on every layer now and then, and the step follows. 0: it is gradient_rounding
  /// whatever its noise.
  double gradient_noise = 0;
};

/// The parameters of a ReuseScheduler. The defaults are those of docs/adaptive.md, where the runs
/// that they come from are. Units: steps, passes and shares, as the fields say.
struct SchedulerOptions {
  /// When settings change.
  Strategy strategy = Strategy::error_budget;

  /// From coarse to fine. A phase ends at its share of the planned steps, or when the loss stops
  /// falling where no steps are planned. At least one. The usual one reuses forward passes where
  /// that is all but exact, since beside exact tiles larger errors cost more accuracy than the time
  /// that they save is worth (docs/decisions/0027), and bounds the noise of every layer.
  std::vector<Phase> phases = {{0.02, 4.0, 1.0, 0.1}};
  /// How many steps the training will have; 0: unknown.
  index_t planned_steps = 0;
  /// When the loss counts as falling.
  LossTrendOptions loss;
  /// Whether gradient_rounding is for both gradients or for that of the weights alone: its noise is
  /// averaged over a batch and stays in the layer, that of the input gradient is handed on to all
  /// layers before, and adds up in deep networks.
  bool round_input_gradients = true;
  /// Whether a fall of the learning rate (ReuseScheduler::note_learning_rate) ends a phase.
  bool next_phase_at_rate_drop = false;

  /// With Strategy::cluster_reuse_first: Plan::max_product_age of the first phase.
  index_t max_product_age = 8;

  /// For experiments: how a layer is measured.
  TunerOptions tuning;

  /// Returns an empty string, or one sentence that names the rule and the value. Thread-safety:
  /// reentrant.
  [[nodiscard]] std::string validate() const {
    using checks::message;
    if (phases.empty()) return "phases must be at least 1, got 0";
    for (std::size_t i = 0; i < phases.size(); ++i) {
      const Phase& phase = phases[i];
      if (!(phase.max_error >= 0 && phase.max_error < 1)) {
        return message("max_error must be at least 0 and below 1, got ", phase.max_error);
      }
      if (!(phase.gradient_rounding >= 0 && phase.gradient_rounding <= 1e6)) {
        return message("gradient_rounding must be between 0 and 1e6, got ",
                       phase.gradient_rounding);
      }
      if (!(phase.gradient_noise >= 0 && phase.gradient_noise <= 1e6)) {
        return message("gradient_noise must be between 0 and 1e6, got ", phase.gradient_noise);
      }
      if (!(phase.end > 0 && phase.end <= 1)) {
        return message("end must be above 0 and at most 1 of the planned steps, got ", phase.end);
      }
      if (i > 0 && phase.max_error > phases[i - 1].max_error) {
        return message("max_error must not grow from phase to phase, got ", phases[i - 1].max_error,
                       " before ", phase.max_error);
      }
      if (i > 0 && phase.end < phases[i - 1].end) {
        return message("end must not fall from phase to phase, got ", phases[i - 1].end, " before ",
                       phase.end);
      }
    }
    if (planned_steps < 0) {
      return message("planned_steps must be at least 0, got ", planned_steps);
    }
    if (max_product_age < 0) {
      return message("max_product_age must be at least 0, got ", max_product_age);
    }
    const std::string problem = tuning.validate();
    return problem.empty() ? loss.validate() : problem;
  }
};

}  // namespace adr
