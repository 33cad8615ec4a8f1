// Layers that learn a subspace of shared neuron vectors: their output against the dense product
// where the subspace holds all that varies, and when they learn.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "property/shared_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::InputGradient;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::ReuseGemm;
using adr::ReuseLinear;
using adr::WeightGradient;
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::LinearCase;
using adr_test::Matrix;
using adr_test::NamedGeometry;
using adr_test::NeuronVectorKind;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::shared_geometries;
using adr_test::Start;
using adr_test::with_method;
using adr_test::passes::backward;
using adr_test::passes::forward;

namespace {

constexpr NeuronVectorKind k_kinds[] = {NeuronVectorKind::patch, NeuronVectorKind::pixel,
                                        NeuronVectorKind::strip};

Plan with_kind(Plan config, NeuronVectorKind kind) {
  config.neuron_vectors = kind;
  return config;
}

std::string shown(const Plan& config) {
  return std::string(to_string(config.method)) + ", kind " +
         std::to_string(static_cast<int>(config.neuron_vectors));
}

/// Pixels in a plane of two dimensions through the origin, another one in every call.
template <class T>
void fill_plane(const adr::TensorView<T>& images, Data& data) {
  const std::vector<double> axes = data.normals<double>(2 * images.channels);
  for (index_t n = 0; n < images.batch; ++n) {
    for (index_t y = 0; y < images.height; ++y) {
      for (index_t x = 0; x < images.width; ++x) {
        const double a = data.normal<double>();
        const double b = data.normal<double>();
        for (index_t c = 0; c < images.channels; ++c) {
          adr::reference::element(images, n, c, y, x) =
              static_cast<T>(a * axes[static_cast<std::size_t>(2 * c)] +
                             b * axes[static_cast<std::size_t>(2 * c + 1)]);
        }
      }
    }
  }
}

/// A layer with as many neuron vectors as pixels and no padding, ten channels.
ConvGeometry pixels(index_t height, index_t width) {
  ConvGeometry g;
  g.in_channels = 10;
  g.in_height = height;
  g.in_width = width;
  g.out_channels = 7;
  g.set_kernel(2);
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("A subspace of all coordinates gives the dense product", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      Plan config = with_kind(with_method(Method::subspace), kind);
      config.kept_coordinates = adr::vector_length(named.geometry, kind);
      Context context(2);
      ReuseConv2d<T> layer(named.geometry, config, context);
      for (const index_t batch : {9, 1, 4}) {
        INFO(named.name << ", " << shown(config) << ", batch " << batch);
        ConvCase<T> c(named.geometry, batch, data,
                      batch == 4 ? Placement{} : Placement{5, Start::misaligned});
        forward(layer, c);
        for (index_t group = 0; group < named.geometry.groups; ++group) {
          CHECK(adr_test::share_fault(c.output(group), adr_test::dense_output(c.operands(group)),
                                      1e-4) == "");
        }
        CHECK(layer.clustering().slices.empty());
        CHECK(c.damage() == "");
      }
    }
  }
}

TEST_CASE("A subspace is as large as its error asks for") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(9, 8);
  ConvCase<float> c(g, 3, data);
  fill_plane(c.input_like(c.x), data);
  ReuseConv2d<float> layer(g, with_method(Method::subspace));
  forward(layer, c);
  // Two coordinates and the mean, of ten.
  CHECK(adr_test::share_fault(c.output(0), adr_test::dense_output(c.operands(0)), 1e-4) == "");
  CHECK(layer.report().forward.multiply_adds_done <=
        0.4 * layer.report().forward.multiply_adds_dense);
  CHECK(layer.report().relative_input_error() < 1e-3);
  data.fill_normal(c.x.view());
  layer.clear_cache();
  forward(layer, c);
  CHECK(layer.report().forward.multiply_adds_done >
        0.6 * layer.report().forward.multiply_adds_dense);
}

