// What schedules rest on, on real layers: measured errors, the meter, times, settings that change
// without losing what was learned, exact gradients in their cheapest form, and drift that is
// caught.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "adr/adapt/plan_label.hpp"
#include "adr/adapt/scheduler.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/random.hpp"
#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "support/catch.hpp"

namespace {

using namespace adr;

constexpr index_t k_images = 8;

ConvGeometry geometry_of(Layout layout) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = 16;
  g.in_height = g.in_width = 8;
  g.out_channels = 12;
  g.set_kernel(3);
  g.set_padding(1);
  return g;
}

/// A convolution with operands: images of few patterns and some noise, a gradient of a density.
struct Layer {
  ConvGeometry geometry;
  Context context;
  std::vector<float> x, w, bias, y, d_y, d_x, d_w;
  ReuseConv2d<float> conv;

  explicit Layer(const Plan& config, Layout layout = Layout::nhwc, int threads = 1)
      : geometry(geometry_of(layout)),
        context(threads),
        x(static_cast<std::size_t>(k_images * 16 * 64)),
        w(static_cast<std::size_t>(12 * geometry.columns())),
        bias(12, 0.5F),
        y(static_cast<std::size_t>(k_images * 12 * 64)),
        d_y(y.size()),
        d_x(x.size()),
        d_w(w.size()),
        conv(geometry, config, context) {
    Random random(5);
    for (float& v : w) v = 0.1F * static_cast<float>(random.normal());
    patterned_input(0.05);
    gradient_of_density(0.1);
  }

  /// Pixels that are one of eight patterns, plus noise.
  void patterned_input(double noise, std::uint64_t seed = 1) {
    Random patterns(77);
    std::vector<float> pattern(8 * 16);
    for (float& v : pattern) v = static_cast<float>(patterns.normal());
    Random random(seed);
    for (index_t n = 0; n < k_images; ++n) {
      for (index_t p = 0; p < 64; ++p) {
        const index_t which = random.below(8);
        for (index_t c = 0; c < 16; ++c) {
          const bool nhwc = geometry.layout == Layout::nhwc;
          const index_t at = n * 1024 + (nhwc ? p * 16 + c : c * 64 + p);
          x[static_cast<std::size_t>(at)] = pattern[static_cast<std::size_t>(which * 16 + c)] +
                                            static_cast<float>(noise * random.normal());
        }
      }
    }
  }
  void gradient_of_density(double density) {
    Random random(9);
    for (float& v : d_y) {
      const auto value = static_cast<float>(random.normal());
      v = random.uniform() < density ? value : 0.0F;
    }
  }

  [[nodiscard]] TensorView<float> input(std::vector<float>& values) const {
    return {values.data(), k_images, 16, 8, 8, geometry.layout};
  }
  [[nodiscard]] TensorView<float> output(std::vector<float>& values) const {
    return {values.data(), k_images, 12, 8, 8, geometry.layout};
  }
  [[nodiscard]] MatrixView<float> filters(std::vector<float>& values) const {
    return {values.data(), 12, geometry.columns()};
  }
  void forward() {
    conv.forward(input(x), filters(w), VectorView<const float>(bias.data(), 12), output(y));
  }
  void backward() {
    conv.backward(input(x), filters(w), output(d_y), {input(d_x), filters(d_w), {}});
  }
};

Plan with(Method method) {
  Plan config;
  config.method = method;
  config.kept_coordinates = method == Method::subspace ? 4 : 0;
  return config;
}

/// ||a - b|| / ||b - bias||, as the meter defines it.
double output_error(const std::vector<float>& a, const std::vector<float>& b, float bias) {
  double difference = 0;
  double energy = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    energy += (static_cast<double>(b[i]) - bias) * (static_cast<double>(b[i]) - bias);
  }
  return std::sqrt(difference / energy);
}

}  // namespace

TEST_CASE("Measurements of a frozen layer wait: test images are no part of a training") {
  const Method method = GENERATE(Method::exact, Method::subspace);
  Layer layer(with(method));
  layer.forward();
  layer.conv.freeze();
  layer.conv.request_measurements({with(Method::subspace)});
  layer.forward();
  CHECK(layer.conv.measurements().empty());
  layer.conv.unfreeze();
  layer.forward();
  CHECK(layer.conv.measurements().size() == 1);
}

TEST_CASE("The meter finds the true error of the output") {
  const auto method = GENERATE(Method::published, Method::subspace);
  const auto layout = GENERATE(Layout::nchw, Layout::nhwc);
  Layer exact(with(Method::exact), layout);
  exact.patterned_input(0.3);
  exact.forward();
  Plan config = with(method);
  config.meter_interval = 1;
  Layer metered(config, layout);
  metered.patterned_input(0.3);
  double error_energy = 0;
  double output_energy = 0;
  metered.forward();
  metered.conv.freeze();  // so that every pass has the same outputs, and the meter other rows
  for (int pass = 0; pass < 60; ++pass) {
    metered.forward();
    REQUIRE(metered.conv.report().has_output_error());
    error_energy += metered.conv.report().output_error_energy;
    output_energy += metered.conv.report().sampled_output_energy;
  }
  const double truth = output_error(metered.y, exact.y, 0.5F);
  // Sixty times eight of 512 rows: most rows, some of them twice.
  CHECK_THAT(std::sqrt(error_energy / output_energy), Catch::Matchers::WithinRel(truth, 0.1));
}

