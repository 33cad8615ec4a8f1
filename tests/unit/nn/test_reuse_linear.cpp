// ReuseLinear: output and gradients against the reference with the clusters that the layer found,
// statistics against their definitions, and every refusal.
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::HashCenter;
using adr::index_t;
using adr::InputGradient;
using adr::MatrixView;
using adr::Method;
using adr::Plan;
using adr::Report;
using adr::ReuseLinear;
using adr::Stage;
using adr::VectorView;
using adr_test::contains;
using adr_test::Data;
using adr_test::fault;
using adr_test::GivenIds;
using adr_test::LinearCase;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::Start;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

Plan dense() {
  Plan config;
  config.method = Method::exact;
  return config;
}

Plan hyperplane(index_t length, int bits) {
  Plan config;
  config.vector_length = length;
  config.hash_count = bits;
  config.seed = 11;
  return config;
}

template <class T>
void forward(ReuseLinear<T>& layer, LinearCase<T>& c, bool with_bias = true) {
  layer.forward(c.x_view(), c.w_view(), with_bias ? c.bias.vector() : VectorView<T>(), c.y.view());
}

template <class T>
void backward(ReuseLinear<T>& layer, LinearCase<T>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
}

/// Checks all results of a forward and a backward pass.
template <class T>
void check_results(const ReuseLinear<T>& layer, const LinearCase<T>& c, bool with_bias) {
  const adr_test::Operands operands = c.operands(with_bias);
  const bool clustered = layer.plan().method == Method::published;
  const GivenIds given(layer.clustering());
  CHECK(fault<T>(c.output(), clustered ? adr_test::clustered_output(operands, given)
                                       : adr_test::dense_output(operands)) == "");
  CHECK(fault<T>(c.weight_gradient(), clustered
                                          ? adr_test::clustered_weight_gradient(operands, given)
                                          : adr_test::dense_weight_gradient(operands)) == "");
  const bool means = clustered && layer.plan().input_gradient != InputGradient::dense;
  CHECK(fault<T>(c.input_gradient(), means ? adr_test::cluster_mean_input_gradient(operands, given)
                                           : adr_test::dense_input_gradient(operands)) == "");
  CHECK(fault(c.d_bias.view(), adr_test::bias_gradient(operands)) == "");
  CHECK(c.damage() == "");
}

/// Checks the statistics of a forward and a backward pass without cluster reuse.
template <class T>
void check_stats(const ReuseLinear<T>& layer, const LinearCase<T>& c) {
  const Report& stats = layer.report();
  const Plan& config = layer.plan();
  CHECK(stats.method == config.method);
  const auto n = static_cast<double>(c.rows);
  const auto k = static_cast<double>(c.columns);
  const auto m = static_cast<double>(c.outputs);
  for (const auto* pass : {&stats.forward, &stats.weight_gradient, &stats.input_gradient}) {
    CHECK(pass->multiply_adds_dense == n * k * m);
  }
  if (config.method == Method::exact) {
    CHECK(stats.forward.multiply_adds_done == n * k * m);
    CHECK(stats.weight_gradient.multiply_adds_done == n * k * m);
    CHECK(stats.input_gradient.multiply_adds_done == n * k * m);
    CHECK(stats.remaining_ratio() == 1.0);
    CHECK(stats.relative_input_error() == 0.0);
    CHECK(stats.remaining_ratio_per_slice.empty());
    return;
  }
  const GivenIds given(layer.clustering());
  const adr_test::Matrix x(c.x.view());
  const auto slices = adr::reference::slices(c.columns, config.vector_length);
  REQUIRE(slices.size() == given.slices.size());
  REQUIRE(stats.remaining_ratio_per_slice.size() == slices.size());
  const auto centroids = given.centroids(x);
  double clusters = 0;
  double products = 0;
  double total = 0;
  double within = 0;
  for (std::size_t s = 0; s < slices.size(); ++s) {
    CHECK(given.slices[s].first == slices[s].first);
    CHECK(given.slices[s].length == slices[s].length);
    const auto count = static_cast<double>(adr::reference::cluster_count(given.ids[s]));
    CHECK(stats.remaining_ratio_per_slice[s] == (n > 0 ? count / n : 0.0));
    clusters += count;
    products += count * static_cast<double>(slices[s].length) * m;
    total += adr::reference::total_energy(x, slices[s]);
    within += adr::reference::within_cluster_energy(x, slices[s], given.ids[s], centroids[s]);
  }
  const auto slice_count = static_cast<double>(slices.size());
  CHECK(stats.neuron_vectors == n * slice_count);
  CHECK(stats.clusters == clusters);
  CHECK(stats.remaining_ratio() == (n > 0 ? clusters / (n * slice_count) : 1.0));
  CHECK(stats.known_vectors == 0);
  CHECK(stats.reused_products == 0);
  CHECK(stats.non_finite_vectors == 0);
  const double rounding = static_cast<double>(std::numeric_limits<T>::epsilon()) * 100 * total;
  CHECK_THAT(stats.total_energy, WithinAbs(total, rounding));
  CHECK_THAT(stats.within_cluster_energy, WithinAbs(within, rounding));
  if (within > 1000 * rounding) {
    CHECK_THAT(stats.relative_input_error(), WithinRel(std::sqrt(within / total), 1e-3));
  }
  CHECK(stats.forward.multiply_adds_done ==
        n * k * config.hash_count + n * k + products + n * slice_count * m);
  CHECK(stats.weight_gradient.multiply_adds_done == n * slice_count * m + products);
  CHECK(stats.input_gradient.multiply_adds_done ==
        (config.input_gradient == InputGradient::dense ? n * k * m : products));
}

