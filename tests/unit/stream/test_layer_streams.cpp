// Convolutions over the frames of streams, beside the exact passes of the same frames.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/unfolded_convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::Mode;
using adr::Options;
using adr::Report;
using adr::ReuseConv2d;
using adr::Stream;
using adr::StreamPass;
using adr::TensorView;
using adr::VectorView;
using adr_test::Data;
using adr_test::refusal;
using adr_test::Shown;
using adr_test::square_layer;

namespace {

Options stream_options(double max_error) {
  Options options;
  options.stream = true;
  options.max_error = max_error;
  return options;
}

/// A layer over frames, and its exact twin.
template <class T>
class Camera {
 public:
  Camera(const ConvGeometry& g, double max_error, Data& data, int threads = 1, index_t batch = 1,
         Stream::Output output = Stream::Output::as_it_is)
      : g_(g),
        batch_(batch),
        context_(threads),
        layer_(g, stream_options(max_error), context_),
        exact_(g, adr::Exact{}, context_),
        stream_(output),
        x_(data.normals<T>(batch * g.in_channels * g.in_height * g.in_width)),
        w_(data.normals<T>(g.out_channels * g.columns())),
        bias_(data.normals<T>(g.out_channels)),
        y_(static_cast<std::size_t>(batch * g.out_channels * g.out_pixels())),
        y_exact_(y_) {}

  [[nodiscard]] ReuseConv2d<T>& layer() { return layer_; }
  [[nodiscard]] ReuseConv2d<T>& exact() { return exact_; }
  [[nodiscard]] Stream& stream() { return stream_; }
  [[nodiscard]] std::vector<T>& x() { return x_; }
  [[nodiscard]] std::vector<T>& w() { return w_; }
  [[nodiscard]] std::vector<T>& bias() { return bias_; }
  [[nodiscard]] const std::vector<T>& y() const { return y_; }
  [[nodiscard]] const std::vector<T>& y_exact() const { return y_exact_; }
  [[nodiscard]] const Report& report() const { return layer_.report(); }

  [[nodiscard]] TensorView<const T> images() const {
    return {x_.data(), batch_, g_.in_channels, g_.in_height, g_.in_width, g_.layout};
  }
  [[nodiscard]] MatrixView<const T> weights() const {
    return {w_.data(), g_.out_channels, g_.columns()};
  }
  [[nodiscard]] TensorView<T> output(std::vector<T>& y) const {
    return {y.data(), batch_, g_.out_channels, g_.out_height(), g_.out_width(), g_.layout};
  }
  [[nodiscard]] VectorView<const T> biases() const { return {bias_.data(), g_.out_channels}; }

  void pass() { pass(stream_); }
  void pass(Stream& stream) { layer_.forward(images(), weights(), biases(), output(y_), stream); }
  void exact_pass() {
    exact_.forward(images(), weights(), biases(), output(y_exact_));
    if (stream_.output() != Stream::Output::rectified) return;
    for (T& y : y_exact_) y = y < 0 ? T(0) : y;
  }
  [[nodiscard]] bool has_exact_bits() {
    exact_pass();
    return std::memcmp(y_.data(), y_exact_.data(), y_.size() * sizeof(T)) == 0;
  }
  [[nodiscard]] double error() {
    exact_pass();
    double difference = 0;
    double energy = 0;
    for (std::size_t i = 0; i < y_.size(); ++i) {
      const double d = static_cast<double>(y_[i]) - static_cast<double>(y_exact_[i]);
      difference += d * d;
      energy += static_cast<double>(y_exact_[i]) * static_cast<double>(y_exact_[i]);
    }
    return std::sqrt(difference / energy);
  }
  /// Changes one element of the input for each of `count`.
  void change(Data& data, int count) {
    for (int i = 0; i < count; ++i) {
      x_[static_cast<std::size_t>(data.between(0, static_cast<index_t>(x_.size()) - 1))] =
          data.normal<T>();
    }
  }

