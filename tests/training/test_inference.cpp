// Choosing settings for inference: ladders and influences of a network's own convolutions, budgets,
// and which comparison wins.
#include <cmath>
#include <vector>

#include "adr/extern_layers.hpp"
#include "inference/comparison.hpp"
#include "inference/error_allocation.hpp"
#include "support/catch.hpp"
#include "training/generated_images.hpp"
#include "training/networks.hpp"

namespace {

using namespace inference;

Comparison lost(double points, double speedup) {
  Comparison comparison;
  comparison.speedup = speedup;
  comparison.chosen_on.images = 10000;
  comparison.chosen_on.dense_correct = 7000;
  comparison.chosen_on.correct = 7000 - static_cast<index_t>(std::lround(100 * points));
  return comparison;
}

adr::Plan subspace_plan(index_t coordinates) {
  adr::Options options;
  options.setting = adr::Subspace{coordinates};
  return options.plan();
}

}  // namespace

TEST_CASE("The fastest within a loss is chosen on one half") {
  const std::vector<Comparison> comparisons = {lost(20, 9), lost(0.4, 3), lost(0.5, 2),
                                               lost(0.03, 1.5), lost(-0.2, 1.2)};
  CHECK(fastest_within(comparisons, 0.5) == &comparisons[1]);
  CHECK(fastest_within(comparisons, 0.05) == &comparisons[3]);
  CHECK(fastest_within(comparisons, 0) == &comparisons[4]);
  CHECK(fastest_within(comparisons, -0.3) == nullptr);
}

TEST_CASE("Errors go where they cost the output least and save the most time") {
  const adr::Plan dense = detail::exact_plan();
  const adr::Plan coarse = subspace_plan(2);
  const adr::Plan fine = subspace_plan(8);
  const adr::Ladder ladder = {{coarse, 0.1, 0.2}, {fine, 0.3, 0.05}, {dense, 1, 0}};
  // The first layer is slow and matters little; the second is quick and matters.
  std::vector<LayerChoices> layers = {{ladder, 0.1, 0.25}, {ladder, 0.01, 1}};
  const auto costs = [&](double budget) {
    const std::vector<adr::Rung> rungs = rungs_within(layers, budget);
    CHECK(expected_error(layers, rungs) <= budget);
    std::vector<double> list;
    for (const adr::Rung& rung : rungs) list.push_back(rung.cost);
    return list;
  };
  CHECK(costs(1) == std::vector<double>{0.1, 0.1});
  CHECK(costs(0.15) == std::vector<double>{0.1, 0.3});  // sqrt(0.25 * 0.04 + 0.0025) = 0.112
  CHECK(costs(0.06) == std::vector<double>{0.3, 0.3});  // sqrt(0.25 * 0.0025 + 0.0025) = 0.056
  CHECK(costs(0.03) == std::vector<double>{0.3, 1});
  CHECK(costs(0) == std::vector<double>{1, 1});
  // The same error everywhere in the output: what it costs no longer differs, the time does.
  layers[0].influence = 1;
  CHECK(costs(0.06) == std::vector<double>{0.3, 1});
}

TEST_CASE(
    "The error of an output is relative to the exact one, and what all classes share is none") {
  const std::vector<double> exact = {1, 3, 5, 0, 0, 6};
  const adr::MatrixView<const double> view(exact.data(), 2, 3);  // deviations: 8 and 24
  CHECK(detail::squared_output_error<double>(exact, view) == 0);
  CHECK(detail::squared_output_error<double>({2, 4, 6, -7, -7, -1}, view) == 0);
  // Twice as far from its mean in one image: an error of 8, of 32.
  CHECK(detail::squared_output_error<double>({-1, 3, 7, 0, 0, 6}, view) == 0.25);
}

TEST_CASE("Ladders are measured on a network and end dense, and both networks see all images") {
  adr::Context context(1);
  const training::DataSet data = training::generate_images(64, 40, 3, context);
  const training::NetworkDescription description = training::network_by_name("cifarnet");
  training::NetworkSettings<float> settings;
  settings.convolutions.resize(2);
  training::Network<float> exact(description, settings, context);
  training::Network<float> reuse(description, settings, context);
  const training::PixelScale scale(data.train);
  const training::BatchLoader<float> loader(data.train, scale, adr::Layout::nhwc, context);
  const training::BatchLoader<float> test_loader(data.test, scale, adr::Layout::nhwc, context);
  BatchStream<float> stream(loader, 64, 16);
  const std::vector<LayerChoices> layers = measure_choices(reuse, stream);
  REQUIRE(layers.size() == 2);
  for (const LayerChoices& layer : layers) {
    CHECK(layer.ladder.back().config.method == adr::Method::exact);
    CHECK(layer.ladder.back().error == 0);
    CHECK(layer.dense_seconds > 0);
    CHECK(layer.influence > 0);
    CHECK(std::isfinite(layer.influence));
  }
  // Measuring leaves a dense network behind.
  for (const auto* conv : reuse.convolutions()) CHECK(conv->plan().method == adr::Method::exact);

  Comparison same;
  same.plans.assign(2, detail::exact_plan());
  learn(reuse, same.plans, stream, 1);
  compare(exact, reuse, test_loader, 40, 16, same);
  CHECK(same.chosen_on.images == 32);
  CHECK(same.judged_on.images == 8);
  CHECK(same.chosen_on.points_lost() == 0);
  CHECK(same.judged_on.points_lost() == 0);
  CHECK(same.layer_speedups.size() == 2);
  CHECK(same.accuracy() == same.dense_accuracy());

  Comparison coarse;
  coarse.plans.assign(2, subspace_plan(4));
  learn(reuse, coarse.plans, stream, 2);
  for (const auto* conv : reuse.convolutions()) CHECK(conv->plan().kept_coordinates == 4);
  compare(exact, reuse, test_loader, 40, 16, coarse);
  CHECK(coarse.seconds > 0);
}
