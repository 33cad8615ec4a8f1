// Settings of a network for inference, chosen by an accuracy that a test makes up.
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "adr/choose_for_inference.hpp"
#include "support/catch.hpp"
#include "support/fake_layer.hpp"
#include "support/refusal.hpp"

namespace {

using adr::Half;
using adr::index_t;
using adr::Method;
using adr_test::contains;
using adr_test::FakeLayer;
using adr_test::refusal;

/// Two layers whose errors add up in the output; the second matters three times as much.
struct FakeNetwork {
  FakeLayer first{adr_test::convolution_shape()};
  FakeLayer second{adr_test::convolution_shape()};
  std::vector<float> outputs = std::vector<float>(6);
  int batches = 0;
  int evaluations = 0;
  /// Of the network's relative output error, per half.
  std::function<double(double, Half)> accuracy = [](double error, Half half) {
    return (half == Half::choosing ? 0.9 : 0.8) - 0.1 * error;
  };

  [[nodiscard]] double error() const {
    return first.error(first.plan()) + 3 * second.error(second.plan());
  }
  adr::TrainedNetwork<float> view() {
    adr::TrainedNetwork<float> network;
    network.layers = {&first, &second};
    network.next_batch = [this] { ++batches; };
    network.forward = [this] {
      first.pass();
      second.pass();
      // Deviations of 1, 0 and -1 from the mean of a row, and those of an error across them.
      const auto off = static_cast<float>(error());
      outputs = {1 + off, -2 * off, -1 + off, 1 - off, 2 * off, -1 - off};
      return adr::MatrixView<const float>(outputs.data(), 2, 3);
    };
    network.accuracy = [this](Half half) {
      ++evaluations;
      return accuracy(error(), half);
    };
    return network;
  }
};

}  // namespace

TEST_CASE("The fastest settings are chosen that lose no more accuracy than they may") {
  double last = std::numeric_limits<double>::infinity();
  double fastest = 0;
  for (const double max_drop : {50.0, 3.0, 1.0, 0.0}) {
    INFO("max_drop " << max_drop);
    FakeNetwork network;
    adr::InferenceOptions options;
    options.max_drop = max_drop;
    options.learning_passes = 60;
    const adr::InferenceChoice choice = adr::choose_for_inference(network.view(), options);
    CHECK(choice.exact_accuracy == 0.9);
    CHECK(choice.exact_accuracy_judged == 0.8);
    CHECK(100 * (choice.exact_accuracy - choice.accuracy) <= max_drop + 1e-9);
    CHECK(choice.accuracy == 0.9 - 0.1 * network.error());
    CHECK(std::abs(choice.judged_drop() - 10 * network.error()) < 1e-9);
    // What is said is what the layers are left with, and they learn no more.
    CHECK(network.first.plan().method == choice.plans[0].method);
    CHECK(network.first.plan().kept_coordinates == choice.plans[0].kept_coordinates);
    CHECK(network.second.plan().kept_coordinates == choice.plans[1].kept_coordinates);
    CHECK(network.first.frozen);
    CHECK(network.second.frozen);
    CHECK(network.error() <= last);
    last = network.error();
    if (max_drop == 50) {
      fastest = choice.seconds;
      CHECK(choice.seconds < choice.exact_seconds);
      CHECK(choice.plans[0].method == Method::subspace);
    }
    CHECK(choice.seconds >= fastest);
    if (max_drop == 0) {
      CHECK(choice.max_error == 0);
      CHECK(choice.plans[0].method == Method::exact);
      CHECK(choice.plans[1].method == Method::exact);
      CHECK(choice.seconds == choice.exact_seconds);
    }
  }
}

TEST_CASE("What matters more to the output gets the finer setting") {
  FakeNetwork network;
  adr::InferenceOptions options;
  options.max_drop = 3;
  const adr::InferenceChoice choice = adr::choose_for_inference(network.view(), options);
  REQUIRE(choice.plans[0].method == Method::subspace);
  CHECK((choice.plans[1].method == Method::exact ||
         choice.plans[1].kept_coordinates >= choice.plans[0].kept_coordinates));
}

