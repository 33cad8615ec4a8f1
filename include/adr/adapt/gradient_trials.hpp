// Which form of each gradient is the fastest: the forms run in turns for some passes, so that a
// machine that becomes slower meanwhile is as slow for all of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "adr/adapt/report.hpp"
#include "adr/adapt/robust_median.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A form that a gradient is tried in.
enum class TriedForm {
  dense,    ///< exact, whatever the density
  exact,    ///< exact, over the non-zeros where that is expected to be faster
  rounded,  ///< over the non-zeros that unbiased rounding leaves
};
inline constexpr std::size_t k_tried_forms = 3;

/// The forms of both gradients of a layer.
struct TriedForms {
  TriedForm weights = TriedForm::dense;
  TriedForm input = TriedForm::dense;

  [[nodiscard]] bool rounds() const noexcept {
    return weights == TriedForm::rounded || input == TriedForm::rounded;
  }
  friend bool operator==(const TriedForms& a, const TriedForms& b) noexcept {
    return a.weights == b.weights && a.input == b.input;
  }
};

/// Backward passes whose two gradients have the same form, one form after the other and again, and
/// the choice that follows: each gradient may have a form of its own.
///
/// The first pass of a form is not timed, since it allocates. A form whose gradients both take far
/// longer than others is dropped after the second one. Thread-safety: none. Source: this library.
class GradientTrials {
 public:
  using Allowed = std::array<bool, k_tried_forms>;

  /// Begins with the first of the allowed forms. Requires: at least one.
  void begin(const Allowed& allowed) noexcept {
    competing_ = allowed;
    for (Times& form : times_) form = Times();
    round_ = 0;
    running_ = true;
    turn_ = -1;
    next();
  }
  void end() noexcept { running_ = false; }
  [[nodiscard]] bool running() const noexcept { return running_; }
  /// The form of the pass to come. Requires: running.
  [[nodiscard]] TriedForm turn() const noexcept { return static_cast<TriedForm>(turn_); }

  /// Takes the report of a pass in the form of turn(). Requires: running.
  void note(const Report& report) noexcept {
    if (round_ > 0) times_[index(turn_)].add(report);
    next();
  }

  /// Seconds of a gradient in a form; 0 where it was not timed.
  [[nodiscard]] double weights(TriedForm form) const noexcept { return of(form).weights.median(); }
  [[nodiscard]] double input(TriedForm form) const noexcept { return of(form).input.median(); }
  /// The share of the dense multiply-adds that a gradient took in a form.
  [[nodiscard]] double weights_work(TriedForm form) const noexcept { return of(form).weights_work; }
  [[nodiscard]] double input_work(TriedForm form) const noexcept { return of(form).input_work; }
  /// Whether anything was timed.
  [[nodiscard]] bool has_times() const noexcept {
    return std::any_of(times_.begin(), times_.end(),
                       [](const Times& form) { return form.total() > 0; });
  }

  /// The fastest forms of those that were tried; a rounded gradient only where it takes at most
  /// max_cost of the time of the others. A gradient that was not computed has the form of the other
  /// one.
  [[nodiscard]] TriedForms fastest(double max_cost) const noexcept {
    TriedForms best;
    double least = std::numeric_limits<double>::infinity();
    for (int w = 0; w < k_forms; ++w) {
      for (int x = 0; x < k_forms; ++x) {
        const TriedForms forms = {static_cast<TriedForm>(w), static_cast<TriedForm>(x)};
        if (w != x && !has_both()) continue;
        if (!competes(forms.weights) || !competes(forms.input)) continue;
        const double cost = seconds(forms, max_cost);
        if (cost >= least) continue;
        least = cost;
        best = forms;
      }
    }
    return best;
  }

  void exchange(StateArchive& archive) {
    archive("forms are tried", running_);
    archive.count("round of trials", round_, 0, k_rounds);
    archive.count("form in turn", turn_, -1, k_forms - 1);
    for (bool& waiting : competing_) archive("a form is tried", waiting);
    for (Times& form : times_) form.exchange(archive);
    archive.require(!running_ || round_ < k_rounds, "a round of trials must be below ", k_rounds,
                    " while forms are tried, got ", round_);
    archive.require(!running_ || (turn_ >= 0 && competing_[index(turn_)]),
                    "the form in turn must be one of those tried, got ", turn_);
  }