TEMPLATE_TEST_CASE("A linear layer learns a subspace of its rows", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  Plan config = with_method(Method::subspace);
  config.kept_coordinates = 21;
  Context context(2);
  ReuseLinear<T> layer(21, 13, config, context);
  // The last batch has other rows than those that were learned.
  for (const index_t rows : {70, 1, 33, 200}) {
    LinearCase<T> c(rows, 21, 13, data, Placement{rows % 2, Start::misaligned});
    paint(c.x.view(), 6, data);
    if (rows != 200) layer.clear_cache();
    forward(layer, c);
    // Of fewer rows than columns nothing is learned.
    CHECK(layer.report().fits == (rows == 200 || rows == 1 ? 0 : 1));
    CHECK(adr_test::share_fault(c.output(), adr_test::dense_output(c.operands()), 2e-3) == "");
    CHECK(c.damage() == "");
  }
}

TEST_CASE("A frozen layer repeats its last pass and learns no more") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    INFO(named.name);
    const auto groups = static_cast<int>(named.geometry.groups);
    Plan config = with_method(Method::subspace);
    config.refit_interval = 3;
    ReuseConv2d<float> layer(named.geometry, config);
    ConvCase<float> c(named.geometry, 3, data);
    CHECK_FALSE(layer.frozen());
    forward(layer, c);
    forward(layer, c);
    const std::vector<float> bits = adr_test::elements_of(c.y);
    layer.freeze();
    CHECK(layer.frozen());
    for (int pass = 0; pass < 5; ++pass) {
      forward(layer, c);
      CHECK(adr_test::same_bits(adr_test::elements_of(c.y), bits));
      CHECK(layer.report().fits == 0);
    }
    ConvCase<float> moved(named.geometry, 3, data);
    fill_plane(moved.input_like(moved.x), data);
    for (int pass = 0; pass < 8; ++pass) {
      if (pass == 3) layer.clear_cache();
      forward(layer, moved);
      CHECK(layer.report().fits == 0);
    }
    forward(layer, c);
    CHECK(adr_test::same_bits(adr_test::elements_of(c.y), bits));
    layer.unfreeze();
    CHECK_FALSE(layer.frozen());
    forward(layer, moved);
    CHECK(layer.report().fits == groups);
  }
}

TEST_CASE("New weights are rotated anew, in frozen layers as well") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const bool frozen : {false, true}) {
      INFO(named.name << ", frozen " << frozen);
      Plan config = with_kind(with_method(Method::subspace), NeuronVectorKind::pixel);
      config.kept_coordinates = named.geometry.group_in_channels();
      ReuseConv2d<float> layer(named.geometry, config);
      ConvCase<float> c(named.geometry, 3, data);
      paint(c.input_like(c.x), NeuronVectorKind::pixel, 5, data);
      forward(layer, c);
      if (frozen) layer.freeze();
      for (int step = 0; step < 2; ++step) {
        if (step == 0) data.fill_normal(c.w.view());
        if (step == 1) c.w(c.w.view().rows - 1, c.w.view().cols - 1) += 4;
        // No sample sees a change of one weight alone.
        if (step == 1 && frozen) layer.freeze();
        forward(layer, c);
        CHECK(layer.report().fits == 0);
        for (index_t group = 0; group < named.geometry.groups; ++group) {
          CHECK(adr_test::share_fault(c.output(group), adr_test::dense_output(c.operands(group)),
                                      3e-3) == "");
        }
      }
    }
  }
}

TEST_CASE("Freezing what has learned nothing is refused") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(5, 5);
  const auto refused = [&](Method method) {
    ReuseConv2d<float> layer(g, with_method(method));
    const std::string text = refusal([&] { layer.freeze(); });
    CHECK_FALSE(layer.frozen());
    return text;
  };
  CHECK_THAT(refused(Method::subspace),
             contains("freeze: no subspace has been fitted yet; run a forward pass first"));
  CHECK(refused(Method::exact) == "(no error)");
  CHECK(refused(Method::published) == "(no error)");
  ReuseLinear<float> linear(4, 3, with_method(Method::subspace));
  CHECK_THAT(refusal([&] { linear.freeze(); }),
             contains("freeze: no subspace has been fitted yet"));
  ReuseGemm<float> gemm(with_method(Method::subspace));
  CHECK_THAT(refusal([&] { gemm.freeze(); }), contains("freeze: nothing has been multiplied yet"));
  // Nothing can be learned from nothing.
  ReuseConv2d<float> layer(g, with_method(Method::subspace));
  ConvCase<float> empty(g, 0, data);
  forward(layer, empty);
  CHECK_THAT(refusal([&] { layer.freeze(); }), contains("freeze: no subspace has been fitted yet"));
}

