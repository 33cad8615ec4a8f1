// Checkpoints: a resumed run continues to the same numbers, and a damaged or foreign file is
// refused without touching the network.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "support/catch.hpp"
#include "training/generated_images.hpp"
#include "training/temporary_folder.hpp"
#include "training/trainer.hpp"

namespace {

using namespace training;
using adr_test::contains;
using adr_test::TemporaryFolder;

NetworkDescription small_network() {
  NetworkDescription network;
  network.name = "small";
  network.input = {3, 32, 32};
  network.layers = {ConvLayer{6, 5, 2, 2}, MaxPoolLayer{2, 2}, ReluLayer{},
                    ConvLayer{5, 3, 1, 1}, ReluLayer{},        LinearLayer{10}};
  network.published = {{15, 8}, {18, 8}};
  return network;
}

/// A run of its own: network, trainer and what they need.
class Run {
 public:
  Run(const TrainingPlan& plan, const ReuseOptions& reuse, const DataSet& data, int threads = 1)
      : context_(threads),
        network_(small_network(), settings(plan, reuse), context_),
        trainer_(network_, data, plan,
                 run_settings(small_network(), adr::Layout::nhwc, reuse, "exact", plan, data),
                 context_, schedule(reuse, plan, data)) {}

  EpochReport run() { return trainer_.run(); }
  /// Stops after an epoch in the way of a user who interrupts the program.
  void run_until(index_t epoch) {
    struct Interrupted {};
    TrainingObserver observer;
    observer.on_epoch = [epoch](const EpochReport& report) {
      if (report.epoch == epoch) throw Interrupted();
    };
    CHECK_THROWS_AS(trainer_.run(observer), Interrupted);
  }

  std::vector<float> numbers() {
    std::vector<float> all;
    for (Parameter<float>* parameter : network_.parameters()) {
      all.insert(all.end(), parameter->value(), parameter->value() + parameter->size());
      all.insert(all.end(), parameter->velocity(), parameter->velocity() + parameter->size());
    }
    return all;
  }

 private:
  /// Without times, so that the same data give the same decisions.
  adr::ReuseScheduler* schedule(const ReuseOptions& reuse, const TrainingPlan& plan,
                                const DataSet& data) {
    if (reuse.mode != Mode::automatic) return nullptr;
    context_.set_clock(nullptr);
    adr::SchedulerOptions options;
    options.strategy = reuse.strategy;
    options.planned_steps = plan.epochs * steps_per_epoch(data, plan);
    options.tuning.first_measure_interval = 3;
    options.tuning.measure_interval = 5;
    options.tuning.measure_share = 1;
    options.tuning.meter_interval = 2;
    options.tuning.min_stay = 2;
    options.tuning.max_cost = 100;  // so that something is reused on layers as small as these
    options.loss.warm_up = 2;
    options.loss.window = 2;
    options.loss.patience = 1;
    scheduler_.emplace(options);
    return &*scheduler_;
  }

  static NetworkSettings<float> settings(const TrainingPlan& plan, const ReuseOptions& reuse) {
    NetworkSettings<float> result;
    result.convolutions = convolution_options(small_network(), reuse);
    result.seed = plan.seed;
    return result;
  }

  adr::Context context_;
  Network<float> network_;
  std::optional<adr::ReuseScheduler> scheduler_;
  Trainer<float> trainer_;
};

DataSet small_data() {
  adr::Context context(1);
  return generate_images(70, 30, 4, context);
}

TrainingPlan small_plan(index_t epochs) {
  TrainingPlan plan;
  plan.epochs = epochs;
  plan.batch = 16;
  plan.augment = true;
  plan.sgd.step_epochs = 2;
  return plan;
}

ReuseOptions reuse_with(Mode mode, adr::Strategy strategy = adr::Strategy::error_budget) {
  ReuseOptions reuse;
  reuse.mode = mode;
  reuse.strategy = strategy;
  return reuse;
}

std::vector<std::string> lines_without_times(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::string kept;
    int column = 0;
    for (const char c : line) {
      if (c == ',') ++column;
      if (column != 1 && column != 2 && column != 11) kept += c;
    }
    lines.push_back(kept);
  }
  return lines;
}

