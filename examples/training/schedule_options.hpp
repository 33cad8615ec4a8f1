// From what a user asks of the schedule to the options of the library.
#pragma once

#include <string>
#include <vector>

#include "adr/adapt/scheduler_options.hpp"
#include "training/errors.hpp"

namespace training {

/// Empty lists stand for the library's own phases; lists that are not empty have equal lengths.
struct ScheduleOptions {
  std::vector<double> error_budgets;
  std::vector<double> rounding_steps;
  std::vector<double> phase_ends;
  bool round_weights_only = false;
};

/// Errors: UserError when the lists do not describe phases, or a value is out of range.
inline adr::SchedulerOptions scheduler_options(adr::Strategy strategy,
                                               const ScheduleOptions& wanted,
                                               index_t planned_steps) {
  adr::SchedulerOptions options;
  options.strategy = strategy;
  options.planned_steps = planned_steps;
  options.round_input_gradients = !wanted.round_weights_only;
  const std::size_t count =
      wanted.error_budgets.empty() ? options.phases.size() : wanted.error_budgets.size();
  const auto fits = [count](const std::vector<double>& list) {
    return list.empty() || list.size() == count;
  };
  require(fits(wanted.rounding_steps) && fits(wanted.phase_ends),
          "--rounding-steps and --phase-ends need one value per phase (", count, "), got ",
          wanted.rounding_steps.size(), " and ", wanted.phase_ends.size());
  if (!wanted.error_budgets.empty()) {
    options.phases.resize(count, options.phases.back());
    for (std::size_t i = 0; i < count; ++i) {
      options.phases[i].end = static_cast<double>(i + 1) / static_cast<double>(count);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    adr::Phase& phase = options.phases[i];
    if (!wanted.error_budgets.empty()) phase.error_budget = wanted.error_budgets[i];
    if (!wanted.rounding_steps.empty()) phase.rounding_step = wanted.rounding_steps[i];
    if (!wanted.phase_ends.empty()) phase.end = wanted.phase_ends[i];
  }
  const std::string problem = options.validate();
  require(problem.empty(), problem);
  return options;
}

}  // namespace training
