// Settings for inference on a network of the example, and the comparison with a dense one.
#include <vector>

#include "adr/extern_layers.hpp"
#include "inference/comparison.hpp"
#include "inference/learning.hpp"
#include "support/catch.hpp"
#include "training/generated_images.hpp"
#include "training/networks.hpp"

namespace {

using namespace inference;

adr::Plan subspace_plan(index_t coordinates) {
  adr::Options options;
  options.setting = adr::Subspace{coordinates};
  return options.plan();
}

}  // namespace

TEST_CASE("Settings are chosen on a network, and both networks see all images") {
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
  const std::vector<adr::Plan> exact_plans(2, adr::Options().plan());

  Comparison same;
  same.plans = exact_plans;
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

  // By an accuracy that nothing but the exact network has.
  const auto all_exact = [&] {
    for (const auto* conv : reuse.convolutions()) {
      if (conv->plan().method != adr::Method::exact) return false;
    }
    return true;
  };
  adr::InferenceOptions options;
  options.learning_passes = 2;
  const auto strict =
      trained_network<float>(reuse, stream, [&](adr::Half) { return all_exact() ? 1.0 : 0.0; });
  const adr::InferenceChoice choice = adr::choose_for_inference(strict, options);
  CHECK(all_exact());
  CHECK(choice.exact_seconds > 0);
  CHECK(choice.accuracy == 1);
  // By one that knows no difference: what the layers are left with is what was chosen, and learned.
  const auto blind = trained_network<float>(reuse, stream, [](adr::Half) { return 1.0; });
  const adr::InferenceChoice any = adr::choose_for_inference(blind, options);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(reuse.convolutions()[i]->plan().method == any.plans[i].method);
    CHECK(reuse.convolutions()[i]->plan().kept_coordinates == any.plans[i].kept_coordinates);
  }
  reuse.forward(stream.next().images.const_view());
  for (const auto* conv : reuse.convolutions()) CHECK(conv->report().dense_fallbacks == 0);
}