 private:
  ConvGeometry g_;
  index_t batch_;
  Context context_;
  ReuseConv2d<T> layer_;
  ReuseConv2d<T> exact_;
  Stream stream_;
  std::vector<T> x_;
  std::vector<T> w_;
  std::vector<T> bias_;
  std::vector<T> y_;
  std::vector<T> y_exact_;
};

ConvGeometry with(ConvGeometry g, index_t stride, index_t dilation, index_t groups) {
  g.set_stride(stride);
  g.set_dilation(dilation);
  g.groups = groups;
  return g;
}

/// Tiles of several algorithms and direct forms, sizes that no block divides, all paddings, groups.
std::vector<ConvGeometry> geometries() {
  std::vector<ConvGeometry> all;
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    const auto layer = [&](index_t channels, index_t height, index_t width, index_t outputs,
                           index_t kernel, index_t padding) {
      return square_layer(channels, height, width, outputs, kernel, padding, layout);
    };
    for (const ConvGeometry& g :
         {layer(16, 40, 37, 24, 3, 1), layer(19, 22, 41, 35, 3, 0), layer(8, 33, 29, 16, 5, 2),
          layer(3, 61, 47, 20, 3, 1), layer(3, 67, 71, 9, 3, 1), layer(20, 23, 37, 12, 1, 0),
          with(layer(3, 97, 85, 19, 11, 2), 4, 1, 1), with(layer(6, 41, 39, 8, 3, 2), 1, 2, 1),
          with(layer(24, 40, 37, 36, 3, 1), 1, 1, 3), with(layer(24, 60, 37, 36, 3, 1), 2, 1, 3),
          with(layer(32, 64, 64, 48, 3, 1), 2, 1, 1), with(layer(20, 33, 41, 12, 1, 0), 2, 1, 1)}) {
      all.push_back(g);
    }
    ConvGeometry uneven = layer(8, 33, 29, 10, 3, 1);
    uneven.pad_top = 2;
    uneven.pad_left = 0;
    all.push_back(uneven);
  }
  return all;
}

template <class T>
void check_lossless(const ConvGeometry& g, Data& data, int threads, Stream::Output output) {
  INFO(Shown{g} << " threads " << threads);
  Camera<T> camera(g, 0, data, threads, 2, output);
  if (threads == 1) {
    camera.layer().set_mode(Mode::inference);
    camera.exact().set_mode(Mode::inference);
  }
  for (int frame = 0; frame < 6; ++frame) {
    camera.pass();
    CHECK(camera.has_exact_bits());
    CHECK(camera.report().stream_pass == (frame == 0 ? StreamPass::first : StreamPass::compared));
    CHECK((camera.report().computed_share() < 0.9) == (frame > 0));
    CHECK(camera.report().measured_error == 0);
    // Two blocks or more, none, and one alone.
    camera.change(data, frame == 3 ? 0 : frame % 2 == 0 ? 2 : 1);
    if (frame == 3) {
      camera.pass();
      CHECK(camera.report().computed_share() == 0);
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("A lossless stream has the bits of exact passes", "", float, double) {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    check_lossless<TestType>(g, data, 1, Stream::Output::as_it_is);
    check_lossless<TestType>(g, data, 2, Stream::Output::rectified);
  }
}

TEST_CASE("What a lossless stream takes for a change is any bit") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    Camera<float> camera(square_layer(9, 24, 24, 8, 3, 1, layout), 0, data);
    camera.x()[100] = 0.0F;
    camera.pass();
    camera.x()[100] = -0.0F;
    camera.pass();
    CHECK(camera.report().computed_share() > 0);
    camera.x()[100] = 1e-38F;
    camera.pass();
    CHECK(camera.report().computed_share() > 0);
    CHECK(camera.has_exact_bits());
  }
}

TEST_CASE("Streams of one layer do not meet") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(16, 30, 30, 8, 3, 1, Layout::nhwc);
  Camera<float> camera(g, 0, data);
  const index_t size = g.in_channels * g.in_height * g.in_width;
  Stream streams[3];
  std::vector<std::vector<float>> frames;
  for (int i = 0; i < 3; ++i) frames.push_back(data.normals<float>(size));
  for (int frame = 0; frame < 4; ++frame) {
    for (std::size_t i = 0; i < 3; ++i) {
      frames[i][static_cast<std::size_t>(data.between(0, size - 1))] += 1;
      camera.x() = frames[i];
      camera.pass(streams[i]);
      CHECK(camera.has_exact_bits());
      CHECK((camera.report().computed_share() < 0.2) == (frame > 0));
    }
  }
}