TEST_CASE("The meter looks as often as it is told, and changes no bit") {
  const int interval = GENERATE(0, 1, 3);
  Plan config = with(Method::subspace);
  Layer plain(config);
  config.meter_interval = interval;
  Layer metered(config);
  for (int pass = 0; pass < 7; ++pass) {
    plain.forward();
    metered.forward();
    CHECK(metered.y == plain.y);
    CHECK(metered.conv.report().has_output_error() == (interval > 0 && pass % interval == 0));
  }
}

TEST_CASE("Measurements judge settings by images that they did not learn from") {
  Layer layer(with(Method::exact));
  layer.forward();
  const std::vector<float> before = layer.y;
  const std::vector<Plan> settings = {with(Method::subspace), with(Method::published)};
  layer.conv.request_measurements(settings);
  CHECK(layer.conv.measurements().empty());
  layer.forward();
  CHECK(layer.y == before);
  const std::vector<RungMeasurement>& found = layer.conv.measurements();
  REQUIRE(found.size() == settings.size());

  // 8 images of 64 vectors: half of them to learn from, the others to be judged by.
  const index_t half = k_images / 2;
  const auto first = [&](std::vector<float>& values) {
    return TensorView<const float>(values.data(), half, 16, 8, 8, Layout::nhwc);
  };
  for (std::size_t i = 0; i < settings.size(); ++i) {
    ReuseConv2d<float> alone(layer.geometry, settings[i]);
    std::vector<float> output(static_cast<std::size_t>(half * 12 * 64));
    const TensorView<float> y(output.data(), half, 12, 8, 8, Layout::nhwc);
    alone.forward(first(layer.x), layer.filters(layer.w), {}, y);
    alone.freeze();
    std::vector<float> others(layer.x.begin() + half * 1024, layer.x.end());
    alone.forward(first(others), layer.filters(layer.w), {}, y);
    const std::vector<float> exact(before.begin() + half * 12 * 64, before.end());
    for (float& v : output) v += 0.5F;
    CAPTURE(label(settings[i]));
    CHECK_THAT(found[i].output_error,
               Catch::Matchers::WithinRel(output_error(output, exact, 0.5F), 1e-3));
    CHECK(label(found[i].config) == label(settings[i]));
  }
  layer.forward();
  CHECK(layer.conv.measurements().size() == settings.size());  // they stay until the next request
}

TEST_CASE("Measurements leave out what does not fit the layer") {
  Layer layer(with(Method::exact));
  Plan wide = with(Method::published);
  wide.vector_length = layer.geometry.columns() + 1;
  layer.conv.request_measurements({wide, with(Method::subspace)});
  layer.forward();
  REQUIRE(layer.conv.measurements().size() == 1);
  CHECK(layer.conv.measurements()[0].config.method == Method::subspace);
}

TEST_CASE("Layers say whether their coordinates are images for the exact engine") {
  const ConvGeometry g = Layer(with(Method::exact)).geometry;
  Plan config = with(Method::subspace);
  CHECK(ReuseConv2d<float>(g, config).layer_shape().convolves_pixels);
  CHECK(ReuseConv2d<float>(g, with(Method::exact)).layer_shape().convolves_pixels);
  CHECK_FALSE(ReuseConv2d<double>(g, config).layer_shape().convolves_pixels);
  config.neuron_vectors = NeuronVectorKind::patch;
  CHECK_FALSE(ReuseConv2d<float>(g, config).layer_shape().convolves_pixels);
  ConvGeometry grouped = g;
  grouped.groups = 2;
  CHECK_FALSE(ReuseConv2d<float>(grouped, with(Method::subspace)).layer_shape().convolves_pixels);
  CHECK_FALSE(ReuseLinear<float>(8, 4, with(Method::subspace)).layer_shape().convolves_pixels);
}

TEST_CASE("Passes are timed by the clock of the context") {
  Layer layer(with(Method::subspace));
  double now = 0;
  layer.context.set_clock([&now] { return now += 1.0; });
  layer.forward();
  layer.backward();
  const PassSeconds& seconds = layer.conv.report().seconds;
  CHECK(seconds.forward == 1.0);
  CHECK(seconds.weight_gradient >= 1.0);
  CHECK(seconds.input_gradient >= 1.0);
  layer.context.set_clock(nullptr);
  layer.forward();
  layer.backward();
  CHECK(layer.conv.report().seconds.total() == 0);
}

