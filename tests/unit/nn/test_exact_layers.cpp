// Layers and the exact convolution: what a layer computes exactly, it computes to the bits of
// ExactConvolution, with Winograd's algorithms or without, whatever its method.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adr/exact/convolution_form.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/extern_layers.hpp"
#include "adr/nn/exact_convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/naive_product.hpp"
#include "support/refusal.hpp"
#include "training/temporary_folder.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::ExactConvolution;
using adr::index_t;
using adr::InputGradient;
using adr::Layout;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::VectorView;
using adr::WeightGradient;
using adr::exact::Form;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Shown;
using adr_test::square_layer;
using adr_test::TemporaryFolder;
using adr_test::thin_out;

namespace {

constexpr index_t k_batch = 3;

/// A layer of every form, one that has no tiles, and two of several groups, in both layouts.
std::vector<ConvGeometry> geometries() {
  std::vector<ConvGeometry> all;
  for (const Layout layout_of : {Layout::nchw, Layout::nhwc}) {
    all.push_back(square_layer(9, 12, 11, 20, 3, 1, layout_of));
    all.push_back(square_layer(16, 6, 6, 12, 3, 1, layout_of));
    all.push_back(square_layer(17, 2, 2, 24, 3, 1, layout_of));
    all.push_back(square_layer(10, 9, 10, 16, 5, 2, layout_of));
    all.push_back(square_layer(3, 9, 10, 16, 5, 2, layout_of));
    all.back().set_stride(2);
    all.push_back(square_layer(36, 6, 7, 40, 3, 1, layout_of));
    all.back().groups = 2;
    all.push_back(square_layer(12, 9, 8, 18, 3, 1, layout_of));
    all.back().set_stride(2);
    all.back().groups = 3;
  }
  return all;
}

Plan config_of(Method method, bool winograd = true) {
  Plan config;
  config.method = method;
  config.winograd = winograd;
  config.weight_gradient = WeightGradient::dense;
  config.input_gradient = InputGradient::dense;
  return config;
}

template <class T>
struct Results {
  std::vector<T> y, d_w, d_x;
};

template <class T>
Results<T> results_of(const ConvCase<T>& c) {
  return {adr_test::elements_of(c.y), adr_test::elements_of(c.d_w), adr_test::elements_of(c.d_x)};
}

template <class T>
Results<T> run(adr::DenseConvolution<T>& convolution, ConvCase<T>& c) {
  convolution.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  convolution.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view());
  convolution.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view());
  return results_of(c);
}

template <class T>
Results<T> run(ReuseConv2d<T>& conv, ConvCase<T>& c) {
  conv.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  conv.backward(c.x_view(), c.w_view(), c.d_y_view(),
                {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
  CHECK(c.damage() == "");
  return results_of(c);
}

template <class T>
Results<T> direct(ConvCase<T>& c) {
  Context context;
  const ConvGeometry& g = c.geometry;
  const adr::exact::ConvolutionPasses<T> passes(g, adr::exact::Winograd::never);
  passes.forward(c.x_view(), c.w_view(), c.bias.vector(), false, c.y_view(), context);
  passes.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view(), context);
  passes.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view(), context);
  return results_of(c);
}

template <class T>
void check_same(const Results<T>& actual, const Results<T>& expected) {
  CHECK(adr_test::same_bits(actual.y, expected.y));
  CHECK(adr_test::same_bits(actual.d_w, expected.d_w));
  CHECK(adr_test::same_bits(actual.d_x, expected.d_x));
}

bool has_tiles(const ConvGeometry& g) {
  return adr::exact::choose_form<float>(g, adr::exact::Winograd::where_it_pays, k_batch,
                                        adr::exact::WeightTransforms::of_forward) != Form::direct;
}

/// Images that give the layers below pixels enough.
constexpr index_t k_images = 9;

