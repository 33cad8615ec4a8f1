// ReuseConv2d: the dense form against the convolution by definition, the clustered form against the
// reference on the unfolded input with the ids that the layer found, and every refusal.
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reference/convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::HashCenter;
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
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Expected;
using adr_test::fault;
using adr_test::GivenIds;
using adr_test::Matrix;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::Start;

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
  config.seed = 5;
  return config;
}

struct NamedGeometry {
  const char* name;
  ConvGeometry geometry;
};

/// Layers in which every parameter counts, each in both layouts.
std::vector<NamedGeometry> geometries() {
  ConvGeometry plain;
  plain.in_channels = 3;
  plain.in_height = 7;
  plain.in_width = 6;
  plain.out_channels = 5;
  plain.set_kernel(3);
  plain.set_padding(1);

  ConvGeometry uneven = plain;
  uneven.in_channels = 4;
  uneven.out_channels = 6;
  uneven.groups = 2;
  uneven.kernel_width = 2;
  uneven.stride_height = 2;
  uneven.stride_width = 3;
  uneven.dilation_height = 2;
  uneven.dilation_width = 3;
  uneven.pad_left = 4;
  uneven.pad_bottom = 0;

  ConvGeometry depthwise = plain;
  depthwise.in_channels = 4;
  depthwise.out_channels = 8;
  depthwise.groups = 4;

  ConvGeometry pointwise = plain;
  pointwise.in_channels = 17;
  pointwise.set_kernel(1);
  pointwise.set_padding(0);

  ConvGeometry one_pixel = plain;  // the kernel covers the input: one output pixel
  one_pixel.kernel_height = 7;
  one_pixel.kernel_width = 6;
  one_pixel.set_padding(0);

  std::vector<NamedGeometry> all;
  for (const NamedGeometry& named :
       {NamedGeometry{"plain", plain}, NamedGeometry{"uneven", uneven},
        NamedGeometry{"depthwise", depthwise}, NamedGeometry{"pointwise", pointwise},
        NamedGeometry{"one pixel", one_pixel}}) {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      all.push_back(named);
      all.back().geometry.layout = layout;
    }
  }
  return all;
}

const char* word(Layout layout) { return layout == Layout::nchw ? "nchw" : "nhwc"; }

template <class T>
void forward(ReuseConv2d<T>& layer, ConvCase<T>& c, bool with_bias = true) {
  layer.forward(c.x_view(), c.w_view(), with_bias ? c.bias.vector() : VectorView<T>(), c.y_view());
}

template <class T>
void backward(ReuseConv2d<T>& layer, ConvCase<T>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
}

/// Checks all results of a forward and a backward pass against the products of the unfolded input.
template <class T>
void check_results(const ReuseConv2d<T>& layer, ConvCase<T>& c, bool with_bias) {
  const bool clustered = layer.plan().method == Method::published;
  const bool means = clustered && layer.plan().input_gradient != InputGradient::dense;
  std::vector<Expected> d_x;
  for (index_t group = 0; group < c.geometry.groups; ++group) {
    INFO("group " << group);
    const adr_test::Operands operands = c.operands(group, with_bias);
    const GivenIds given(layer.clustering(group));
    if (clustered) {
      const auto slices = adr::reference::slices(c.geometry.columns(), layer.plan().vector_length);
      REQUIRE(given.slices.size() == slices.size());
      CHECK(given.slices.back().length == slices.back().length);
      CHECK(layer.clustering(group).rows == operands.x.rows);
    }
    CHECK(fault<T>(c.output(group), clustered ? adr_test::clustered_output(operands, given)
                                              : adr_test::dense_output(operands)) == "");
    CHECK(fault<T>(c.weight_gradient(group),
                   clustered ? adr_test::clustered_weight_gradient(operands, given)
                             : adr_test::dense_weight_gradient(operands)) == "");
    d_x.push_back(means ? adr_test::cluster_mean_input_gradient(operands, given)
                        : adr_test::dense_input_gradient(operands));
    const index_t outputs = c.geometry.group_out_channels();
    const MatrixView<const T> d_bias(c.d_bias.data() + group * outputs, 1, outputs);
    CHECK(fault(d_bias, adr_test::bias_gradient(operands)) == "");
  }
  CHECK(fault(c.d_x.view(), c.folded(d_x)) == "");
  CHECK(c.damage() == "");
}