struct Shape {
  index_t rows, columns, outputs;
};

}  // namespace

TEMPLATE_TEST_CASE("ReuseLinear agrees with the reference", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape s : {Shape{1, 1, 1}, Shape{40, 7, 3}, Shape{65, 33, 17}, Shape{300, 12, 70}}) {
    std::vector<Plan> configs = {dense()};
    for (const index_t length : {index_t{1}, index_t{5}, s.columns}) {
      if (length > s.columns) continue;
      for (const int bits : {1, 4, 15, 64}) configs.push_back(hyperplane(length, bits));
      configs.push_back(hyperplane(length, 5));
      configs.back().hash_center = HashCenter::mean;
      configs.back().shared_hyperplanes = false;
      configs.back().input_gradient = InputGradient::dense;
    }
    for (const Plan& config : configs) {
      const bool with_bias = config.hash_count % 2 == 0;
      INFO(s.rows << " x " << s.columns << " x " << s.outputs << ", " << to_string(config.method)
                  << ", L " << config.vector_length << ", H " << config.hash_count);
      LinearCase<T> c(s.rows, s.columns, s.outputs, data,
                      with_bias ? Placement{3, Start::misaligned} : Placement{});
      Context context(2);
      ReuseLinear<T> layer(s.columns, s.outputs, config, context);
      CHECK(layer.in_features() == s.columns);
      CHECK(layer.out_features() == s.outputs);
      forward(layer, c, with_bias);
      backward(layer, c);
      check_results(layer, c, with_bias);
      check_stats(layer, c);
      CHECK(context.workspace().peak_bytes() == layer.workspace_bytes(s.rows));
    }
  }
}

TEST_CASE("ReuseLinear takes another number of rows in every call") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    ReuseLinear<double> layer(10, 6, config);
    for (const index_t rows : {20, 3, 0, 90, 1}) {
      INFO(to_string(config.method) << ", " << rows << " rows");
      LinearCase<double> c(rows, 10, 6, data, Placement{1, Start::misaligned});
      forward(layer, c);
      backward(layer, c);
      check_results(layer, c, true);
      check_stats(layer, c);
    }
  }
}

TEST_CASE("ReuseLinear computes the gradients that are asked for, as often as asked") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    for (const auto gradient : {InputGradient::cluster_mean, InputGradient::dense}) {
      Plan chosen = config;
      chosen.input_gradient = gradient;
      ReuseLinear<float> layer(10, 6, chosen);
      LinearCase<float> all(50, 10, 6, data);
      forward(layer, all);
      backward(layer, all);
      const std::vector<float> bits = all.results();
      backward(layer, all);
      CHECK(adr_test::same_bits(all.results(), bits));
      check_results(layer, all, true);
      for (unsigned wanted = 0; wanted < 8; ++wanted) {
        INFO(to_string(config.method) << ", wanted " << wanted);
        adr_test::GuardedBuffer<float> d_x(50, 10, 12);
        adr_test::GuardedBuffer<float> d_w(6, 10, 12);
        adr_test::GuardedBuffer<float> d_bias(6);
        layer.backward(all.x_view(), all.w_view(), all.d_y_view(),
                       {(wanted & 1u) != 0 ? d_x.view() : MatrixView<float>(),
                        (wanted & 2u) != 0 ? d_w.view() : MatrixView<float>(),
                        (wanted & 4u) != 0 ? d_bias.vector() : VectorView<float>()});
        const auto same = [](const auto& a, const auto& b) {
          return adr_test::same_bits(adr_test::elements_of(a), adr_test::elements_of(b));
        };
        CHECK(same(d_x, all.d_x) == ((wanted & 1u) != 0));
        CHECK(same(d_w, all.d_w) == ((wanted & 2u) != 0));
        CHECK(same(d_bias, all.d_bias) == ((wanted & 4u) != 0));
        CHECK(d_x.damage() + d_w.damage() + d_bias.damage() == "");
      }
    }
  }
}