TEST_CASE("Where nothing is faster nothing but the exact network is evaluated") {
  FakeNetwork network;
  for (FakeLayer* layer : {&network.first, &network.second}) {
    layer->seconds = [](const adr::Plan& plan) { return plan.method == Method::exact ? 1.0 : 1.5; };
  }
  const adr::InferenceChoice choice = adr::choose_for_inference(network.view());
  CHECK(network.evaluations == 2);
  CHECK(choice.plans[0].method == Method::exact);
  CHECK(choice.exact_seconds == 2);
}

TEST_CASE("A layer that may not use Winograd's algorithms does not") {
  FakeNetwork network;
  for (FakeLayer* layer : {&network.first, &network.second}) {
    adr::Plan direct = layer->plan();
    direct.winograd = false;
    layer->set_plan(direct);
  }
  // The second layer gains nothing, so that it stays exact beside the first.
  const auto seconds = network.second.seconds;
  network.second.seconds = [seconds](const adr::Plan& plan) {
    return plan.method == Method::exact ? seconds(plan) : 1.0;
  };
  adr::InferenceOptions options;
  options.max_drop = 100;
  const adr::InferenceChoice choice = adr::choose_for_inference(network.view(), options);
  CHECK(choice.plans[0].method == Method::subspace);
  CHECK(choice.plans[1].method == Method::exact);
  for (const adr::Plan& plan : choice.plans) CHECK_FALSE(plan.winograd);
  CHECK_FALSE(network.second.plan().winograd);
  // What the layers run with is what was said, so that it can be repeated.
  CHECK(network.first.plan() == choice.plans[0]);
  CHECK(network.second.plan() == choice.plans[1]);
}

TEST_CASE("An accuracy that is no number chooses nothing") {
  FakeNetwork network;
  network.accuracy = [](double error, Half) { return error > 0 ? std::nan("") : 0.5; };
  adr::InferenceOptions options;
  options.max_drop = 100;
  const adr::InferenceChoice choice = adr::choose_for_inference(network.view(), options);
  CHECK(choice.plans[0].method == Method::exact);
  network.accuracy = [](double, Half) { return std::nan(""); };
  CHECK_THAT(refusal([&] { adr::choose_for_inference(network.view(), options); }),
             contains("a share of right answers in [0, 1], got nan"));
}

TEST_CASE("A choice without what it needs is refused") {
  FakeNetwork network;
  const auto refused = [&](const adr::TrainedNetwork<float>& view,
                           const adr::InferenceOptions& options = {}) {
    return refusal([&] { adr::choose_for_inference(view, options); });
  };
  adr::TrainedNetwork<float> view = network.view();
  view.layers.clear();
  CHECK_THAT(refused(view), contains("at least 1 layer, got 0"));
  view.layers = {&network.first, nullptr};
  CHECK_THAT(refused(view), contains("layer 1 is null"));
  view = network.view();
  view.accuracy = nullptr;
  CHECK_THAT(refused(view), contains("next_batch, forward and accuracy"));
  view = network.view();
  adr::InferenceOptions options;
  options.max_drop = std::nan("");
  CHECK_THAT(refused(view, options), contains("max_drop must be 0 to 100 points, got nan"));
  options = {};
  options.learning_passes = 0;
  CHECK_THAT(refused(view, options), contains("learning_passes must be at least 1, got 0"));
  options = {};
  options.max_errors = {0.1, 1};
  CHECK_THAT(refused(view, options), contains("max_errors must be above 0 and below 1, got 1"));
  CHECK(network.batches == 0);
}

TEST_CASE(
    "The error of outputs is relative to the exact ones, and what all classes share is none") {
  const std::vector<double> exact = {1, 3, 5, 0, 0, 6};
  const adr::MatrixView<const double> view(exact.data(), 2, 3);  // deviations: 8 and 24
  CHECK(adr::detail::squared_output_error<double>(exact, view) == 0);
  CHECK(adr::detail::squared_output_error<double>({2, 4, 6, -7, -7, -1}, view) == 0);
  // Twice as far from its mean in one image: an error of 8, of 32.
  CHECK(adr::detail::squared_output_error<double>({-1, 3, 7, 0, 0, 6}, view) == 0.25);
}