/// The same operation on the absolute values of the operands bounds the rounding.
template <class T, class Compute>
Expected by_definition(ConvCase<T>& c, index_t terms, const Compute& compute) {
  const auto widened = [&](adr_test::GuardedBuffer<T>& buffer, bool absolute) {
    Matrix matrix(buffer.view());
    return absolute ? adr_test::absolute(matrix) : matrix;
  };
  const auto run = [&](bool absolute) {
    return compute(widened(c.x, absolute), widened(c.w, absolute), widened(c.bias, absolute),
                   widened(c.d_y, absolute));
  };
  return {run(false), run(true), terms};
}

/// Checks the dense results against the convolution and its gradients by definition.
template <class T>
void check_definition(ConvCase<T>& c, bool with_bias) {
  const ConvGeometry& g = c.geometry;
  const auto input = [&](const Matrix& m) {
    return TensorView<const double>(m.elements.data(), c.batch, g.in_channels, g.in_height,
                                    g.in_width, g.layout);
  };
  const auto output = [&](const Matrix& m) {
    return TensorView<const double>(m.elements.data(), c.batch, g.out_channels, g.out_height(),
                                    g.out_width(), g.layout);
  };
  const Expected y =
      by_definition(c, g.columns() + 1,
                    [&](const Matrix& x, const Matrix& w, const Matrix& bias, const Matrix& d_y) {
                      Matrix result(c.batch, d_y.cols);
                      const TensorView<double> view(result.elements.data(), c.batch, g.out_channels,
                                                    g.out_height(), g.out_width(), g.layout);
                      adr::reference::convolution<double>(
                          g, input(x), w, with_bias ? bias.elements : std::vector<double>(), view);
                      return result;
                    });
  CHECK(fault(c.y.view(), y) == "");
  const Expected d_w = by_definition(
      c, g.rows(c.batch), [&](const Matrix& x, const Matrix&, const Matrix&, const Matrix& d_y) {
        return adr::reference::convolution_weight_gradient<double>(g, input(x), output(d_y));
      });
  CHECK(fault(c.d_w.view(), d_w) == "");
  const Expected d_x =
      by_definition(c, g.columns() * g.group_out_channels(),
                    [&](const Matrix& x, const Matrix& w, const Matrix&, const Matrix& d_y) {
                      Matrix result(c.batch, x.cols);
                      adr::reference::convolution_input_gradient<double>(
                          g, output(d_y), w,
                          TensorView<double>(result.elements.data(), c.batch, g.in_channels,
                                             g.in_height, g.in_width, g.layout));
                      return result;
                    });
  CHECK(fault(c.d_x.view(), d_x) == "");
}

}  // namespace

TEMPLATE_TEST_CASE("ReuseConv2d dense is the convolution", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : geometries()) {
    ReuseConv2d<T> layer(named.geometry, dense());
    for (const index_t batch : {3, 1, 0, 4}) {
      const bool with_bias = batch != 1;
      INFO(named.name << ", " << word(named.geometry.layout) << ", batch " << batch);
      ConvCase<T> c(named.geometry, batch, data,
                    batch == 4 ? Placement{} : Placement{5, Start::misaligned});
      forward(layer, c, with_bias);
      backward(layer, c);
      check_definition(c, with_bias);
      check_results(layer, c, with_bias);
    }
  }
}

