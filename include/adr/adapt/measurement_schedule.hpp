// When the settings of a layer are measured, and how much of its time that may take.
#pragma once

#include <algorithm>

#include "adr/adapt/growing_interval.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/measurement_plan.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Measurements of one layer: after intervals that grow to SchedulerOptions::measure_interval, and
/// for no more than measure_share of the layer's time. Thread-safety: none. Source: this library.
class MeasurementSchedule {
 public:
  explicit MeasurementSchedule(const SchedulerOptions& options)
      : share_(options.tuning.measure_share),
        least_steps_(options.planned_steps > 0 ? std::min(k_steps, options.planned_steps)
                                               : k_steps),
        interval_(options.tuning.first_measure_interval, options.tuning.measure_interval) {}

  /// Takes the seconds of a step, and those of a measurement within it.
  void note(double seconds, double measuring_seconds) noexcept {
    seconds_ += seconds;
    measuring_seconds_ += measuring_seconds;
  }

  [[nodiscard]] bool is_due(index_t step) const noexcept { return step >= next_; }
  /// Whether the intervals have grown to their full length.
  [[nodiscard]] bool has_grown() const noexcept { return interval_.is_longest(); }
  void plan_next(index_t step) noexcept { next_ = step + interval_.take(); }

  /// Whether that much work is within the share of the time that the layer took so far, or will
  /// have taken in a few hundred dense steps, or all that are planned if these are fewer.
  /// dense_seconds: of one dense step; 0: unknown.
  [[nodiscard]] bool is_affordable(double work, const LayerShape& shape,
                                   double dense_seconds) const noexcept {
    const auto steps = static_cast<double>(least_steps_);
    if (!(dense_seconds > 0)) return work <= share_ * steps * 3 * shape.dense_work();
    return measuring_seconds_ + work * k_measurement_seconds <=
           share_ * std::max(seconds_, steps * dense_seconds);
  }

  void exchange(StateArchive& archive) {
    archive("seconds", seconds_);
    archive("seconds of measuring", measuring_seconds_);
    archive("next measurement", next_);
    interval_.exchange("measurement interval", archive);
  }

 private:
  static constexpr index_t k_steps = 400;

  double share_;
  index_t least_steps_;
  double seconds_ = 0;
  double measuring_seconds_ = 0;
  index_t next_ = 0;
  GrowingInterval interval_;
};

ADR_NAMESPACE_END
