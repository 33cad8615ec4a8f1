// How fast is a trained network with this library, exactly and with reuse, at which loss of
// accuracy?
//   train --data FOLDER --checkpoint cifarnet.bin
//   infer --data FOLDER --checkpoint cifarnet.bin
// The weights stay as they are. For every number of points that may be lost the library chooses the
// settings of the convolutions on one half of the test images; they learn from training images and
// are frozen. Beside it the same network by the packages, and with convolutions of 8-bit integers.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "adr/choose_for_inference.hpp"
#include "inference/comparison.hpp"
#include "inference/int8_convolution.hpp"
#include "inference/learning.hpp"
#include "inference/report.hpp"
#include "training/checkpoint.hpp"
#include "training/data_source.hpp"
#include "training/evaluation.hpp"
#include "training/pixel_scale.hpp"
#include "training/program.hpp"

namespace {

using namespace inference;
using training::Network;

struct Options {
  training::Options common;
  std::vector<double> max_drops = {0.05, 0.5, 2};
  int learning_batches = adr::InferenceOptions().learning_passes;
  std::string json;
};

Comparison with_plans(const std::string& name, std::vector<adr::Plan> plans) {
  Comparison comparison;
  comparison.name = name;
  comparison.layer_errors.assign(plans.size(), 0.0);
  comparison.plans = std::move(plans);
  return comparison;
}

Comparison chosen(double max_drop, const adr::InferenceChoice& choice) {
  Comparison comparison = with_plans(training::message("at most ", max_drop), choice.plans);
  comparison.max_error = choice.max_error;
  comparison.layer_errors = choice.errors;
  return comparison;
}

void run(const Options& options) {
  const training::Options& common = options.common;
  adr::Context context(common.threads);
  const training::NetworkDescription description = training::network_by_name(common.network);
  training::NetworkSettings<float> settings;
  settings.layout = common.layout;
  settings.convolutions = training::convolution_options(description, common.reuse);
  Network<float> reuse(description, settings, context);
  settings.dense_gemm = training::dense_gemm<float>(common.dense_backend);
  settings.dense_convolution =
      training::dense_convolutions<float>(common.dense_backend, common.threads);
  Network<float> dense(description, settings, context);
  for (const Network<float>* network : {&dense, &reuse}) {
    training::load_weights(common.plan.checkpoint, network->parameters());
  }
  for (Network<float>* network : {&dense, &reuse}) network->set_training(false);
  const training::DataSet data = training::load_data(common, context);
  training::require_images_of(description.input, data);
  const index_t batch = common.plan.batch;
  training::require(data.test.size() >= 2 * batch, "--test-images must be at least two batches (",
                    2 * batch, "), got ", data.test.size());
  const training::PixelScale scale(data.train);
  const training::BatchLoader<float> train_loader(data.train, scale, common.layout, context);
  const training::BatchLoader<float> test_loader(data.test, scale, common.layout, context);
  BatchStream<float> stream(train_loader, data.train.size(), batch);
  std::printf("%s\n%s, weights of %s, dense by %s, %d thread(s), batch %td\n",
              data.description.c_str(), description.name.c_str(), common.plan.checkpoint.c_str(),
              training::backend_words(common.dense_backend).c_str(), common.threads, batch);

  const auto plans_of_mode = [&](training::Mode mode) {
    training::ReuseOptions of_mode;
    of_mode.mode = mode;
    return training::plans_of(training::convolution_options(description, of_mode));
  };
  warm_up(dense, test_loader, batch);
  for (auto* layer : dense.reused_layers()) layer->freeze();
  std::vector<Comparison> comparisons;
  const auto measure_network = [&](Network<float>& other, Comparison comparison) {
    compare(dense, other, test_loader, data.test.size(), batch, comparison);
    if (comparisons.empty()) print_header(comparison.dense_accuracy());
    print_comparison(comparison);
    comparisons.push_back(std::move(comparison));
  };
  const auto measure = [&](Comparison comparison) {
    measure_network(reuse, std::move(comparison));
  };
#if defined(TRAINING_HAS_ONEDNN)
  if (common.layout == adr::Layout::nhwc) {
    Network<float> int8(description, settings, context);
    training::load_weights(common.plan.checkpoint, int8.parameters());
    int8.set_training(false);
    use_int8(int8, stream, options.learning_batches, common.threads);
    warm_up(int8, test_loader, batch);
    measure_network(int8, with_plans("int8 by oneDNN", {}));
  }
#endif
  for (const auto& [name, mode] : {std::pair{"exact", training::Mode::exact},
                                   std::pair{"published", training::Mode::published}}) {
    const std::vector<adr::Plan> plans = plans_of_mode(mode);
    learn(reuse, plans, stream, options.learning_batches);
    measure(with_plans(name, plans));
  }
  learn(reuse, plans_of_mode(training::Mode::exact), stream, 1);
  training::Batch<float> tested;
  const auto trained = trained_network<float>(reuse, stream, [&](adr::Half half) {
    return training::accuracy(reuse, test_loader, half_of(data.test.size(), batch, half), batch,
                              tested);
  });
  for (const double max_drop : options.max_drops) {
    adr::InferenceOptions limits;
    limits.max_drop = max_drop;
    limits.learning_passes = options.learning_batches;
    measure(chosen(max_drop, adr::choose_for_inference(trained, limits)));
  }
  if (options.json.empty()) return;
  std::vector<std::string> names;
  for (const auto* conv : reuse.convolutions()) names.push_back(conv->name());
  nlohmann::json rows = nlohmann::json::array();
  const RunDescription run{description.name, common.dense_backend, common.plan.checkpoint,
                           common.threads, batch};
  for (const Comparison& comparison : comparisons) rows.push_back(to_json(run, comparison, names));
  write_json(options.json, rows);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::vector<std::string> backends = training::package_backends();
  options.common.dense_backend = backends.empty() ? "exact" : backends.front();
  backends.emplace_back("exact");
  CLI::App app("Compares a trained network dense and with reuse: accuracy and time of inference.");
  training::detail::add_network_options(app, options.common);
  training::detail::add_data_options(app, options.common);
  training::detail::add_dense_backend_option(app, options.common, backends, "");
  training::detail::add_machine_options(app, options.common);
  app.add_option("--checkpoint", options.common.plan.checkpoint, "File that train has saved")
      ->required();
  app.add_option("--max-drops", options.max_drops,
                 "Points of accuracy that may be lost on the half that settings are chosen on")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--learning-batches", options.learning_batches,
                 "Training batches that convolutions learn from before they are frozen")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--json", options.json, "File for the results");
  return training::run_program(app, argc, argv, "infer", [&] { run(options); });
}
