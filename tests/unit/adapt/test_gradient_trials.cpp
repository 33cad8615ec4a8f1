// Forms of gradients in turns: which is chosen from times that a test makes up.
#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "adr/adapt/gradient_trials.hpp"
#include "support/catch.hpp"

namespace {

using namespace adr;

struct Seconds {
  double weights;
  double input;
  double listing;
};
using OfForms = std::array<Seconds, k_tried_forms>;

/// Tries all forms; a pass takes the seconds of its form times a slowness that grows.
std::vector<TriedForm> run(GradientTrials& trials, const OfForms& seconds,
                           const GradientTrials::Allowed& allowed = {true, true, true}) {
  std::vector<TriedForm> turns;
  double slowness = 1;
  for (trials.begin(allowed); trials.running(); slowness *= 1.02) {
    turns.push_back(trials.turn());
    const Seconds& of_form = seconds[static_cast<std::size_t>(trials.turn())];
    Report report;
    report.seconds.weight_gradient = slowness * of_form.weights;
    report.seconds.input_gradient = slowness * of_form.input;
    report.seconds.gradient_listing = slowness * of_form.listing;
    trials.note(report);
  }
  return turns;
}

}  // namespace

TEST_CASE(
    "Each gradient takes its fastest form, although the machine becomes slower all the time") {
  GradientTrials trials;
  const auto turns = run(trials, {{{5, 4, 0}, {3, 5, 0.5}, {2, 6, 0.5}}});
  CHECK(turns.size() == 12);
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::rounded, TriedForm::dense});
}

TEST_CASE("Listing counts once for gradients of one form, and once for each of two forms") {
  GradientTrials trials;
  run(trials, {{{9, 9, 0}, {4, 5, 3}, {4.5, 3, 3}}});
  // Exact and rounded: 4 + 3 + 6; both rounded: 4.5 + 3 + 3.
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::rounded, TriedForm::rounded});
}

TEST_CASE("What gains less than the margin is not rounded") {
  GradientTrials trials;
  run(trials, {{{5, 5, 0}, {4, 4, 0}, {3.95, 3.95, 0}}});
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::exact, TriedForm::exact});
}

TEST_CASE("A form that is far slower in both gradients runs two times and no more") {
  GradientTrials trials;
  const auto turns = run(trials, {{{2, 2, 0}, {4, 4, 0}, {9, 2, 0}}});
  CHECK(std::count(turns.begin(), turns.end(), TriedForm::exact) == 2);
  CHECK(std::count(turns.begin(), turns.end(), TriedForm::rounded) == 4);
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::dense, TriedForm::dense});
}

TEST_CASE("A list is part of what a form takes when slow ones are dropped") {
  // As of a first layer: no input gradient, and a list that takes longer than what it spares.
  GradientTrials trials;
  const auto turns = run(trials, {{{3.8, 0, 0}, {2, 0, 3}, {1, 0, 6}}});
  CHECK(std::count(turns.begin(), turns.end(), TriedForm::dense) == 4);
  CHECK(std::count(turns.begin(), turns.end(), TriedForm::rounded) == 2);
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::dense, TriedForm::dense});
}

TEST_CASE("A long list that serves both gradients is no reason to drop a form") {
  GradientTrials trials;
  run(trials, {{{4.5, 4.5, 0}, {1, 1, 6}, {9, 9, 0}}});
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::exact, TriedForm::exact});
}

TEST_CASE("A gradient that is not computed has the form of the other one") {
  GradientTrials trials;
  run(trials, {{{5, 0, 0}, {4, 0, 0}, {2, 0, 0}}});
  CHECK(trials.fastest(0.97) == TriedForms{TriedForm::rounded, TriedForm::rounded});
}

TEST_CASE("Without a clock nothing is timed, and all forms have their turns") {
  GradientTrials trials;
  const auto turns = run(trials, {}, {true, true, false});
  CHECK(turns.size() == 8);
  CHECK(!trials.has_times());
}