TEST_CASE("What makes kept outputs worthless is noticed") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(16, 30, 30, 8, 3, 1, Layout::nhwc);
  for (const double max_error : {0.0, 0.1}) {
    Camera<float> camera(g, max_error, data);
    const auto begins_anew = [&] {
      camera.pass();
      return camera.report().stream_pass == StreamPass::first && camera.has_exact_bits();
    };
    CHECK(camera.stream().empty());
    CHECK(begins_anew());
    CHECK(!camera.stream().empty());
    CHECK(!begins_anew());
    camera.stream().reset();
    CHECK(camera.stream().empty());
    CHECK(begins_anew());
    // One weight in training; in inference the sample of 64 notices another set.
    camera.w()[5] += 1;
    CHECK(begins_anew());
    camera.bias()[7] += 1;
    CHECK(begins_anew());
    camera.layer().set_mode(Mode::inference);
    CHECK(begins_anew());
    for (float& w : camera.w()) w *= 2;
    CHECK(begins_anew());
    camera.layer().set_mode(Mode::inference);
    CHECK(begins_anew());
    camera.layer().set_options(stream_options(max_error > 0 ? 0 : 0.1));
    CHECK(begins_anew());
    camera.pass();
    CHECK(camera.report().stream_pass == StreamPass::compared);
  }
}

TEST_CASE("A stream begins anew with other sizes") {
  Data data;
  INFO(data);
  ConvGeometry g = square_layer(8, 30, 30, 8, 3, 1, Layout::nhwc);
  ReuseConv2d<float> layer(g, stream_options(0));
  ReuseConv2d<float> exact(g, adr::Exact{});
  Stream stream;
  const std::vector<float> w = data.normals<float>(8 * g.columns());
  const MatrixView<const float> weights(w.data(), 8, g.columns());
  const std::vector<float> x = data.normals<float>(index_t{3} * 8 * 40 * 40);
  for (const auto& [batch, size] :
       {std::pair<index_t, index_t>{1, 30}, {3, 30}, {2, 40}, {0, 40}}) {
    layer.resize(size, size);
    exact.resize(size, size);
    const TensorView<const float> images(x.data(), batch, 8, size, size, g.layout);
    std::vector<float> y(static_cast<std::size_t>(batch * 8 * size * size));
    exact.forward(images, weights, {}, TensorView<float>(y.data(), batch, 8, size, size, g.layout));
    for (const StreamPass pass : {StreamPass::first, StreamPass::compared}) {
      const TensorView<const float> found = layer.forward(images, weights, {}, stream);
      CHECK(layer.report().stream_pass == (batch > 0 ? pass : StreamPass::left));
      CHECK(std::equal(y.begin(), y.end(), found.data));
    }
  }
}

TEST_CASE("Windows that hold no numbers are computed, and others are none the worse") {
  Data data;
  INFO(data);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30F}) {
    for (const double max_error : {0.0, 0.2}) {
      for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
        Camera<float> camera(square_layer(8, 32, 32, 8, 3, 1, layout), max_error, data);
        camera.pass();
        const float before = camera.x()[40];
        camera.x()[40] = poison;
        for (int frame = 0; frame < 2; ++frame) {
          camera.pass();
          camera.exact_pass();
          CHECK(camera.report().computed_share() < 0.2);
          bool same = true;
          for (std::size_t i = 0; i < camera.y().size(); ++i) {
            const float y = camera.y()[i];
            const float exact = camera.y_exact()[i];
            same = same && (y == exact || (std::isnan(y) && std::isnan(exact)));
          }
          CHECK(same);
          if (!std::isfinite(poison)) CHECK(camera.report().computed_share() > 0);
        }
        camera.x()[40] = before;
        camera.pass();
        CHECK(camera.has_exact_bits());
      }
    }
  }
}