/// Layers of 64 and 128 outputs with tiles; where builds are slow one of each kernel.
std::vector<ConvGeometry> layers_before_pools() {
  std::vector<ConvGeometry> all;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    if (!adr_test::k_slow_build || layout == Layout::nchw) {
      all.push_back(square_layer(64, 8, 8, 128, 3, 1, layout));
    }
    if (!adr_test::k_slow_build || layout == Layout::nhwc) {
      all.push_back(square_layer(24, 6, 10, 64, 5, 2, layout));
    }
  }
  if (!adr_test::k_slow_build) {
    all.push_back(square_layer(128, 8, 8, 256, 3, 1, Layout::nhwc));
    all.back().groups = 2;
  }
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("A dense layer computes what ExactConvolution does, to the bit", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO(Shown{g});
    ConvCase<T> c(g, k_batch, data, {3, adr_test::Start::misaligned});
    for (const int threads : {1, 2}) {
      Context context(threads);
      ReuseConv2d<T> conv(g, config_of(Method::exact), context);
      ExactConvolution<T> exact(g, threads);
      check_same(run(conv, c), run(exact, c));
      CHECK(conv.report().dense_fallbacks == 0);
    }
  }
}

TEMPLATE_TEST_CASE("Without Winograd layers keep to the direct forms, to the bit", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO(Shown{g});
    ConvCase<T> c(g, k_batch, data);
    ReuseConv2d<T> conv(g, config_of(Method::exact, false));
    ExactConvolution<T> exact(g, 1, adr::exact::Winograd::never);
    const Results<T> expected = direct(c);
    check_same(run(conv, c), expected);
    check_same(run(exact, c), expected);
    ExactConvolution<T> free(g);
    const bool rounds_otherwise = !adr_test::same_bits(run(free, c).y, expected.y);
    CHECK(rounds_otherwise == (has_tiles(g) && adr::exact::k_has_tiles<T>));
  }
}

TEST_CASE("A layer whose winograd changes goes on as one that was made so", "") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO(Shown{g});
    ConvCase<float> c(g, k_batch, data);
    ExactConvolution<float> with(g);
    ExactConvolution<float> without(g, 1, adr::exact::Winograd::never);
    const Results<float> tiles = run(with, c);
    const Results<float> products = run(without, c);
    ReuseConv2d<float> conv(g, config_of(Method::exact));
    for (const bool winograd : {true, false, false, true}) {
      conv.set_plan(config_of(Method::exact, winograd));
      CHECK(conv.plan().winograd == winograd);
      check_same(run(conv, c), winograd ? tiles : products);
    }
    // What is refused leaves the layer as it was.
    Plan wrong = config_of(Method::exact, false);
    wrong.hash_count = -1;
    wrong.method = Method::published;
    CHECK(adr_test::refusal([&] { conv.set_plan(wrong); }) != "(no error)");
    check_same(run(conv, c), tiles);
    // Between a forward pass and the backward pass.
    conv.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
    conv.set_plan(config_of(Method::exact, false));
    conv.backward(c.x_view(), c.w_view(), c.d_y_view(), {c.d_x_view(), c.d_w.view(), {}});
    CHECK(adr_test::same_bits(adr_test::elements_of(c.d_x), products.d_x));
    CHECK(adr_test::same_bits(adr_test::elements_of(c.d_w), products.d_w));
  }
}

TEST_CASE("A layer that loads a state keeps to its own winograd", "") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (const ConvGeometry& g : geometries()) {
    for (const Method method : {Method::exact, Method::published}) {
      for (const bool winograd : {true, false}) {
        INFO(Shown{g} << ", " << to_string(method) << ", winograd " << winograd);
        ConvCase<float> c(g, k_batch, data);
        ReuseConv2d<float> saved(g, config_of(method, winograd));
        const Results<float> expected = run(saved, c);
        saved.save_state(path);
        ReuseConv2d<float> loaded(g, config_of(method, winograd));
        loaded.load_state(path);
        check_same(run(loaded, c), expected);
        // A state holds clusters, which are the same either way.
        ReuseConv2d<float> other(g, config_of(method, !winograd));
        const Results<float> before = run(other, c);
        other.load_state(path);
        CHECK(other.plan().winograd == !winograd);
        check_same(run(other, c), before);
      }
    }
  }
}

TEST_CASE("Exact gradients of every method come from the exact convolution", "") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    for (const bool winograd : {true, false}) {
      ConvCase<float> c(g, k_batch, data);
      ExactConvolution<float> exact(g, 1, adr::exact::winograd_of(winograd));
      const Results<float> expected = run(exact, c);
      for (const Method method : {Method::published, Method::subspace}) {
        INFO(Shown{g} << ", " << to_string(method) << ", winograd " << winograd);
        ReuseConv2d<float> conv(g, config_of(method, winograd));
        const Results<float> actual = run(conv, c);
        CHECK(adr_test::same_bits(actual.d_w, expected.d_w));
        CHECK(adr_test::same_bits(actual.d_x, expected.d_x));
      }
    }
  }
}

