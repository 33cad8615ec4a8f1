// The scheduler: scripted losses, errors and times give exact traces of decisions, and a schedule
// that was saved goes on as if nothing had happened.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <locale>
#include <memory>
#include <string>
#include <vector>

#include "adr/adapt/rounding_steps.hpp"
#include "adr/adapt/scheduler.hpp"
#include "support/catch.hpp"
#include "support/fake_layer.hpp"
#include "support/refusal.hpp"
#include "training/temporary_folder.hpp"

namespace {

using namespace adr;
using adr_test::contains;
using adr_test::convolution_shape;
using adr_test::FakeLayer;
using adr_test::refusal;

/// A layer under a schedule, step by step; changes of the setting are written down.
struct Run {
  FakeLayer layer;
  ReuseScheduler scheduler;
  std::vector<std::string> trace;

  explicit Run(const SchedulerOptions& options, const LayerShape& shape = convolution_shape())
      : layer(shape), scheduler(options) {}

  void attach() { scheduler.attach(layer, "conv"); }
  void steps(int count, double loss = 1.0) {
    for (int i = 0; i < count; ++i) {
      layer.pass();
      scheduler.observe(loss);
      note();
    }
  }
  void note() {
    const Decision& d = scheduler.decision(0);
    Plan forward = layer.plan();
    forward.input_gradient = InputGradient::dense;
    forward.weight_gradient = WeightGradient::dense;
    const std::string now = label(forward) + ": " + to_string(d.reason);
    if (!trace.empty() && trace.back().substr(trace.back().find(' ') + 1) == now) return;
    trace.push_back(std::to_string(scheduler.steps()) + " " + now);
  }
  [[nodiscard]] std::string setting() const { return label(layer.plan()); }
};

/// One phase, exact gradients, no second measurement.
SchedulerOptions one_budget(double budget) {
  SchedulerOptions options;
  options.phases = {{budget, 0.0, 1.0}};
  options.tuning.first_measure_interval = options.tuning.measure_interval = 1'000'000;
  return options;
}

SchedulerOptions with_measured_rounding(SchedulerOptions options) {
  options.phases.front().gradient_rounding = 4;
  options.phases.front().gradient_noise = 0.1;
  return options;
}

SchedulerOptions with_strategy(Strategy strategy) {
  SchedulerOptions options;
  options.strategy = strategy;
  options.loss.warm_up = 10;
  options.loss.window = 10;
  options.loss.patience = 2;
  return options;
}

LayerShape tiny_shape() {
  LayerShape shape;
  shape.rows = 64;
  shape.columns = 8;
  shape.outputs = 4;
  shape.vectors = 64;
  shape.vector_length = 8;
  return shape;
}

}  // namespace

TEST_CASE("A budget is kept by the coarsest rung within it") {
  Run run(one_budget(0.11));
  run.attach();
  run.steps(60);
  CHECK(run.trace == std::vector<std::string>{"1 exact: timing the dense passes",
                                              "6 subspace of 32 coordinates: coarsest rung"});
  const Decision& decision = run.scheduler.decision(0);
  CHECK_THAT(decision.error, Catch::Matchers::WithinRel(0.1, 1e-9));
  CHECK(decision.max_error == 0.11);
  CHECK(decision.cost < 0.8);
  CHECK(run.layer.measured() == 2);  // the finest candidate, then all
}

TEST_CASE("Where the finest candidate is not within the budget, no other is measured") {
  SchedulerOptions options = one_budget(0.11);
  options.tuning.first_measure_interval = options.tuning.measure_interval = 50;
  Run run(options);
  run.layer.error = [](const Plan& c) { return c.method == Method::exact ? 0.0 : 0.12; };
  run.attach();
  run.steps(50);
  CHECK(run.layer.settings_measured() == 1);
  CHECK(run.scheduler.decision(0).reason == Reason::no_rung_in_budget);
  run.layer.error = adr_test::usual_error;
  run.steps(10);
  CHECK(run.layer.measured() == 3);
  CHECK(run.layer.plan().kept_coordinates == 32);
}