TEST_CASE("Clusters are learned in the first pass, at intervals, and when asked") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    INFO(named.name);
    Plan config = with_method(Method::subspace);
    config.refit_interval = 4;
    ReuseConv2d<float> layer(named.geometry, config);
    ConvCase<float> c(named.geometry, 3, data);
    std::vector<int> fits;
    for (int pass = 0; pass < 12; ++pass) {
      if (pass == 10) layer.clear_cache();
      forward(layer, c);
      REQUIRE(layer.report().fits % static_cast<int>(named.geometry.groups) == 0);
      fits.push_back(layer.report().fits / static_cast<int>(named.geometry.groups));
    }
    CHECK(fits == std::vector<int>{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0});
  }
}

TEST_CASE("Clusters are learned anew when the data move, but not at once") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(9, 8);
  ConvCase<float> before(g, 3, data);
  ConvCase<float> after(g, 3, data);
  fill_plane(before.input_like(before.x), data);
  fill_plane(after.input_like(after.x), data);
  Plan config = with_method(Method::subspace);
  ReuseConv2d<float> layer(g, config);
  std::vector<int> fits;
  const auto pass = [&](ConvCase<float>& c) {
    forward(layer, c);
    fits.push_back(layer.report().fits);
  };
  pass(before);
  for (int i = 0; i < 6; ++i) pass(after);
  for (int i = 0; i < 6; ++i) pass(before);
  CHECK(fits == std::vector<int>{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0});
  // Data that stay are no reason.
  ReuseConv2d<float> steady(g, config);
  for (int i = 0; i < 12; ++i) {
    forward(steady, before);
    CHECK(steady.report().fits == (i == 0 ? 1 : 0));
  }
}

TEMPLATE_TEST_CASE("An input that is not finite is multiplied densely", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    const auto groups = static_cast<int>(named.geometry.groups);
    for (const bool fitted : {false, true}) {
      INFO(named.name << ", fitted " << fitted);
      constexpr T k_infinity = std::numeric_limits<T>::infinity();
      std::vector<T> values = {std::numeric_limits<T>::quiet_NaN(), k_infinity, -k_infinity};
      // Subspaces are of floats, to which this is infinite.
      if (sizeof(T) == sizeof(double)) values.push_back(static_cast<T>(1e200));
      Plan config = with_method(Method::subspace);
      config.weight_gradient = WeightGradient::clusters;
      config.input_gradient = InputGradient::dense;
      ReuseConv2d<T> layer(named.geometry, config);
      ReuseConv2d<T> dense(named.geometry, with_method(Method::exact));
      ConvCase<T> c(named.geometry, 3, data);
      if (fitted) forward(layer, c);
      int fits = 0;
      for (const T value : values) {
        INFO("value " << value);
        // The last channel of the middle of an image, which some output meets.
        T& element =
            adr::reference::element(c.input_like(c.x), 1, named.geometry.in_channels - 1, 3, 2);
        const T before = element;
        element = value;
        forward(layer, c);
        CHECK(layer.report().dense_fallbacks == 1);
        fits += layer.report().fits;
        backward(layer, c);
        CHECK(layer.report().weight_gradient_form == WeightGradient::dense);
        const Matrix d_w = c.weight_gradient(groups - 1);
        const Matrix y = c.output(groups - 1);
        forward(dense, c);
        backward(dense, c);
        const Matrix expected_d_w = c.weight_gradient(groups - 1);
        const Matrix expected_y = c.output(groups - 1);
        CHECK(adr_test::same_bits(y.elements, expected_y.elements));
        CHECK(adr_test::same_bits(d_w.elements, expected_d_w.elements));
        element = before;
      }
      forward(layer, c);
      backward(layer, c);
      CHECK(layer.report().dense_fallbacks == 0);
      CHECK(layer.report().weight_gradient_form == WeightGradient::clusters);
      // The finite vectors of the first pass were enough to learn from.
      CHECK(fits == (fitted ? 0 : groups));
      CHECK(layer.report().fits == 0);
    }
  }
}

