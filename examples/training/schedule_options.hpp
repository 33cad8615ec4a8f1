// From what a user asks of the schedule to the options of the library.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "adr/adapt/scheduler_options.hpp"
#include "training/errors.hpp"
#include "training/reuse_options.hpp"

namespace training {

/// Errors: UserError when the lists do not describe phases, or a value is out of range.
inline adr::SchedulerOptions scheduler_options(const ReuseOptions& wanted, index_t planned_steps) {
  adr::SchedulerOptions options;
  options.strategy = wanted.strategy;
  options.planned_steps = planned_steps;
  const std::size_t count = wanted.max_errors.size();
  const auto fits = [count](const std::vector<double>& list) {
    return list.empty() || list.size() == count;
  };
  require(fits(wanted.gradient_rounding) && fits(wanted.gradient_noise) && fits(wanted.phase_ends),
          "--gradient-rounding, --gradient-noise and --phase-ends need one value per value of "
          "--max-errors (",
          count, "), got ", wanted.gradient_rounding.size(), ", ", wanted.gradient_noise.size(),
          " and ", wanted.phase_ends.size());
  require(wanted.gradient_noise.empty() || !wanted.gradient_rounding.empty(),
          "--gradient-noise limits what --gradient-rounding adds, of which no value is given");
  if (count > 0) options.phases.assign(count, adr::Phase());
  for (std::size_t i = 0; i < count; ++i) {
    adr::Phase& phase = options.phases[i];
    phase.max_error = wanted.max_errors[i];
    phase.end = static_cast<double>(i + 1) / static_cast<double>(count);
    if (!wanted.gradient_rounding.empty()) phase.gradient_rounding = wanted.gradient_rounding[i];
    if (!wanted.gradient_noise.empty()) phase.gradient_noise = wanted.gradient_noise[i];
    if (!wanted.phase_ends.empty()) phase.end = wanted.phase_ends[i];
  }
  const std::string problem = options.validate();
  require(problem.empty(), "the phases: ", problem);
  return options;
}

}  // namespace training