TEST_CASE("Numbers whose squares vanish are compared bit by bit") {
  Data data;
  INFO(data);
  Camera<float> camera(square_layer(8, 32, 32, 8, 3, 1, Layout::nhwc), 0.1, data);
  for (float& x : camera.x()) x *= 1e-25F;
  for (int frame = 0; frame < 4; ++frame) {
    camera.pass();
    CHECK(camera.has_exact_bits());
    for (int i = 0; i < 20; ++i) camera.x()[static_cast<std::size_t>(i)] *= 3;
  }
}

TEST_CASE("The error of a stream is what it may be, and as large as it says") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO(Shown{g});
    if (g.groups > 1) continue;
    Camera<float> camera(g, 0.1, data);
    for (int frame = 0; frame < 12; ++frame) {
      camera.pass();
      const double error = camera.error();
      CHECK(error <= 0.13);
      CHECK(camera.report().measured_error <= 0.11);
      if (error > 0.01) CHECK(camera.report().measured_error > 0.5 * error);
      for (float& x : camera.x()) x += 0.02F * data.normal<float>();
      camera.change(data, 3);
    }
    CHECK(camera.report().computed_share() < 0.9);
  }
}

TEST_CASE("Errors of a stream do not add up over frames") {
  // Noise, and light that changes by little from frame to frame and by much in the end, while
  // something moves and pulls the used image on under its neighbours.
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    const ConvGeometry g = square_layer(24, 32, 40, 64, 3, 1, layout);
    const index_t size = g.in_channels * g.in_height * g.in_width;
    Camera<float> camera(g, 0.1, data);
    const std::vector<float> still = camera.x();
    double computed = 0;
    for (int frame = 0; frame < 50; ++frame) {
      for (index_t i = 0; i < size; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const index_t column =
            layout == Layout::nhwc ? i / g.in_channels % g.in_width : i % g.in_width;
        camera.x()[at] = column >= 16 && column < 20
                             ? data.normal<float>()
                             : still[at] * (1 + 0.02F * static_cast<float>(frame)) +
                                   0.01F * data.normal<float>();
      }
      camera.pass();
      INFO("frame " << frame);
      CHECK(camera.error() <= 0.12);
      if (frame > 0) computed += camera.report().computed_share() / 49;
    }
    CHECK(computed < 0.7);
  }
}

TEST_CASE("The threshold of a stream bounds its error") {
  // Each output's error is at most the norm of its filter times the distance of its window, and the
  // threshold is the largest distance, in root mean squares of the windows' norms.
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(12, 32, 40, 8, 3, 1, Layout::nhwc);
  Camera<float> camera(g, 0.3, data);
  const std::vector<float> still = camera.x();
  for (int frame = 0; frame < 30; ++frame) {
    camera.pass();
    camera.exact_pass();
    double windows = 0;
    for (index_t y = 0; y < g.in_height; ++y) {
      for (index_t x = 0; x < g.in_width; ++x) {
        // Tiles of 4 x 4 outputs see 6 x 6 pixels.
        const auto of = [](index_t at, index_t size) {
          index_t count = 0;
          for (index_t first = -1; first < size - 1; first += 4)
            count += at >= first && at < first + 6;
          return static_cast<double>(count);
        };
        for (index_t c = 0; c < g.in_channels; ++c) {
          const double v = static_cast<double>(
              camera.x()[static_cast<std::size_t>((y * g.in_width + x) * g.in_channels + c)]);
          windows += v * v * of(y, g.in_height) * of(x, g.in_width);
        }
      }
    }
    const double distance = camera.report().stream_threshold * std::sqrt(windows / (8 * 10));
    for (index_t m = 0; m < g.out_channels; ++m) {
      double norm = 0;
      for (index_t k = 0; k < g.columns(); ++k) {
        const auto w =
            static_cast<double>(camera.w()[static_cast<std::size_t>(m * g.columns() + k)]);
        norm += w * w;
      }
      double worst = 0;
      for (index_t p = 0; p < g.out_pixels(); ++p) {
        const auto at = static_cast<std::size_t>(p * g.out_channels + m);
        worst = std::max(worst, std::abs(static_cast<double>(camera.y()[at]) -
                                         static_cast<double>(camera.y_exact()[at])));
      }
      CHECK(worst <= 1.05 * distance * std::sqrt(norm) + 1e-4);
    }
    // A bar moves; all else drifts.
    for (std::size_t i = 0; i < still.size(); ++i) {
      const index_t line = static_cast<index_t>(i) / (g.in_channels * g.in_width);
      const bool in_bar = line / 4 == frame % 8;
      camera.x()[i] = still[i] * (1 + 0.03F * static_cast<float>(frame)) +
                      (in_bar ? data.normal<float>() : 0.0F);
    }
  }
}

