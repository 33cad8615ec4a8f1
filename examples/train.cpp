// Trains a network, dense or with reuse, on CIFAR-10 or on generated images:
//   train --data FOLDER --mode hyperplane --epochs 4 --csv run.csv
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
#include "training/trainer.hpp"

namespace {

using namespace training;

void train(const Options& options) {
  adr::Context context(options.threads);
  const NetworkDescription description = network_by_name(options.network, options.variant);
  const std::vector<adr::Plan> reuse = reuse_configs(description, options.reuse);
  NetworkSettings<float> settings;
  settings.layout = options.layout;
  settings.reuse = reuse;
  settings.dense_gemm = dense_gemm<float>(options.dense_backend);
  settings.dense_convolution = dense_convolutions<float>(options.dense_backend, options.threads);
  settings.seed = options.plan.seed;
  Network<float> network(description, settings, context);

  const DataSet data = load_data(options, context);
  std::optional<adr::ReuseScheduler> scheduler;
  if (options.reuse.mode == Mode::automatic) {
    const index_t steps = steps_per_epoch(data, options.plan) * options.plan.epochs;
    scheduler.emplace(scheduler_options(options.reuse.strategy, options.schedule, steps));
    if (options.log_decisions) {
      scheduler->set_log([](const std::string& line) { std::printf("%s\n", line.c_str()); });
    }
  }
  Trainer<float> trainer(network, data, options.plan,
                         run_settings(description, options.layout, options.reuse, reuse,
                                      options.dense_backend, options.plan, data),
                         context, scheduler ? &*scheduler : nullptr);
  std::printf("%s\n%s, %s, dense passes by %s, %d thread(s)\n", data.description.c_str(),
              to_string(description).c_str(), label(reuse).c_str(), options.dense_backend.c_str(),
              context.threads());
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
