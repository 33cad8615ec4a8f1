// The training loop: it learns, it stops when it diverges, and it refuses impossible plans.
#include <cmath>
#include <string>
#include <variant>
#include <vector>

#include "adr/extern_layers.hpp"
#include "support/catch.hpp"
#include "training/generated_images.hpp"
#include "training/networks.hpp"
#include "training/schedule_options.hpp"
#include "training/temporary_folder.hpp"
#include "training/trainer.hpp"

namespace {

using namespace training;
using adr_test::contains;

NetworkDescription one_layer() {
  NetworkDescription network;
  network.name = "one layer";
  network.input = {3, 32, 32};
  network.layers = {LinearLayer{10}};
  return network;
}

EpochReport train(const TrainingPlan& plan, const DataSet& data) {
  adr::Context context(1);
  Network<float> network(one_layer(), {}, context);
  return Trainer<float>(network, data, plan, {}, context).run();
}

DataSet few_images() {
  adr::Context context(1);
  return generate_images(50, 10, 2, context);
}

}  // namespace

TEST_CASE("Training remembers a handful of images") {
  TrainingPlan plan;
  plan.epochs = 30;
  plan.batch = 25;
  plan.sgd.learning_rate = 0.001;
  plan.sgd.step_epochs = 0;
  const EpochReport last = train(plan, few_images());
  CHECK(last.train_accuracy > 0.9);
  CHECK(last.train_loss < 0.5);
}

TEST_CASE("Exact passes over tiles train like direct products") {
  NetworkDescription description = one_layer();
  description.layers = {ConvLayer{16, 3, 1, 1}, ReluLayer{}, ConvLayer{16, 3, 1, 1},
                        LinearLayer{10}};
  const DataSet data = few_images();
  TrainingPlan plan;
  plan.epochs = 2;
  plan.batch = 10;
  plan.sgd.learning_rate = 1e-4;
  const auto loss = [&](bool winograd) {
    adr::Exact exact;
    exact.winograd = winograd;
    NetworkSettings<float> settings;
    settings.convolutions.assign(2, adr::Options::with(exact));
    adr::Context context(1);
    Network<float> network(description, settings, context);
    return Trainer<float>(network, data, plan, {}, context).run().train_loss;
  };
  const double on_tiles = loss(true);
  const double direct = loss(false);
  CHECK(on_tiles != direct);
  CHECK(direct < 3);
  // Ten steps; over hundreds of them any two ways to round part, repetitions on several threads of
  // a package among them.
  CHECK(on_tiles == Approx(direct).margin(1e-4));
}

TEST_CASE("A diverged run leaves its row and stops") {
  const adr_test::TemporaryFolder folder;
  TrainingPlan plan;
  plan.batch = 10;
  plan.csv = folder.file("run.csv");
  plan.checkpoint = folder.file("checkpoint");
  plan.sgd.learning_rate = 1e38;
  CHECK_THROWS_AS(train(plan, few_images()), Diverged);
  const std::vector<char> csv = adr_test::read_bytes(plan.csv);
  CHECK_THAT(std::string(csv.begin(), csv.end()), contains("\n1,") && contains("nan"));
  CHECK(adr_test::read_bytes(plan.checkpoint).empty());
}

TEST_CASE("Impossible plans are refused") {
  const DataSet data = few_images();
  TrainingPlan plan;
  SECTION("batch") {
    plan.batch = 0;
    CHECK_THROWS_WITH(train(plan, data), contains("--batch must be at least 1 image, got 0"));
  }
  SECTION("epochs") {
    plan.epochs = 0;
    CHECK_THROWS_WITH(train(plan, data), contains("--epochs"));
  }
  SECTION("resume without a file") {
    plan.resume = true;
    CHECK_THROWS_WITH(train(plan, data), contains("--resume needs --checkpoint"));
  }
  SECTION("a folder that does not exist") {
    plan.checkpoint = "no/such/folder/checkpoint";
    CHECK_THROWS_WITH(train(plan, data), contains("--checkpoint must name a file"));
  }
  SECTION("a CSV file that cannot be written") {
    plan.csv = "no/such/folder/run.csv";
    CHECK_THROWS_WITH(train(plan, data), contains("--csv: cannot write"));
  }
  SECTION("the optimiser's settings") {
    plan.sgd.learning_rate = -1;
    CHECK_THROWS_WITH(train(plan, data), contains("--lr must be positive and finite, got -1"));
    plan.sgd.learning_rate = 0.1;
    plan.sgd.momentum = 1;
    CHECK_THROWS_WITH(train(plan, data), contains("--momentum must be at least 0 and below 1"));
    plan.sgd.momentum = 0;
    plan.sgd.weight_decay = -0.5;
    CHECK_THROWS_WITH(train(plan, data), contains("--weight-decay must be at least 0"));
    plan.sgd.weight_decay = 0;
    plan.sgd.step_factor = 0;
    CHECK_THROWS_WITH(train(plan, data), contains("--lr-gamma must be above 0"));
    plan.sgd.step_factor = 1;
    plan.sgd.step_epochs = -1;
    CHECK_THROWS_WITH(train(plan, data), contains("--lr-step must be at least 0"));
  }
  SECTION("no images") {
    DataSet none = data;
    none.test = ImageSet{};
    CHECK_THROWS_WITH(train(plan, none), contains("needs images"));
  }
}

