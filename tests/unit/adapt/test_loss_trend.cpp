// Verdicts on a loss: the step in which they fall, exactly, and those that must not fall.
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/loss_trend.hpp"
#include "adr/core/random.hpp"
#include "support/catch.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::LossTrend;
using adr::LossTrendOptions;
using adr::LossVerdict;

constexpr double k_nan = std::numeric_limits<double>::quiet_NaN();
constexpr double k_infinity = std::numeric_limits<double>::infinity();

/// No warm-up, windows of 4 steps, two of them for a plateau.
LossTrendOptions short_windows() {
  LossTrendOptions options;
  options.warm_up = 0;
  options.window = 4;
  options.min_drop = 0.01;
  options.patience = 2;
  return options;
}

/// Observes that many losses of one value; the steps with another verdict than learning.
using Events = std::vector<std::pair<adr::index_t, LossVerdict>>;
void observe(LossTrend& trend, int count, double loss, Events& events) {
  for (int i = 0; i < count; ++i) {
    const LossVerdict verdict = trend.observe(loss);
    if (verdict != LossVerdict::learning) events.emplace_back(trend.steps(), verdict);
  }
}

/// One value per window.
Events verdicts_of_windows(LossTrend& trend, const std::vector<double>& means) {
  Events events;
  for (const double mean : means) observe(trend, 4, mean, events);
  return events;
}

std::string problem(void (*change)(LossTrendOptions&)) {
  LossTrendOptions options;
  change(options);
  return options.validate();
}

}  // namespace

TEST_CASE("A falling loss is learning") {
  LossTrend trend(short_windows());
  std::vector<double> means;
  for (double mean = 3; mean > 0.5; mean *= 0.98) means.push_back(mean);
  CHECK(verdicts_of_windows(trend, means).empty());
  CHECK(trend.steps() == static_cast<adr::index_t>(4 * means.size()));
}

TEST_CASE("A plateau falls in the step that ends the window, once per patience") {
  LossTrend trend(short_windows());
  const Events expected = {
      {12, LossVerdict::plateau}, {20, LossVerdict::plateau}, {28, LossVerdict::plateau}};
  CHECK(verdicts_of_windows(trend, {1, 1, 1, 1, 1, 1, 1, 1}) == expected);
}

TEST_CASE("A fall between two windows without one is patience won back") {
  LossTrend trend(short_windows());
  CHECK(verdicts_of_windows(trend, {1, 1, 0.9, 0.9, 0.8, 0.8, 0.7}).empty());
  CHECK(verdicts_of_windows(trend, {0.7, 0.7}) == Events{{36, LossVerdict::plateau}});
}

TEST_CASE("A fall counts from min_drop on, and small ones do not add up to one") {
  LossTrend trend(short_windows());
  // Each 0.8 % below the one before: the best mean moves along.
  const Events creeping = verdicts_of_windows(trend, {1, 0.992, 0.9841});
  CHECK(creeping == Events{{12, LossVerdict::plateau}});
  CHECK(verdicts_of_windows(trend, {0.974, 0.964}).empty());
}

TEST_CASE("Without min_drop any fall counts, and an equal mean is none") {
  LossTrendOptions options = short_windows();
  options.min_drop = 0;
  LossTrend trend(options);
  CHECK(verdicts_of_windows(trend, {1, 0.999, 0.998, 0.997}).empty());
  CHECK(verdicts_of_windows(trend, {0.997, 0.997}) == Events{{24, LossVerdict::plateau}});
}

TEST_CASE("A loss around 0 or below it is judged as well") {
  LossTrend trend(short_windows());
  CHECK(verdicts_of_windows(trend, {-1, -1.1, -1.2, -1.3}).empty());
  CHECK(verdicts_of_windows(trend, {-1.3, -1.3}) == Events{{24, LossVerdict::plateau}});
  LossTrend zero(short_windows());
  CHECK(verdicts_of_windows(zero, {0, 0, 0}) == Events{{12, LossVerdict::plateau}});
}

TEST_CASE("The warm-up takes no part in means") {
  LossTrendOptions options = short_windows();
  options.warm_up = 6;
  LossTrend trend(options);
  Events events;
  observe(trend, 6, 1e-3, events);
  CHECK(trend.smoothed() == 0);
  observe(trend, 4, 2.0, events);
  CHECK(trend.smoothed() == 2.0);
  observe(trend, 8, 2.0, events);
  CHECK(events == Events{{18, LossVerdict::plateau}});
}

TEST_CASE("The smoothed loss is the mean of the last whole window") {
  LossTrend trend(short_windows());
  for (const double loss : {1.0, 2.0, 3.0}) trend.observe(loss);
  CHECK(trend.smoothed() == 0);
  trend.observe(6.0);
  CHECK(trend.smoothed() == 3.0);
  trend.observe(100.0);
  CHECK(trend.smoothed() == 3.0);
}

