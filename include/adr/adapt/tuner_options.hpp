// How often a layer is measured, and what has to come out: plain data.
#pragma once

#include <string>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// What experiments and tests change about a tuner; the defaults are those of docs/adaptive.md.
struct TunerOptions {
  /// Steps between the first and the second measurement of all rungs, when activations change
  /// fast; then twice as many each time, up to measure_interval, from when on the dense passes are
  /// timed again as well.
  index_t first_measure_interval = 50;
  index_t measure_interval = 2000;                           ///< steps; see first_measure_interval
  static constexpr index_t k_most_steps = index_t{1} << 60;  ///< of both intervals
  /// The share of the time of the layer, at least of 400 dense steps or all that are planned, that
  /// all measurements may take. Where all settings would take more, fewer are measured, as long as
  /// no rung is among those left out.
  double measure_share = 0.01;
  /// A rung is used where its forward pass takes at most this share of the dense one.
  double max_cost = 0.97;
  /// Steps that a layer stays on a rung before it may move to a coarser one: hysteresis.
  index_t min_stay = 200;
  /// Plan::meter_interval of the rungs.
  index_t meter_interval = 10;

  static constexpr index_t k_timing_steps = 3;  ///< exact ones, before anything else
  /// Metered passes in a row with an error above k_tolerance * budget move a layer to a finer rung.
  static constexpr int k_patience = 2;
  static constexpr double k_tolerance = 1.1;  ///< see k_patience
  /// A layer moves to a coarser rung only if the error expected there is at most this share of the
  /// budget.
  static constexpr double k_room = 0.8;

  /// Returns an empty string, or one sentence that names the rule and the value. Thread-safety:
  /// reentrant.
  [[nodiscard]] std::string validate() const {
    using checks::message;
    if (first_measure_interval < 1 || first_measure_interval > k_most_steps) {
      return message("first_measure_interval must be between 1 and ", k_most_steps, " steps, got ",
                     first_measure_interval);
    }
    if (measure_interval < 1 || measure_interval > k_most_steps) {
      return message("measure_interval must be between 1 and ", k_most_steps, " steps, got ",
                     measure_interval);
    }
    if (!(measure_share > 0 && measure_share <= 1)) {
      return message("measure_share must be above 0 and at most 1, got ", measure_share);
    }
    if (!(max_cost > 0)) return message("max_cost must be above 0, got ", max_cost);
    if (min_stay < 0) return message("min_stay must be at least 0 steps, got ", min_stay);
    if (meter_interval < 1) {
      return message("meter_interval must be at least 1 pass, got ", meter_interval);
    }
    return {};
  }
};

}  // namespace adr
