// Gradients against central differences of the forward pass itself, in double: this needs no
// formula of a gradient at all.
//
// The loss is the inner product of the output with a fixed matrix, so d_y is that matrix. A dense
// layer is linear in each operand, so central differences are exact but for rounding. With clusters
// the same holds for the weights and the bias, because ids and centroids depend on the input alone;
// in the input the clustered layer has jumps, and only the dense gradient has a meaning.
#include <cmath>
#include <limits>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

using adr::ConvGeometry;
using adr::HashCenter;
using adr::index_t;
using adr::InputGradient;
using adr::Layout;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::ReuseLinear;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::GivenIds;
using adr_test::GuardedBuffer;
using adr_test::LinearCase;
using adr_test::Matrix;

namespace {

Plan dense() {
  Plan config;
  config.method = Method::exact;
  return config;
}

Plan hyperplane(index_t length, int bits, HashCenter center = HashCenter::origin) {
  Plan config;
  config.vector_length = length;
  config.hash_count = bits;
  config.hash_center = center;
  return config;
}

void forward(ReuseLinear<double>& layer, LinearCase<double>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
}
void forward(ReuseConv2d<double>& layer, ConvCase<double>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
}
void backward(ReuseLinear<double>& layer, LinearCase<double>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
}
void backward(ReuseConv2d<double>& layer, ConvCase<double>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
}

template <class Layer, class Case>
double loss(Layer& layer, Case& c) {
  forward(layer, c);
  const Matrix y(c.y.view());
  const Matrix d_y(c.d_y.view());
  double total = 0;
  for (std::size_t i = 0; i < y.elements.size(); ++i) total += y.elements[i] * d_y.elements[i];
  return total;
}

const double k_usual_step = std::cbrt(std::numeric_limits<double>::epsilon());

/// The gradient of the loss with respect to an operand by central differences.
template <class Layer, class Case>
Matrix differences(Layer& layer, Case& c, GuardedBuffer<double>& operand,
                   double step = k_usual_step) {
  const auto view = operand.view();
  Matrix gradient(view.rows, view.cols);
  for (index_t i = 0; i < view.rows; ++i) {
    for (index_t j = 0; j < view.cols; ++j) {
      const double value = view(i, j);
      const double h = step * std::max(1.0, std::abs(value));
      // In inference the sample of the weights need not see a change of one.
      const auto loss_at = [&](double changed) {
        view(i, j) = changed;
        layer.set_mode(layer.mode());
        return loss(layer, c);
      };
      const double above = loss_at(value + h);
      const double below = loss_at(value - h);
      view(i, j) = value;
      gradient(i, j) = (above - below) / (2 * h);
    }
  }
  return gradient;
}

void near(const GuardedBuffer<double>& gradient, const Matrix& expected, double distance = 1e-9) {
  CHECK(adr_test::relative_distance(Matrix(gradient.view()), expected) < distance);
  CHECK(gradient.damage() == "");
}

std::vector<ConvGeometry> geometries() {
  ConvGeometry plain;
  plain.in_channels = 2;
  plain.in_height = 5;
  plain.in_width = 4;
  plain.out_channels = 3;
  plain.set_kernel(3);
  plain.set_padding(1);
  ConvGeometry uneven = plain;
  uneven.out_channels = 4;
  uneven.groups = 2;
  uneven.kernel_width = 2;
  uneven.stride_width = 2;
  uneven.dilation_height = 2;
  uneven.pad_top = 2;
  uneven.pad_right = 0;
  std::vector<ConvGeometry> all;
  for (ConvGeometry g : {plain, uneven}) {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      g.layout = layout;
      all.push_back(g);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("Gradients of the dense linear layer are central differences") {
  Data data;
  INFO(data);
  LinearCase<double> c(9, 7, 5, data, adr_test::Placement{1, adr_test::Start::misaligned});
  ReuseLinear<double> layer(7, 5, dense());
  forward(layer, c);
  backward(layer, c);
  near(c.d_x, differences(layer, c, c.x));
  near(c.d_w, differences(layer, c, c.w));
  near(c.d_bias, differences(layer, c, c.bias));
}

TEST_CASE("Gradients of the dense convolution are central differences") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO((g.layout == Layout::nchw ? "nchw, " : "nhwc, ") << g.groups << " groups");
    ConvCase<double> c(g, 2, data, adr_test::Placement{3, adr_test::Start::misaligned});
    ReuseConv2d<double> layer(g, dense());
    forward(layer, c);
    backward(layer, c);
    near(c.d_x, differences(layer, c, c.x));
    near(c.d_w, differences(layer, c, c.w));
    near(c.d_bias, differences(layer, c, c.bias));
  }
}

TEST_CASE("The clustered weight gradient is the central difference at fixed clusters") {
  Data data;
  INFO(data);
  for (const HashCenter center : {HashCenter::origin, HashCenter::mean}) {
    SECTION(center == HashCenter::origin ? "linear" : "linear, centred") {
      LinearCase<double> c(30, 7, 5, data);
      ReuseLinear<double> layer(7, 5, hyperplane(3, 2, center));
      forward(layer, c);
      REQUIRE(layer.report().remaining_ratio() < 0.5);
      backward(layer, c);
      near(c.d_w, differences(layer, c, c.w));
      near(c.d_bias, differences(layer, c, c.bias));
    }
    SECTION(center == HashCenter::origin ? "convolution" : "convolution, centred") {
      for (const ConvGeometry& g : geometries()) {
        INFO((g.layout == Layout::nchw ? "nchw, " : "nhwc, ") << g.groups << " groups");
        ConvCase<double> c(g, 3, data);
        ReuseConv2d<double> layer(g, hyperplane(4, 2, center));
        forward(layer, c);
        REQUIRE(layer.report().remaining_ratio() < 0.5);
        backward(layer, c);
        near(c.d_w, differences(layer, c, c.w));
        near(c.d_bias, differences(layer, c, c.bias));
      }
    }
  }
}

TEST_CASE("The exact input gradient of a clustered layer is that of the dense layer") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    ConvCase<double> c(g, 2, data);
    Plan config = hyperplane(4, 2);
    config.input_gradient = InputGradient::dense;
    ReuseConv2d<double> clustered(g, config);
    forward(clustered, c);
    backward(clustered, c);
    ReuseConv2d<double> reference(g, dense());
    near(c.d_x, differences(reference, c, c.x));
  }
}

