// Same seed, same bits: over repetitions, objects and numbers of threads, for every method.
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::HashCenter;
using adr::index_t;
using adr::InputGradient;
using adr::Layout;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::ReuseGemm;
using adr::ReuseLinear;
using adr::WeightGradient;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::LinearCase;

namespace {

struct NamedConfig {
  std::string name;
  Plan config;
};

std::vector<NamedConfig> configs() {
  Plan base;
  base.vector_length = 8;
  base.hash_count = 7;
  base.seed = 42;
  std::vector<NamedConfig> all;
  all.push_back({"published", base});
  all.push_back({"exact", base});
  all.back().config.method = Method::exact;
  all.push_back({"centred", base});
  all.back().config.hash_center = HashCenter::mean;
  all.push_back({"own planes per slice, long signatures", base});
  all.back().config.shared_hyperplanes = false;
  all.back().config.hash_count = 33;
  all.push_back({"exact input gradient", base});
  all.back().config.input_gradient = InputGradient::dense;
  all.push_back({"cluster reuse", base});
  all.back().config.cluster_reuse = true;
  all.back().config.max_product_age = 1;
  all.push_back({"hyperplane, gradients over rounded non-zeros", base});
  all.back().config.weight_gradient = WeightGradient::rounded;
  all.back().config.input_gradient = InputGradient::rounded;
  base.method = Method::subspace;
  all.push_back({"subspace", base});
  all.push_back({"subspace, clusters", base});
  all.back().config.weight_gradient = WeightGradient::clusters;
  all.back().config.input_gradient = InputGradient::dense;
  all.push_back({"subspace of pixels", base});
  all.back().config.neuron_vectors = adr::NeuronVectorKind::pixel;
  all.back().config.kept_coordinates = 3;
  all.back().config.weight_gradient = WeightGradient::clusters;
  all.back().config.input_gradient = InputGradient::over_non_zeros;
  all.push_back({"subspace, gradients over rounded non-zeros", base});
  all.back().config.weight_gradient = WeightGradient::rounded;
  all.back().config.input_gradient = InputGradient::rounded;
  return all;
}

ConvGeometry geometry(Layout layout) {
  ConvGeometry g;
  g.in_channels = 8;
  g.in_height = 12;
  g.in_width = 11;
  g.out_channels = 20;
  g.groups = 2;
  g.set_kernel(3);
  g.set_padding(1);
  g.layout = layout;
  return g;
}

/// The bits of two training steps: the second one sees other weights and, with cluster reuse, what
/// the first one left behind.
template <class T>
std::vector<T> conv_bits(const ConvGeometry& g, const Plan& config, int threads) {
  Data data;
  Context context(threads);
  ReuseConv2d<T> layer(g, config, context);
  std::vector<T> bits;
  ConvCase<T> c(g, 5, data);
  for (int step = 0; step < 2; ++step) {
    c.w(0, 0) += static_cast<T>(step);
    layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
    layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                   {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
    const auto part = c.results();
    bits.insert(bits.end(), part.begin(), part.end());
  }
  bits.push_back(static_cast<T>(layer.report().clusters));
  bits.push_back(static_cast<T>(layer.report().known_vectors));
  bits.push_back(static_cast<T>(layer.report().within_cluster_energy));
  return bits;
}

template <class T>
std::vector<T> linear_bits(const Plan& config, int threads) {
  Data data;
  Context context(threads);
  ReuseLinear<T> layer(50, 130, config, context);
  std::vector<T> bits;
  LinearCase<T> c(700, 50, 130, data);
  for (int step = 0; step < 2; ++step) {
    c.w(0, 0) += static_cast<T>(step);
    layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
    layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                   {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
    const auto part = c.results();
    bits.insert(bits.end(), part.begin(), part.end());
  }
  return bits;
}

/// Whether a gradient of a dense d_y is rounded at random.
bool rounds(const Plan& config) {
  return config.weight_gradient == WeightGradient::rounded ||
         config.input_gradient == InputGradient::rounded ||
         (config.method == Method::subspace && config.input_gradient == InputGradient::automatic);
}

/// The three drop-in functions.
std::vector<float> gemm_bits(const Plan& config, int threads) {
  Data data;
  Context context(threads);
  ReuseGemm<float> reuse(config, context);
  adr_test::GuardedBuffer<float> a(500, 40, 43), b(40, 70, 70), c(500, 70, 71), d_a(500, 40, 40),
      d_b(40, 70, 70);
  data.fill_normal(a.view());
  data.fill_normal(b.view());
  adr::reuse_gemm<float>(a.view(), b.view(), c.view(), reuse);
  adr::reuse_gemm_weight_gradient<float>(a.view(), c.view(), d_b.view(), reuse);
  adr::reuse_gemm_input_gradient<float>(c.view(), b.view(), d_a.view(), reuse);
  std::vector<float> bits = adr_test::elements_of(c);
  for (const auto* buffer : {&d_a, &d_b}) {
    const auto part = adr_test::elements_of(*buffer);
    bits.insert(bits.end(), part.begin(), part.end());
  }
  return bits;
}

}  // namespace

TEMPLATE_TEST_CASE("Bits do not depend on the number of threads or on the object", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  for (const NamedConfig& named : configs()) {
    INFO(named.name);
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      INFO((layout == Layout::nchw ? "nchw" : "nhwc"));
      const auto bits = conv_bits<T>(geometry(layout), named.config, 1);
      for (const int threads : {1, 2, 4}) {
        INFO(threads << " threads");
        CHECK(adr_test::same_bits(conv_bits<T>(geometry(layout), named.config, threads), bits));
      }
    }
    const auto bits = linear_bits<T>(named.config, 1);
    for (const int threads : {1, 2, 4}) {
      INFO(threads << " threads, linear");
      CHECK(adr_test::same_bits(linear_bits<T>(named.config, threads), bits));
    }
  }
}

TEST_CASE("Bits of the drop-in functions do not depend on the number of threads") {
  for (const NamedConfig& named : configs()) {
    INFO(named.name);
    const auto bits = gemm_bits(named.config, 1);
    for (const int threads : {1, 2, 4}) {
      CHECK(adr_test::same_bits(gemm_bits(named.config, threads), bits));
    }
  }
}

TEST_CASE("Another seed gives other planes and roundings, and nothing else notices") {
  for (const NamedConfig& named : configs()) {
    INFO(named.name);
    Plan other = named.config;
    other.seed = 43;
    const bool same = adr_test::same_bits(gemm_bits(other, 1), gemm_bits(named.config, 1));
    // Axes of a sample that is the whole batch take no chances.
    CHECK(same == (named.config.method != Method::published && !rounds(named.config)));
  }
}

TEST_CASE("A layer with history gives the bits of a new one") {
  // Scratch and buffers that are left over from larger batches must not show.
  Data data;
  INFO(data);
  for (const NamedConfig& named : configs()) {
    if (named.config.cluster_reuse || named.config.hash_center == HashCenter::mean) continue;
    // Every pass is rounded with random numbers of its own.
    if (rounds(named.config)) continue;
    INFO(named.name);
    LinearCase<float> large(300, 50, 13, data);
    LinearCase<float> small(61, 50, 13, data);
    const auto run = [](ReuseLinear<float>& layer, LinearCase<float>& c) {
      layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
      layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                     {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
      return c.results();
    };
    ReuseLinear<float> fresh(50, 13, named.config);
    const auto bits = run(fresh, small);
    ReuseLinear<float> used(50, 13, named.config);
    run(used, large);
    // Learned clusters are history, until they are forgotten.
    if (named.config.method == Method::subspace) used.clear_cache();
    CHECK(adr_test::same_bits(run(used, small), bits));
  }
}

TEST_CASE("The hyperplanes of a seed are the same everywhere") {
  // The generator works in integers, so these values hold on every platform and instruction set.
  const adr::SignHash<double> hash(6, 4, 3, true, 42);
  const adr::SignHash<float> narrow(6, 4, 3, true, 42);
  std::vector<double> planes;
  for (int h = 0; h < 3; ++h) {
    for (index_t l = 0; l < 4; ++l) {
      planes.push_back(hash.plane(0, h, l));
      CHECK(narrow.plane(1, h, l) == static_cast<float>(hash.plane(0, h, l)));
    }
  }
  const std::vector<double> golden = {-0x1.2101d956p-1, 0x1.1e3a486ap-1, 0x1.3ae193e88p+1,
                                      0x1.fc27adbp-4,   -0x1.abc6bbdp-1, 0x1.a6922378p-3,
                                      0x1.d3bdeaa6p+0,  0x1.c661484p-1,  0x1.e78e4d7ap-1,
                                      0x1.97ce889p-4,   0x1.5fdaf676p-1, -0x1.062cfa6fp+0};
  CHECK(planes == golden);
}
