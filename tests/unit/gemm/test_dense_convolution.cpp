// A user's own dense convolution behind ReuseConv2d: which passes it gets, and that everything else
// stays as it was.
#include <limits>
#include <memory>
#include <ostream>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "property/layer_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::DenseConvolution;
using adr::index_t;
using adr::InputGradient;
using adr::Layout;
using adr::MatrixView;
using adr::Method;
using adr::Plan;
using adr::Report;
using adr::ReuseConv2d;
using adr::Stage;
using adr::TensorView;
using adr::VectorView;
using adr::WeightGradient;
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::Start;

namespace {

/// How often each pass was run.
struct Calls {
  int forward = 0;
  int weight_gradient = 0;
  int input_gradient = 0;

  bool operator==(const Calls& other) const {
    return forward == other.forward && weight_gradient == other.weight_gradient &&
           input_gradient == other.input_gradient;
  }
  friend std::ostream& operator<<(std::ostream& out, const Calls& calls) {
    return out << "forward " << calls.forward << ", weight gradient " << calls.weight_gradient
               << ", input gradient " << calls.input_gradient;
  }
};

Plan dense() {
  Plan config;
  config.method = Method::exact;
  return config;
}

/// Counts, and computes what a dense layer without it computes, bit for bit.
class CountingConvolution final : public DenseConvolution<float> {
 public:
  explicit CountingConvolution(const ConvGeometry& geometry)
      : geometry_(geometry), layer_(geometry, dense()) {}

  void forward(const TensorView<const float>& x, const MatrixView<const float>& w,
               const VectorView<const float>& bias, const TensorView<float>& y) override {
    ++calls.forward;
    layer_.forward(x, w, bias, y);
  }
  void weight_gradient(const TensorView<const float>& x, const TensorView<const float>& d_y,
                       const MatrixView<float>& d_w) override {
    ++calls.weight_gradient;
    const std::vector<float> w(static_cast<std::size_t>(geometry_.out_channels * d_w.cols));
    layer_.backward(x, {w.data(), geometry_.out_channels, d_w.cols}, d_y, {{}, d_w, {}});
  }
  void input_gradient(const TensorView<const float>& d_y, const MatrixView<const float>& w,
                      const TensorView<float>& d_x) override {
    ++calls.input_gradient;
    const std::vector<float> x(static_cast<std::size_t>(d_x.batch * d_x.image_size()));
    layer_.backward({x.data(), d_x.batch, d_x.channels, d_x.height, d_x.width, d_x.layout}, w, d_y,
                    {d_x, {}, {}});
  }

  Calls calls;

 private:
  ConvGeometry geometry_;
  ReuseConv2d<float> layer_;
};

ConvGeometry geometry(Layout layout) {
  ConvGeometry g;
  g.in_channels = 4;
  g.in_height = 7;
  g.in_width = 6;
  g.out_channels = 5;
  g.set_kernel(3);
  g.set_padding(1);
  g.layout = layout;
  return g;
}

Plan config_of(Method method, WeightGradient weights = WeightGradient::automatic,
               InputGradient input = InputGradient::automatic) {
  Plan config;
  config.method = method;
  config.kept_coordinates = 2;
  config.vector_length = 4;
  config.hash_count = 6;
  config.weight_gradient = weights;
  config.input_gradient = input;
  return config;
}

struct Setting {
  Plan config;
  Calls expected;  ///< of a pass in each direction
};

std::vector<Setting> settings() {
  using W = WeightGradient;
  using I = InputGradient;
  return {
      {config_of(Method::exact), {1, 1, 1}},
      {config_of(Method::exact, W::exact, I::exact), {1, 1, 1}},
      {config_of(Method::exact, W::over_non_zeros, I::dense), {1, 0, 1}},
      {config_of(Method::exact, W::dense, I::over_non_zeros), {1, 1, 0}},
      {config_of(Method::exact, W::over_non_zeros, I::rounded), {1, 0, 0}},
      {config_of(Method::published), {0, 0, 0}},
      {config_of(Method::published, W::clusters, I::dense), {0, 0, 1}},
      {config_of(Method::published, W::dense, I::cluster_mean), {0, 1, 0}},
      {config_of(Method::published, W::dense, I::dense), {0, 1, 1}},
      {config_of(Method::subspace, W::clusters, I::over_non_zeros), {0, 0, 0}},
      {config_of(Method::subspace, W::rounded, I::rounded), {0, 0, 0}},
      {config_of(Method::subspace, W::dense, I::over_non_zeros), {0, 1, 0}},
      {config_of(Method::subspace, W::clusters, I::dense), {0, 0, 1}},
      {config_of(Method::subspace, W::dense, I::dense), {0, 1, 1}},
  };
}

void run(ReuseConv2d<float>& layer, ConvCase<float>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
}

void check_same_work(const Report& a, const Report& b) {
  CHECK(a.method == b.method);
  CHECK(a.weight_gradient_form == b.weight_gradient_form);
  CHECK(a.input_gradient_form == b.input_gradient_form);
  const auto check = [](const adr::PassWork& first, const adr::PassWork& second) {
    CHECK(first.multiply_adds_done == second.multiply_adds_done);
    CHECK(first.multiply_adds_dense == second.multiply_adds_dense);
  };
  check(a.forward, b.forward);
  check(a.weight_gradient, b.weight_gradient);
  check(a.input_gradient, b.input_gradient);
  for (int stage = 0; stage < adr::k_stage_count; ++stage) {
    INFO(to_string(static_cast<Stage>(stage)));
    const auto spent = [stage](const adr::StageTimes& times) {
      return times.seconds(static_cast<Stage>(stage)) > 0;
    };
    CHECK(spent(a.forward_times) == spent(b.forward_times));
    CHECK(spent(a.backward_times) == spent(b.backward_times));
  }
}

}  // namespace

