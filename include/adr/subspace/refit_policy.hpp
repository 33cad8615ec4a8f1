// When subspaces are fitted anew.
#pragma once

#include <algorithm>

#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Fits are due in the first pass, every `interval` passes, and when the measured error says that
/// the data have moved away from what was fitted. Thread-safety: none. Source: this library.
class RefitPolicy {
 public:
  explicit RefitPolicy(index_t interval) noexcept : interval_(interval) {}

  /// Starts a pass; returns whether it has to fit first.
  [[nodiscard]] bool begin_pass(bool fitted, bool frozen) noexcept {
    if (frozen) return false;
    ++passes_since_fit_;
    return !fitted || demanded_ || passes_since_fit_ > interval_;
  }
  void note_fit() noexcept {
    demanded_ = false;
    passes_since_fit_ = 1;
    usual_error_ = 0;
  }
  void demand() noexcept { demanded_ = true; }

  /// Takes the error that a pass measured. What is usual is that of the first batch after the one
  /// that was fitted, which looks better than all others; but no more than a few times what the fit
  /// found, because data may move at once.
  void note_error(double error, double fit_error) noexcept {
    constexpr double k_times_fitted = 3;
    constexpr double k_above_fitted = 0.1;
    if (passes_since_fit_ == 1) usual_error_ = error;
    if (passes_since_fit_ == 2) {
      const double fitted = std::max(usual_error_, fit_error);
      usual_error_ = std::min(error, k_times_fitted * fitted + k_above_fitted);
    }
  }
  /// Whether the data have moved. Never within a few passes of a fit, so that data which are merely
  /// diverse do not make every pass a fit.
  [[nodiscard]] bool has_drifted(double error, double fit_error) const noexcept {
    constexpr double k_times_usual = 1.5;
    constexpr double k_above_usual = 0.02;
    const index_t rest = std::min<index_t>(5, interval_);
    const double usual = std::max(usual_error_, fit_error);
    // The second bound is for what is coarse anyway: no error is far above 1.
    const double limit = std::min(k_times_usual * usual + k_above_usual, 0.5 * (1 + usual));
    return passes_since_fit_ > rest && error > limit;
  }

  void exchange(StateArchive& archive) {
    archive("passes since the fit", passes_since_fit_);
    archive("a fit is demanded", demanded_);
    archive("usual error", usual_error_);
  }

 private:
  index_t interval_;
  index_t passes_since_fit_ = 0;
  bool demanded_ = false;
  double usual_error_ = 0;
};

ADR_NAMESPACE_END
