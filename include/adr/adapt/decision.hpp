// What a scheduler decided for a layer, and why: plain data for statistics, tables and logs.
#pragma once

#include "adr/core/types.hpp"

namespace adr {

/// Why a layer runs with the setting that it has.
enum class Reason {
  none,                ///< nothing chooses the setting
  fixed,               ///< Strategy::fixed: nothing is ever changed
  timing_dense,        ///< warm-up: the dense passes are timed first
  not_worthwhile,      ///< dense: no setting is predicted to be faster by enough
  too_small,           ///< dense: measuring even one setting would cost more than it may save
  no_rung_in_budget,   ///< dense: every faster setting has too large an error
  not_faster,          ///< dense: the settings within the budget were measured to be slower
  first_rung,          ///< the coarsest rung within the budget, or of the ladder
  error_above_budget,  ///< finer: the measured error left the budget
  error_below_budget,  ///< coarser: the measured error leaves room
  new_budget,          ///< the budget of another phase
  loss_plateau,        ///< finer: the loss stopped falling
  loss_diverged,       ///< finer, or dense (error_budget): the loss rose, or is no number
};

/// The reason in words, as reports and logs state it.
inline const char* to_string(Reason reason) noexcept {
  constexpr const char* names[] = {"none",
                                   "fixed by the user",
                                   "timing the dense passes",
                                   "no setting is predicted to be faster",
                                   "too small to measure settings",
                                   "no rung within the budget",
                                   "the rungs within the budget are not faster",
                                   "coarsest rung",
                                   "error above the budget",
                                   "error below the budget",
                                   "new budget",
                                   "loss stopped falling",
                                   "loss diverged"};
  return names[static_cast<int>(reason)];
}

/// The state of one layer in a schedule.
struct Decision {
  Reason reason = Reason::none;  ///< why the layer runs what it runs
  int rung = -1;                 ///< 0 is the coarsest; -1 without a ladder
  int rungs = 0;                 ///< of the ladder, the dense one included
  int phase = 0;                 ///< of the strategy
  double max_error = 0;          ///< of the phase, relative output error; 0 where none is kept
  double error = 0;              ///< of the rung: as measured on a sample, then as metered
  double cost = 1;  ///< of the forward pass relative to the dense one, predicted, then timed
  /// What rounding is expected to add to gradients by the last measurement, where it is held under
  /// a limit: the larger of Report::weight_gradient_noise and input_gradient_noise for the step in
  /// force; 0 where nothing is rounded or was measured.
  double gradient_noise = 0;
};

}  // namespace adr