/// The first column of a trace.
std::vector<std::string> steps_of(const std::string& path) {
  std::vector<std::string> steps;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) steps.push_back(line.substr(0, line.find(',')));
  return steps;
}

}  // namespace

TEST_CASE("A resumed run continues to the same numbers") {
  std::vector<ReuseOptions> kinds = {reuse_with(Mode::exact), reuse_with(Mode::subspace),
                                     reuse_with(Mode::published), reuse_with(Mode::published)};
  kinds[1].gradient_rounding = {2};
  kinds[3].published.cluster_reuse = true;
  kinds[3].published.max_product_age = 2;
  kinds[3].published.hash_center = adr::HashCenter::mean;
  kinds[3].published.exact_gradients = true;
  const DataSet data = small_data();
  for (const ReuseOptions& reuse : kinds) {
    const TemporaryFolder folder;
    TrainingPlan whole = small_plan(4);
    whole.csv = folder.file("whole.csv");
    whole.trace = folder.file("whole.trace.csv");
    Run uninterrupted(whole, reuse, data);
    const EpochReport expected = uninterrupted.run();

    TrainingPlan parts = small_plan(2);
    parts.csv = folder.file("parts.csv");
    parts.trace = folder.file("parts.trace.csv");
    parts.checkpoint = folder.file("checkpoint");
    Run(parts, reuse, data).run();
    parts.epochs = 4;
    parts.resume = true;
    Run resumed(parts, reuse, data);
    const EpochReport actual = resumed.run();

    INFO(label(expected.plans));
    CHECK(actual.epoch == 4);
    CHECK(actual.train_loss == expected.train_loss);
    CHECK(actual.test_accuracy == expected.test_accuracy);
    CHECK(resumed.numbers() == uninterrupted.numbers());
    CHECK(lines_without_times(parts.csv) == lines_without_times(whole.csv));
    CHECK(steps_of(parts.trace) == steps_of(whole.trace));
    CHECK(steps_of(parts.trace).size() > 2);
    CHECK_FALSE(std::filesystem::exists(parts.checkpoint + ".tmp"));
  }
}

TEST_CASE("A resumed schedule continues to the same decisions and numbers") {
  const auto strategy = GENERATE(adr::Strategy::error_budget, adr::Strategy::plateau_ladder,
                                 adr::Strategy::cluster_reuse_first);
  const ReuseOptions reuse = reuse_with(Mode::automatic, strategy);
  const DataSet data = small_data();
  const TemporaryFolder folder;
  TrainingPlan whole = small_plan(4);
  whole.csv = folder.file("whole.csv");
  Run uninterrupted(whole, reuse, data);
  const EpochReport expected = uninterrupted.run();

  TrainingPlan parts = small_plan(4);
  parts.csv = folder.file("parts.csv");
  parts.checkpoint = folder.file("checkpoint");
  const index_t stopped_after = GENERATE(1, 3);
  Run(parts, reuse, data).run_until(stopped_after);
  parts.resume = true;
  Run resumed(parts, reuse, data);
  const EpochReport actual = resumed.run();

  INFO(adr::to_string(strategy) << ", " << label(expected.plans));
  CHECK(actual.train_loss == expected.train_loss);
  CHECK(label(actual.plans) == label(expected.plans));
  CHECK(resumed.numbers() == uninterrupted.numbers());
  CHECK(lines_without_times(parts.csv) == lines_without_times(whole.csv));
}

TEST_CASE("The numbers of a run do not depend on the threads") {
  const DataSet data = small_data();
  for (const Mode mode : {Mode::exact, Mode::published}) {
    Run one(small_plan(2), reuse_with(mode), data, 1);
    Run three(small_plan(2), reuse_with(mode), data, 3);
    one.run();
    three.run();
    CHECK(one.numbers() == three.numbers());
  }
}

