// What every strategy is for one layer: a state machine that follows the steps of training.
#pragma once

#include "adr/adapt/decision.hpp"
#include "adr/adapt/report.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/state_archive.hpp"

ADR_NAMESPACE_BEGIN

/// Moves one layer along its ladder. It holds no pointer to the layer, which is handed to every
/// call.
class LayerPolicy {
 public:
  LayerPolicy() = default;
  virtual ~LayerPolicy() = default;
  LayerPolicy(const LayerPolicy&) = delete;
  LayerPolicy& operator=(const LayerPolicy&) = delete;

  /// Gives the layer its first setting.
  virtual void start(Tunable& layer) = 0;
  /// Takes the statistics of a step and sets what the next one runs with. `phase` counts up from 0.
  virtual void step(Tunable& layer, int phase) = 0;
  /// The loss rose far above what it was, or is no number.
  virtual void retreat(Tunable& layer) = 0;
  /// Ends what is on trial: nobody would take its measurements.
  virtual void release(Tunable& /*layer*/) {}
  [[nodiscard]] virtual const Decision& decision() const noexcept = 0;
  /// Of the exact passes, where they were timed.
  [[nodiscard]] virtual PassSeconds exact_seconds() const { return {}; }
  /// Writes or reads the state; a read one is in force from the next pass on.
  virtual void exchange(StateArchive& archive, Tunable& layer) = 0;
};

ADR_NAMESPACE_END