TEST_CASE("A dense convolution computes the dense passes and no others") {
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = geometry(layout);
    for (const Setting& setting : settings()) {
      INFO((layout == Layout::nchw ? "nchw " : "nhwc ")
           << to_string(setting.config.method) << ", weight gradient "
           << static_cast<int>(setting.config.weight_gradient) << ", input gradient "
           << static_cast<int>(setting.config.input_gradient));
      Plan config = setting.config;
      config.time_stages = true;
      // The same data twice: results begin as NaN, which an addition to them would keep.
      Data data;
      Data same_data;
      const Placement gaps{5, Start::misaligned};
      ConvCase<float> with(g, 3, data, gaps);
      ConvCase<float> without(g, 3, same_data, gaps);
      const auto convolution = std::make_shared<CountingConvolution>(g);
      Context context(2);
      ReuseConv2d<float> layer(g, config, context);
      ReuseConv2d<float> plain(g, config, context);
      layer.set_dense_convolution(convolution);
      run(layer, with);
      run(plain, without);
      CHECK(convolution->calls == setting.expected);
      CHECK(adr_test::same_bits(with.results(), without.results()));
      CHECK(with.damage() == "");
      check_same_work(layer.report(), plain.report());
    }
  }
}

TEST_CASE("A dense convolution computes only the gradients that are asked for") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometry(Layout::nhwc);
  ConvCase<float> c(g, 2, data);
  const auto convolution = std::make_shared<CountingConvolution>(g);
  ReuseConv2d<float> layer(g, config_of(Method::exact));
  layer.set_dense_convolution(convolution);
  run(layer, c);
  for (const bool weights : {true, false}) {
    for (const bool input : {true, false}) {
      convolution->calls = {};
      layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                     {input ? c.d_x_view() : TensorView<float>(),
                      weights ? c.d_w.view() : MatrixView<float>(),
                      {}});
      CHECK(convolution->calls == Calls{0, weights ? 1 : 0, input ? 1 : 0});
    }
  }
}

TEST_CASE("A dense convolution stays through changes of the setting, until it is taken away") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometry(Layout::nchw);
  ConvCase<float> c(g, 2, data);
  const auto convolution = std::make_shared<CountingConvolution>(g);
  ReuseConv2d<float> layer(g, config_of(Method::subspace, WeightGradient::clusters));
  layer.set_dense_convolution(convolution);
  layer.set_plan(config_of(Method::exact));
  run(layer, c);
  CHECK(convolution->calls == Calls{1, 1, 1});
  layer.set_dense_convolution(nullptr);
  run(layer, c);
  CHECK(convolution->calls == Calls{1, 1, 1});
}

TEST_CASE(
    "A dense convolution gets no empty batch and no group of several, but what falls back to it") {
  Data data;
  INFO(data);
  for (const Method method : {Method::exact, Method::subspace}) {
    const ConvGeometry g = geometry(Layout::nhwc);
    const Plan config = config_of(method, WeightGradient::dense, InputGradient::dense);
    const auto convolution = std::make_shared<CountingConvolution>(g);
    ReuseConv2d<float> layer(g, config);
    layer.set_dense_convolution(convolution);
    ConvCase<float> empty(g, 0, data);
    run(layer, empty);
    CHECK(convolution->calls == Calls{});
    for (index_t m = 0; m < g.out_channels; ++m) {
      for (index_t k = 0; k < g.columns(); ++k) CHECK(empty.d_w(m, k) == 0.0f);
    }

    ConvGeometry grouped = g;
    grouped.groups = 2;
    grouped.out_channels = 6;
    ReuseConv2d<float> grouped_layer(grouped, config);
    CHECK_THAT(refusal([&] { grouped_layer.set_dense_convolution(convolution); }),
               contains("needs a convolution of 1 group, this layer has 2"));
    ConvCase<float> c(grouped, 2, data);
    run(grouped_layer, c);
    CHECK(convolution->calls == Calls{});
    CHECK(c.damage() == "");
  }

  const ConvGeometry g = geometry(Layout::nhwc);
  const auto convolution = std::make_shared<CountingConvolution>(g);
  ReuseConv2d<float> layer(
      g, config_of(Method::subspace, WeightGradient::clusters, InputGradient::over_non_zeros));
  layer.set_dense_convolution(convolution);
  ConvCase<float> c(g, 2, data);
  c.x(0, 3) = std::numeric_limits<float>::quiet_NaN();
  run(layer, c);
  CHECK(layer.report().dense_fallbacks == 1);
  // Without clusters the forward pass and the weight gradient are dense.
  CHECK(convolution->calls == Calls{1, 1, 0});
}

TEST_CASE("A layer whose passes are all computed elsewhere needs no scratch") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometry(Layout::nchw);
  ConvCase<float> c(g, 3, data);
  Context context;
  ReuseConv2d<float> layer(g, config_of(Method::exact), context);
  const std::size_t before = layer.workspace_bytes(3);
  CHECK(before > 0);
  layer.set_dense_convolution(std::make_shared<CountingConvolution>(g));
  CHECK(layer.workspace_bytes(3) == 0);
  run(layer, c);
  CHECK(layer.workspace_bytes(3) == 0);
  CHECK(context.workspace().capacity_bytes() == 0);
  layer.set_dense_convolution(nullptr);
  run(layer, c);
  CHECK(layer.workspace_bytes(3) == before);
  CHECK(context.workspace().capacity_bytes() >= before);
}