TEMPLATE_TEST_CASE("ReuseConv2d with clusters agrees with the reference", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : geometries()) {
    const index_t columns = named.geometry.columns();
    std::vector<Plan> configs = {hyperplane(1, 2), hyperplane(columns, 64),
                                 hyperplane(std::min<index_t>(4, columns), 3)};
    configs.push_back(hyperplane(std::min<index_t>(7, columns), 5));
    configs.back().hash_center = HashCenter::mean;
    configs.back().shared_hyperplanes = false;
    configs.push_back(hyperplane(std::min<index_t>(5, columns), 15));
    configs.back().input_gradient = InputGradient::dense;
    for (const Plan& config : configs) {
      Context context(2);
      ReuseConv2d<T> layer(named.geometry, config, context);
      for (const index_t batch : {3, 0, 1, 4}) {
        const bool with_bias = config.hash_count % 2 == 1;
        INFO(named.name << ", " << word(named.geometry.layout) << ", L " << config.vector_length
                        << ", H " << config.hash_count << ", batch " << batch);
        ConvCase<T> c(named.geometry, batch, data,
                      batch == 4 ? Placement{} : Placement{5, Start::misaligned});
        forward(layer, c, with_bias);
        backward(layer, c);
        check_results(layer, c, with_bias);
      }
    }
  }
}

TEMPLATE_TEST_CASE("ReuseConv2d means the same in both layouts", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  constexpr double k_rounding = 45.0 * std::numeric_limits<T>::epsilon();
  Data data;
  INFO(data);
  for (const NamedGeometry& named : geometries()) {
    if (named.geometry.layout == Layout::nhwc) continue;
    INFO(named.name);
    ConvGeometry g = named.geometry;
    ConvCase<T> first(g, 2, data);
    g.layout = Layout::nhwc;
    ConvCase<T> last(g, 2, data);
    const auto copy = [](const TensorView<T>& from, const TensorView<T>& to) {
      for (index_t n = 0; n < from.batch; ++n) {
        for (index_t c = 0; c < from.channels; ++c) {
          for (index_t y = 0; y < from.height; ++y) {
            for (index_t x = 0; x < from.width; ++x) {
              adr::reference::element(to, n, c, y, x) = adr::reference::element(from, n, c, y, x);
            }
          }
        }
      }
    };
    const index_t kernel = g.kernel_height * g.kernel_width;
    const auto channels_last = [&](index_t k) {  // (c, ky, kx) to (ky, kx, c)
      return k % kernel * g.group_in_channels() + k / kernel;
    };
    copy(first.input_like(first.x), last.input_like(last.x));
    copy(first.output_like(first.d_y), last.output_like(last.d_y));
    for (index_t m = 0; m < g.out_channels; ++m) {
      last.bias(0, m) = first.bias(0, m);
      for (index_t k = 0; k < g.columns(); ++k) last.w(m, channels_last(k)) = first.w(m, k);
    }
    for (auto* c : {&first, &last}) {
      ReuseConv2d<T> layer(c->geometry, dense());
      forward(layer, *c);
      backward(layer, *c);
    }
    ConvCase<T> back(named.geometry, 2, data);
    copy(last.output_like(last.y), back.output_like(back.y));
    copy(last.input_like(last.d_x), back.input_like(back.d_x));
    for (index_t m = 0; m < g.out_channels; ++m) {
      for (index_t k = 0; k < g.columns(); ++k) back.d_w(m, k) = last.d_w(m, channels_last(k));
    }
    CHECK(adr_test::relative_distance(Matrix(back.y.view()), Matrix(first.y.view())) < k_rounding);
    CHECK(adr_test::relative_distance(Matrix(back.d_x.view()), Matrix(first.d_x.view())) <
          k_rounding);
    CHECK(adr_test::relative_distance(Matrix(back.d_w.view()), Matrix(first.d_w.view())) <
          k_rounding);
  }
}

TEST_CASE("The same setting once more forgets nothing") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometries().front().geometry;
  Plan config = hyperplane(std::min<index_t>(4, g.columns()), 4);
  config.cluster_reuse = true;
  ReuseConv2d<float> layer(g, config);
  ConvCase<float> c(g, 2, data);
  forward(layer, c);
  layer.set_plan(config);
  CHECK_NOTHROW(backward(layer, c));
  forward(layer, c);
  CHECK(layer.report().cluster_reuse_rate() == 1);
}

