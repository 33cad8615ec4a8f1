// Layers that have seen a batch allocate nothing for the next one of its size.
#include <algorithm>
#include <memory>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/nn/fastest_convolution.hpp"
#include "adr/nn/unfolded_convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/naive_product.hpp"

using adr::ConvGeometry;
using adr::DenseGemm;
using adr::HashCenter;
using adr::InputGradient;
using adr::Layout;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::ReuseLinear;
using adr::WeightGradient;
using adr_test::allocations;
using adr_test::as_dear;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::LinearCase;
using adr_test::naive_product;

namespace {

Plan hyperplane(adr::index_t length, int bits) {
  Plan config;
  config.vector_length = length;
  config.hash_count = bits;
  return config;
}

Plan cluster_reuse(adr::index_t age = 0) {
  Plan config = hyperplane(4, 5);
  config.cluster_reuse = true;
  config.max_product_age = age;
  return config;
}

/// Checks that passes allocate in the first step alone. Counted without assertions in between,
/// because those allocate.
template <class Step>
void check_steady(const Step& step) {
  long counts[3] = {};
  for (long& count : counts) {
    const long before = allocations;
    step();
    count = allocations - before;
  }
  CHECK(counts[0] > 0);
  CHECK(counts[1] == 0);
  CHECK(counts[2] == 0);
}

void check_steady(ReuseConv2d<float>& layer, ConvCase<float>& c) {
  check_steady([&] {
    layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
    layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                   {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
  });
}

}  // namespace

TEST_CASE("The steady state allocates nothing") {
  Data data;
  Plan dense;
  dense.method = Method::exact;
  Plan exact = hyperplane(4, 5);
  exact.input_gradient = InputGradient::dense;
  Plan long_signatures = hyperplane(4, 40);
  Plan centred = hyperplane(4, 5);
  centred.hash_center = HashCenter::mean;
  Plan subspace;
  subspace.method = Method::subspace;
  subspace.kept_coordinates = 2;
  Plan rounded = subspace;
  rounded.input_gradient = InputGradient::rounded;
  rounded.weight_gradient = WeightGradient::rounded;
  subspace.weight_gradient = WeightGradient::clusters;
  const Plan configs[] = {dense,           hyperplane(4, 5), exact,   long_signatures, centred,
                          cluster_reuse(), cluster_reuse(1), rounded, subspace};
  const DenseGemm<float> gemm{adr::GemmFunction<float>(naive_product<float>)};

  SECTION("linear") {
    LinearCase<float> c(150, 10, 7, data);
    for (const Plan& config : configs) {
      ReuseLinear<float> layer(10, 7, config);
      layer.set_dense_gemm(gemm);
      INFO(to_string(config.method) << ", H " << config.hash_count);
      check_steady([&] {
        layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
        layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                       {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
      });
    }
  }
  SECTION("clusters with a radius") {
    for (const adr::index_t length : {adr::index_t{0}, as_dear(50)}) {
      const adr::index_t outputs = as_dear(512);
      LinearCase<float> c(1500, as_dear(96), outputs, data);
      for (adr::index_t i = 30; i < c.rows; ++i) {
        // Alike and not equal, which the exact product would find.
        const float scale = 1 + 1e-6F * static_cast<float>(i);
        const float* like = c.x.view().row(i % 30);
        std::transform(like, like + c.columns, c.x.view().row(i),
                       [&](float element) { return scale * element; });
      }
      // With zeros, which an exact input gradient leaves out, all scratch that is stated is used.
      for (adr::index_t i = 0; i < c.rows; ++i) {
        std::fill_n(c.d_y.view().row(i) + i % 2 * outputs / 2, outputs / 2, 0.0F);
      }
      adr::Clustered clustered;
      clustered.vector_length = length;
      adr::Context context;
      ReuseLinear<float> layer(c.columns, outputs, clustered, context);
      check_steady([&] {
        layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
        layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                       {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
      });
      CHECK(layer.report().remaining_ratio() < 0.1);
      CHECK(context.workspace().peak_bytes() == layer.workspace_bytes(c.rows));
    }
  }
  SECTION("dense convolutions of the user") {
    ConvGeometry g;
    g.in_channels = 4;
    g.in_height = g.in_width = 6;
    g.out_channels = 6;
    g.set_kernel(3);
    g.layout = Layout::nhwc;
    ConvCase<float> c(g, 3, data);
    ReuseConv2d<float> layer(g, dense);
    const auto unfolded = std::make_shared<adr::UnfoldedConvolution<float>>(g, gemm, 1);
    const std::vector<std::shared_ptr<adr::DenseConvolution<float>>> both = {unfolded, unfolded};
    layer.set_dense_convolution(std::make_shared<adr::FastestConvolution<float>>(both));
    check_steady(layer, c);
  }
  SECTION("convolution") {
    ConvGeometry g;
    g.in_channels = 4;
    g.in_height = g.in_width = 6;
    g.out_channels = 6;
    g.groups = 2;
    g.set_kernel(3);
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      g.layout = layout;
      ConvCase<float> c(g, 3, data);
      for (const Plan& config : configs) {
        ReuseConv2d<float> layer(g, config);
        layer.set_dense_gemm(gemm);
        INFO(to_string(config.method) << ", H " << config.hash_count);
        check_steady(layer, c);
      }
    }
  }
  SECTION("pixels in a subspace, frozen or not") {
    ConvGeometry g;
    g.in_channels = 16;
    g.in_height = g.in_width = 8;
    g.out_channels = 9;
    g.set_kernel(3);
    subspace.kept_coordinates = 8;
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      g.layout = layout;
      ConvCase<float> c(g, 3, data);
      ReuseConv2d<float> layer(g, subspace);
      check_steady(layer, c);
      ReuseConv2d<float> frozen(g, subspace);
      frozen.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
      frozen.freeze();
      check_steady(frozen, c);
    }
  }
}