TEST_CASE("An error that grows is met with a finer rung within a meter interval or two") {
  Run run(one_budget(0.11));
  run.attach();
  run.steps(60);
  REQUIRE(run.layer.plan().kept_coordinates == 32);
  double factor = 1.6;
  run.layer.error = [&](const Plan& c) { return factor * adr_test::usual_error(c); };
  run.steps(20);
  REQUIRE(run.trace.size() == 3);
  CHECK(run.trace[2] ==
        "77 subspace of 48 coordinates: error above the budget");  // metered at 67 and 77

  SECTION("and one that falls again with a coarser one, after a stay") {
    factor = 0.5;
    run.steps(150);
    CHECK(run.trace.size() == 3);
    run.steps(120);
    REQUIRE(run.trace.size() == 4);
    CHECK_THAT(run.trace[3], contains("error below the budget"));
    CHECK(run.layer.plan().kept_coordinates < 32);
  }
  SECTION("and one that leaves no other rung with dense") {
    factor = 100;
    run.steps(25);
    CHECK(run.setting().substr(0, 5) == "exact");
    CHECK(run.scheduler.decision(0).reason == Reason::error_above_budget);
  }
}

TEST_CASE("An error within the tolerance of the budget moves nothing") {
  Run run(one_budget(0.11));
  run.attach();
  run.steps(60);
  run.layer.error = [](const Plan& c) { return 1.2 * adr_test::usual_error(c); };
  run.steps(500);
  CHECK(run.trace.size() == 2);
}

TEST_CASE("Rungs that the clock finds slower than dense are dropped") {
  Run run(one_budget(0.11));
  run.layer.seconds = [](const Plan& c) { return c.method == Method::exact ? 0.05 : 0.06; };
  run.attach();
  run.steps(200);
  CHECK(run.setting().substr(0, 5) == "exact");
  CHECK(run.scheduler.decision(0).reason == Reason::not_faster);
  for (const std::string& line : run.trace) CHECK_THAT(line, !contains("error above"));
}

TEST_CASE("A layer that nothing can make faster stays dense, and is not measured") {
  SECTION("because it is tiny") {
    Run run(one_budget(0.3), tiny_shape());
    run.attach();
    run.steps(100);
    CHECK(run.layer.measured() == 0);
    CHECK(run.trace.back() == "4 exact: no setting is predicted to be faster");
  }
  SECTION("because it has one output") {
    LayerShape shape = tiny_shape();
    shape.rows = shape.vectors = 4096;
    shape.columns = shape.vector_length = 256;
    shape.outputs = 1;
    Run run(one_budget(0.3), shape);
    run.attach();
    run.steps(100);
    CHECK(run.layer.measured() == 0);
    CHECK(run.trace.back() == "4 exact: no setting is predicted to be faster");
  }
  SECTION("because measuring would cost more than it may save") {
    Run run(one_budget(0.3));
    run.layer.seconds = [](const Plan&) { return 1e-4; };
    run.attach();
    run.steps(100);
    CHECK(run.layer.measured() == 0);
    CHECK(run.trace.back() == "4 exact: too small to measure settings");
  }
}

TEST_CASE("Of a fast layer as many settings are measured as are affordable") {
  const auto settings_measured = [](double dense_seconds) {
    Run run(one_budget(0.3));
    run.layer.seconds = [=](const Plan& c) {
      return c.method == Method::exact ? dense_seconds : dense_seconds / 10;
    };
    run.attach();
    run.steps(20);
    CHECK((run.layer.plan().method != Method::exact) == (run.layer.measured() > 0));
    return run.layer.settings_measured();
  };
  const int all = settings_measured(0.05);
  int before = 0;
  for (const double seconds : {1e-4, 5e-4, 1e-3, 2e-3}) {
    const int now = settings_measured(seconds);
    CHECK(now >= before);
    CHECK(now <= all);
    before = now;
  }
  CHECK(settings_measured(1e-4) == 0);
  CHECK(before > 0);
  CHECK(before < all);
}

TEST_CASE("No rung is lost because not all settings can be afforded again") {
  SchedulerOptions options = one_budget(0.11);
  options.tuning.first_measure_interval = options.tuning.measure_interval = 100;
  Run run(options);
  run.attach();
  run.layer.measuring_seconds = 0.06;  // four settings are more than 1 % of what follows
  run.steps(60);
  REQUIRE(run.layer.plan().kept_coordinates == 32);
  const int rungs = run.scheduler.decision(0).rungs;
  const int measured = run.layer.settings_measured();
  run.steps(2000);
  CHECK(run.layer.settings_measured() > measured);
  CHECK(run.layer.plan().kept_coordinates == 32);
  CHECK(run.scheduler.decision(0).rungs == rungs);
}