TEST_CASE("Noise within windows decides nothing") {
  LossTrendOptions options = short_windows();
  options.window = 100;
  LossTrend trend(options);
  adr::Random random(7);
  double level = 2.0;
  for (int i = 0; i < 2000; ++i, level *= 0.9995) {
    CHECK(trend.observe(level * (0.8 + 0.4 * random.uniform())) == LossVerdict::learning);
  }
}

TEST_CASE("A mean above divergence times the best one diverges, window by window") {
  LossTrendOptions options = short_windows();
  options.divergence = 1.5;
  LossTrend trend(options);
  const Events diverging = {{12, LossVerdict::diverging}, {16, LossVerdict::diverging}};
  CHECK(verdicts_of_windows(trend, {1, 1.5, 1.51, 9}) == diverging);
  // The best mean is still 1, and patience began anew.
  CHECK(verdicts_of_windows(trend, {1, 1}) == Events{{24, LossVerdict::plateau}});
}

TEST_CASE("A loss that is no number is said at once, and takes no part") {
  const double bad = GENERATE(as<double>{}, k_nan, k_infinity, -k_infinity, 1e308, -1e200);
  LossTrend trend(short_windows());
  for (const double loss : {1.0, 2.0}) trend.observe(loss);
  CHECK(trend.observe(bad) == LossVerdict::not_finite);
  CHECK(trend.steps() == 3);
  trend.observe(3.0);
  CHECK(trend.smoothed() == 0);
  trend.observe(6.0);
  CHECK(trend.smoothed() == 3.0);

  LossTrendOptions options = short_windows();
  options.warm_up = 10;
  CHECK(LossTrend(options).observe(bad) == LossVerdict::not_finite);
}

TEST_CASE("A restart ends the window and gives patience back, and the best mean stays") {
  LossTrend trend(short_windows());
  Events events;
  observe(trend, 4, 1.0, events);
  observe(trend, 7, 1.0, events);
  trend.restart();
  observe(trend, 4, 1.0, events);
  CHECK(events.empty());
  observe(trend, 4, 1.0, events);
  CHECK(events == Events{{19, LossVerdict::plateau}});
  CHECK(trend.steps() == 19);
  CHECK(trend.smoothed() == 1.0);
}

TEST_CASE("A saved trend goes on with the same verdicts") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("trend.state");
  const int saved_at = GENERATE(0, 1, 3, 4, 10, 21);
  LossTrendOptions options = short_windows();
  options.warm_up = 2;
  const auto loss = [](int step) { return step < 10 ? 2.0 - 0.1 * step : 1.0 + 0.01 * (step % 3); };
  LossTrend whole(options);
  for (int i = 0; i < saved_at; ++i) whole.observe(loss(i));
  {
    adr::StateWriter writer;
    adr::StateArchive archive(writer);
    whole.exchange(archive);
    writer.save(path);
  }
  LossTrend resumed(options);
  resumed.observe(55);
  adr::StateReader reader(path);
  adr::StateArchive archive(reader);
  resumed.exchange(archive);
  reader.require_end();
  CHECK(resumed.steps() == saved_at);
  int plateaus = 0;
  for (int i = saved_at; i < 60; ++i) {
    const LossVerdict verdict = whole.observe(loss(i));
    CAPTURE(saved_at, i);
    CHECK(resumed.observe(loss(i)) == verdict);
    CHECK(resumed.smoothed() == whole.smoothed());
    plateaus += verdict == LossVerdict::plateau ? 1 : 0;
  }
  CHECK(plateaus > 1);
}

TEST_CASE("Options of a trend that cannot be are named") {
  using Options = LossTrendOptions;
  CHECK(Options().validate() == "");
  CHECK(problem([](Options& o) { o.warm_up = 0; }) == "");
  CHECK(problem([](Options& o) { o.min_drop = 0; }) == "");
  CHECK(problem([](Options& o) { o.warm_up = -1; }) == "warm_up must be at least 0 steps, got -1");
  CHECK(problem([](Options& o) { o.window = 0; }) == "window must be at least 1 step, got 0");
  CHECK(problem([](Options& o) { o.min_drop = 1; }) ==
        "min_drop must be at least 0 and below 1, got 1");
  CHECK(problem([](Options& o) { o.min_drop = -0.5; }) ==
        "min_drop must be at least 0 and below 1, got -0.5");
  CHECK(problem([](Options& o) { o.min_drop = k_nan; }) != "");
  CHECK(problem([](Options& o) { o.patience = 0; }) == "patience must be at least 1 window, got 0");
  CHECK(problem([](Options& o) { o.divergence = 1; }) == "divergence must be above 1, got 1");
  CHECK(problem([](Options& o) { o.divergence = k_nan; }) != "");
}