TEST_CASE("ReuseConv2d computes the gradients that are asked for, as often as asked") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : geometries()) {
    const index_t length = std::min<index_t>(4, named.geometry.columns());
    for (const Plan& config : {dense(), hyperplane(length, 4)}) {
      ReuseConv2d<float> layer(named.geometry, config);
      ConvCase<float> all(named.geometry, 2, data);
      forward(layer, all);
      backward(layer, all);
      const std::vector<float> bits = all.results();
      backward(layer, all);
      CHECK(adr_test::same_bits(all.results(), bits));
      for (unsigned wanted = 0; wanted < 8; ++wanted) {
        INFO(named.name << ", " << to_string(config.method) << ", wanted " << wanted);
        ConvCase<float> part(named.geometry, 2, data, Placement{3, Start::misaligned});
        layer.backward(all.x_view(), all.w_view(), all.d_y_view(),
                       {(wanted & 1u) != 0 ? part.d_x_view() : TensorView<float>(),
                        (wanted & 2u) != 0 ? part.d_w.view() : MatrixView<float>(),
                        (wanted & 4u) != 0 ? part.d_bias.vector() : VectorView<float>()});
        const auto same = [](const auto& a, const auto& b) {
          return adr_test::same_bits(adr_test::elements_of(a), adr_test::elements_of(b));
        };
        CHECK(same(part.d_x, all.d_x) == ((wanted & 1u) != 0));
        CHECK(same(part.d_w, all.d_w) == ((wanted & 2u) != 0));
        CHECK(same(part.d_bias, all.d_bias) == ((wanted & 4u) != 0));
        CHECK(part.damage() == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("ReuseConv2d adds up the statistics of its groups", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  constexpr double k_rounding = 4500.0 * std::numeric_limits<T>::epsilon();
  Data data;
  INFO(data);
  for (const NamedGeometry& named : geometries()) {
    INFO(named.name << ", " << word(named.geometry.layout));
    const ConvGeometry& g = named.geometry;
    const index_t length = std::min<index_t>(4, g.columns());
    ReuseConv2d<T> layer(g, hyperplane(length, 3));
    ConvCase<T> c(g, 3, data);
    forward(layer, c);
    backward(layer, c);
    const Report& stats = layer.report();
    const auto n = static_cast<double>(g.rows(3));
    const auto k = static_cast<double>(g.columns());
    const auto m = static_cast<double>(g.group_out_channels());
    const auto groups = static_cast<double>(g.groups);
    const auto slices = adr::reference::slices(g.columns(), length);
    const auto slice_count = static_cast<double>(slices.size());
    double clusters = 0;
    double products = 0;
    double total = 0;
    double within = 0;
    std::vector<double> ratios;
    for (index_t group = 0; group < g.groups; ++group) {
      const Matrix x = adr::reference::im2col(g, c.x_view(), group);
      const GivenIds given(layer.clustering(group));
      const auto centroids = given.centroids(x);
      for (std::size_t s = 0; s < slices.size(); ++s) {
        const auto count = static_cast<double>(adr::reference::cluster_count(given.ids[s]));
        clusters += count;
        products += count * static_cast<double>(slices[s].length) * m;
        ratios.push_back(count / n);
        total += adr::reference::total_energy(x, slices[s]);
        within += adr::reference::within_cluster_energy(x, slices[s], given.ids[s], centroids[s]);
      }
    }
    CHECK(stats.method == Method::published);
    CHECK(stats.neuron_vectors == groups * n * slice_count);
    CHECK(stats.clusters == clusters);
    CHECK(stats.remaining_ratio_per_slice == ratios);
    CHECK(std::abs(stats.total_energy - total) <= k_rounding * total);
    CHECK(std::abs(stats.within_cluster_energy - within) <= k_rounding * total);
    const double dense_work = groups * n * k * m;
    CHECK(stats.forward.multiply_adds_dense == dense_work);
    CHECK(stats.weight_gradient.multiply_adds_dense == dense_work);
    CHECK(stats.input_gradient.multiply_adds_dense == dense_work);
    CHECK(stats.forward.multiply_adds_done ==
          groups * (n * k * 4 + n * slice_count * m) + products);
    CHECK(stats.weight_gradient.multiply_adds_done == groups * n * slice_count * m + products);
    CHECK(stats.input_gradient.multiply_adds_done == products);
    // A new forward pass begins anew.
    forward(layer, c);
    CHECK(layer.report().clusters == clusters);
    CHECK(layer.report().weight_gradient.multiply_adds_dense == 0);
    CHECK(layer.report().remaining_ratio_per_slice == ratios);
  }
}

TEST_CASE("ReuseConv2d measures its stages when asked") {
  Data data;
  INFO(data);
  ConvGeometry g = geometries().front().geometry;
  g.in_height = g.in_width = 20;
  ConvCase<float> c(g, 2, data);
  for (const bool timed : {false, true}) {
    Plan config = hyperplane(9, 5);
    config.time_stages = timed;
    ReuseConv2d<float> layer(g, config);
    forward(layer, c);
    backward(layer, c);
    for (const Stage stage :
         {Stage::unfold, Stage::hash, Stage::cluster, Stage::centroid_product, Stage::gather}) {
      CHECK((layer.report().forward_times.seconds(stage) > 0) == timed);
    }
    for (const Stage stage :
         {Stage::gradient_sums, Stage::weight_gradient, Stage::input_gradient}) {
      CHECK((layer.report().backward_times.seconds(stage) > 0) == timed);
    }
  }
}

TEMPLATE_TEST_CASE("ReuseConv2d takes the scratch that it says", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : geometries()) {
    const index_t length = std::min<index_t>(4, named.geometry.columns());
    Plan exact = hyperplane(length, 4);
    exact.input_gradient = InputGradient::dense;
    for (const Plan& config : {dense(), hyperplane(length, 4), exact}) {
      for (const int threads : {1, 3}) {
        INFO(named.name << ", " << word(named.geometry.layout) << ", " << to_string(config.method)
                        << ", " << threads << " threads");
        Context context(threads);
        ReuseConv2d<T> layer(named.geometry, config, context);
        ConvCase<T> c(named.geometry, 3, data, Placement{1, Start::aligned});
        forward(layer, c);
        backward(layer, c);
        // Images with a gap are copied in both layouts, so nothing of the scratch is spare.
        CHECK(context.workspace().peak_bytes() == layer.workspace_bytes(3));
      }
    }
  }
}

TEST_CASE("ReuseConv2d changes its setting and forgets its clusters") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometries()[2].geometry;
  ConvCase<float> c(g, 2, data);
  ReuseConv2d<float> layer(g, hyperplane(4, 4));
  CHECK(layer.geometry().groups == 2);
  forward(layer, c);
  backward(layer, c);
  const std::vector<float> bits = c.results();
  CHECK_THAT(refusal([&] { layer.set_plan(hyperplane(4, 65)); }), contains("got 65"));
  CHECK(layer.plan().hash_count == 4);
  backward(layer, c);
  CHECK(adr_test::same_bits(c.results(), bits));
  layer.set_plan(dense());
  forward(layer, c);
  backward(layer, c);
  check_definition(c, true);
  layer.set_plan(hyperplane(4, 4));
  CHECK_THAT(refusal([&] { backward(layer, c); }), contains("run forward first"));
  forward(layer, c);
  backward(layer, c);
  CHECK(adr_test::same_bits(c.results(), bits));
}

TEST_CASE("ReuseConv2d can be moved") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometries()[2].geometry;
  ConvCase<float> c(g, 2, data);
  ReuseConv2d<float> layer(g, hyperplane(4, 4));
  forward(layer, c);
  backward(layer, c);
  const std::vector<float> bits = c.results();
  ReuseConv2d<float> moved = std::move(layer);
  backward(moved, c);
  CHECK(adr_test::same_bits(c.results(), bits));
  forward(moved, c);
  CHECK(adr_test::same_bits(c.results(), bits));
}

namespace {

struct Refused {
  std::string text;
  std::function<void()> call;
};

/// Checks the messages, and that no result changed.
void check_refusals(const ConvCase<float>& c, const std::vector<Refused>& calls) {
  const auto before = c.results();
  for (const Refused& refused : calls) {
    INFO(refused.text);
    CHECK_THAT(refusal(refused.call), contains(refused.text));
    CHECK(adr_test::same_bits(c.results(), before));
  }
  CHECK(c.damage() == "");
}

/// A copy of a view with a change.
template <class View, class Change>
View with(View view, const Change& change) {
  change(view);
  return view;
}

using Input = TensorView<const float>;
using Output = TensorView<float>;
using Weights = MatrixView<const float>;
using Bias = VectorView<const float>;

}  // namespace

TEST_CASE("ReuseConv2d refuses operands that do not fit and writes nothing") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometries()[2].geometry;  // 4 x 7 x 6 -> 6 channels, K = 12
  REQUIRE(g.out_height() == 2);
  REQUIRE(g.out_width() == 3);
  for (const Plan& config : {dense(), hyperplane(5, 4)}) {
    ConvCase<float> c(g, 3, data, Placement{2, Start::aligned});
    ReuseConv2d<float> layer(g, config);
    const Input x = c.x_view();
    const Weights w = c.w_view();
    const Bias bias = c.bias.vector();
    const Output y = c.y_view();
    const auto run = [&](const Input& x_, const Weights& w_, const Bias& bias_, const Output& y_) {
      return [&layer, x_, w_, bias_, y_] { layer.forward(x_, w_, bias_, y_); };
    };
    const auto bad_x = [&](const std::function<void(Input&)>& change) {
      return run(with(x, change), w, bias, y);
    };
    const auto bad_y = [&](const std::function<void(Output&)>& change) {
      return run(x, w, bias, with(y, change));
    };
    check_refusals(
        c,
        {{"x must be in layout nchw, got nhwc", bad_x([](Input& v) { v.layout = Layout::nhwc; })},
         {"x must have batch x channels x height x width = 3 x 4 x 7 x 6, got 3 x 5 x 7 x 6",
          bad_x([](Input& v) { v.channels = 5; })},
         {"got 3 x 4 x 8 x 6", bad_x([](Input& v) { v.height = 8; })},
         {"got 3 x 4 x 7 x 5", bad_x([](Input& v) { v.width = 5; })},
         {"y must have batch x channels x height x width = 2 x 6 x 2 x 3, got 3 x 6 x 2 x 3",
          bad_x([](Input& v) { v.batch = 2; })},
         {"x: image_stride must be at least channels * height * width, got 167 < 168",
          bad_x([](Input& v) { v.image_stride = 167; })},
         {"x: sizes must not be negative, got -1", bad_x([](Input& v) { v.batch = -1; })},
         {"x has elements and a null pointer", bad_x([](Input& v) { v.data = nullptr; })},
         {"w must be 6 x 12, got 6 x 11", run(x, w.block(0, 0, 6, 11), bias, y)},
         {"w must be 6 x 12, got 3 x 12", run(x, w.middle_rows(0, 3), bias, y)},
         {"w: row_stride must be at least cols, got 11 < 12", run(x, {w.data, 6, 12, 11}, bias, y)},
         {"w of 6 x 12 elements has a null pointer", run(x, {nullptr, 6, 12}, bias, y)},
         {"bias must have 6 elements, got 7", run(x, w, {bias.data, 7}, y)},
         {"bias of 6 elements has a null pointer", run(x, w, {nullptr, 6}, y)},
         {"y must be in layout nchw, got nhwc", bad_y([](Output& v) { v.layout = Layout::nhwc; })},
         {"y must have batch x channels x height x width = 3 x 6 x 2 x 3, got 3 x 6 x 3 x 3",
          bad_y([](Output& v) { v.height = 3; })},
         {"y: image_stride must be at least channels * height * width, got 35 < 36",
          bad_y([](Output& v) { v.image_stride = 35; })},
         {"y has elements and a null pointer", bad_y([](Output& v) { v.data = nullptr; })},
         {"y must not overlap x", bad_y([&](Output& v) { v.data = c.x.data() + 9; })},
         {"y must not overlap w", run(x, Weights(c.y.data(), 6, 12), bias, y)},
         {"y must not overlap bias", run(x, w, {c.y.data(), 6}, y)}});
    const index_t huge = index_t{1} << 57;
    CHECK_THAT(adr_test::message_of<std::overflow_error>(
                   run(with(x, [&](Input& v) { v.batch = huge; }), w, bias,
                       with(y, [&](Output& v) { v.batch = huge; }))),
               contains("x: the product of the sizes exceeds"));
  }
}