TEST_CASE("Data without similarity leave a layer dense") {
  Run run(one_budget(0.1));
  run.layer.error = [](const Plan& c) { return c.method == Method::exact ? 0.0 : 0.8; };
  run.attach();
  run.steps(300);
  CHECK(run.trace == std::vector<std::string>{"1 exact: timing the dense passes",
                                              "5 exact: no rung within the budget"});
}

TEST_CASE("Without a clock predicted costs decide") {
  Run run(one_budget(0.11));
  run.layer.seconds = nullptr;
  run.attach();
  run.steps(60);
  CHECK(run.trace.back() == "6 subspace of 32 coordinates: coarsest rung");
  CHECK(run.scheduler.decision(0).cost < 0.8);
}

TEST_CASE("A rung goes on after the dense pass was timed once more, measured again or not") {
  SchedulerOptions options = one_budget(0.11);
  options.tuning.first_measure_interval = options.tuning.measure_interval = 100;
  Run run(options);
  run.attach();
  run.steps(60);
  REQUIRE(run.layer.plan().kept_coordinates == 32);
  const int measured = run.layer.measured();
  SECTION("measured again") {
    run.steps(60);
    CHECK(run.layer.measured() > measured);
  }
  SECTION("not affordable any more") {
    // The same layer a hundred times as fast: measuring would take too much of its time.
    run.layer.seconds = [](const Plan& c) { return c.method == Method::exact ? 1e-5 : 1e-6; };
    run.steps(60);
  }
  CHECK(run.layer.plan().kept_coordinates == 32);
  CHECK(run.scheduler.decision(0).reason == Reason::first_rung);
}

TEST_CASE("A schedule waits for the measurements of a frozen layer") {
  const auto strategy = GENERATE(Strategy::error_budget, Strategy::plateau_ladder);
  SchedulerOptions options = one_budget(0.11);
  options.strategy = strategy;
  Run run(options);
  run.attach();
  run.layer.frozen = true;
  run.steps(40);
  CHECK(run.layer.measured() == 0);
  run.layer.frozen = false;
  run.steps(10);
  CHECK(run.layer.measured() > 0);
  CHECK(run.scheduler.decision(0).rungs > 1);
  CHECK(run.layer.plan().method != Method::exact);
}

TEST_CASE("A rung's cost is known before enough of its passes are timed") {
  SchedulerOptions options = one_budget(0.2);
  options.phases = {{0.21, 0.0, 0.5}, {0.11, 0.0, 1.0}};
  options.planned_steps = 200;
  Run run(options);
  run.attach();
  run.steps(10);
  for (int i = 10; i < 200; ++i) {
    run.steps(1);
    CHECK(run.scheduler.decision(0).cost > 0);
  }
}

TEST_CASE("Rounding is for both gradients, or for that of the weights alone") {
  for (const bool both : {true, false}) {
    SchedulerOptions options = one_budget(0.11);
    options.phases.front().gradient_rounding = 3;
    options.round_input_gradients = both;
    Run run(options);
    run.layer.seconds = nullptr;
    run.layer.density = 0.5;
    run.attach();
    run.steps(60);
    const Plan config = run.layer.plan();
    CHECK(config.weight_gradient == WeightGradient::rounded);
    CHECK(config.input_gradient == (both ? InputGradient::rounded : InputGradient::exact));
    CHECK(config.gradient_rounding == 3);
  }
}

TEST_CASE("The step of rounding follows the noise that it is measured to add") {
  SchedulerOptions options = with_measured_rounding(one_budget(0.11));
  options.tuning.first_measure_interval = options.tuning.measure_interval = 20;
  Run run(options);
  run.layer.density = 0.5;
  run.layer.gradient_seconds = [](const Plan& config) {
    return config.weight_gradient == WeightGradient::rounded ? 0.02 : 0.05;
  };
  double scale = 0.025;
  run.layer.gradient_noise = [&](double step) { return scale * step * step; };
  run.attach();
  const auto settled = [&] {
    run.steps(100);
    while (run.layer.plan().measure_rounding) run.steps(1);
    return run.layer.plan().gradient_rounding;
  };
  CHECK_THAT(settled(), Catch::Matchers::WithinRel(2.0, 0.02));
  CHECK_THAT(run.scheduler.decision(0).gradient_noise, Catch::Matchers::WithinRel(0.1, 0.05));
  scale = 0.1;
  CHECK_THAT(settled(), Catch::Matchers::WithinRel(1.0, 0.02));
  const int measured = run.layer.measured_rounding();
  CHECK(measured >= 8);
  CHECK(measured <= 25);
  scale = 1;  // nothing that is fine enough leaves zeros
  settled();
  CHECK(run.layer.plan().weight_gradient != WeightGradient::rounded);
  CHECK(run.scheduler.decision(0).gradient_noise == 0);
}

