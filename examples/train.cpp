// Trains a network, dense, exactly or with reuse, on CIFAR-10 or on generated images:
//   train --data FOLDER --mode subspace --coordinates 8,16 --epochs 4 --csv run.csv
// This file wires the parts; each of them is a header in training/.
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "training/console.hpp"
#include "training/data_source.hpp"
#include "training/options.hpp"
#include "training/progress_bar.hpp"
#include "training/schedule_options.hpp"
#include "training/trainer.hpp"

namespace {

using namespace training;

/// How the convolutions multiply, and what computes the rest.
std::string what_runs(const Options& options, const std::vector<adr::Plan>& plans) {
  const ReuseOptions& reuse = options.reuse;
  const std::string mode = std::string("mode ") + to_string(reuse.mode) + ": ";
  const std::string backend = backend_words(options.dense_backend);
  if (reuse.mode == Mode::dense) return mode + "everything by " + backend;
  if (reuse.mode == Mode::exact) return mode + label(plans) + " by " + backend;
  const bool scheduled = reuse.mode == Mode::automatic;
  const std::string choice =
      scheduled ? std::string("strategy ") + to_string(reuse.strategy) : label(plans);
  return mode + choice + ", exact passes by " + backend;
}

void train(const Options& options) {
  adr::Context context(options.threads);
  const NetworkDescription description = network_by_name(options.network);
  NetworkSettings<float> settings;
  settings.layout = options.layout;
  settings.convolutions = convolution_options(description, options.reuse);
  settings.dense_gemm = dense_gemm<float>(options.dense_backend);
  settings.dense_convolution = dense_convolutions<float>(options.dense_backend, options.threads);
  settings.seed = options.plan.seed;
  Network<float> network(description, settings, context);

  const DataSet data = load_data(options, context);
  std::optional<adr::ReuseScheduler> scheduler;
  if (options.reuse.mode == Mode::automatic) {
    const index_t steps = steps_per_epoch(data, options.plan) * options.plan.epochs;
    scheduler.emplace(scheduler_options(options.reuse, steps));
    if (options.log_decisions) {
      scheduler->set_log([](const std::string& line) { std::printf("%s\n", line.c_str()); });
    }
  }
  Trainer<float> trainer(network, data, options.plan,
                         run_settings(description, options.layout, options.reuse,
                                      options.dense_backend, options.plan, data),
                         context, scheduler ? &*scheduler : nullptr);
  std::printf("%s\n%s\n%s, %d thread(s)\n", data.description.c_str(),
              to_string(description).c_str(),
              what_runs(options, plans_of(settings.convolutions)).c_str(), context.threads());
  std::fflush(stdout);

  const index_t epochs_to_do = options.plan.epochs - trainer.epochs_done();
  ProgressBar bar(epochs_to_do * trainer.steps_per_epoch(), stderr_is_terminal());
  TrainingObserver observer;
  observer.on_step = [&](const StepReport& s) {
    bar.advance(s.epoch, options.plan.epochs, s.step, s.steps_per_epoch, s.mean_loss);
  };
  observer.on_epoch = [&](const EpochReport& report) {
    bar.clear();
    print_epoch(report, options.plan.epochs);
  };
  const EpochReport last = trainer.run(observer);
  if (options.layer_times) print_layer_times(network.times());
  print_summary(last, to_string(options.reuse.mode), options.dense_backend);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int k_failure = 1;
  constexpr int k_user_error = 2;
  constexpr int k_diverged = 3;
  Options options;
  int exit_code = 0;
  if (!parse_options(argc, argv, options, exit_code)) return exit_code;
  const auto fail = [](const std::exception& error, int code) {
    std::fprintf(stderr, "train: %s\n", error.what());
    return code;
  };
  try {
    train(options);
  } catch (const UserError& error) {
    return fail(error, k_user_error);
  } catch (const std::invalid_argument& error) {  // a setting that a layer refuses
    return fail(error, k_user_error);
  } catch (const Diverged& error) {
    return fail(error, k_diverged);
  } catch (const std::bad_alloc&) {
    return fail(std::runtime_error("there is not enough memory for data and network of this size"),
                k_failure);
  } catch (const std::exception& error) {
    return fail(error, k_failure);
  }
  return 0;
}