TEST_CASE("ReuseConv2d refuses gradients that do not fit and writes nothing") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometries()[2].geometry;
  for (const Plan& config : {dense(), hyperplane(5, 4)}) {
    ConvCase<float> c(g, 3, data, Placement{2, Start::aligned});
    ReuseConv2d<float> layer(g, config);
    const Input x = c.x_view();
    const Weights w = c.w_view();
    const Input d_y = c.d_y_view();
    const Output d_x = c.d_x_view();
    const MatrixView<float> d_w = c.d_w.view();
    const VectorView<float> d_bias = c.d_bias.vector();
    const auto run = [&](const Input& x_, const Weights& w_, const Input& d_y_, const Output& d_x_,
                         const MatrixView<float>& d_w_, const VectorView<float>& d_bias_) {
      return [=, &layer] { layer.backward(x_, w_, d_y_, {d_x_, d_w_, d_bias_}); };
    };
    const auto bad_d_x = [&](const std::function<void(Output&)>& change) {
      return run(x, w, d_y, with(d_x, change), d_w, d_bias);
    };
    const auto bad_d_y = [&](const std::function<void(Input&)>& change) {
      return run(x, w, with(d_y, change), d_x, d_w, d_bias);
    };
    if (config.method == Method::published) {
      check_refusals(c,
                     {{"a gradient uses the clusters of the last forward pass; run forward first",
                       run(x, w, d_y, d_x, d_w, d_bias)}});
    }
    forward(layer, c);
    if (config.method == Method::published) {
      const auto two = [](auto& v) { v.batch = 2; };
      check_refusals(c, {{"the last forward pass, which had 18 rows; the output gradient has 12",
                          run(with(x, two), w, with(d_y, two), with(d_x, two), d_w, d_bias)}});
    }
    const auto at = [&](float* data_pointer) {
      return [data_pointer](Output& v) { v.data = data_pointer; };
    };
    check_refusals(
        c, {{"x must have batch x channels",
             run(with(x, [](Input& v) { v.channels = 3; }), w, d_y, d_x, d_w, d_bias)},
            {"w must be 6 x 12, got 5 x 12", run(x, w.middle_rows(0, 5), d_y, d_x, d_w, d_bias)},
            {"d_y must be in layout nchw, got nhwc",
             bad_d_y([](Input& v) { v.layout = Layout::nhwc; })},
            {"d_y must have batch x channels x height x width = 3 x 6 x 2 x 3, got 2 x 6 x 2 x 3",
             bad_d_y([](Input& v) { v.batch = 2; })},
            {"d_y: image_stride must be at least channels * height * width, got 0 < 36",
             bad_d_y([](Input& v) { v.image_stride = 0; })},
            {"d_y has elements and a null pointer", bad_d_y([](Input& v) { v.data = nullptr; })},
            {"d_x must be in layout nchw, got nhwc",
             bad_d_x([](Output& v) { v.layout = Layout::nhwc; })},
            {"d_x must have batch x channels x height x width = 3 x 4 x 7 x 6, got 3 x 4 x 7 x 7",
             bad_d_x([](Output& v) { v.width = 7; })},
            {"d_x: image_stride must be at least channels * height * width, got 1 < 168",
             bad_d_x([](Output& v) { v.image_stride = 1; })},
            {"d_w must be 6 x 12, got 6 x 11", run(x, w, d_y, d_x, d_w.block(0, 0, 6, 11), d_bias)},
            {"d_w: row_stride must be at least cols, got 5 < 12",
             run(x, w, d_y, d_x, {d_w.data, 6, 12, 5}, d_bias)},
            {"d_bias must have 6 elements, got 3", run(x, w, d_y, d_x, d_w, {d_bias.data, 3})},
            {"d_bias of 6 elements has a null pointer", run(x, w, d_y, d_x, d_w, {nullptr, 6})},
            {"d_x must not overlap x", bad_d_x(at(c.x.data()))},
            {"d_x must not overlap w", run(x, Weights(c.d_x.data(), 6, 12), d_y, d_x, d_w, d_bias)},
            {"d_x must not overlap d_y", bad_d_y([&](Input& v) { v.data = c.d_x.data(); })},
            {"d_w must not overlap x", run(x, w, d_y, d_x, {c.x.data(), 6, 12}, d_bias)},
            {"d_w must not overlap w", run(x, w, d_y, d_x, {c.w.data(), 6, 12}, d_bias)},
            {"d_w must not overlap d_y", run(x, w, d_y, d_x, {c.d_y.data(), 6, 12}, d_bias)},
            {"d_w must not overlap d_x", run(x, w, d_y, d_x, {c.d_x.data(), 6, 12}, d_bias)},
            {"d_bias must not overlap x", run(x, w, d_y, d_x, d_w, {c.x.data(), 6})},
            {"d_bias must not overlap w", run(x, w, d_y, d_x, d_w, {c.w.data(), 6})},
            {"d_bias must not overlap d_y", run(x, w, d_y, d_x, d_w, {c.d_y.data(), 6})},
            {"d_bias must not overlap d_x", run(x, w, d_y, d_x, d_w, {c.d_x.data(), 6})},
            {"d_bias must not overlap d_w", run(x, w, d_y, d_x, d_w, {c.d_w.data(), 6})}});
  }
}

