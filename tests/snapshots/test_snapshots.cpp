// The published method on tensors of a trained CifarNet (conv2: 64 -> 64 channels, 5 x 5):
// remaining ratios and errors lie where measurements made before this library put them. Seeds
// differ, so the bounds are ranges; what they catch is a hash, a centroid or a gradient that is
// subtly another one.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"
#include "tools/support/npy_tensor.hpp"

using adr::ConvGeometry;
using adr::HashCenter;
using adr::index_t;
using adr::Method;
using adr::Plan;
using adr::TensorView;

namespace {

struct Layer {
  ConvGeometry geometry;
  index_t batch = 0;
  std::vector<float> x, w, d_y;
};

Layer read_conv2(const std::string& folder) {
  const tools::NpyTensor x = tools::read_npy(folder + "/conv2_input.npy");
  const tools::NpyTensor w = tools::read_npy(folder + "/conv2_weight.npy");
  const tools::NpyTensor d_y = tools::read_npy(folder + "/conv2_output_gradient.npy");
  REQUIRE(x.shape.size() == 4);
  REQUIRE(w.shape.size() == 4);
  Layer layer;
  ConvGeometry& g = layer.geometry;
  g.in_channels = x.shape[1];
  g.in_height = x.shape[2];
  g.in_width = x.shape[3];
  g.out_channels = w.shape[0];
  g.kernel_height = w.shape[2];
  g.kernel_width = w.shape[3];
  g.set_padding(w.shape[2] / 2);
  REQUIRE(w.shape[1] == g.in_channels);
  layer.batch = x.shape[0];
  REQUIRE(d_y.shape ==
          std::vector<std::ptrdiff_t>{layer.batch, g.out_channels, g.out_height(), g.out_width()});
  layer.x = x.elements;
  layer.w = w.elements;
  layer.d_y = d_y.elements;
  return layer;
}

struct Results {
  std::vector<float> y, d_w, d_x;
  double remaining_ratio = 0;
};

Results run(const Layer& layer, const Plan& config) {
  const ConvGeometry& g = layer.geometry;
  Results r;
  r.y.resize(layer.d_y.size());
  r.d_w.resize(layer.w.size());
  r.d_x.resize(layer.x.size());
  const auto input = [&](auto* data) {
    return TensorView<std::remove_pointer_t<decltype(data)> >(data, layer.batch, g.in_channels,
                                                              g.in_height, g.in_width, g.layout);
  };
  const auto output = [&](auto* data) {
    return TensorView<std::remove_pointer_t<decltype(data)> >(
        data, layer.batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
  };
  const adr::MatrixView<const float> w(layer.w.data(), g.out_channels, g.columns());
  adr::ReuseConv2d<float> conv(g, config);
  conv.forward(input(layer.x.data()), w, {}, output(r.y.data()));
  conv.backward(input(layer.x.data()), w, output(layer.d_y.data()),
                {input(r.d_x.data()), {r.d_w.data(), g.out_channels, g.columns()}, {}});
  r.remaining_ratio = conv.report().remaining_ratio();
  return r;
}

double relative_error(const std::vector<float>& actual, const std::vector<float>& exact) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double d = static_cast<double>(actual[i]) - static_cast<double>(exact[i]);
    difference += d * d;
    size += static_cast<double>(exact[i]) * static_cast<double>(exact[i]);
  }
  return std::sqrt(difference / size);
}

bool within(double value, double low, double high) { return value >= low && value <= high; }

}  // namespace

TEST_CASE("The published method on conv2 of a trained CifarNet") {
  const std::string folder = adr_test::data_folder_or_skip("ADR_SNAPSHOTS");
  if (folder.empty()) return;
  const Layer layer = read_conv2(folder + "/late");
  Plan dense;
  dense.method = Method::exact;
  const Results exact = run(layer, dense);
  CHECK(exact.remaining_ratio == 1.0);

  std::printf("conv2 late, L 25, H 10\n%-18s %6s %8s %8s %8s\n", "planes", "r_c", "y error",
              "dW error", "dX error");
  // One set of planes for all 64 slices makes the outcome depend on the luck of ten vectors (over
  // seeds, r_c goes from 0.04 to 0.08); with sets of their own the slices average that out.
  struct Planes {
    bool shared;
    std::uint64_t seed;
  };
  for (const Planes planes : {Planes{true, 1}, Planes{false, 1}, Planes{false, 2}}) {
    double origin_error = 0;
    for (const HashCenter center : {HashCenter::origin, HashCenter::mean}) {
      Plan config;
      config.vector_length = 25;
      config.hash_count = 10;
      config.hash_center = center;
      config.shared_hyperplanes = planes.shared;
      config.seed = planes.seed;
      const Results r = run(layer, config);
      const double y_error = relative_error(r.y, exact.y);
      const double d_w_error = relative_error(r.d_w, exact.d_w);
      const double d_x_error = relative_error(r.d_x, exact.d_x);
      const bool origin = center == HashCenter::origin;
      const std::string name = std::string(origin ? "origin" : "mean") +
                               (planes.shared ? ", shared, " : ", own, ") +
                               std::to_string(planes.seed);
      std::printf("%-18s %6.4f %8.3f %8.3f %8.3f\n", name.c_str(), r.remaining_ratio, y_error,
                  d_w_error, d_x_error);
      std::fflush(stdout);
      INFO(name << ": r_c " << r.remaining_ratio << ", errors " << y_error << ", " << d_w_error
                << ", " << d_x_error);
      if (origin) {
        origin_error = y_error;
        CHECK(within(r.remaining_ratio, 0.04, 0.07));
        CHECK(within(y_error, 0.42, 0.60));
        CHECK(within(d_w_error, 0.5, 0.75));
        CHECK(within(d_x_error, 0.90, 1.0));
      } else {
        CHECK(within(r.remaining_ratio, 0.07, 0.11));
        CHECK(within(y_error, 0.27, 0.40));
        CHECK(y_error < origin_error);
        CHECK(d_w_error < 0.6);
      }
    }
  }
}