TEST_CASE("A moving camera is left to exact passes until it stands still") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(8, 32, 32, 8, 3, 1, Layout::nhwc);
  Camera<float> camera(g, 0.05, data);
  const index_t size = g.in_channels * g.in_height * g.in_width;
  int left = 0;
  for (int frame = 0; frame < 100; ++frame) {
    camera.x() = data.normals<float>(size);
    camera.pass();
    CHECK(camera.has_exact_bits());
    CHECK(camera.report().computed_share() == 1);
    left += camera.report().stream_pass == StreamPass::left;
  }
  CHECK(left > 85);
  // Still now: noticed after the wait.
  int compared = 0;
  for (int frame = 0; frame < 200 && compared == 0; ++frame) {
    camera.pass();
    compared += camera.report().computed_share() < 1;
  }
  CHECK(compared == 1);
}

TEST_CASE("A cut to another scene costs a stream one frame") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(8, 32, 32, 8, 3, 1, Layout::nhwc);
  Camera<float> camera(g, 0.05, data);
  const index_t size = g.in_channels * g.in_height * g.in_width;
  for (int scene = 0; scene < 8; ++scene) {
    camera.x() = data.normals<float>(size);
    for (int frame = 0; frame < 3; ++frame) {
      camera.pass();
      CHECK((camera.report().computed_share() == 1) == (frame == 0));
    }
  }
}

TEST_CASE("The bits of a stream do not depend on the number of threads") {
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    for (const index_t channels : {3, 16}) {
      std::vector<std::vector<float>> results;
      for (const int threads : {1, 2, 3}) {
        Data data;
        Camera<float> camera(square_layer(channels, 40, 44, 12, 3, 1, layout), 0.1, data, threads,
                             2);
        for (int frame = 0; frame < 5; ++frame) {
          camera.pass();
          for (float& x : camera.x()) x += 0.05F * data.normal<float>();
        }
        results.push_back(camera.y());
      }
      CHECK(results[0] == results[1]);
      CHECK(results[0] == results[2]);
    }
  }
}

TEST_CASE("A stream that has begun allocates nothing") {
  Data data;
  INFO(data);
  for (const index_t channels : {3, 16}) {
    for (const double max_error : {0.0, 0.1}) {
      Camera<float> camera(square_layer(channels, 40, 44, 12, 3, 1, Layout::nhwc), max_error, data);
      const auto noise = data.normals<float>(static_cast<index_t>(camera.x().size()));
      for (int frame = 0; frame < 3; ++frame) {
        camera.pass();
        camera.change(data, 3);
      }
      const long before = adr_test::allocations;
      for (int frame = 0; frame < 20; ++frame) {
        for (std::size_t i = 0; i < noise.size(); ++i) camera.x()[i] += 0.02F * noise[i];
        camera.pass();
      }
      CHECK(adr_test::allocations == before);
    }
  }
}

TEST_CASE("Gradients after a pass of a stream are those of the exact product") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(8, 24, 24, 8, 3, 1, Layout::nhwc);
  Camera<float> camera(g, 0.2, data);
  for (int frame = 0; frame < 3; ++frame) {
    camera.pass();
    camera.exact_pass();
    std::vector<float> d_w[2];
    std::vector<float> d_x[2];
    ReuseConv2d<float>* const layers[2] = {&camera.layer(), &camera.exact()};
    for (int i = 0; i < 2; ++i) {
      d_w[i].resize(camera.w().size());
      d_x[i].resize(camera.x().size());
      const TensorView<const float> d_y(camera.y_exact().data(), 1, 8, 24, 24, g.layout);
      layers[i]->backward(camera.images(), camera.weights(), d_y,
                          {TensorView<float>(d_x[i].data(), 1, 8, 24, 24, g.layout),
                           MatrixView<float>(d_w[i].data(), 8, g.columns())});
    }
    CHECK(d_w[0] == d_w[1]);
    CHECK(d_x[0] == d_x[1]);
    for (float& x : camera.x()) x += 0.05F * data.normal<float>();
  }
}

