// What layers with Method::exact report about results that are copies.
#include <algorithm>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

using adr::index_t;
using adr::MatrixView;
using adr::Method;
using adr::Plan;
using adr::Report;
using adr::TensorView;
using adr_test::Data;

namespace {

Plan dense() {
  Plan config;
  config.method = Method::exact;
  return config;
}

void check_copies(const Report& stats, double most_computed) {
  CHECK(stats.computed_share() > 0);
  CHECK(stats.computed_share() < most_computed);
  CHECK(stats.forward.multiply_adds_done ==
        stats.forward.multiply_adds_dense - stats.copied_multiply_adds);
}

void check_no_copies(const Report& stats) {
  CHECK(stats.computed_share() == 1);
  CHECK(stats.forward.multiply_adds_done == stats.forward.multiply_adds_dense);
}

}  // namespace

TEST_CASE("A dense convolution says what share of its tiles was computed") {
  Data data;
  INFO(data);
  adr::ConvGeometry g;
  g.in_channels = 64;
  g.layout = adr::Layout::nhwc;
  g.in_height = g.in_width = 32;
  g.out_channels = 64;
  g.set_kernel(3);
  g.set_padding(1);
  adr::ReuseConv2d<float> layer(g, dense());
  const index_t size = g.in_channels * g.in_height * g.in_width;
  std::vector<float> x = data.normals<float>(8 * size);
  const std::vector<float> w = data.normals<float>(g.out_channels * g.columns());
  std::vector<float> y(static_cast<std::size_t>(8 * size));
  const auto forward = [&] {
    layer.forward(TensorView<const float>(x.data(), 8, 64, 32, 32, g.layout),
                  MatrixView<const float>(w.data(), 64, g.columns()), {},
                  TensorView<float>(y.data(), 8, 64, 32, 32, g.layout));
  };
  forward();
  check_no_copies(layer.report());
  std::fill(x.begin(), x.end(), 1.0F);
  forward();
  check_copies(layer.report(), 0.2);
}

TEST_CASE("A dense product says what share of its rows was computed") {
  Data data;
  INFO(data);
  adr::ReuseLinear<float> layer(256, 256, dense());
  std::vector<float> x = data.normals<float>(512 * 256);
  const std::vector<float> w = data.normals<float>(256 * 256);
  std::vector<float> y(512 * 256);
  const auto forward = [&] {
    layer.forward(MatrixView<const float>(x.data(), 512, 256),
                  MatrixView<const float>(w.data(), 256, 256), {},
                  MatrixView<float>(y.data(), 512, 256));
  };
  forward();
  check_no_copies(layer.report());
  for (std::size_t i = 256; i < x.size(); ++i) x[i] = x[i % 256];
  forward();
  check_copies(layer.report(), 0.01);
  Report sum = layer.report();
  sum.add(layer.report());
  CHECK(sum.computed_share() == layer.report().computed_share());
}
