// The command line of the training program: what can be asked for and how a mistake is reported.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "adr/core/parallel.hpp"
#include "training/dense_backend.hpp"
#include "training/errors.hpp"
#include "training/networks.hpp"
#include "training/reuse_options.hpp"
#include "training/run_settings.hpp"
#include "training/schedule_options.hpp"

namespace training {

struct Options {
  std::string network = "cifarnet";
  NetworkOptions variant;
  adr::Layout layout = adr::Layout::nhwc;
  std::string data;
  std::string images;        ///< a .npy file in place of data
  index_t train_images = 0;  ///< 0: all there are
  index_t test_images = 0;
  ReuseOptions reuse;
  std::string dense_backend = dense_backends().front();
  TrainingPlan plan;
  ScheduleOptions schedule;
  bool log_decisions = false;
  int threads = adr::max_threads();
  bool layer_times = false;
};

namespace detail {

/// A whole number that is large enough.
inline CLI::Validator at_least(index_t smallest) {
  return CLI::Validator(
      [smallest](std::string& text) {
        char* end = nullptr;
        const long long value = std::strtoll(text.c_str(), &end, 10);
        const bool whole = !text.empty() && *end == '\0';
        if (whole && value >= smallest) return std::string();
        return message("must be a whole number of at least ", smallest, ", got ", text);
      },
      "NUMBER");
}

/// One of several words, each of which stands for a value.
template <class Value>
CLI::Validator one_of(const std::map<std::string, Value>& values) {
  std::string words;
  for (const auto& entry : values) words += (words.empty() ? "" : " or ") + entry.first;
  return CLI::Validator(
      [values, words](std::string& text) {
        const auto found = values.find(text);
        if (found == values.end()) return message("must be ", words, ", got ", text);
        // CLI11 reads enumerations as numbers.
        text = std::to_string(static_cast<int>(found->second));
        return std::string();
      },
      words);
}

/// One of several words that stand for themselves.
inline CLI::Validator one_of(const std::vector<std::string>& values) {
  std::string words;
  for (const std::string& value : values) words += (words.empty() ? "" : " or ") + value;
  return CLI::Validator(
      [values, words](std::string& text) {
        const bool known = std::find(values.begin(), values.end(), text) != values.end();
        return known ? std::string() : message("must be ", words, ", got ", text);
      },
      words);
}

inline void add_network_options(CLI::App& app, Options& options) {
  app.add_option("--network", options.network, "Network to train")
      ->check(one_of(network_names()))
      ->capture_default_str();
  app.add_flag("--lrn", options.variant.lrn, "Add local response normalisation, as published");
  app.add_option("--layout", options.layout, "Order of the tensors in memory (default nhwc)")
      ->transform(one_of<adr::Layout>({{"nhwc", adr::Layout::nhwc}, {"nchw", adr::Layout::nchw}}));
}

inline void add_data_options(CLI::App& app, Options& options) {
  app.add_option("--data", options.data,
                 "Folder with CIFAR-10, binary version; images are generated when none is named")
      ->envname("ADR_DATA");
  app.add_option("--train-images", options.train_images, "Images to train on, 0: all")
      ->check(at_least(0));
  [[maybe_unused]] CLI::Option* test_images =
      app.add_option("--test-images", options.test_images, "Images to test on, 0: all")
          ->check(at_least(0));
#if defined(TRAINING_HAS_XTENSOR)
  app.add_option("--images", options.images,
                 "File of images without labels (.npy, uint8, count x channels x height x width), "
                 "for times; those to train on are tested on, too")
      ->excludes(test_images);
#endif
}

inline void add_reuse_options(CLI::App& app, Options& options) {
  ReuseOptions& reuse = options.reuse;
  const std::string group = "With a mode other than dense";
  app.add_option("--mode", reuse.mode,
                 "How the convolutions multiply; auto follows --strategy (default dense)")
      ->transform(one_of<Mode>({{"dense", Mode::dense},
                                {"hyperplane", Mode::hyperplane},
                                {"subspace", Mode::subspace},
                                {"auto", Mode::automatic}}));
  app.add_option("--strategy", reuse.strategy,
                 "With --mode auto: when settings change (default error_budget)")
      ->transform(
          one_of<adr::Strategy>({{"error_budget", adr::Strategy::error_budget},
                                 {"plateau_ladder", adr::Strategy::plateau_ladder},
                                 {"cluster_reuse_first", adr::Strategy::cluster_reuse_first},
                                 {"fixed", adr::Strategy::fixed}}));
  app.add_option("--error-budgets", options.schedule.error_budgets,
                 "With --strategy error_budget: relative output error allowed in each phase")
      ->delimiter(',');
  app.add_option("--rounding-steps", options.schedule.rounding_steps,
                 "With --strategy error_budget: rounding of gradients in each phase, 0: exact")
      ->delimiter(',');
  app.add_option("--phase-ends", options.schedule.phase_ends,
                 "With --strategy error_budget: share of the steps at which each phase ends")
      ->delimiter(',');
  app.add_flag("--round-weights-only", options.schedule.round_weights_only,
               "With --strategy error_budget: round for weight gradients, not for those handed on");
  app.add_flag("--log-decisions", options.log_decisions, "Print every decision of the schedule");
  app.add_option("--sub-vector-length", reuse.sub_vector_lengths,
                 "L: columns per neuron vector, one value or one per convolution")
      ->delimiter(',')
      ->group(group);
  app.add_option("--hash-count", reuse.hash_counts,
                 "H: hyperplanes per neuron vector, one value or one per convolution")
      ->delimiter(',')
      ->group(group);
  app.add_option("--hash-center", reuse.hash_center, "Where hyperplanes pass (default origin)")
      ->transform(one_of<adr::HashCenter>(
          {{"origin", adr::HashCenter::origin}, {"mean", adr::HashCenter::mean}}))
      ->group(group);
  app.add_option("--kept-coordinates", reuse.kept_coordinates,
                 "Principal coordinates kept, 0: by their error, one value or one per convolution")
      ->delimiter(',')
      ->group(group);
  app.add_option("--input-gradient", reuse.input_gradient,
                 "Form of the input gradient (default automatic)")
      ->transform(one_of<adr::InputGradient>({{"automatic", adr::InputGradient::automatic},
                                              {"cluster_mean", adr::InputGradient::cluster_mean},
                                              {"exact", adr::InputGradient::exact},
                                              {"sparse", adr::InputGradient::sparse},
                                              {"sparsified", adr::InputGradient::sparsified}}))
      ->group(group);
  app.add_option("--weight-gradient", reuse.weight_gradient,
                 "Form of the weight gradient (default automatic)")
      ->transform(one_of<adr::WeightGradient>({{"automatic", adr::WeightGradient::automatic},
                                               {"clusters", adr::WeightGradient::clusters},
                                               {"exact", adr::WeightGradient::exact},
                                               {"sparse", adr::WeightGradient::sparse},
                                               {"sparsified", adr::WeightGradient::sparsified}}))
      ->group(group);
  app.add_flag("--cluster-reuse", reuse.cluster_reuse, "CR: keep clusters from batch to batch")
      ->group(group);
  app.add_option("--max-product-age", reuse.max_product_age,
                 "With --cluster-reuse: weight updates that a stored product survives")
      ->check(at_least(0))
      ->group(group);
}

inline void add_machine_options(CLI::App& app, Options& options) {
  app.add_option("--dense-backend", options.dense_backend,
                 "What computes everything dense; exact: this library, direct: without Winograd, "
                 "fastest: each convolution and product by the fastest package")
      ->check(one_of(dense_backends()))
      ->capture_default_str();
  app.add_option("--batch", options.plan.batch, "Images per step")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option(
         "--threads", options.threads,
         "Threads; they change no numbers, unless with --dense-backend fastest or onednn, or "
         "under a schedule that goes by the clock")
      ->check(at_least(1))
      ->capture_default_str();
}

inline void add_plan_options(CLI::App& app, Options& options) {
  TrainingPlan& plan = options.plan;
  app.add_option("--epochs", plan.epochs, "Epochs to train")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option("--seed", plan.seed, "Decides everything random")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--lr", plan.sgd.learning_rate, "Learning rate")->capture_default_str();
  app.add_option("--lr-step", plan.sgd.step_epochs, "Epochs between steps of the rate, 0: none")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--lr-gamma", plan.sgd.step_factor, "Factor of every step of the rate")
      ->capture_default_str();
  app.add_option("--momentum", plan.sgd.momentum, "Momentum")->capture_default_str();
  app.add_option("--weight-decay", plan.sgd.weight_decay, "Weight decay")->capture_default_str();
  app.add_flag("--augment", plan.augment, "Shift and mirror the training images at random");
}

inline void add_output_options(CLI::App& app, Options& options) {
  app.add_option("--csv", options.plan.csv, "File for one row per epoch");
  app.add_option("--trace", options.plan.trace, "File for one row every ten steps");
  app.add_option("--checkpoint", options.plan.checkpoint, "File to save the run to every epoch");
#if defined(TRAINING_HAS_XTENSOR)
  app.add_option("--snapshots", options.plan.snapshots,
                 "Folder for the layers' operands on a batch, in initial/ and trained/");
#endif
  app.add_flag("--resume", options.plan.resume, "Continue the run saved in --checkpoint");
  app.add_flag("--layer-times", options.layer_times,
               "Print the seconds of training of every layer at the end");
}

/// Errors: CLI::ValidationError for an option of schedules without a schedule that follows it.
inline void refuse_without_effect(const CLI::App& app, const ReuseOptions& reuse) {
  if (reuse.mode == Mode::automatic && reuse.strategy == adr::Strategy::error_budget) return;
  for (const char* name :
       {"--error-budgets", "--rounding-steps", "--phase-ends", "--round-weights-only"}) {
    if (app.count(name) > 0) {
      throw CLI::ValidationError(name, "needs --mode auto and --strategy error_budget");
    }
  }
}

/// One file is for one thing, and a folder is no file.
inline void refuse_bad_files(const TrainingPlan& plan) {
  if (!plan.csv.empty() && std::filesystem::path(plan.csv).lexically_normal() ==
                               std::filesystem::path(plan.checkpoint).lexically_normal()) {
    throw CLI::ValidationError("--checkpoint", "needs another file than --csv, got " + plan.csv);
  }
  if (std::filesystem::is_directory(plan.checkpoint)) {
    throw CLI::ValidationError("--checkpoint", "needs a file, got the folder " + plan.checkpoint);
  }
}

}  // namespace detail

/// Reads the command line. Returns true to go on; otherwise exit_code is what to leave with: 0
/// after --help, 2 after a mistake.
inline bool parse_options(int argc, char** argv, Options& options, int& exit_code) {
  CLI::App app("Trains a network, dense or with reuse, and reports time and accuracy.");
  detail::add_network_options(app, options);
  detail::add_data_options(app, options);
  detail::add_reuse_options(app, options);
  detail::add_machine_options(app, options);
  detail::add_plan_options(app, options);
  detail::add_output_options(app, options);
  try {
    app.parse(argc, argv);
    detail::refuse_without_effect(app, options.reuse);
    detail::refuse_bad_files(options.plan);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? 0 : 2;
    return false;
  }
  options.reuse.seed = options.plan.seed;
  options.reuse.winograd = allows_winograd(options.dense_backend);
  return true;
}

}  // namespace training
