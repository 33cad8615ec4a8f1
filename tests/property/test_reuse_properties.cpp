// What holds of reuse whatever the data: no reference is needed to state it.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

using adr::ConvGeometry;
using adr::index_t;
using adr::InputGradient;
using adr::Layout;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::ReuseLinear;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::fault;
using adr_test::GivenIds;
using adr_test::LinearCase;
using adr_test::Matrix;

namespace {

Plan hyperplane(index_t length, int bits) {
  Plan config;
  config.vector_length = length;
  config.hash_count = bits;
  config.shared_hyperplanes = false;
  return config;
}

template <class T>
void run(ReuseLinear<T>& layer, LinearCase<T>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
}

template <class T>
void run(ReuseConv2d<T>& layer, ConvCase<T>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
}

template <class T>
bool same_row(const adr::MatrixView<const T>& matrix, index_t a, index_t b) {
  return std::equal(matrix.row(a), matrix.row(a) + matrix.cols, matrix.row(b));
}

template <class T>
void copy_row(const adr::MatrixView<const T>& from, index_t i, const adr::MatrixView<T>& to,
              index_t j) {
  std::copy_n(from.row(i), from.cols, to.row(j));
}

ConvGeometry small_geometry(Layout layout) {
  ConvGeometry g;
  g.in_channels = 3;
  g.in_height = 6;
  g.in_width = 7;
  g.out_channels = 5;
  g.set_kernel(3);
  g.set_padding(1);
  g.layout = layout;
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("Identical rows have bitwise identical outputs and input gradients", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  // 300 rows of 20 kinds, in any order; 300 is more than one block of rows.
  LinearCase<T> kinds(20, 13, 9, data);
  for (const int bits : {2, 8, 64}) {
    LinearCase<T> c(300, 13, 9, data);
    std::vector<index_t> kind(300);
    for (index_t n = 0; n < 300; ++n) {
      kind[static_cast<std::size_t>(n)] = data.between(0, 19);
      copy_row<T>(kinds.x_view(), kind[static_cast<std::size_t>(n)], c.x.view(), n);
    }
    ReuseLinear<T> layer(13, 9, hyperplane(5, bits));
    run(layer, c);
    CHECK(layer.report().remaining_ratio() <= 20.0 / 300);
    index_t unlike = 0;
    for (index_t a = 0; a < 300; ++a) {
      for (index_t b = 0; b < a; ++b) {
        if (kind[static_cast<std::size_t>(a)] != kind[static_cast<std::size_t>(b)]) {
          unlike += same_row<T>(c.y.view(), a, b) ? 0 : 1;
          continue;
        }
        REQUIRE(same_row<T>(c.y.view(), a, b));
        REQUIRE(same_row<T>(c.d_x.view(), a, b));
      }
    }
    CHECK(unlike > 0);
  }
}

TEMPLATE_TEST_CASE("With every vector in a cluster of its own, reuse is the dense product", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  SECTION("linear") {
    LinearCase<T> c(40, 24, 7, data);
    ReuseLinear<T> layer(24, 7, hyperplane(8, 64));
    run(layer, c);
    REQUIRE(layer.clustering().total_clusters() == 40 * 3);
    CHECK(layer.report().remaining_ratio() == 1.0);
    CHECK(fault<T>(c.output(), adr_test::dense_output(c.operands())) == "");
    CHECK(fault<T>(c.weight_gradient(), adr_test::dense_weight_gradient(c.operands())) == "");
    CHECK(fault<T>(c.input_gradient(), adr_test::dense_input_gradient(c.operands())) == "");
    const double rounding = 100 * static_cast<double>(std::numeric_limits<T>::epsilon());
    CHECK(layer.report().within_cluster_energy <= rounding * layer.report().total_energy);
  }
  SECTION("convolution") {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      // Without padding, whose zeros would make vectors alike.
      ConvGeometry g = small_geometry(layout);
      g.set_padding(0);
      ConvCase<T> c(g, 2, data);
      ReuseConv2d<T> layer(g, hyperplane(9, 64));
      run(layer, c);
      REQUIRE(layer.clustering().total_clusters() == g.rows(2) * 3);
      CHECK(fault<T>(c.output(0), adr_test::dense_output(c.operands(0))) == "");
      CHECK(fault<T>(c.weight_gradient(0), adr_test::dense_weight_gradient(c.operands(0))) == "");
      CHECK(fault(c.d_x.view(), c.folded(std::vector<adr_test::Expected>{
                                    adr_test::dense_input_gradient(c.operands(0))})) == "");
    }
  }
}

TEST_CASE("Permuting the rows permutes the outputs") {
  Data data;
  INFO(data);
  LinearCase<double> c(150, 13, 9, data);
  LinearCase<double> permuted(150, 13, 9, data);
  std::vector<index_t> order(150);
  std::iota(order.begin(), order.end(), index_t{0});
  for (std::size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<std::size_t>(data.between(0, static_cast<index_t>(i)))]);
  }
  for (index_t n = 0; n < 150; ++n) {
    const index_t from = order[static_cast<std::size_t>(n)];
    copy_row<double>(c.x_view(), from, permuted.x.view(), n);
    copy_row<double>(c.d_y_view(), from, permuted.d_y.view(), n);
  }
  for (index_t m = 0; m < 9; ++m) copy_row<double>(c.w_view(), m, permuted.w.view(), m);
  copy_row<double>(c.bias.view(), 0, permuted.bias.view(), 0);
  ReuseLinear<double> layer(13, 9, hyperplane(5, 4));
  run(layer, c);
  const double clusters = layer.report().clusters;
  const double energy = layer.report().within_cluster_energy;
  run(layer, permuted);
  CHECK(layer.report().clusters == clusters);
  CHECK(std::abs(layer.report().within_cluster_energy - energy) < 1e-12 * energy);
  Matrix y(150, 9);
  Matrix d_x(150, 13);
  for (index_t n = 0; n < 150; ++n) {
    for (index_t m = 0; m < 9; ++m) y(n, m) = c.y(order[static_cast<std::size_t>(n)], m);
    for (index_t k = 0; k < 13; ++k) d_x(n, k) = c.d_x(order[static_cast<std::size_t>(n)], k);
  }
  CHECK(adr_test::relative_distance(permuted.output(), y) < 1e-13);
  CHECK(adr_test::relative_distance(permuted.input_gradient(), d_x) < 1e-13);
  CHECK(adr_test::relative_distance(permuted.weight_gradient(), c.weight_gradient()) < 1e-13);
}