TEST_CASE("An input without a finite vector teaches nothing") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(6, 5);
  ReuseConv2d<float> layer(g, with_method(Method::subspace));
  ConvCase<float> c(g, 2, data);
  ConvCase<float> good(g, 2, data);
  for (index_t i = 0; i < c.x.view().rows; ++i) {
    std::fill_n(c.x.view().row(i), c.x.view().cols, std::numeric_limits<float>::quiet_NaN());
  }
  forward(layer, c);
  CHECK(layer.report().dense_fallbacks == 1);
  CHECK(layer.report().fits == 0);
  CHECK_THAT(refusal([&] { layer.freeze(); }), contains("freeze: "));
  forward(layer, good);
  CHECK(layer.report().dense_fallbacks == 0);
  CHECK(layer.report().fits == 1);
}

TEST_CASE("Learned layers take batches of any size, and none") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    INFO(named.name);
    Plan config = with_method(Method::subspace);
    config.weight_gradient = WeightGradient::clusters;
    config.input_gradient = InputGradient::over_non_zeros;
    ReuseConv2d<float> layer(named.geometry, config);
    for (const index_t batch : {0, 2, 0, 1, 5, 3}) {
      INFO("batch " << batch);
      ConvCase<float> c(named.geometry, batch, data, Placement{3, Start::misaligned});
      forward(layer, c);
      backward(layer, c);
      CHECK(layer.report().dense_fallbacks == 0);
      CHECK(c.damage() == "");
      for (index_t group = 0; group < named.geometry.groups; ++group) {
        if (batch == 0) {
          for (const double element : c.weight_gradient(group).elements) CHECK(element == 0);
        }
      }
    }
  }
}

TEST_CASE("Learned layers take the scratch that they say") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : {Method::published, Method::subspace}) {
      for (const WeightGradient weights :
           {WeightGradient::clusters, WeightGradient::over_non_zeros, WeightGradient::dense}) {
        for (const InputGradient input : {InputGradient::dense, InputGradient::rounded}) {
          for (const int threads : {1, 3}) {
            INFO(named.name << ", " << to_string(method) << ", forms " << static_cast<int>(weights)
                            << ", " << static_cast<int>(input) << ", " << threads << " threads");
            Plan config = with_method(method);
            config.weight_gradient = weights;
            config.input_gradient = input;
            Context context(threads);
            ReuseConv2d<float> layer(named.geometry, config, context);
            ConvCase<float> c(named.geometry, 3, data, Placement{1, Start::aligned});
            forward(layer, c);
            backward(layer, c);
            CHECK(context.workspace().peak_bytes() == layer.workspace_bytes(3));
          }
        }
      }
    }
  }
}

TEST_CASE("Learned layers say what scratch falling back took") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(6, 5);
  Plan config = with_method(Method::subspace);
  config.input_gradient = InputGradient::dense;
  Context context(2);
  ReuseConv2d<float> layer(g, config, context);
  ConvCase<float> c(g, 2, data);
  c.x(0, 0) = std::numeric_limits<float>::quiet_NaN();
  c.d_y(0, 0) = std::numeric_limits<float>::quiet_NaN();
  forward(layer, c);
  CHECK(context.workspace().peak_bytes() <= layer.workspace_bytes(2));
  backward(layer, c);
  CHECK(context.workspace().peak_bytes() <= layer.workspace_bytes(2));
}