TEST_CASE("Other gradients leave the clusters as they are") {
  Plan config = with(Method::subspace);
  Layer layer(config);
  layer.forward();
  REQUIRE(layer.conv.report().fits == 1);
  config.weight_gradient = WeightGradient::exact;
  config.input_gradient = InputGradient::rounded;
  config.gradient_rounding = 1;
  config.meter_interval = 5;
  layer.conv.set_plan(config);
  layer.forward();
  CHECK(layer.conv.report().fits == 0);
  layer.backward();
  CHECK(layer.conv.report().input_gradient_form == InputGradient::rounded);
  config.kept_coordinates = 3;
  layer.conv.set_plan(config);
  layer.forward();
  CHECK(layer.conv.report().fits == 1);
}

TEST_CASE("The cheapest exact gradients are exact, over non-zeros where there are few") {
  const auto method = GENERATE(Method::exact, Method::subspace);
  const double density = GENERATE(0.02, 1.0);
  Plan config = with(method);
  config.weight_gradient = WeightGradient::dense;
  config.input_gradient = InputGradient::dense;
  Layer exact(config);
  config.weight_gradient = WeightGradient::exact;
  config.input_gradient = InputGradient::exact;
  Layer cheapest(config);
  GradientCosts timed;  // the shape is too small for zeros
  timed.sparse_weights = timed.sparse_input = GradientCosts::k_sparse;
  cheapest.conv.set_gradient_costs(timed);
  for (Layer* layer : {&exact, &cheapest}) {
    layer->gradient_of_density(density);
    layer->forward();
    layer->backward();
  }
  const bool sparse = density < 0.5;
  CHECK(cheapest.conv.report().weight_gradient_form ==
        (sparse ? WeightGradient::over_non_zeros : WeightGradient::dense));
  CHECK(cheapest.conv.report().input_gradient_form ==
        (sparse ? InputGradient::over_non_zeros : InputGradient::dense));
  CHECK(output_error(cheapest.d_w, exact.d_w, 0) < 1e-5);
  CHECK(output_error(cheapest.d_x, exact.d_x, 0) < 1e-5);

  GradientCosts dear;
  dear.sparse_weights = dear.sparse_input = 1000;
  cheapest.conv.set_gradient_costs(dear);
  cheapest.forward();
  cheapest.backward();
  CHECK(cheapest.conv.report().weight_gradient_form == WeightGradient::dense);
  CHECK(cheapest.conv.report().input_gradient_form == InputGradient::dense);
}

TEST_CASE("A schedule reuses where it may, and leaves the layer whose data change") {
  Layer layer(with(Method::exact));
  layer.context.set_clock(nullptr);
  SchedulerOptions options;
  options.phases = {{0.2, 0.0, 1.0}};
  options.tuning.max_cost = 100;  // the layer is a small one
  options.tuning.measure_share = 1;
  options.tuning.meter_interval = 5;
  options.tuning.first_measure_interval = options.tuning.measure_interval = 100000;
  ReuseScheduler scheduler(options);
  scheduler.attach(layer.conv, "conv");
  const auto steps = [&](int count, double noise) {
    for (int i = 0; i < count; ++i) {
      layer.patterned_input(noise, static_cast<std::uint64_t>(i));
      layer.forward();
      layer.backward();
      scheduler.observe(1.0);
    }
  };
  steps(20, 0.05);
  CHECK(layer.conv.plan().method != Method::exact);
  CHECK(layer.conv.report().relative_input_error() < 0.2);
  const Decision before = scheduler.decision(0);
  CHECK(before.error < 0.2);

  steps(2 * static_cast<int>(options.tuning.meter_interval) + 1, 2.0);
  const Decision after = scheduler.decision(0);
  CHECK(after.reason == Reason::error_above_budget);
  CHECK(after.rung > before.rung);
}

TEST_CASE("A linear layer can be scheduled, too") {
  Context context;
  context.set_clock(nullptr);
  ReuseLinear<float> linear(64, 32, with(Method::exact), context);
  std::vector<float> x(256 * 64), w(32 * 64), y(256 * 32), d_w(w.size());
  Random random(3);
  for (float& v : w) v = static_cast<float>(random.normal());
  for (index_t i = 0; i < 256; ++i) {
    for (index_t k = 0; k < 64; ++k) {
      x[static_cast<std::size_t>(i * 64 + k)] = std::sin(0.1F * static_cast<float>((i % 8) * k)) +
                                                0.01F * static_cast<float>(random.normal());
    }
  }
  SchedulerOptions options;
  options.phases = {{0.3, 0.0, 1.0}};
  options.tuning.max_cost = 1000;
  options.tuning.measure_share = 1;
  ReuseScheduler scheduler(options);
  scheduler.attach(linear);
  const MatrixView<const float> input(x.data(), 256, 64);
  for (int step = 0; step < 10; ++step) {
    linear.forward(input, {w.data(), 32, 64}, {}, {y.data(), 256, 32});
    linear.backward(input, {w.data(), 32, 64}, {y.data(), 256, 32}, {{}, {d_w.data(), 32, 64}, {}});
    scheduler.observe(1.0);
  }
  CHECK(linear.plan().method != Method::exact);
  CHECK(linear.report().decision.rung >= 0);
}
