// Dense convolutions by oneDNN.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/gemm/onednn_gemm.hpp"
#include "adr/onednn.hpp"
#include "adr/reference/convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "property/layer_cases.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"

using adr::ConvGeometry;
using adr::index_t;
using adr::InputGradient;
using adr::Layout;
using adr::Method;
using adr::OneDnnConvolution;
using adr::Plan;
using adr::ReuseConv2d;
using adr::TensorView;
using adr::VectorView;
using adr::WeightGradient;
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Expected;
using adr_test::fault;
using adr_test::GuardedBuffer;
using adr_test::Matrix;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::Shown;
using adr_test::Start;

namespace {

ConvGeometry layer(index_t in_channels, index_t size, index_t out_channels, index_t kernel,
                   index_t padding) {
  ConvGeometry g;
  g.in_channels = in_channels;
  g.in_height = size;
  g.in_width = size - 1;
  g.out_channels = out_channels;
  g.set_kernel(kernel);
  g.set_padding(padding);
  return g;
}

/// Numbers of channels that no register holds exactly and ones that fill registers, Winograd's
/// kernel, and every parameter of a convolution, each in both layouts.
std::vector<ConvGeometry> geometries() {
  std::vector<ConvGeometry> shapes = {layer(3, 9, 5, 5, 2), layer(16, 8, 32, 3, 1),
                                      layer(5, 6, 3, 1, 0), layer(1, 4, 1, 3, 0)};
  ConvGeometry strided = layer(3, 9, 16, 3, 1);
  strided.set_stride(2);
  ConvGeometry uneven = layer(4, 9, 6, 3, 0);
  uneven.groups = 2;
  uneven.kernel_width = 2;
  uneven.stride_height = 2;
  uneven.dilation_width = 3;
  uneven.pad_left = 3;
  uneven.pad_bottom = 1;
  ConvGeometry depthwise = layer(16, 6, 16, 3, 1);
  depthwise.groups = 16;
  for (const ConvGeometry& g : {strided, uneven, depthwise}) shapes.push_back(g);
  std::vector<ConvGeometry> all;
  for (ConvGeometry g : shapes) {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      g.layout = layout;
      all.push_back(g);
    }
  }
  return all;
}

void run(OneDnnConvolution& convolution, ConvCase<float>& c, bool with_bias) {
  convolution.forward(c.x_view(), c.w_view(), with_bias ? c.bias.vector() : VectorView<float>(),
                      c.y_view());
  convolution.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view());
  convolution.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view());
}

/// The results by the products of the unfolded input. Winograd's sums have terms that are larger
/// than those of the definition, for which there is a factor.
void check(ConvCase<float>& c, bool with_bias) {
  constexpr index_t k_winograd = 8;
  std::vector<Expected> d_x;
  for (index_t group = 0; group < c.geometry.groups; ++group) {
    const adr_test::Operands operands = c.operands(group, with_bias);
    Expected y = adr_test::dense_output(operands);
    Expected d_w = adr_test::dense_weight_gradient(operands);
    d_x.push_back(adr_test::dense_input_gradient(operands));
    for (Expected* expected : {&y, &d_w, &d_x.back()}) expected->terms *= k_winograd;
    CHECK(fault<float>(c.output(group), y) == "");
    CHECK(fault<float>(c.weight_gradient(group), d_w) == "");
  }
  CHECK(fault<float>(c.d_x.view(), c.folded(d_x)) == "");
}

}  // namespace

TEST_CASE("OneDnnConvolution is the convolution", "") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    OneDnnConvolution convolution(g, 1);
    for (const index_t batch : {3, 1}) {
      for (const bool with_bias : {true, false}) {
        ConvCase<float> c(g, batch, data,
                          with_bias ? Placement{} : Placement{5, Start::misaligned});
        run(convolution, c, with_bias);
        INFO(Shown{g} << ", " << g.out_channels << " filters, batch " << batch
                      << (with_bias ? ", bias: " : ", gaps: ") << convolution.algorithms());
        check(c, with_bias);
        CHECK(c.damage() == "");
      }
    }
  }
}

TEST_CASE("OneDnnConvolution replaces what its results held, be it NaN", "") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    OneDnnConvolution convolution(g, 1);
    for (const Placement placement : {Placement{}, Placement{5, Start::misaligned}}) {
      ConvCase<float> c(g, 2, data, placement);
      run(convolution, c, true);
      for (auto* result : {&c.y, &c.d_w, &c.d_x}) {
        const auto view = result->view();
        for (index_t i = 0; i < view.rows; ++i) {
          std::fill_n(view.row(i), view.cols, std::numeric_limits<float>::quiet_NaN());
        }
      }
      run(convolution, c, true);
      INFO(Shown{g} << ", " << g.out_channels << " filters, gaps " << placement.gap << ": "
                    << convolution.algorithms());
      check(c, true);
      CHECK(c.damage() == "");
    }
  }
}

TEST_CASE("OneDnnConvolution is the convolution with several threads, too", "") {
  Data data;
  INFO(data);
  const ConvGeometry g = layer(16, 8, 32, 3, 1);
  OneDnnConvolution convolution(g, 2);
  ConvCase<float> c(g, 3, data);
  const int threads = adr::max_threads();
  run(convolution, c, true);
  INFO(convolution.algorithms());
  check(c, true);
  CHECK(adr::max_threads() == threads);  // the program's own setting is as it was
}