TEST_CASE(
    "Rounding outlives slow spells of the machine, but not gradients that are faster without") {
  SchedulerOptions options = one_budget(0.11);
  options.phases.front().gradient_rounding = 3;
  options.tuning.first_measure_interval = 25;
  options.tuning.measure_interval = 400;
  Run run(options);
  double slowness = 1;
  double rounded = 0.02;
  run.layer.density = 0.3;
  run.layer.gradient_seconds = [&](const Plan& config) {
    if (config.weight_gradient == WeightGradient::rounded) return slowness * rounded;
    return slowness * (config.weight_gradient == WeightGradient::dense ? 0.05 : 0.03);
  };
  const auto rounding = [&](int steps) {
    int count = 0;
    for (int i = 0; i < steps; ++i) {
      slowness = std::exp(0.7 * std::sin(0.3 * i));
      run.steps(1);
      count += run.layer.plan().weight_gradient == WeightGradient::rounded ? 1 : 0;
    }
    return count;
  };
  run.attach();
  CHECK(rounding(400) > 300);
  rounded = 0.04;
  run.steps(400);  // until the next comparison
  CHECK(rounding(400) < 40);
}

TEST_CASE("Rounding is tried where looking for exact zeros does not pay") {
  SchedulerOptions options = one_budget(0.11);
  options.phases.front().gradient_rounding = 3;
  Run run(options);
  double rounded = 0.02;
  run.layer.density = 0.5;
  run.layer.gradient_seconds = [&](const Plan& config) {
    if (config.weight_gradient == WeightGradient::rounded) return rounded;
    return config.weight_gradient == WeightGradient::dense ? 0.05 : 0.06;
  };
  SECTION("and kept where it pays") {
    run.attach();
    run.steps(60);
    CHECK(run.layer.plan().weight_gradient == WeightGradient::rounded);
  }
  SECTION("and given up for dense gradients where it does not") {
    rounded = 0.1;
    run.attach();
    run.steps(60);
    CHECK(run.layer.plan().weight_gradient == WeightGradient::dense);
    CHECK(run.layer.plan().input_gradient == InputGradient::dense);
  }
}

TEST_CASE("Phases tighten the budget at their shares of the planned steps") {
  SchedulerOptions options = one_budget(0.2);
  options.phases = {{0.21, 0.0, 0.5}, {0.11, 0.0, 0.75}, {0.0, 0.0, 1.0}};
  options.planned_steps = 400;
  Run run(options);
  run.attach();
  run.steps(400);
  CHECK(run.trace == std::vector<std::string>{"1 exact: timing the dense passes",
                                              "6 subspace of 16 coordinates: coarsest rung",
                                              "200 subspace of 32 coordinates: new budget",
                                              "300 exact: new budget"});
  CHECK(run.scheduler.phase() == 2);
}

TEST_CASE("Without planned steps a plateau of the loss ends a phase") {
  SchedulerOptions options = one_budget(0.2);
  options.phases = {{0.21, 0.0, 0.5}, {0.11, 0.0, 1.0}};
  options.loss.warm_up = 50;
  options.loss.window = 20;
  options.loss.patience = 2;
  Run run(options);
  run.attach();
  double loss = 2.0;
  for (int i = 0; i < 200; ++i, loss *= 0.995) run.steps(1, loss);
  CHECK(run.scheduler.phase() == 0);
  run.steps(80, loss);
  CHECK(run.scheduler.phase() == 1);
  CHECK(run.layer.plan().kept_coordinates == 32);
}