 private:
  static constexpr int k_forms = static_cast<int>(k_tried_forms);
  /// Passes of each form, the first of which is not timed.
  static constexpr int k_rounds = 4;
  /// A form that takes so many times as long as another one is dropped.
  static constexpr double k_hopeless = 1.5;

  using Median = RobustMedian<k_rounds - 1>;

  struct Times {
    Median weights;
    Median input;
    Median listing;
    double weights_work = 0;
    double input_work = 0;

    void add(const Report& report) noexcept {
      weights.add(report.seconds.weight_gradient);
      input.add(report.seconds.input_gradient);
      listing.add(report.seconds.gradient_listing);
      weights_work = 1.0 - report.weight_gradient.saved_share();
      input_work = 1.0 - report.input_gradient.saved_share();
    }
    [[nodiscard]] double total() const noexcept {
      return weights.median() + input.median() + listing.median();
    }
    void exchange(StateArchive& archive) {
      weights.exchange("weight gradient seconds of a form", archive);
      input.exchange("input gradient seconds of a form", archive);
      listing.exchange("listing seconds of a form", archive);
      archive("weight gradient work of a form", weights_work);
      archive("input gradient work of a form", input_work);
    }
  };

  static std::size_t index(int form) noexcept { return static_cast<std::size_t>(form); }
  [[nodiscard]] const Times& of(TriedForm form) const noexcept {
    return times_[static_cast<std::size_t>(form)];
  }
  /// Times of a dropped form are older than the others.
  [[nodiscard]] bool competes(TriedForm form) const noexcept {
    return competing_[static_cast<std::size_t>(form)] && of(form).total() > 0;
  }
  [[nodiscard]] bool has_both() const noexcept {
    return std::any_of(times_.begin(), times_.end(), [](const Times& form) {
      return form.weights.median() > 0 && form.input.median() > 0;
    });
  }

  [[nodiscard]] double seconds(const TriedForms& forms, double max_cost) const noexcept {
    const auto biased = [&](TriedForm form, double time) {
      return form == TriedForm::rounded ? time / max_cost : time;
    };
    double total = biased(forms.weights, weights(forms.weights)) +
                   biased(forms.input, input(forms.input)) + of(forms.weights).listing.median();
    // One list serves both gradients only where they have the same form.
    if (forms.input != forms.weights) total += of(forms.input).listing.median();
    return total;
  }

  /// Goes on to the next form that waits for its turn.
  void next() noexcept {
    do {
      if (++turn_ < k_forms) continue;
      turn_ = 0;
      if (round_ == 1) drop_hopeless();
      if (++round_ == k_rounds) return end();
    } while (!competing_[index(turn_)]);
  }

  /// Of a gradient by itself, with the list that it needs; 0 where it was not timed.
  static double seconds_alone(const Times& form, Median Times::*gradient) noexcept {
    const double seconds = (form.*gradient).median();
    return seconds > 0 ? seconds + form.listing.median() : 0.0;
  }
  /// The least of those that were timed; infinity where none was.
  [[nodiscard]] double least_seconds(Median Times::*gradient) const noexcept {
    double least = std::numeric_limits<double>::infinity();
    for (const Times& form : times_) {
      const double seconds = seconds_alone(form, gradient);
      if (seconds > 0) least = std::min(least, seconds);
    }
    return least;
  }

  void drop_hopeless() noexcept {
    const double weights = k_hopeless * least_seconds(&Times::weights);
    const double input = k_hopeless * least_seconds(&Times::input);
    double total = std::numeric_limits<double>::infinity();
    for (const Times& form : times_) {
      if (form.total() > 0) total = std::min(total, k_hopeless * form.total());
    }
    for (std::size_t form = 0; form < k_tried_forms; ++form) {
      const double of_weights = seconds_alone(times_[form], &Times::weights);
      const double of_input = seconds_alone(times_[form], &Times::input);
      const bool slow = of_weights > weights || of_input > input;
      // Of a gradient that is not computed every form takes 0 seconds.
      const bool competes =
          (of_weights > 0 && of_weights <= weights) || (of_input > 0 && of_input <= input);
      // A list serves both gradients.
      if (slow && !competes && times_[form].total() > total) competing_[form] = false;
    }
  }

  std::array<Times, k_tried_forms> times_;
  Allowed competing_{};
  int round_ = 0;
  int turn_ = -1;
  bool running_ = false;
};

ADR_NAMESPACE_END