TEST_CASE("What streams cannot be is refused") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(8, 24, 24, 8, 3, 1, Layout::nhwc);
  Camera<float> camera(g, 0, data);
  camera.layer().set_options(Options());
  CHECK(refusal([&] { camera.pass(); }) == "a Stream needs Options::stream");
  camera.layer().set_options(stream_options(0));
  camera.pass();
  Camera<float> other(g, 0, data);
  CHECK(refusal([&] { other.pass(camera.stream()); }) ==
        "a Stream belongs to the layer that it was first given to: keep one for every camera and "
        "layer");
  Stream loop;
  const TensorView<const float> y =
      camera.layer().forward(camera.images(), camera.weights(), {}, loop);
  CHECK(refusal([&] {
          camera.layer().forward(y, camera.weights(), {}, loop);
        }).find("must not overlap") != std::string::npos);
  camera.layer().set_dense_convolution(
      std::make_shared<adr::UnfoldedConvolution<float>>(g, adr::DenseGemm<float>(), 1));
  CHECK(refusal([&] { camera.pass(); }).find("the library's own convolutions") !=
        std::string::npos);
  Options options = stream_options(0.1);
  options.setting = adr::Subspace{};
  CHECK(options.validate() == "stream needs the setting Automatic or Exact, got Subspace");
  options.setting = adr::Published{};
  CHECK(options.validate() == "stream needs the setting Automatic or Exact, got Published");
  options.setting = adr::Clustered{};
  CHECK(options.validate() == "stream needs the setting Automatic or Exact, got Clustered");
  options.setting = adr::Exact{};
  CHECK(options.validate().empty());
  options.gradient_rounding = 1;
  CHECK(options.validate() == "stream needs gradient_rounding 0, got 1");
}

namespace {

/// Two layers, one after the other, each with its stream.
struct Chain {
  ReuseConv2d<float> first;
  ReuseConv2d<float> second;
  Stream first_stream{Stream::Output::rectified};
  Stream second_stream;

  Chain(const ConvGeometry& g, const ConvGeometry& h, double max_error)
      : first(g, stream_options(max_error)), second(h, stream_options(max_error)) {}
};

}  // namespace

TEST_CASE("A stream that knows the one before it computes what one that does not would") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    for (const double max_error : {0.0, 0.1}) {
      for (const index_t groups : {1, 2}) {
        ConvGeometry g = square_layer(4, 45, 50, 16, 3, 1, layout);
        g.groups = groups;
        ConvGeometry h = square_layer(16, 45, 50, 32, 3, 1, layout);
        h.groups = groups;
        Chain told(g, h, max_error);
        Chain untold(g, h, max_error);
        std::vector<float> x = data.normals<float>(index_t{2} * 4 * 45 * 50);
        const std::vector<float> v = data.normals<float>(16 * g.columns());
        const std::vector<float> w = data.normals<float>(32 * h.columns());
        const TensorView<const float> images(x.data(), 2, 4, 45, 50, layout);
        const MatrixView<const float> first_weights(v.data(), 16, g.columns());
        const MatrixView<const float> second_weights(w.data(), 32, h.columns());
        for (int frame = 0; frame < 24; ++frame) {
          TensorView<const float> results[2];
          for (Chain* chain : {&told, &untold}) {
            const auto between =
                chain->first.forward(images, first_weights, {}, chain->first_stream);
            // Now and then nothing is told, or the layer is left out.
            const bool tells = chain == &told && frame % 7 != 5;
            if (frame % 11 == 9) continue;
            results[chain == &told ? 0 : 1] =
                chain->second.forward(between, second_weights, {}, chain->second_stream,
                                      tells ? &chain->first_stream : nullptr);
          }
          if (frame % 11 != 9) {
            const index_t size = 2 * results[0].image_size();
            INFO("frame " << frame << " groups " << groups << " max_error " << max_error);
            CHECK(told.second.report().computed_share() == untold.second.report().computed_share());
            CHECK(std::equal(results[0].data, results[0].data + size, results[1].data));
            CHECK(told.second.report().measured_error <= 1.1 * max_error);
          }
          for (int i = 0; i < 5; ++i) {
            x[static_cast<std::size_t>(data.between(0, static_cast<index_t>(x.size()) - 1))] =
                data.normal<float>();
          }
          if (max_error == 0) continue;
          for (float& value : x) value += 0.01F * data.normal<float>();
        }
      }
    }
  }
}

