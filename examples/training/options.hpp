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

namespace training {

struct Options {
  std::string network = "cifarnet";
  adr::Layout layout = adr::Layout::nhwc;
  std::string data;
  std::string images;        ///< a .npy file in place of data
  index_t train_images = 0;  ///< 0: all there are
  index_t test_images = 0;
  ReuseOptions reuse;
  std::string dense_backend = "exact";
  TrainingPlan plan;
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

inline void add_reuse_options(CLI::App& app, ReuseOptions& reuse) {
  app.add_option(
         "--mode", reuse.mode,
         "How the convolutions multiply: by the package of --dense-backend (dense), exactly, "
         "by a setting fixed by hand, or as a schedule finds (default exact)")
      ->transform(one_of<Mode>({{"dense", Mode::dense},
                                {"exact", Mode::exact},
                                {"subspace", Mode::subspace},
                                {"published", Mode::published},
                                {"auto", Mode::automatic}}));
  app.add_option("--gradient-rounding", reuse.gradient_rounding,
                 "Root mean squares below which output gradients are rounded, 0: not; with --mode "
                 "auto one value per phase")
      ->delimiter(',');

  const std::string subspace = "--mode subspace";
  app.add_option("--coordinates", reuse.coordinates,
                 "D: coordinates kept, 0: by their error; one value or one per convolution")
      ->delimiter(',')
      ->group(subspace);
  app.add_option("--subspace-error", reuse.subspace_error,
                 "Without --coordinates: the part of the output's variation that may be lost")
      ->capture_default_str()
      ->group(subspace);

  const std::string published = "--mode published, and published strategies";
  app.add_option("--vector-length", reuse.vector_lengths,
                 "L: columns per neuron vector, one value or one per convolution")
      ->delimiter(',')
      ->group(published);
  app.add_option("--hash-count", reuse.hash_counts,
                 "H: hyperplanes per neuron vector, one value or one per convolution")
      ->delimiter(',')
      ->group(published);
  app.add_option("--hash-center", reuse.published.hash_center,
                 "Where hyperplanes pass (default origin)")
      ->transform(one_of<adr::HashCenter>(
          {{"origin", adr::HashCenter::origin}, {"mean", adr::HashCenter::mean}}))
      ->group(published);
  app.add_flag("--exact-gradients", reuse.published.exact_gradients,
               "Gradients by exact products, in place of those from the clusters")
      ->group(published);
  app.add_flag("--cluster-reuse", reuse.published.cluster_reuse,
               "CR: keep clusters from batch to batch; a strategy decides by itself")
      ->group(published);
  app.add_option("--max-product-age", reuse.published.max_product_age,
                 "With --cluster-reuse: changes of the weights that a stored product survives")
      ->check(at_least(0))
      ->group(published);

  const std::string schedule = "--mode auto";
  app.add_option("--strategy", reuse.strategy, "When settings change (default error_budget)")
      ->transform(
          one_of<adr::Strategy>({{"error_budget", adr::Strategy::error_budget},
                                 {"plateau_ladder", adr::Strategy::plateau_ladder},
                                 {"cluster_reuse_first", adr::Strategy::cluster_reuse_first}}))
      ->group(schedule);
  app.add_option("--max-errors", reuse.max_errors,
                 "With error_budget: the max_error of each phase, 0: exact")
      ->delimiter(',')
      ->group(schedule);
  app.add_option("--gradient-noise", reuse.gradient_noise,
                 "With error_budget: the share of noise that rounding may add in each phase, 0: "
                 "what --gradient-rounding adds")
      ->delimiter(',')
      ->group(schedule);
  app.add_option("--phase-ends", reuse.phase_ends,
                 "With error_budget: share of the steps at which each phase ends")
      ->delimiter(',')
      ->group(schedule);
}

/// remark: of the program, to what the backends are.
inline void add_dense_backend_option(CLI::App& app, Options& options,
                                     const std::vector<std::string>& backends,
                                     const std::string& remark) {
  app.add_option("--dense-backend", options.dense_backend,
                 "What computes all that is not reused; exact: this library, fastest: each "
                 "convolution and product by the fastest package" +
                     remark)
      ->check(one_of(backends))
      ->capture_default_str();
}

inline void add_machine_options(CLI::App& app, Options& options) {
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
  app.add_flag("--log-decisions", options.log_decisions,
               "With --mode auto: print every decision of the schedule");
  app.add_flag("--resume", options.plan.resume, "Continue the run saved in --checkpoint");
  app.add_flag("--layer-times", options.layer_times,
               "Print the seconds of training of every layer at the end");
}

/// Errors: CLI::ValidationError for an option of another mode.
inline void refuse_without_effect(const CLI::App& app, const ReuseOptions& reuse) {
  std::string given = std::string("--mode ") + to_string(reuse.mode);
  if (reuse.mode == Mode::automatic)
    given += std::string(" --strategy ") + to_string(reuse.strategy);
  const auto need = [&](bool has_effect, const std::string& needed,
                        const std::vector<const char*>& names) {
    for (const char* name : names) {
      if (!has_effect && app.count(name) > 0) {
        throw CLI::ValidationError(name, "needs " + needed + ", got " + given);
      }
    }
  };
  need(reuse.mode == Mode::automatic, "--mode auto", {"--strategy"});
  need(reuse.follows_error_budget(), "--mode auto and --strategy error_budget",
       {"--max-errors", "--gradient-noise", "--phase-ends"});
  need(reuse.mode == Mode::subspace, "--mode subspace", {"--coordinates", "--subspace-error"});
  need(reuse.is_published(), "--mode published or a published strategy",
       {"--vector-length", "--hash-count", "--hash-center", "--exact-gradients"});
  need(reuse.mode == Mode::published, "--mode published", {"--cluster-reuse", "--max-product-age"});
  need(reuse.mode != Mode::dense && (reuse.mode != Mode::automatic || reuse.follows_error_budget()),
       "--mode exact, subspace, published or auto with --strategy error_budget",
       {"--gradient-rounding"});
  if (app.count("--coordinates") > 0 && app.count("--subspace-error") > 0) {
    throw CLI::ValidationError("--subspace-error",
                               "needs the coordinates to be chosen by it, got "
                               "--coordinates as well");
  }
  if (app.count("--exact-gradients") > 0 && app.count("--gradient-rounding") > 0) {
    throw CLI::ValidationError(
        "--exact-gradients",
        "needs gradients that are not rounded, got --gradient-rounding as well");
  }
}

/// Of the modes, dense is computed by a package and exact by this library.
/// Errors: CLI::ValidationError for a backend that the mode is not.
inline void choose_dense_backend(const CLI::App& app, Options& options) {
  const Mode mode = options.reuse.mode;
  std::string& backend = options.dense_backend;
  const std::vector<std::string> packages = package_backends();
  if (mode == Mode::dense) {
    if (packages.empty()) {
      throw CLI::ValidationError("--mode",
                                 "dense needs a package, oneDNN or OpenBLAS, of which "
                                 "this build has none; this library is --mode exact");
    }
    if (app.count("--dense-backend") == 0) backend = packages.front();
    if (!is_package(backend)) {
      throw CLI::ValidationError("--dense-backend", "must name a package with --mode dense, got " +
                                                        backend + "; this library is --mode exact");
    }
  } else if (mode == Mode::exact && is_package(backend)) {
    throw CLI::ValidationError("--dense-backend",
                               "must be exact or direct with --mode exact, got " + backend +
                                   "; packages are --mode dense");
  } else if (mode != Mode::exact && backend == "direct") {
    throw CLI::ValidationError(
        "--dense-backend", std::string("direct needs --mode exact, got --mode ") + to_string(mode));
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
  CLI::App app("Trains a network, dense, exactly or with reuse, and reports time and accuracy.");
  detail::add_network_options(app, options);
  detail::add_data_options(app, options);
  detail::add_reuse_options(app, options.reuse);
  detail::add_dense_backend_option(
      app, options, dense_backends(),
      ", the default with --mode dense; direct: this library without Winograd");
  detail::add_machine_options(app, options);
  detail::add_plan_options(app, options);
  detail::add_output_options(app, options);
  try {
    app.parse(argc, argv);
    detail::refuse_without_effect(app, options.reuse);
    detail::choose_dense_backend(app, options);
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