TEST_CASE("ReuseLinear counts the sums of the output gradient once") {
  Data data;
  INFO(data);
  LinearCase<float> c(50, 10, 6, data);
  ReuseLinear<float> layer(10, 6, hyperplane(5, 3));
  forward(layer, c);
  double products = 0;
  for (const auto& slice : layer.clustering().slices) {
    products += static_cast<double>(slice.cluster_count * slice.length * 6);
  }
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(), {c.d_x.view(), {}, {}});
  CHECK(layer.report().weight_gradient.multiply_adds_dense == 0);
  CHECK(layer.report().input_gradient.multiply_adds_done == 50 * 2 * 6 + products);
  CHECK_THAT(layer.report().input_gradient.saved_share(),
             WithinAbs(1 - (600 + products) / 3000, 1e-12));
}

TEST_CASE("ReuseLinear measures its stages when asked") {
  Data data;
  INFO(data);
  LinearCase<float> c(600, 40, 30, data);
  const auto times_of = [&](Plan config, bool timed) {
    config.time_stages = timed;
    Context context(2);
    ReuseLinear<float> layer(40, 30, config, context);
    forward(layer, c);
    backward(layer, c);
    return layer.report();
  };
  for (int i = 0; i < adr::k_stage_count; ++i) {
    const auto stage = static_cast<Stage>(i);
    INFO(to_string(stage));
    const bool in_forward = stage <= Stage::gather && stage != Stage::cluster_reuse;
    const bool in_backward = stage >= Stage::gradient_sums && stage <= Stage::input_gradient;
    const Report timed = times_of(hyperplane(10, 6), true);
    CHECK((timed.forward_times.seconds(stage) > 0) == in_forward);
    CHECK((timed.backward_times.seconds(stage) > 0) == in_backward);
    CHECK(timed.forward_times.seconds(stage) < 60);
    const Report timed_dense = times_of(dense(), true);
    CHECK((timed_dense.forward_times.seconds(stage) > 0) == (stage == Stage::dense));
    CHECK((timed_dense.backward_times.seconds(stage) > 0) == (stage == Stage::dense));
    for (const Plan& config : {hyperplane(10, 6), dense()}) {
      const Report untimed = times_of(config, false);
      CHECK(untimed.forward_times.seconds(stage) == 0);
      CHECK(untimed.backward_times.seconds(stage) == 0);
    }
  }
}

TEST_CASE("ReuseLinear changes its setting between passes") {
  Data data;
  INFO(data);
  LinearCase<float> c(50, 10, 6, data);
  ReuseLinear<float> layer(10, 6, hyperplane(5, 4));
  forward(layer, c);
  backward(layer, c);
  const std::vector<float> coarse = c.results();

  // A setting that is refused changes nothing.
  CHECK_THAT(refusal([&] { layer.set_plan(hyperplane(11, 4)); }),
             contains("vector_length must be at most the number of unfolded columns (10), got 11"));
  CHECK(layer.plan().vector_length == 5);
  backward(layer, c);
  CHECK(adr_test::same_bits(c.results(), coarse));

  layer.set_plan(hyperplane(2, 9));
  CHECK_THAT(refusal([&] { backward(layer, c); }), contains("run forward first"));
  forward(layer, c);
  backward(layer, c);
  check_results(layer, c, true);
  check_stats(layer, c);
  CHECK_FALSE(adr_test::same_bits(c.results(), coarse));

  layer.set_plan(dense());
  forward(layer, c);
  backward(layer, c);
  check_results(layer, c, true);
  check_stats(layer, c);

  layer.set_plan(hyperplane(5, 4));
  forward(layer, c);
  backward(layer, c);
  CHECK(adr_test::same_bits(c.results(), coarse));
}