TEST_CASE("A fall of the learning rate ends a phase if it is asked to") {
  SchedulerOptions options = one_budget(0.2);
  options.phases = {{0.21, 0.0, 0.5}, {0.11, 0.0, 1.0}};
  options.next_phase_at_rate_drop = GENERATE(false, true);
  Run run(options);
  run.attach();
  run.scheduler.note_learning_rate(0.1);
  run.steps(10);
  CHECK(run.scheduler.phase() == 0);
  run.scheduler.note_learning_rate(0.1);
  CHECK(run.scheduler.phase() == 0);
  run.scheduler.note_learning_rate(0.05);
  CHECK(run.scheduler.phase() == (options.next_phase_at_rate_drop ? 1 : 0));
}

TEST_CASE("A loss that is no number, or diverges, makes forward passes dense") {
  Run run(one_budget(0.11));
  run.attach();
  run.steps(60);
  REQUIRE(run.layer.plan().method == Method::subspace);
  SECTION("not a number") { run.steps(1, std::numeric_limits<double>::quiet_NaN()); }
  SECTION("infinite") { run.steps(1, std::numeric_limits<double>::infinity()); }
  SECTION("far above what it was") {
    run.steps(400, 1.0);
    run.steps(110, 5.0);
  }
  CHECK(run.layer.plan().method == Method::exact);
  CHECK(run.scheduler.decision(0).reason == Reason::loss_diverged);
}

TEST_CASE("The plateau ladder follows the loss, one rung at a time") {
  Run run(with_strategy(Strategy::plateau_ladder));
  run.attach();
  CHECK(run.layer.plan().method == Method::published);
  run.steps(2, 2.0);
  CHECK(run.scheduler.decision(0).rung == 0);
  const int rungs = run.scheduler.decision(0).rungs;
  REQUIRE(rungs >= 3);

  SECTION("falling: it stays") {
    double loss = 2.0;
    for (int i = 0; i < 300; ++i, loss *= 0.99) run.steps(1, loss);
    CHECK(run.scheduler.decision(0).rung == 0);
  }
  SECTION("falling under noise: it stays") {
    double loss = 2.0;
    for (int i = 0; i < 300; ++i, loss *= 0.99) run.steps(1, loss * (i % 2 == 0 ? 1.4 : 0.6));
    CHECK(run.scheduler.decision(0).rung == 0);
  }
  SECTION("plateaus: finer each time, and dense at last") {
    run.steps(8 + 10, 1.0);  // the warm-up and the first window
    for (int rung = 1; rung < rungs; ++rung) {
      run.steps(20, 1.0);
      CHECK(run.scheduler.decision(0).rung == rung);
      CHECK(run.scheduler.decision(0).reason == Reason::loss_plateau);
    }
    CHECK(run.layer.plan().method == Method::exact);
    run.steps(100, 1.0);
    CHECK(run.layer.plan().method == Method::exact);
  }
  SECTION("no number: finer at once") {
    run.steps(1, std::numeric_limits<double>::quiet_NaN());
    CHECK(run.scheduler.decision(0).rung == 1);
    CHECK(run.scheduler.decision(0).reason == Reason::loss_diverged);
  }
}

TEST_CASE("A loss that is no number ends rounding for a while, of dense layers as well") {
  SchedulerOptions options = one_budget(0.0);
  options.phases.front().gradient_rounding = 3;
  options.tuning.measure_interval = 200;
  options.tuning.first_measure_interval = 25;
  Run run(options);
  run.layer.density = 0.5;
  run.layer.gradient_seconds = [](const Plan& c) {
    return c.weight_gradient == WeightGradient::rounded ? 0.01 : 0.05;
  };
  run.attach();
  run.steps(30);
  REQUIRE(run.layer.plan().weight_gradient == WeightGradient::rounded);
  run.steps(1, std::numeric_limits<double>::quiet_NaN());
  CHECK(run.layer.plan().weight_gradient == WeightGradient::exact);
  CHECK(run.layer.plan().input_gradient == InputGradient::exact);
  run.steps(150);
  CHECK(run.layer.plan().weight_gradient == WeightGradient::exact);
  run.steps(100);
  CHECK(run.layer.plan().weight_gradient == WeightGradient::rounded);
}