TEST_CASE("The published input gradient is the mean of the dense one over every cluster") {
  // The derivative of the clustered output with respect to a centroid, shared out evenly among the
  // members, is the sum over the cluster divided by its size.
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO((g.layout == Layout::nchw ? "nchw, " : "nhwc, ") << g.groups << " groups");
    ConvCase<double> c(g, 3, data);
    ReuseConv2d<double> layer(g, hyperplane(4, 3));
    forward(layer, c);
    backward(layer, c);
    std::vector<Matrix> averaged;
    for (index_t group = 0; group < g.groups; ++group) {
      const GivenIds given(layer.clustering(group));
      const Matrix exact = adr_test::dense_input_gradient(c.operands(group)).value;
      averaged.push_back(
          adr::reference::clustered(exact, given.slices, given.centroids(exact), given.ids));
    }
    near(c.d_x, c.folded(averaged));
  }
}

TEST_CASE("The weight gradient from a subspace is the central difference when frozen") {
  // Coordinates are floats, so differences take a long step, which is allowed where the loss is
  // linear.
  constexpr double k_step = 1;
  constexpr double k_distance = 1e-5;
  Data data;
  INFO(data);
  Plan config;
  config.method = Method::subspace;
  config.kept_coordinates = 1;
  config.weight_gradient = adr::WeightGradient::clusters;
  config.input_gradient = InputGradient::dense;
  const auto check = [&](auto& layer, auto& c) {
    forward(layer, c);
    REQUIRE(layer.report().relative_input_error() > 0.05);
    layer.freeze();
    forward(layer, c);
    backward(layer, c);
    near(c.d_w, differences(layer, c, c.w, k_step), k_distance);
    near(c.d_bias, differences(layer, c, c.bias, k_step), k_distance);
  };
  LinearCase<double> c(30, 7, 5, data);
  ReuseLinear<double> linear(7, 5, config);
  check(linear, c);
  for (const ConvGeometry& g : geometries()) {
    INFO((g.layout == Layout::nchw ? "nchw, " : "nhwc, ") << g.groups << " groups");
    ConvCase<double> images(g, 3, data);
    ReuseConv2d<double> layer(g, config);
    check(layer, images);
  }
}