TEST_CASE("OneDnnConvolution remembers what was the fastest, for some batch sizes", "") {
  Data data;
  INFO(data);
  const ConvGeometry g = layer(3, 9, 16, 3, 1);
  OneDnnConvolution convolution(g, 1);
  CHECK(convolution.algorithms() == "");
  ConvCase<float> three(g, 3, data);
  ConvCase<float> two(g, 2, data);
  ConvCase<float> one(g, 1, data);
  run(convolution, three, true);
  const std::string chosen = convolution.algorithms();
  CHECK_THAT(chosen, contains("forward "));
  CHECK_THAT(chosen, contains("; weight gradient "));
  CHECK_THAT(chosen, contains("; input gradient "));
  const std::vector<float> results = three.results();
  for (int repeat = 0; repeat < 3; ++repeat) {
    run(convolution, two, true);
    run(convolution, one, true);
    run(convolution, three, true);
    CHECK(convolution.algorithms() == chosen);
    // What was tried anew might have become another algorithm, with other bits.
    CHECK(adr_test::same_bits(three.results(), results));
  }
}

TEST_CASE("OneDnnConvolution takes an empty batch", "") {
  Data data;
  const ConvGeometry g = layer(3, 5, 4, 3, 1);
  OneDnnConvolution convolution(g, 1);
  ConvCase<float> c(g, 0, data);
  run(convolution, c, true);
  for (index_t m = 0; m < g.out_channels; ++m) {
    for (index_t k = 0; k < g.columns(); ++k) CHECK(c.d_w(m, k) == 0.0f);
  }
  CHECK(convolution.algorithms() == "");
}

TEST_CASE("OneDnnConvolution computes what is dense in a reusing layer", "") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    ConvGeometry g = layer(4, 8, 16, 3, 1);
    g.layout = layout;
    Plan config;
    config.method = Method::subspace;
    config.kept_coordinates = 2;
    config.weight_gradient = WeightGradient::dense;
    config.input_gradient = InputGradient::dense;
    const auto convolution = std::make_shared<OneDnnConvolution>(g, 1);
    ReuseConv2d<float> reusing(g, config);
    reusing.set_dense_convolution(convolution);
    ConvCase<float> c(g, 3, data);
    reusing.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
    reusing.backward(c.x_view(), c.w_view(), c.d_y_view(),
                     {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
    const std::string algorithms = convolution->algorithms();
    INFO(algorithms);
    CHECK(algorithms.find("forward") == std::string::npos);
    CHECK_THAT(algorithms, contains("weight gradient "));
    CHECK_THAT(algorithms, contains("input gradient "));
    // The output is not the dense one; with method dense everything is.
    config.method = Method::exact;
    reusing.set_plan(config);
    reusing.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
    reusing.backward(c.x_view(), c.w_view(), c.d_y_view(),
                     {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
    CHECK_THAT(convolution->algorithms(), contains("forward "));
    check(c, true);
  }
}

TEST_CASE("OneDnnConvolution refuses what is no convolution of its geometry", "") {
  Data data;
  const ConvGeometry g = layer(3, 5, 4, 3, 1);
  ConvGeometry impossible = g;
  impossible.groups = 2;
  CHECK_THAT(refusal([&] { OneDnnConvolution(impossible, 1); }), contains("groups"));
  CHECK_THAT(refusal([&] { OneDnnConvolution(g, 0); }), contains("threads"));
  OneDnnConvolution convolution(g, 1);
  ConvCase<float> c(g, 2, data);
  ConvCase<float> other(layer(4, 5, 4, 3, 1), 2, data);
  CHECK_THAT(refusal([&] { convolution.forward(other.x_view(), c.w_view(), {}, c.y_view()); }),
             contains("x must have"));
  CHECK_THAT(refusal([&] { convolution.forward(c.x_view(), other.w_view(), {}, c.y_view()); }),
             contains("w must be"));
  CHECK_THAT(refusal([&] {
               convolution.forward(c.x_view(), c.w_view(), VectorView<float>(c.bias.data(), 3),
                                   c.y_view());
             }),
             contains("bias must have"));
  TensorView<float> half = c.d_x_view();
  half.batch = 1;
  CHECK_THAT(refusal([&] { convolution.input_gradient(c.d_y_view(), c.w_view(), half); }),
             contains("d_y must have"));
  CHECK(convolution.algorithms() == "");
}

TEST_CASE("onednn_gemm is the product, replaced and added, with every orientation", "") {
  Data data;
  INFO(data);
  constexpr index_t k_n = 5;
  constexpr index_t k_k = 7;
  constexpr index_t k_m = 3;
  const adr::DenseGemm<float> gemm = adr::onednn_gemm();
  for (const bool a_transposed : {false, true}) {
    for (const bool b_transposed : {false, true}) {
      GuardedBuffer<float> a(a_transposed ? k_k : k_n, a_transposed ? k_n : k_k, 11);
      GuardedBuffer<float> b(b_transposed ? k_m : k_k, b_transposed ? k_k : k_m, 11);
      GuardedBuffer<float> c(k_n, k_m, 8);
      data.fill_normal(a.view());
      data.fill_normal(b.view());
      gemm({a.view(), a_transposed}, {b.view(), b_transposed}, adr::Update::replace, c.view());
      gemm({a.view(), a_transposed}, {b.view(), b_transposed}, adr::Update::accumulate, c.view());
      for (index_t i = 0; i < k_n; ++i) {
        for (index_t j = 0; j < k_m; ++j) {
          double sum = 0;
          for (index_t k = 0; k < k_k; ++k) {
            sum +=
                double{a_transposed ? a(k, i) : a(i, k)} * double{b_transposed ? b(j, k) : b(k, j)};
          }
          CHECK(std::abs(c(i, j) - 2 * sum) < 1e-5);
        }
      }
      CHECK(c.damage() == "");
    }
  }
}