TEST_CASE("A stream that knows the one before it keeps its error when the light goes out") {
  Data data;
  INFO(data);
  constexpr double k_max_error = 0.05;
  const ConvGeometry g = square_layer(8, 32, 32, 16, 3, 1, Layout::nhwc);
  const ConvGeometry h = square_layer(16, 32, 32, 16, 3, 1, Layout::nhwc);
  Chain chain(g, h, k_max_error);
  ReuseConv2d<float> exact(h, adr::Exact{});
  std::vector<float> x = data.normals<float>(8 * 32 * 32);
  const std::vector<float> v = data.normals<float>(16 * g.columns());
  const std::vector<float> w = data.normals<float>(16 * h.columns());
  const MatrixView<const float> second_weights(w.data(), 16, h.columns());
  std::vector<float> y(16 * 32 * 32);
  for (int frame = 0; frame < 16; ++frame) {
    const auto between = chain.first.forward(
        TensorView<const float>(x.data(), 1, 8, 32, 32, g.layout),
        MatrixView<const float>(v.data(), 16, g.columns()), {}, chain.first_stream);
    const auto found =
        chain.second.forward(between, second_weights, {}, chain.second_stream, &chain.first_stream);
    exact.forward(between, second_weights, {},
                  TensorView<float>(y.data(), 1, 16, 32, 32, h.layout));
    double difference = 0;
    double energy = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double d = static_cast<double>(found.data[i]) - static_cast<double>(y[i]);
      difference += d * d;
      energy += static_cast<double>(y[i]) * static_cast<double>(y[i]);
    }
    INFO("frame " << frame);
    CHECK(std::sqrt(difference / energy) <= 2 * k_max_error);
    for (float& value : x) value *= frame == 8 ? 1e-3F : 1 + 0.02F * data.normal<float>();
  }
}

TEST_CASE("A stream is not misled about the one before it") {
  Data data;
  INFO(data);
  const ConvGeometry g = square_layer(8, 32, 32, 16, 3, 1, Layout::nhwc);
  const ConvGeometry h = square_layer(16, 32, 32, 16, 3, 1, Layout::nhwc);
  Chain chain(g, h, 0);
  ReuseConv2d<float> exact(h, adr::Exact{});
  std::vector<float> x = data.normals<float>(index_t{2} * 8 * 32 * 32);
  const std::vector<float> v = data.normals<float>(16 * g.columns());
  const std::vector<float> w = data.normals<float>(16 * h.columns());
  std::vector<float> y(2 * 16 * 32 * 32);
  const MatrixView<const float> first_weights(v.data(), 16, g.columns());
  const MatrixView<const float> second_weights(w.data(), 16, h.columns());
  const auto pass = [&](const TensorView<const float>& between) {
    const TensorView<const float> found =
        chain.second.forward(between, second_weights, {}, chain.second_stream, &chain.first_stream);
    exact.forward(between, second_weights, {},
                  TensorView<float>(y.data(), between.batch, 16, 32, 32, h.layout));
    return std::equal(found.data, found.data + between.batch * found.image_size(), y.begin());
  };
  const auto first = [&](index_t batch) {
    x[static_cast<std::size_t>(data.between(0, static_cast<index_t>(x.size()) - 1))] += 1;
    return chain.first.forward(TensorView<const float>(x.data(), batch, 8, 32, 32, g.layout),
                               first_weights, {}, chain.first_stream);
  };
  for (int frame = 0; frame < 3; ++frame) CHECK(pass(first(2)));
  // Two passes of the first layer, one of the second.
  first(2);
  CHECK(pass(first(2)));
  // A copy of the output, and a part of it.
  const TensorView<const float> between = first(2);
  const std::vector<float> copy(between.data, between.data + 2 * between.image_size());
  CHECK(pass(TensorView<const float>(copy.data(), 2, 16, 32, 32, h.layout)));
  CHECK(pass(first(2)));
  const TensorView<const float> whole = first(2);
  CHECK(pass(TensorView<const float>(whole.data, 1, 16, 32, 32, h.layout)));
  CHECK(pass(first(2)));
  // The first begins anew, and is handed another batch.
  chain.first_stream.reset();
  CHECK(pass(first(2)));
  CHECK(pass(first(1)));
  CHECK(pass(first(1)));
  // The first is shifted, and the second is not.
  CHECK(pass(first(2)));
  chain.first_stream.shift(0, 16);
  CHECK(pass(first(2)));
  CHECK(pass(first(2)));
  CHECK(pass(first(1)));
  // A stream of another layer and of nothing.
  Stream nothing;
  chain.second.forward(first(1), second_weights, {}, chain.second_stream, &nothing);
  CHECK(pass(first(1)));
}