TEST_CASE("One value of L and H serves all convolutions, a list each its own") {
  NetworkDescription network = one_layer();
  network.layers = {ConvLayer{4, 3, 1, 1}, ConvLayer{4, 3, 1, 1}, LinearLayer{10}};
  network.published = {{9, 5}, {12, 6}};
  ReuseOptions options;
  options.mode = Mode::published;
  const auto all = [&] { return convolution_options(network, options); };
  CHECK(label(plans_of(all())) == "published L 9 H 5; published L 12 H 6");
  options.vector_lengths = {7};
  options.hash_counts = {8, 9};
  CHECK(label(plans_of(all())) == "published L 7 H 8; published L 7 H 9");
  options.hash_counts = {8};
  CHECK(label(plans_of(all())) == "published L 7 H 8");
  CHECK(all()[0].seed != all()[1].seed);
  options.hash_counts = {8, 9, 10};
  CHECK_THROWS_WITH(all(), contains("--hash-count") && contains("(2), got 3"));
  options.hash_counts = {8, 65};
  NetworkSettings<float> settings;
  settings.convolutions = all();
  adr::Context context(1);
  CHECK_THROWS_WITH(Network<float>(network, settings, context),
                    contains("conv2: hash_count must be between 1 and 64, got 65"));
}

TEST_CASE("Every mode asks the convolutions for its setting") {
  const NetworkDescription network = network_by_name("cifarnet");
  ReuseOptions options;
  const auto first = [&] { return convolution_options(network, options).front(); };
  for (const Mode mode : {Mode::dense, Mode::exact, Mode::automatic}) {
    options.mode = mode;
    CHECK(std::get<adr::Exact>(first().setting).winograd);
  }
  options.winograd = false;
  CHECK_FALSE(std::get<adr::Exact>(first().setting).winograd);
  options.strategy = adr::Strategy::plateau_ladder;
  CHECK(std::get<adr::Published>(first().setting).vector_length == 15);
  options.mode = Mode::subspace;
  options.coordinates = {8, 16};
  options.gradient_rounding = {2};
  CHECK(std::get<adr::Subspace>(first().setting).coordinates == 8);
  CHECK(first().gradient_rounding == 2);
  options.gradient_rounding = {2, 1};
  CHECK_THROWS_WITH(first(), contains("--gradient-rounding: needs 1 value") && contains("got 2"));
  options.mode = Mode::automatic;  // rounding is that of the phases
  CHECK(first().gradient_rounding == 0);
}

TEST_CASE("Lists of a schedule describe its phases") {
  ReuseOptions options;
  options.mode = Mode::automatic;
  CHECK(scheduler_options(options, 100).phases.size() == 1);  // the library's own
  options.gradient_rounding = {4, 2};
  CHECK_THROWS_WITH(scheduler_options(options, 100),
                    contains("one value per value of --max-errors (0), got 2, 0 and 0"));
  options.max_errors = {0.1, 0.05, 0};
  options.gradient_rounding = {};
  for (const adr::Phase& phase : scheduler_options(options, 100).phases) {
    CHECK(phase.gradient_rounding == 0);
    CHECK(phase.gradient_noise == 0);
  }
  options.gradient_noise = {0.2, 0.1, 0};
  CHECK_THROWS_WITH(scheduler_options(options, 100), contains("of which no value is given"));
  options.gradient_noise = {};
  options.gradient_rounding = {4, 2, 0};
  CHECK(scheduler_options(options, 100).phases[0].gradient_noise == 0);
  options.gradient_noise = {0.2, 0.1, 0};
  const adr::SchedulerOptions given = scheduler_options(options, 100);
  REQUIRE(given.phases.size() == 3);
  CHECK(given.planned_steps == 100);
  CHECK(given.phases[1].max_error == 0.05);
  CHECK(given.phases[1].gradient_rounding == 2);
  CHECK(given.phases[1].gradient_noise == 0.1);
  CHECK_THAT(given.phases[0].end, Catch::Matchers::WithinAbs(1.0 / 3, 1e-12));
  options.phase_ends = {0.5, 1};
  CHECK_THROWS_WITH(scheduler_options(options, 100), contains("(3), got 3, 3 and 2"));
  options.phase_ends = {};
  options.max_errors = {0.1, 0.2, 0};
  CHECK_THROWS_WITH(scheduler_options(options, 100),
                    contains("must not grow from phase to phase, got 0.1 before 0.2"));
}