TEST_CASE("A damaged checkpoint is refused and changes nothing") {
  const TemporaryFolder folder;
  const DataSet data = small_data();
  TrainingPlan plan = small_plan(1);
  plan.checkpoint = folder.file("checkpoint");
  const ReuseOptions exact = reuse_with(Mode::exact);
  Run(plan, exact, data).run();
  const std::vector<char> intact = adr_test::read_bytes(plan.checkpoint);
  plan.epochs = 2;
  plan.resume = true;
  const auto resume = [&] { Run(plan, exact, data).run(); };

  SECTION("any byte of the payload") {
    for (const std::size_t position : {std::size_t{32}, intact.size() / 2, intact.size() - 1}) {
      std::vector<char> bytes = intact;
      bytes[position] = static_cast<char>(bytes[position] ^ 0x10);
      adr_test::write_bytes(plan.checkpoint, bytes);
      CHECK_THROWS_WITH(resume(), contains("corrupt"));
    }
  }
  SECTION("cut short") {
    for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{31}}) {
      adr_test::write_bytes(plan.checkpoint,
                            {intact.begin(), intact.begin() + static_cast<long>(size)});
      CHECK_THROWS_WITH(resume(), contains("not a checkpoint"));
    }
    adr_test::write_bytes(plan.checkpoint, {intact.begin(), intact.end() - 1});
    CHECK_THROWS_WITH(resume(), contains("bytes after its header"));
  }
  SECTION("too long") {
    std::vector<char> bytes = intact;
    bytes.push_back('x');
    adr_test::write_bytes(plan.checkpoint, bytes);
    CHECK_THROWS_WITH(resume(), contains("bytes after its header"));
  }
  SECTION("another format") {
    std::vector<char> bytes = intact;
    bytes[8] = 9;
    adr_test::write_bytes(plan.checkpoint, bytes);
    CHECK_THROWS_WITH(resume(), contains("version must be 1, got 9"));
    bytes = intact;
    std::swap(bytes[12], bytes[15]);
    adr_test::write_bytes(plan.checkpoint, bytes);
    CHECK_THROWS_WITH(resume(), contains("byte order"));
    adr_test::write_bytes(plan.checkpoint, std::vector<char>(5000, 'a'));
    CHECK_THROWS_WITH(resume(), contains("not a checkpoint"));
  }
  SECTION("missing") {
    std::filesystem::remove(plan.checkpoint);
    CHECK_THROWS_WITH(resume(), contains("cannot be opened"));
  }
}

TEST_CASE("A checkpoint of a different run is refused") {
  const TemporaryFolder folder;
  const DataSet data = small_data();
  TrainingPlan plan = small_plan(1);
  plan.checkpoint = folder.file("checkpoint");
  const ReuseOptions exact = reuse_with(Mode::exact);
  Run(plan, exact, data).run();
  plan.resume = true;

  CHECK_THROWS_WITH(Run(plan, exact, data),
                    contains("--epochs must be above") && contains("got 1"));
  plan.epochs = 2;
  SECTION("settings") {
    plan.batch = 17;
    CHECK_THROWS_WITH(Run(plan, exact, data), contains("batch = 16") && contains("batch = 17"));
  }
  SECTION("reuse") {
    CHECK_THROWS_WITH(Run(plan, reuse_with(Mode::published), data),
                      contains("mode = exact") && contains("mode = published"));
  }
  SECTION("the rounding of gradients") {
    ReuseOptions rounded = exact;
    rounded.gradient_rounding = {1.5};
    CHECK_THROWS_WITH(Run(plan, rounded, data),
                      contains("setting = exact, ") && contains("exact with rounded gradients"));
  }
  SECTION("data") {
    DataSet other = data;
    other.train.pixels[100] ^= 1;
    CHECK_THROWS_WITH(Run(plan, exact, other), contains("training data"));
  }
}

TEST_CASE("Parameters of another shape are refused and left alone") {
  const TemporaryFolder folder;
  const std::string path = folder.file("checkpoint");
  Parameter<float> stored("weights", 2, 3, WeightDecay::on);
  save_checkpoint<float>(path, {}, {}, {&stored});

  Parameter<float> renamed("bias", 2, 3, WeightDecay::on);
  Parameter<float> larger("weights", 2, 4, WeightDecay::on);
  Parameter<float> fitting("weights", 2, 3, WeightDecay::on);
  renamed.value()[0] = 5;
  CHECK_THROWS_WITH(load_checkpoint<float>(path, {}, {&renamed}), contains("has bias of 6"));
  CHECK_THROWS_WITH(load_checkpoint<float>(path, {}, {&larger}), contains("weights of 8"));
  CHECK_THROWS_WITH(load_checkpoint<float>(path, {}, {&fitting, &fitting}),
                    contains("must hold 2 parameters, got 1"));
  CHECK(renamed.value()[0] == 5);
}