TEST_CASE("Windows that slide over a picture compute what entered") {
  Data data;
  INFO(data);
  ConvGeometry signal = square_layer(9, 1, 800, 12, 1, 0, Layout::nhwc);
  signal.kernel_width = 5;
  signal.pad_left = signal.pad_right = 2;
  std::vector<ConvGeometry> all = {signal};
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    all.push_back(square_layer(16, 48, 64, 256, 3, 1, layout));
    all.push_back(square_layer(3, 70, 90, 96, 3, 1, layout));
    all.push_back(with(square_layer(16, 48, 64, 256, 3, 1, layout), 1, 1, 2));
    all.push_back(with(square_layer(6, 90, 100, 96, 3, 1, layout), 2, 1, 1));
  }
  for (const ConvGeometry& g : all) {
    INFO(Shown{g});
    // A picture larger than the window on it.
    constexpr index_t k_margin = 80;
    const index_t height = g.in_height + 2 * k_margin;
    const index_t width = g.in_width + 2 * k_margin;
    const std::vector<float> picture = data.normals<float>(g.in_channels * height * width);
    Camera<float> camera(g, 0, data);
    index_t y = k_margin;
    index_t x = k_margin;
    const auto look = [&] {
      for (index_t i = 0; i < g.in_channels * g.in_height * g.in_width; ++i) {
        const index_t plane = g.in_height * g.in_width;
        const bool last = g.layout == Layout::nhwc;
        const index_t c = last ? i % g.in_channels : i / plane;
        const index_t p = last ? i / g.in_channels : i % plane;
        camera.x()[static_cast<std::size_t>(i)] = picture[static_cast<std::size_t>(
            (c * height + y + p / g.in_width) * width + x + p % g.in_width)];
      }
      camera.pass();
    };
    look();
    const index_t flat = g.in_height == 1 ? 0 : 1;
    for (const auto& [dy, dx] : {std::pair<index_t, index_t>{0, 16},
                                 {16, 0},
                                 {-16, -16},
                                 {0, -16},
                                 {16, 16},
                                 {-16, 16},
                                 {0, 0}}) {
      camera.stream().shift(flat * dy, dx);
      y -= flat * dy;
      x -= dx;
      look();
      CHECK(camera.has_exact_bits());
      CHECK(camera.report().stream_pass == StreamPass::compared);
      // Where the picture moves both ways, too little stays of maps this small.
      if (flat * dy == 0 || dx == 0) CHECK(camera.report().computed_share() < 1);
      look();
      CHECK(camera.report().computed_share() == 0);
    }
    camera.stream().shift(0, 3);
    x -= 3;
    CHECK(camera.stream().empty());
    look();
    CHECK(camera.has_exact_bits());
    Stream nothing;
    nothing.shift(4, 4);
    CHECK(nothing.empty());
  }
}