TEST_CASE("The dense rung of a published ladder has the layer's seed and checks") {
  Run run(with_strategy(Strategy::plateau_ladder));
  Plan config;
  config.seed = 77;
  config.check_finite = true;
  config.time_stages = true;
  run.layer.set_plan(config);
  run.attach();
  run.steps(1000, 1.0);
  REQUIRE(run.layer.plan().method == Method::exact);
  CHECK(run.layer.plan().seed == 77);
  CHECK(run.layer.plan().check_finite);
  CHECK(run.layer.plan().time_stages);
}

TEST_CASE("Cluster reuse first ends at the first plateau") {
  Run run(with_strategy(Strategy::cluster_reuse_first));
  run.attach();
  CHECK(run.layer.plan().cluster_reuse);
  CHECK(run.layer.plan().max_product_age == 8);
  run.steps(20, 1.0);
  CHECK(run.layer.plan().cluster_reuse);
  run.steps(20, 1.0);
  CHECK(!run.layer.plan().cluster_reuse);
  CHECK(run.layer.plan().method == Method::published);
  run.steps(200, 1.0);
  CHECK(run.layer.plan().method == Method::published);
}

TEST_CASE("A fixed schedule changes nothing") {
  Run run(with_strategy(Strategy::fixed));
  Plan config;
  config.method = Method::subspace;
  config.kept_coordinates = 3;
  run.layer.set_plan(config);
  run.attach();
  run.steps(300, 1.0);
  CHECK(run.setting() == "subspace of 3 coordinates with automatic gradients");
  CHECK(run.scheduler.decision(0).reason == Reason::fixed);
}

TEST_CASE("A saved schedule goes on with the same decisions") {
  const auto strategy =
      GENERATE(Strategy::error_budget, Strategy::plateau_ladder, Strategy::cluster_reuse_first);
  SchedulerOptions options = with_strategy(strategy);
  options.planned_steps = 600;
  options.phases = {{0.21, 2.0, 0.4}, {0.11, 0.0, 0.8}, {0.0, 0.0, 1.0}};
  const std::string path =
      (std::filesystem::temp_directory_path() / "adr_test_scheduler.state").string();
  const int saved_at = GENERATE(2, 5, 37, 250, 500);
  CAPTURE(to_string(strategy), saved_at);
  const auto drift = [](int step) { return 1 + 0.5 * std::sin(0.02 * step); };
  const auto go = [&](Run& run, int from, int to) {
    for (int i = from; i < to; ++i) {
      run.layer.error = [&, i](const Plan& c) { return drift(i) * adr_test::usual_error(c); };
      run.layer.density = 0.1;
      run.steps(1, 1.0 + 1.0 / (1 + i));
    }
  };
  Run whole(options);
  whole.attach();
  go(whole, 0, saved_at);
  whole.scheduler.save_state(path);
  Run resumed(options);
  resumed.layer = whole.layer;  // what the layer is saved with
  resumed.layer.set_plan(Plan());
  resumed.attach();
  resumed.layer = whole.layer;
  resumed.scheduler.load_state(path);
  whole.trace.clear();
  go(whole, saved_at, 600);
  go(resumed, saved_at, 600);
  CHECK(resumed.trace == whole.trace);
  CHECK(!whole.trace.empty());
  std::remove(path.c_str());
}

TEST_CASE("A schedule that measures rounding goes on with the same steps of it") {
  SchedulerOptions options = with_measured_rounding(one_budget(0.0));
  options.tuning.first_measure_interval = options.tuning.measure_interval = 20;
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("rounding.state");
  const auto go = [](Run& run, int from, int to) {
    std::vector<std::string> seen;
    for (int i = from; i < to; ++i) {
      // Now and then there is nothing to measure.
      run.layer.gradient_noise = nullptr;
      if (i % 5 != 3) {
        run.layer.gradient_noise = [i](double step) {
          return 0.02 * (1 + std::sin(0.1 * i)) * step * step;
        };
      }
      run.steps(1);
      const Plan& plan = run.layer.plan();
      seen.push_back(run.setting() + " " + std::to_string(plan.gradient_rounding) +
                     (plan.measure_rounding ? " measured " : " ") +
                     std::to_string(run.scheduler.decision(0).gradient_noise));
    }
    return seen;
  };
  int saved_while_measuring = 0;
  for (int saved_at = 5; saved_at < 45; ++saved_at) {
    INFO("saved after " << saved_at << " steps");
    Run whole(options);
    whole.layer.density = 0.1;
    whole.layer.gradient_seconds = [](const Plan& plan) {
      return plan.weight_gradient == WeightGradient::rounded ? 0.04 : 0.05;
    };
    whole.attach();
    go(whole, 0, saved_at);
    saved_while_measuring += whole.layer.plan().measure_rounding ? 1 : 0;
    whole.scheduler.save_state(path);
    Run resumed(options);
    resumed.attach();
    resumed.layer = whole.layer;
    resumed.layer.set_plan(Plan());
    resumed.scheduler.load_state(path);
    CHECK(go(resumed, saved_at, 150) == go(whole, saved_at, 150));
  }
  CHECK(saved_while_measuring >= 3);
}