TEST_CASE("Repeating every row divides the remaining ratio and changes no output") {
  Data data;
  INFO(data);
  const index_t rows = 48;
  LinearCase<double> once(rows, 13, 9, data);
  ReuseLinear<double> layer(13, 9, hyperplane(5, 6));
  run(layer, once);
  const double ratio = layer.report().remaining_ratio();
  const double clusters = layer.report().clusters;
  const double error = layer.report().relative_input_error();
  for (const index_t copies : {2, 4, 16}) {
    INFO(copies << " copies");
    LinearCase<double> c(copies * rows, 13, 9, data);
    for (index_t n = 0; n < c.rows; ++n) copy_row<double>(once.x_view(), n % rows, c.x.view(), n);
    for (index_t m = 0; m < 9; ++m) copy_row<double>(once.w_view(), m, c.w.view(), m);
    copy_row<double>(once.bias.view(), 0, c.bias.view(), 0);
    run(layer, c);
    CHECK(layer.report().clusters == clusters);
    // Powers of two: the quotients are exact.
    CHECK(layer.report().remaining_ratio() == ratio / static_cast<double>(copies));
    CHECK(std::abs(layer.report().relative_input_error() - error) < 1e-12);
    Matrix repeated(c.rows, 9);
    for (index_t n = 0; n < c.rows; ++n) {
      for (index_t m = 0; m < 9; ++m) repeated(n, m) = once.y(n % rows, m);
    }
    CHECK(adr_test::relative_distance(c.output(), repeated) < 1e-13);
  }
}

