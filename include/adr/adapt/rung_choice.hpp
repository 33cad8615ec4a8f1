// Which rung of a ladder an error budget asks for, as the measured errors move: the arithmetic of
// hysteresis, without a layer.
#pragma once

#include <cmath>
#include <cstddef>

#include "adr/adapt/ladder.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The error of the rung in force, smoothed over metered passes.
///
/// Math: root of the quotient of two sums of energies, each pass weighing 0.7 of the next, so that
/// a pass with small outputs counts for little. Thread-safety: none. Source: this library.
class SmoothedError {
 public:
  void note(double error_energy, double output_energy) noexcept {
    constexpr double k_memory = 0.7;
    if (!std::isfinite(error_energy) || !(output_energy > 0)) return;
    error_energy_ = k_memory * error_energy_ + error_energy;
    output_energy_ = k_memory * output_energy_ + output_energy;
  }
  void restart() noexcept { error_energy_ = output_energy_ = 0; }
  [[nodiscard]] bool empty() const noexcept { return !(output_energy_ > 0); }
  [[nodiscard]] double value() const noexcept {
    return empty() ? 0.0 : std::sqrt(error_energy_ / output_energy_);
  }

  void exchange(StateArchive& archive) {
    archive("error energy", error_energy_);
    archive("output energy", output_energy_);
  }

 private:
  double error_energy_ = 0;
  double output_energy_ = 0;
};

/// Whether the last rung of a ladder is dense, and without an error.
inline bool ends_dense(const Ladder& ladder) noexcept {
  return !ladder.empty() && ladder.back().config.method == Method::exact &&
         !(ladder.back().error > 0);
}

/// Whether a rung, -1 for none, belongs to a ladder, which is empty or ends dense.
inline bool is_of(const Ladder& ladder, int rung) noexcept {
  return ladder.empty() ? rung < 0 : ends_dense(ladder) && rung >= 0;
}

/// The coarsest rung whose error is within the budget: the dense one, if no other is. Requires:
/// ends_dense(ladder).
inline int rung_within(const Ladder& ladder, double budget) noexcept {
  int rung = 0;
  while (ladder[static_cast<std::size_t>(rung)].error > budget) ++rung;
  return rung;
}

/// Multiplies the errors of all rungs by what the meter says of one of them: data that became
/// harder for one became harder for the others.
inline void rescale_errors(Ladder& ladder, int metered_rung, double metered_error) noexcept {
  const double expected = ladder[static_cast<std::size_t>(metered_rung)].error;
  if (!(expected > 0) || !(metered_error > 0)) return;
  const double factor = metered_error / expected;
  const Method method = ladder[static_cast<std::size_t>(metered_rung)].config.method;
  for (Rung& rung : ladder) {
    if (rung.config.method == method) rung.error *= factor;
  }
}

ADR_NAMESPACE_END