TEST_CASE("ReuseConv2d refuses elements that are not finite, when asked") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Data data;
  INFO(data);
  const ConvGeometry g = geometries()[2].geometry;
  for (Plan config : {dense(), hyperplane(5, 4)}) {
    config.check_finite = true;
    ConvCase<float> c(g, 3, data, Placement{2, Start::aligned});
    ReuseConv2d<float> layer(g, config);
    forward(layer, c);
    backward(layer, c);
    const auto with_nan = [&](float& element, const std::function<void()>& call) {
      return [&element, nan, call] {
        const float before = element;
        element = nan;
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
        c, {{"x must be finite, element (2, 167) is nan", with_nan(c.x(2, 167), run_forward)},
            {"w must be finite, element (4, 11) is nan", with_nan(c.w(4, 11), run_forward)},
            {"bias must be finite, element (0, 5) is nan", with_nan(c.bias(0, 5), run_forward)},
            {"w must be finite, element (0, 1) is nan", with_nan(c.w(0, 1), run_backward)},
            {"d_y must be finite, element (1, 35) is nan", with_nan(c.d_y(1, 35), run_backward)}});
  }
}

TEST_CASE("ReuseConv2d refuses an impossible geometry or setting") {
  const auto refused = [](const std::function<void(ConvGeometry&, Plan&)>& change) {
    return refusal([&] {
      ConvGeometry g = geometries()[2].geometry;
      Plan config = hyperplane(5, 4);
      change(g, config);
      ReuseConv2d<float> layer(g, config);
    });
  };
  CHECK(refused([](ConvGeometry&, Plan&) {}) == "(no error)");
  CHECK_THAT(refused([](ConvGeometry& g, Plan&) { g.in_channels = 0; }),
             contains("ConvGeometry: in_channels must be at least 1, got 0"));
  CHECK_THAT(refused([](ConvGeometry& g, Plan&) { g.pad_left = -1; }),
             contains("ConvGeometry: pad_left must be at least 0, got -1"));
  CHECK_THAT(refused([](ConvGeometry& g, Plan&) { g.groups = 4; }),
             contains("ConvGeometry: groups must divide in_channels and out_channels, got 4 "
                      "groups, 4 and 6 channels"));
  CHECK_THAT(refused([](ConvGeometry& g, Plan&) { g.kernel_height = 9; }),
             contains("ConvGeometry: the kernel must fit the padded input, got a kernel of 17 x 4 "
                      "on an input of 8 x 11"));
  CHECK_THAT(refused([](ConvGeometry&, Plan& c) { c.vector_length = 13; }),
             contains("Plan: vector_length must be at most the number of unfolded columns (12), "
                      "got 13"));
  CHECK_THAT(refused([](ConvGeometry&, Plan& c) { c.hash_count = -3; }),
             contains("Plan: hash_count must be between 1 and 64, got -3"));
}