TEST_CASE("ReuseLinear multiplies with the user's product") {
  Data data;
  INFO(data);
  LinearCase<float> c(50, 10, 6, data);
  for (const Plan& config : {dense(), hyperplane(5, 4)}) {
    int calls = 0;
    ReuseLinear<float> layer(10, 6, config);
    layer.set_dense_gemm(
        adr::DenseGemm<float>([&](const adr::GemmFactor<float>& a, const adr::GemmFactor<float>& b,
                                  adr::Update update, const MatrixView<float>& result) {
          ++calls;
          adr::DenseGemm<float>()(a, b, update, result);
        }));
    forward(layer, c);
    const int forward_calls = calls;
    CHECK(forward_calls == (config.method == Method::exact ? 1 : 2));
    backward(layer, c);
    CHECK(calls > forward_calls);
    check_results(layer, c, true);
  }
}

namespace {

/// A call that has to be refused with a message that holds the text.
struct Refused {
  std::string text;
  std::function<void()> call;
};

/// Checks the messages, and that no result changed.
template <class Case>
void check_refusals(const Case& c, const std::vector<Refused>& calls) {
  const auto before = c.results();
  for (const Refused& refused : calls) {
    INFO(refused.text);
    CHECK_THAT(refusal(refused.call), contains(refused.text));
    CHECK(adr_test::same_bits(c.results(), before));
  }
  CHECK(c.damage() == "");
}

}  // namespace

TEST_CASE("ReuseLinear refuses operands that do not fit and writes nothing") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(5, 4)}) {
    LinearCase<float> c(8, 10, 6, data, Placement{2, Start::aligned});
    ReuseLinear<float> layer(10, 6, config);
    const MatrixView<const float> x = c.x_view();
    const MatrixView<const float> w = c.w_view();
    const VectorView<const float> bias = c.bias.vector();
    const MatrixView<float> y = c.y.view();
    const auto run = [&](const MatrixView<const float>& x_, const MatrixView<const float>& w_,
                         const VectorView<const float>& bias_, const MatrixView<float>& y_) {
      return [&layer, x_, w_, bias_, y_] { layer.forward(x_, w_, bias_, y_); };
    };
    const auto null = [](index_t rows, index_t cols) {
      return MatrixView<float>(nullptr, rows, cols);
    };
    const index_t huge = index_t{1} << 60;
    check_refusals(
        c,
        {{"x must be 8 x 10, got 8 x 9", run(x.block(0, 0, 8, 9), w, bias, y)},
         {"w must be 6 x 10, got 5 x 10", run(x, w.middle_rows(0, 5), bias, y)},
         {"w must be 6 x 10, got 6 x 9", run(x, w.block(0, 0, 6, 9), bias, y)},
         {"bias must have 6 elements, got 5", run(x, w, {bias.data, 5}, y)},
         {"y must be 8 x 6, got 7 x 6", run(x, w, bias, y.middle_rows(0, 7))},
         {"y must be 8 x 6, got 8 x 5", run(x, w, bias, y.block(0, 0, 8, 5))},
         {"x: row_stride must be at least cols, got 9 < 10", run({x.data, 8, 10, 9}, w, bias, y)},
         {"w: row_stride must be at least cols, got -1 < 10", run(x, {w.data, 6, 10, -1}, bias, y)},
         {"y: row_stride must be at least cols, got 5 < 6", run(x, w, bias, {y.data, 8, 6, 5})},
         {"x of 8 x 10 elements has a null pointer", run(null(8, 10), w, bias, y)},
         {"w of 6 x 10 elements has a null pointer", run(x, null(6, 10), bias, y)},
         {"bias of 6 elements has a null pointer", run(x, w, {nullptr, 6}, y)},
         {"y of 8 x 6 elements has a null pointer", run(x, w, bias, null(8, 6))},
         {"x: sizes must not be negative, got -1", run({x.data, -1, 10}, w, bias, y)},
         {"y must not overlap x", run(x, w, bias, {c.x.data() + 50, 8, 6, 12})},
         {"y must not overlap w", run(x, w, bias, {c.w.data(), 8, 6, 6})},
         {"y must not overlap bias: y spans [", run(x, w, {c.y.data(), 6}, y)}});
    CHECK_THAT(adr_test::message_of<std::overflow_error>(
                   run({x.data, huge, 10}, w, bias, {y.data, huge, 6})),
               contains("x: the product of the sizes exceeds"));
  }
}