TEST_CASE("Exact gradients leave out the zeros of an output gradient that has few others") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : layers_before_pools()) {
    INFO(Shown{g});
    const bool is_wide = g.group_out_channels() >= 128;
    for (const auto& [share, leaves_out] :
         {std::pair{0.08, true}, std::pair{0.15, is_wide}, std::pair{0.3, false}}) {
      INFO("share " << share);
      ConvCase<float> c(g, k_images, data);
      thin_out(c.d_y.view(), share, data);
      std::vector<Results<float>> all;
      for (const int threads : {1, 3}) {
        Context context(threads);
        ReuseConv2d<float> conv(g, adr::Options(), context);
        all.push_back(run(conv, c));
        CHECK((conv.report().weight_gradient_form ==
               (leaves_out ? WeightGradient::over_non_zeros : WeightGradient::dense)));
        CHECK((conv.report().input_gradient_form ==
               (leaves_out ? InputGradient::over_non_zeros : InputGradient::dense)));
        CHECK((conv.report().weight_gradient.saved_share() > 0.8) == leaves_out);
        CHECK(context.workspace().peak_bytes() <= conv.workspace_bytes(k_images));
        check_same(all.back(), all.front());
      }
      if (!leaves_out) continue;
      std::vector<adr_test::Expected> inputs;
      for (index_t group = 0; group < g.groups; ++group) {
        CHECK(adr_test::fault<float>(c.weight_gradient(group),
                                     adr_test::dense_weight_gradient(c.operands(group))) == "");
        inputs.push_back(adr_test::dense_input_gradient(c.operands(group)));
      }
      CHECK(adr_test::fault(c.d_x.view(), c.folded(inputs)) == "");
    }
  }
}

TEST_CASE("Forms without tiles, small batches and products of the user's keep to dense gradients") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(64, 8, 8, 128, 3, 1, Layout::nchw);
  const auto form = [&](ReuseConv2d<float>& conv, index_t images) {
    ConvCase<float> c(g, images, data);
    thin_out(c.d_y.view(), 0.05, data);
    run(conv, c);
    return conv.report().weight_gradient_form;
  };
  ReuseConv2d<float> exact(g);
  CHECK(form(exact, k_images) == WeightGradient::over_non_zeros);
  CHECK(form(exact, 2) == WeightGradient::dense);
  ReuseConv2d<float> direct(g, adr::Exact{false});
  CHECK(form(direct, k_images) == WeightGradient::dense);
  ReuseConv2d<float> own(g);
  own.set_dense_gemm(
      adr::DenseGemm<float>(adr::GemmFunction<float>(adr_test::naive_product<float>)));
  CHECK(form(own, k_images) == WeightGradient::dense);
  ReuseConv2d<float> theirs(g);
  theirs.set_dense_convolution(std::make_shared<ExactConvolution<float>>(g));
  CHECK(form(theirs, k_images) == WeightGradient::dense);
}

TEST_CASE("Settings of a layer with groups are measured against what it computes exactly", "") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    ConvGeometry g = square_layer(32, 16, 16, 48, 3, 1, layout);
    g.groups = 2;
    INFO(Shown{g});
    ConvCase<float> c(g, 8, data);
    // A plain background: tiles that are equal are computed once and copied.
    for (index_t i = 0; i < c.x_view().batch; ++i) {
      float* image = c.x.view().data + i * c.x_view().image_stride;
      for (index_t e = 0; e < c.x_view().image_size(); ++e) {
        const index_t pixel = layout == Layout::nhwc ? e / 32 : e % 256;
        if (pixel % 16 >= 6 || pixel / 16 >= 6) image[e] = 0;
      }
    }
    ReuseConv2d<float> conv(g, config_of(Method::exact));
    run(conv, c);
    // All coordinates lose nothing but rounding.
    Plan whole = config_of(Method::subspace);
    whole.kept_coordinates = conv.layer_shape().vector_length;
    conv.request_measurements({whole});
    run(conv, c);
    REQUIRE(conv.measurements().size() == 1);
    CHECK(conv.measurements().front().output_error < 1e-3);
  }
}