TEST_CASE("A layer that is detached keeps what was chosen, not what was on trial") {
  SchedulerOptions options = with_measured_rounding(one_budget(0.0));
  Run run(options);
  run.layer.density = 0.1;
  run.attach();
  const bool in_trials = GENERATE(false, true);
  run.layer.gradient_noise = [](double step) { return 0.02 * step * step; };
  const auto is_there = [&] {
    const Plan& plan = run.layer.plan();
    return in_trials ? !plan.measure_rounding && plan.weight_gradient == WeightGradient::rounded
                     : plan.measure_rounding;
  };
  for (int i = 0; i < 100 && !is_there(); ++i) run.steps(1);
  REQUIRE(is_there());
  run.scheduler.detach(run.layer);
  CHECK(!run.layer.plan().measure_rounding);
  CHECK(run.layer.plan().weight_gradient == WeightGradient::dense);
}

TEST_CASE("A fine step whose noise is above the limit is not taken") {
  for (const double coarsest : {0.1, 0.4, 4.0}) {
    INFO("steps up to " << coarsest);
    adr::RoundingSteps steps;
    steps.ask(coarsest, 1e-9);
    adr::Report report;
    report.weight_noise_energy = report.input_noise_energy = 0.01;
    report.weight_gradient_variance = report.input_gradient_energy = 1;
    for (steps.measure(); steps.measuring();) steps.note(report);
    CHECK(!steps.usable());
    CHECK(!steps.usable_for_input());
    report.weight_noise_energy = report.input_noise_energy = 1e-12;
    for (steps.measure(); steps.measuring();) steps.note(report);
    CHECK(steps.usable());
    CHECK(steps.usable_for_input());
  }
}

TEST_CASE("A schedule that never measures again can be saved and read") {
  SchedulerOptions options = one_budget(0.11);
  options.tuning.first_measure_interval = options.tuning.measure_interval =
      adr::TunerOptions::k_most_steps;
  Run run(options);
  run.attach();
  run.layer.density = 0.1;
  run.steps(60);
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("never.state");
  run.scheduler.save_state(path);
  Run resumed(options);
  resumed.attach();
  resumed.scheduler.load_state(path);
  CHECK(resumed.scheduler.steps() == 60);
  CHECK(resumed.setting() == run.setting());
}

TEST_CASE("A schedule is read under another locale than it was saved") {
  struct DecimalComma final : std::numpunct<char> {
    [[nodiscard]] char do_decimal_point() const override { return ','; }
  };
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("locale.state");
  Run saved(one_budget(0.11));
  saved.attach();
  const std::locale before = std::locale::global(std::locale(std::locale(), new DecimalComma));
  saved.scheduler.save_state(path);
  std::locale::global(before);
  Run other(one_budget(0.11));
  other.attach();
  CHECK_NOTHROW(other.scheduler.load_state(path));
}

TEST_CASE("A published ladder starts on layers that are narrower than its usual sub-vectors") {
  for (const Strategy strategy : {Strategy::plateau_ladder, Strategy::cluster_reuse_first}) {
    Run run(with_strategy(strategy), tiny_shape());
    Plan config;
    config.method = Method::exact;
    run.layer.set_plan(config);
    run.attach();
    CHECK(run.layer.plan().vector_length == 8);
  }
}