TEST_CASE("ReuseLinear refuses gradients that do not fit and writes nothing") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(5, 4)}) {
    LinearCase<float> c(8, 10, 6, data, Placement{2, Start::aligned});
    ReuseLinear<float> layer(10, 6, config);
    const MatrixView<const float> x = c.x_view();
    const MatrixView<const float> w = c.w_view();
    const MatrixView<const float> d_y = c.d_y_view();
    const MatrixView<float> d_x = c.d_x.view();
    const MatrixView<float> d_w = c.d_w.view();
    const VectorView<float> d_bias = c.d_bias.vector();
    const auto run = [&](const MatrixView<const float>& x_, const MatrixView<const float>& w_,
                         const MatrixView<const float>& d_y_, const MatrixView<float>& d_x_,
                         const MatrixView<float>& d_w_, const VectorView<float>& d_bias_) {
      return [=, &layer] { layer.backward(x_, w_, d_y_, {d_x_, d_w_, d_bias_}); };
    };
    if (config.method == Method::published) {
      check_refusals(c,
                     {{"a gradient uses the clusters of the last forward pass; run forward first",
                       run(x, w, d_y, d_x, d_w, d_bias)}});
    }
    forward(layer, c);
    if (config.method == Method::published) {
      check_refusals(c, {{"the last forward pass, which had 8 rows; the output gradient has 7",
                          run(x.middle_rows(0, 7), w, d_y.middle_rows(0, 7), d_x.middle_rows(0, 7),
                              d_w, d_bias)}});
    }
    const MatrixView<float> in_x(c.x.data(), 8, 10, 12);
    const MatrixView<float> in_w(c.w.data(), 6, 10, 12);
    const MatrixView<float> in_d_y(c.d_y.data(), 6, 10);
    check_refusals(
        c,
        {{"x must be 8 x 10, got 8 x 9", run(x.block(0, 0, 8, 9), w, d_y, d_x, d_w, d_bias)},
         {"w must be 6 x 10, got 6 x 9", run(x, w.block(0, 0, 6, 9), d_y, d_x, d_w, d_bias)},
         {"d_y must be 8 x 6, got 7 x 6", run(x, w, d_y.middle_rows(0, 7), d_x, d_w, d_bias)},
         {"d_x must be 8 x 10, got 7 x 10", run(x, w, d_y, d_x.middle_rows(0, 7), d_w, d_bias)},
         {"d_w must be 6 x 10, got 5 x 10", run(x, w, d_y, d_x, d_w.middle_rows(0, 5), d_bias)},
         {"d_bias must have 6 elements, got 4", run(x, w, d_y, d_x, d_w, {d_bias.data, 4})},
         {"d_bias of 6 elements has a null pointer", run(x, w, d_y, d_x, d_w, {nullptr, 6})},
         {"d_y of 8 x 6 elements has a null pointer", run(x, w, {nullptr, 8, 6}, d_x, d_w, d_bias)},
         {"d_y: row_stride must be at least cols, got 3 < 6",
          run(x, w, {d_y.data, 8, 6, 3}, d_x, d_w, d_bias)},
         {"d_x: row_stride must be at least cols, got 9 < 10",
          run(x, w, d_y, {d_x.data, 8, 10, 9}, d_w, d_bias)},
         {"d_w: row_stride must be at least cols, got 9 < 10",
          run(x, w, d_y, d_x, {d_w.data, 6, 10, 9}, d_bias)},
         {"d_x must not overlap x", run(x, w, d_y, in_x, d_w, d_bias)},
         {"d_x must not overlap w", run(x, {c.d_x.data(), 6, 10}, d_y, d_x, d_w, d_bias)},
         {"d_x must not overlap d_y", run(x, w, {c.d_x.data(), 8, 6}, d_x, d_w, d_bias)},
         {"d_w must not overlap x", run(x, w, d_y, d_x, {c.x.data(), 6, 10}, d_bias)},
         {"d_w must not overlap w", run(x, w, d_y, d_x, in_w, d_bias)},
         {"d_w must not overlap d_y", run(x, w, d_y, d_x, in_d_y, d_bias)},
         {"d_bias must not overlap x", run(x, w, d_y, d_x, d_w, {c.x.data(), 6})},
         {"d_bias must not overlap w", run(x, w, d_y, d_x, d_w, {c.w.data(), 6})},
         {"d_bias must not overlap d_y", run(x, w, d_y, d_x, d_w, {c.d_y.data() + 3, 6})},
         {"d_w must not overlap d_x", run(x, w, d_y, d_x, {c.d_x.data() + 7, 6, 10}, d_bias)},
         {"d_bias must not overlap d_x", run(x, w, d_y, d_x, d_w, {c.d_x.data() + 7, 6})},
         {"d_bias must not overlap d_w", run(x, w, d_y, d_x, d_w, {c.d_w.data() + 7, 6})}});
    // What is left out overlaps nothing.
    layer.backward(x, w, d_y, {{}, {}, d_bias});
  }
}

