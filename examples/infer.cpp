// How fast is a trained network with reuse, at which loss of accuracy?
//   train --data FOLDER --checkpoint cifarnet.bin
//   infer --data FOLDER --checkpoint cifarnet.bin
// The weights stay as they are: the convolutions get the fastest settings that keep the network's
// output within an error, learn from training images and are frozen; the error is chosen on one
// half of the test images.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "inference/comparison.hpp"
#include "inference/error_allocation.hpp"
#include "inference/layer_ladders.hpp"
#include "inference/report.hpp"
#include "training/checkpoint.hpp"
#include "training/data_source.hpp"
#include "training/pixel_scale.hpp"

namespace {

using namespace inference;
using training::Network;
using training::UserError;

struct Options {
  training::Options common;
  std::vector<double> max_errors = {0.4,  0.3,  0.25, 0.2,  0.16, 0.13, 0.1,
                                    0.08, 0.06, 0.05, 0.04, 0.03, 0.02};
  int learning_batches = 40;
  std::string json;
};

/// The published setting in all convolutions.
Comparison published(const training::NetworkDescription& description) {
  training::ReuseOptions options;
  options.mode = training::Mode::published;
  Comparison comparison;
  comparison.name = "published";
  comparison.plans = training::plans_of(training::convolution_options(description, options));
  comparison.layer_errors.assign(comparison.plans.size(), 0.0);
  return comparison;
}

Comparison within_error(const std::vector<LayerChoices>& layers, double max_error) {
  Comparison comparison;
  comparison.name = training::message(max_error);
  comparison.max_error = max_error;
  for (const adr::Rung& rung : rungs_within(layers, max_error)) {
    comparison.plans.push_back(rung.config);
    comparison.layer_errors.push_back(rung.error);
  }
  return comparison;
}

void print_choices(const Network<float>& network, const std::vector<LayerChoices>& layers) {
  std::printf("convolution    dense ms  settings  error of the output for an error of 1 here\n");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    std::printf("%-14s %8.2f %9zu  %.3f\n", network.convolutions()[i]->name().c_str(),
                1e3 * layers[i].dense_seconds, layers[i].ladder.size(),
                std::sqrt(layers[i].influence));
  }
}

void run(const Options& options) {
  const training::Options& common = options.common;
  adr::Context context(common.threads);
  const training::NetworkDescription description = training::network_by_name(common.network);
  training::NetworkSettings<float> settings;
  settings.layout = common.layout;
  settings.convolutions = training::convolution_options(description, common.reuse);
  settings.dense_gemm = training::dense_gemm<float>(common.dense_backend);
  settings.dense_convolution =
      training::dense_convolutions<float>(common.dense_backend, common.threads);
  Network<float> dense(description, settings, context);
  Network<float> reuse(description, settings, context);
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
  std::printf("%s\n%s, weights of %s, exact passes by %s, %d thread(s), batch %td\n",
              data.description.c_str(), description.name.c_str(), common.plan.checkpoint.c_str(),
              training::backend_words(common.dense_backend).c_str(), common.threads, batch);

  std::vector<Comparison> comparisons = {published(description)};
  const std::vector<LayerChoices> layers = measure_choices(reuse, stream);
  print_choices(reuse, layers);
  for (const double max_error : options.max_errors) {
    Comparison comparison = within_error(layers, max_error);
    const bool is_known =
        std::any_of(comparisons.begin(), comparisons.end(), [&](const Comparison& other) {
          return std::equal(other.plans.begin(), other.plans.end(), comparison.plans.begin(),
                            [](const auto& a, const auto& b) { return a.clusters_as(b); });
        });
    if (!is_known) comparisons.push_back(comparison);
  }
  warm_up(dense, test_loader, batch);
  for (Comparison& comparison : comparisons) {
    learn(reuse, comparison.plans, stream, options.learning_batches);
    compare(dense, reuse, test_loader, data.test.size(), batch, comparison);
    if (&comparison == &comparisons.front()) print_header(comparison.dense_accuracy());
    print_comparison(comparison);
  }

  const std::vector<double> limits = {0.05, 0.5};
  std::vector<const Comparison*> choices;
  for (const double points : limits) {
    choices.push_back(fastest_within(comparisons, points));
    print_choice(points, choices.back());
  }
  if (options.json.empty()) return;
  std::vector<std::string> names;
  for (const auto* conv : reuse.convolutions()) names.push_back(conv->name());
  nlohmann::json rows = nlohmann::json::array();
  const RunDescription run{description.name, common.dense_backend, common.plan.checkpoint,
                           common.threads, batch};
  for (const Comparison& comparison : comparisons) {
    std::vector<double> chosen_for;
    for (std::size_t i = 0; i < limits.size(); ++i) {
      if (choices[i] == &comparison) chosen_for.push_back(limits[i]);
    }
    rows.push_back(to_json(run, comparison, names, chosen_for));
  }
  write_json(options.json, rows);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int k_failure = 1;
  constexpr int k_user_error = 2;
  Options options;
  std::vector<std::string> backends = training::package_backends();
  backends.insert(backends.begin(), "exact");
  CLI::App app("Compares a trained network dense and with reuse: accuracy and time of inference.");
  training::detail::add_network_options(app, options.common);
  training::detail::add_data_options(app, options.common);
  training::detail::add_dense_backend_option(app, options.common, backends, "");
  training::detail::add_machine_options(app, options.common);
  app.add_option("--checkpoint", options.common.plan.checkpoint, "File that train has saved")
      ->required();
  app.add_option("--max-errors", options.max_errors,
                 "Relative errors that the network's output may be expected to have")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--learning-batches", options.learning_batches,
                 "Training batches that convolutions learn from before they are frozen")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--json", options.json, "File for the results");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : k_user_error;
  }
  try {
    run(options);
  } catch (const UserError& error) {
    std::fprintf(stderr, "infer: %s\n", error.what());
    return k_user_error;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "infer: %s\n", error.what());
    return k_failure;
  }
  return 0;
}