TEST_CASE("A batch of equal images has the clusters of one image") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = small_geometry(layout);
    ConvCase<double> one(g, 1, data);
    ConvCase<double> four(g, 4, data);
    for (index_t n = 0; n < 4; ++n) copy_row<double>(one.x.view(), 0, four.x.view(), n);
    ReuseConv2d<double> layer(g, hyperplane(9, 5));
    run(layer, one);
    const GivenIds single(layer.clustering());
    run(layer, four);
    const GivenIds batch(layer.clustering());
    for (std::size_t s = 0; s < single.ids.size(); ++s) {
      for (std::size_t n = 0; n < batch.ids[s].size(); ++n) {
        REQUIRE(batch.ids[s][n] == single.ids[s][n % single.ids[s].size()]);
      }
    }
    for (index_t n = 1; n < 4; ++n) CHECK(same_row<double>(four.y.view(), 0, n));
  }
}

TEMPLATE_TEST_CASE("Doubling the input doubles the output, bit by bit", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  LinearCase<T> c(150, 13, 9, data);
  ReuseLinear<T> layer(13, 9, hyperplane(5, 6));
  // Planes through the origin do not see the length of a vector; without a bias all else is linear,
  // and a factor of two commutes with rounding.
  const auto forward = [&] { layer.forward(c.x_view(), c.w_view(), {}, c.y.view()); };
  forward();
  const std::vector<T> before = adr_test::elements_of(c.y);
  const double energy = layer.report().total_energy;
  for (index_t n = 0; n < 150; ++n) {
    for (index_t k = 0; k < 13; ++k) c.x(n, k) *= 2;
  }
  forward();
  std::vector<T> halved = adr_test::elements_of(c.y);
  for (T& element : halved) element /= 2;
  CHECK(adr_test::same_bits(halved, before));
  CHECK(layer.report().total_energy == 4 * energy);
}

TEST_CASE("The weight gradient is the dense one of the clustered input") {
  Data data;
  INFO(data);
  LinearCase<double> c(150, 13, 9, data);
  ReuseLinear<double> layer(13, 9, hyperplane(5, 4));
  run(layer, c);
  const GivenIds given(layer.clustering());
  adr_test::Operands operands = c.operands();
  operands.x =
      adr::reference::clustered(operands.x, given.slices, given.centroids(operands.x), given.ids);
  CHECK(adr_test::relative_distance(c.weight_gradient(),
                                    adr_test::dense_weight_gradient(operands).value) < 1e-13);
  CHECK(adr_test::relative_distance(c.output(), adr_test::dense_output(operands).value) < 1e-13);
  // And it is another one than that of the input itself, or this would say nothing.
  CHECK(adr_test::relative_distance(c.weight_gradient(),
                                    adr_test::dense_weight_gradient(c.operands()).value) > 0.1);
}

TEST_CASE("The error estimate is the error of the clustered input, and more planes lower it") {
  Data data;
  INFO(data);
  LinearCase<double> c(400, 12, 5, data);
  double last = 1;
  for (const int bits : {1, 4, 8, 16}) {
    INFO(bits << " bits");
    ReuseLinear<double> layer(12, 5, hyperplane(4, bits));
    run(layer, c);
    const GivenIds given(layer.clustering());
    const Matrix x(c.x.view());
    const Matrix clustered =
        adr::reference::clustered(x, given.slices, given.centroids(x), given.ids);
    const double error = adr_test::relative_distance(clustered, x);
    CHECK(std::abs(layer.report().relative_input_error() - error) < 1e-10);
    CHECK(error < last);
    last = error;
  }
}

TEST_CASE("The cluster means of an input gradient keep its sums") {
  // Averaging within a cluster changes no sum over the cluster, hence none over all rows.
  Data data;
  INFO(data);
  LinearCase<double> c(150, 13, 9, data);
  Plan config = hyperplane(5, 4);
  ReuseLinear<double> means(13, 9, config);
  run(means, c);
  const auto sums = adr::reference::column_sums(c.input_gradient());
  config.input_gradient = InputGradient::dense;
  ReuseLinear<double> exact(13, 9, config);
  run(exact, c);
  const auto expected = adr::reference::column_sums(c.input_gradient());
  for (std::size_t k = 0; k < 13; ++k) CHECK(std::abs(sums[k] - expected[k]) < 1e-11);
}