TEST_CASE("ReuseLinear refuses elements that are not finite, when asked") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  Data data;
  INFO(data);
  for (Plan config : {dense(), hyperplane(5, 4)}) {
    config.check_finite = true;
    LinearCase<float> c(8, 10, 6, data);
    ReuseLinear<float> layer(10, 6, config);
    forward(layer, c);
    backward(layer, c);
    const auto with = [](float& element, float value, const std::function<void()>& call) {
      return [&element, value, call] {
        const float before = element;
        element = value;
        try {
          call();
        } catch (...) {
          element = before;
          throw;
        }
        element = before;
      };
    };
    const auto run_forward = [&] { forward(layer, c); };
    const auto run_backward = [&] { backward(layer, c); };
    check_refusals(
        c, {{"x must be finite, element (7, 2) is nan", with(c.x(7, 2), nan, run_forward)},
            {"w must be finite, element (5, 9) is inf", with(c.w(5, 9), infinity, run_forward)},
            {"bias must be finite, element (0, 3) is -inf",
             with(c.bias(0, 3), -infinity, run_forward)},
            {"w must be finite, element (0, 0) is nan", with(c.w(0, 0), nan, run_backward)},
            {"d_y must be finite, element (1, 4) is nan", with(c.d_y(1, 4), nan, run_backward)}});
    // Unasked, the bad row spoils no other.
    config.check_finite = false;
    layer.set_plan(config);
    c.x(7, 2) = nan;
    forward(layer, c);
    for (index_t m = 0; m < 6; ++m) {
      CHECK(std::isnan(c.y(7, m)));
      for (index_t n = 0; n < 7; ++n) CHECK(std::isfinite(c.y(n, m)));
    }
    if (config.method == Method::published) CHECK(layer.report().non_finite_vectors == 1);
  }
}

TEST_CASE("ReuseLinear refuses a setting out of range") {
  const auto refused = [](const std::function<void(Plan&)>& change) {
    return refusal([&] {
      Plan config = hyperplane(5, 4);
      change(config);
      ReuseLinear<float> layer(10, 6, config);
    });
  };
  CHECK(refused([](Plan& c) { c.vector_length = 0; }) ==
        "Plan: vector_length must be at least 1, got 0");
  CHECK_THAT(refused([](Plan& c) { c.vector_length = 11; }), contains("(10), got 11"));
  CHECK_THAT(refused([](Plan& c) { c.hash_count = 0; }),
             contains("hash_count must be between 1 and 64, got 0"));
  CHECK_THAT(refused([](Plan& c) { c.hash_count = 65; }),
             contains("hash_count must be between 1 and 64, got 65"));
  CHECK_THAT(refused([](Plan& c) { c.max_product_age = -1; }),
             contains("max_product_age must be at least 0 changes of the weights, got -1"));
  CHECK_THAT(refused([](Plan& c) { c.max_product_age = 3; }),
             contains("max_product_age must be 0 unless cluster_reuse is on, got 3"));
  CHECK_THAT(refused([](Plan& c) { c.cluster_cache_limit = 0; }),
             contains("cluster_cache_limit must be at least 1 cluster, got 0"));
  CHECK_THAT(refused([](Plan& c) { c.refit_interval = 0; }),
             contains("refit_interval must be at least 1 forward pass, got 0"));
  CHECK_THAT(refusal([] { ReuseLinear<float>(0, 6, dense()); }),
             contains("the weights must have at least 1 x 1 elements, got 0 x 6"));
  CHECK_THAT(refusal([] { ReuseLinear<float>(6, 0, dense()); }), contains("got 6 x 0"));
}

TEST_CASE("A batch without rows is no estimate of the mean") {
  Data data;
  INFO(data);
  Plan config = hyperplane(5, 4);
  config.hash_center = adr::HashCenter::mean;
  LinearCase<float> c(30, 10, 6, data);
  ReuseLinear<float> fresh(10, 6, config);
  forward(fresh, c);
  ReuseLinear<float> after_none(10, 6, config);
  after_none.forward(c.x_view().middle_rows(0, 0), c.w_view(), c.bias.vector(),
                     c.y.view().middle_rows(0, 0));
  forward(after_none, c);
  CHECK(after_none.report().within_cluster_energy == fresh.report().within_cluster_energy);
}
