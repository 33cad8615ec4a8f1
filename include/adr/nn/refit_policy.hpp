// When learned clusters are fitted anew.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Fits are due in the first pass, every `interval` passes, and when the measured error says that
/// the data have moved away from what was fitted. Thread-safety: none. Source: this library.
class RefitPolicy {
 public:
  explicit RefitPolicy(index_t interval) noexcept : interval_(interval) {}

  /// Starts a pass; returns whether it has to fit first.
  [[nodiscard]] bool begin_pass(bool fitted, bool frozen) noexcept {
    fits_ = 0;
    ++passes_since_fit_;
    if (frozen) return false;
    return !fitted || demanded_ || passes_since_fit_ > interval_;
  }
  void note_fit() noexcept {
    ++fits_;
    demanded_ = false;
    passes_since_fit_ = 1;
    usual_error_ = 0;
  }
  void demand() noexcept { demanded_ = true; }

  /// Takes the error that a pass measured. The first one after a fit is what is usual: a sample
  /// that was fitted looks better than the rest.
  void note_error(double error) noexcept {
    if (passes_since_fit_ == 1) usual_error_ = error;
  }
  /// Whether the data have moved. Never within a few passes of a fit, so that data which are merely
  /// diverse do not make every pass a fit.
  [[nodiscard]] bool has_drifted(double error, double fit_error) const noexcept {
    constexpr double k_times_usual = 1.5;
    constexpr double k_above_usual = 0.02;
    const index_t rest = std::min<index_t>(5, interval_);
    return passes_since_fit_ > rest &&
           error > k_times_usual * std::max(usual_error_, fit_error) + k_above_usual;
  }
  [[nodiscard]] int fits_of_pass() const noexcept { return fits_; }

 private:
  index_t interval_;
  index_t passes_since_fit_ = 0;
  bool demanded_ = false;
  double usual_error_ = 0;
  int fits_ = 0;
};

ADR_NAMESPACE_END