TEST_CASE("Learned layers change their setting and can be moved") {
  Data data;
  INFO(data);
  const ConvGeometry g = shared_geometries()[2].geometry;
  ConvCase<float> c(g, 2, data);
  ReuseConv2d<float> layer(g, with_method(Method::subspace));
  forward(layer, c);
  backward(layer, c);
  const std::vector<float> bits = c.results();
  for (const Method method : {Method::published, Method::exact}) {
    layer.set_plan(with_method(method));
    forward(layer, c);
    CHECK(layer.report().method == method);
  }
  layer.set_plan(with_method(Method::subspace));
  CHECK_THAT(refusal([&] { backward(layer, c); }), contains("run forward first"));
  forward(layer, c);
  CHECK(layer.report().fits == 2);
  backward(layer, c);
  CHECK(adr_test::same_bits(c.results(), bits));
  ReuseConv2d<float> other(g, with_method(Method::subspace));
  forward(other, c);
  ReuseConv2d<float> moved = std::move(other);
  backward(moved, c);
  CHECK(adr_test::same_bits(c.results(), bits));
}

TEST_CASE("Learned layers measure their stages when asked") {
  using adr::Stage;
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(20, 20);
  ConvCase<float> c(g, 2, data);
  for (const bool timed : {false, true}) {
    const auto check = [&](Method method, const std::vector<Stage>& stages) {
      Plan config = with_method(method);
      config.time_stages = timed;
      ReuseConv2d<float> layer(g, config);
      forward(layer, c);
      for (const Stage stage : stages) {
        CHECK((layer.report().forward_times.seconds(stage) > 0) == timed);
      }
    };
    check(Method::published, {Stage::hash, Stage::cluster, Stage::gather});
    check(Method::subspace, {Stage::fit, Stage::encode, Stage::measure, Stage::subspace_product});
  }
}

TEST_CASE("reuse_gemm multiplies in a subspace") {
  Data data;
  INFO(data);
  Plan config = with_method(Method::subspace);
  config.weight_gradient = WeightGradient::clusters;
  config.input_gradient = InputGradient::dense;
  config.kept_coordinates = 30;
  ReuseGemm<float> reuse(config);
  for (const index_t rows : {60, 17, 150}) {
    INFO(rows << " rows");
    LinearCase<float> c(rows, 30, 12, data, Placement{1, Start::misaligned});
    adr_test::GuardedBuffer<float> b(30, 12, 14);
    adr_test::GuardedBuffer<float> d_b(30, 12, 13);
    data.fill_normal(b.view());
    reuse.clear_cache();
    adr::reuse_gemm<float>(c.x.view(), b.view(), c.y.view(), reuse);
    CHECK(reuse.report().fits == (rows < 30 ? 0 : 1));
    adr::reuse_gemm_weight_gradient<float>(c.x.view(), c.d_y.view(), d_b.view(), reuse);
    adr::reuse_gemm_input_gradient<float>(c.d_y.view(), b.view(), c.d_x.view(), reuse);
    CHECK(reuse.report().weight_gradient_form == WeightGradient::clusters);
    CHECK(reuse.report().input_gradient_form == InputGradient::dense);
    adr_test::Operands o;
    o.x = Matrix(c.x.view());
    o.w = Matrix(b.view());
    o.d_y = Matrix(c.d_y.view());
    CHECK(adr_test::share_fault(Matrix(c.y.view()), adr_test::dense_output(o), 2e-3) == "");
    CHECK(adr_test::share_fault(Matrix(d_b.view()), adr_test::dense_weight_gradient(o), 2e-3) ==
          "");
    CHECK(adr_test::share_fault(Matrix(c.d_x.view()), adr_test::dense_input_gradient(o), 1e-5) ==
          "");
    CHECK(c.damage() + b.damage() + d_b.damage() == "");
  }
  reuse.freeze();
  reuse.clear_cache();
  LinearCase<float> c(40, 30, 12, data);
  adr_test::GuardedBuffer<float> b(30, 12, 12);
  data.fill_normal(b.view());
  adr::reuse_gemm<float>(c.x.view(), b.view(), c.y.view(), reuse);
  CHECK(reuse.report().fits == 0);
  reuse.unfreeze();
  adr::reuse_gemm<float>(c.x.view(), b.view(), c.y.view(), reuse);
  CHECK(reuse.report().fits == 1);
}