TEST_CASE("A schedule is not read for another strategy, other layers or from a damaged file") {
  const std::string path =
      (std::filesystem::temp_directory_path() / "adr_test_scheduler_other.state").string();
  Run saved(one_budget(0.1));
  saved.attach();
  saved.steps(30);
  saved.scheduler.save_state(path);
  SECTION("strategy") {
    Run other(with_strategy(Strategy::plateau_ladder));
    other.attach();
    CHECK_THROWS_WITH(other.scheduler.load_state(path), contains("strategy"));
  }
  SECTION("phases") {
    Run other(one_budget(0.2));
    other.attach();
    CHECK_THROWS_WITH(other.scheduler.load_state(path), contains("max_error of a phase"));
  }
  SECTION("layers") {
    ReuseScheduler none(one_budget(0.1));
    CHECK_THROWS_WITH(none.load_state(path), contains("layers"));
  }
  SECTION("columns") {
    Run other(one_budget(0.1), tiny_shape());
    other.attach();
    CHECK_THROWS_WITH(other.scheduler.load_state(path), contains("columns"));
  }
  SECTION("damage") {
    std::FILE* file = std::fopen(path.c_str(), "r+b");
    REQUIRE(file != nullptr);
    std::fseek(file, 80, SEEK_SET);
    std::fputc(0x5a, file);
    std::fclose(file);
    Run other(one_budget(0.1));
    other.attach();
    CHECK_THROWS_AS(other.scheduler.load_state(path), std::runtime_error);
  }
  std::remove(path.c_str());
}

TEST_CASE("Every decision has a line in the log") {
  Run run(one_budget(0.11));
  std::vector<std::string> lines;
  run.scheduler.set_log([&](const std::string& line) { lines.push_back(line); });
  run.attach();
  run.steps(30);
  REQUIRE(lines.size() >= 2);
  CHECK_THAT(lines.front(), contains("step 0, conv: exact") && contains("timing"));
  CHECK_THAT(lines.back(), contains("conv: subspace of 32 coordinates") && contains("rung 3 of") &&
                               contains("budget 0.11") && contains("error 0.1"));
}

TEST_CASE("Statistics carry the decision") {
  Run run(one_budget(0.11));
  run.attach();
  run.steps(30);
  CHECK(run.layer.report().decision.reason == Reason::first_rung);
  CHECK(run.layer.report().decision.rung == 2);
}

TEST_CASE("The usual phase reuses what is all but exact and bounds the noise of rounding") {
  const ReuseScheduler scheduler;
  REQUIRE(scheduler.options().phases.size() == 1);
  CHECK(scheduler.options().phases.front().max_error == 0.02);
  CHECK(scheduler.options().phases.front().gradient_rounding == 4);
  CHECK(scheduler.options().phases.front().gradient_noise == 0.1);
}

TEST_CASE("The scheduler refuses what cannot be") {
  FakeLayer layer(convolution_shape());
  ReuseScheduler scheduler(Strategy::error_budget);
  scheduler.attach(layer, "conv");
  CHECK_THAT(refusal([&] { scheduler.attach(layer); }), contains("attached already, as conv"));
  scheduler.detach(layer);
  CHECK(scheduler.layer_count() == 0);
  CHECK_THAT(refusal([&] { scheduler.detach(layer); }), contains("not attached"));

  const auto problem = [](auto change) {
    SchedulerOptions options;
    change(options);
    return refusal([&] { ReuseScheduler made(options); });
  };
  CHECK_THAT(problem([](auto& o) { o.phases = {{1.0, 0.0, 1.0}}; }), contains("below 1, got 1"));
  CHECK_THAT(problem([](auto& o) {
               o.phases = {{0.1, 0.0, 0.5}, {0.9, 0.0, 1.0}};
             }),
             contains("must not grow"));
  CHECK_THAT(problem([](auto& o) {
               o.phases = {{0.2, 0.0, 0.5}, {0.1, 0.0, 0.1}};
             }),
             contains("end must not fall"));
  CHECK_THAT(problem([](auto& o) { o.tuning.min_stay = -1; }), contains("got -1"));
  CHECK_THAT(problem([](auto& o) { o.loss.window = 0; }), contains("window"));
  CHECK_THAT(problem([](auto& o) { o.planned_steps = -5; }), contains("got -5"));
  const index_t never = std::numeric_limits<index_t>::max();
  CHECK_THAT(problem([=](auto& o) { o.tuning.measure_interval = never; }),
             contains("measure_interval must be between 1 and 1152921504606846976"));
  CHECK_THAT(problem([=](auto& o) { o.tuning.first_measure_interval = never; }),
             contains("first_measure_interval must be between 1 and"));
}
