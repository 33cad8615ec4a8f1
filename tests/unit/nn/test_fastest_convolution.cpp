// The dense convolutions that can be compared: unfolding gives what a dense layer gives, and the
// fastest of several is the one that the clock says.
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "adr/core/random.hpp"
#include "adr/extern_layers.hpp"
#include "adr/nn/fastest_convolution.hpp"
#include "adr/nn/unfolded_convolution.hpp"
#include "adr/reuse_conv2d.hpp"
#include "support/catch.hpp"

using adr::ConvGeometry;
using adr::DenseConvolution;
using adr::FastestConvolution;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::UnfoldedConvolution;
using adr::VectorView;
using adr_test::contains;

namespace {

ConvGeometry geometry(Layout layout) {
  ConvGeometry g;
  g.in_channels = 4;
  g.in_height = 9;
  g.in_width = 6;
  g.out_channels = 70;
  g.set_kernel(3);
  g.set_padding(1);
  g.layout = layout;
  return g;
}

std::vector<float> random_values(index_t size, std::uint64_t seed) {
  adr::Random random(seed);
  std::vector<float> values;
  for (index_t i = 0; i < size; ++i) values.push_back(static_cast<float>(random.normal()));
  return values;
}

/// Takes a time of its own per call, and something more in the first one, on a clock that it moves,
/// and marks its result.
class TimedConvolution final : public DenseConvolution<float> {
 public:
  TimedConvolution(double& now, double seconds, float mark, double search = 0)
      : seconds_(seconds), now_(now), mark_(mark), search_(search) {}

  void forward(const TensorView<const float>&, const MatrixView<const float>&,
               const VectorView<const float>&, const TensorView<float>& y) override {
    run(y.data);
  }
  void weight_gradient(const TensorView<const float>&, const TensorView<const float>&,
                       const MatrixView<float>& d_w) override {
    run(d_w.data);
  }
  void input_gradient(const TensorView<const float>&, const MatrixView<const float>&,
                      const TensorView<float>& d_x) override {
    run(d_x.data);
  }

  int calls = 0;
  double seconds_;

 private:
  void run(float* result) {
    now_ += seconds_ + (calls++ == 0 ? search_ : 0.0);
    *result = mark_;
  }

  double& now_;
  float mark_;
  double search_;
};

}  // namespace

TEST_CASE("Unfolding and a product is what a layer does with a product of its own, bit by bit") {
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = geometry(layout);
    constexpr index_t k_batch = 3;
    const std::vector<float> x = random_values(k_batch * 4 * 54, 1);
    const std::vector<float> w = random_values(70 * 36, 2);
    const std::vector<float> bias = random_values(70, 3);
    const std::vector<float> d_y = random_values(k_batch * 70 * 54, 4);
    const TensorView<const float> x_view(x.data(), k_batch, 4, 9, 6, layout);
    const TensorView<const float> d_y_view(d_y.data(), k_batch, 70, 9, 6, layout);
    const MatrixView<const float> w_view(w.data(), 70, 36);
    const VectorView<const float> bias_view(bias.data(), 70);

    adr::Plan dense;
    dense.method = adr::Method::exact;
    adr::ReuseConv2d<float> layer(g, dense);
    // Products of the user's own, for which a layer unfolds its images.
    const adr::DenseGemm<float> product(
        [](const adr::GemmFactor<float>& a, const adr::GemmFactor<float>& b, adr::Update update,
           const adr::MatrixView<float>& result) { adr::packed_gemm(a, b, update, result); });
    layer.set_dense_gemm(product);
    std::vector<float> y(d_y.size());
    std::vector<float> d_x(x.size());
    std::vector<float> d_w(w.size());
    const TensorView<float> y_view(y.data(), k_batch, 70, 9, 6, layout);
    layer.forward(x_view, w_view, bias_view, y_view);
    layer.backward(x_view, w_view, d_y_view,
                   {{d_x.data(), k_batch, 4, 9, 6, layout}, {d_w.data(), 70, 36}, {}});

    for (const int threads : {1, 3}) {
      UnfoldedConvolution<float> unfolded(g, product, threads);
      std::vector<float> result(y.size(), 7.0F);
      unfolded.forward(x_view, w_view, bias_view, {result.data(), k_batch, 70, 9, 6, layout});
      CHECK(result == y);
      result.assign(w.size(), 7.0F);
      unfolded.weight_gradient(x_view, d_y_view, {result.data(), 70, 36});
      CHECK(result == d_w);
      result.assign(x.size(), 7.0F);
      unfolded.input_gradient(d_y_view, w_view, {result.data(), k_batch, 4, 9, 6, layout});
      CHECK(result == d_x);
    }
  }
}

TEST_CASE("Unfolding refuses impossible geometries and several groups") {
  ConvGeometry g = geometry(Layout::nhwc);
  g.groups = 2;
  CHECK_THROWS_WITH(UnfoldedConvolution<float>(g, {}, 1), contains("groups must be 1, got 2"));
  g = geometry(Layout::nhwc);
  g.in_channels = 0;
  CHECK_THROWS_AS(UnfoldedConvolution<float>(g, {}, 1), std::invalid_argument);
  CHECK_THROWS_AS(UnfoldedConvolution<float>(geometry(Layout::nhwc), {}, 0), std::invalid_argument);
}

TEST_CASE("The fastest runs, chosen again for every pass and batch size") {
  double now = 0;
  const auto slow = std::make_shared<TimedConvolution>(now, 1.5, 1.0F);
  const auto fast = std::make_shared<TimedConvolution>(now, 1.0, 2.0F);
  const auto hopeless = std::make_shared<TimedConvolution>(now, 2.0, 3.0F);
  FastestConvolution<float> convolution({slow, hopeless, fast}, [&] { return now; });
  float result = 0;
  const auto forward = [&](index_t batch) {
    convolution.forward({&result, batch, 1, 1, 1, Layout::nhwc}, {&result, 1, 1}, {},
                        {&result, batch, 1, 1, 1, Layout::nhwc});
    return result;
  };
  CHECK(forward(8) == 2.0F);
  CHECK(slow->calls == 3);
  CHECK(hopeless->calls == 2);
  CHECK(fast->calls == 4);
  CHECK(forward(8) == 2.0F);
  CHECK(slow->calls == 3);
  CHECK(fast->calls == 5);

  // Another batch size is tried anew; the first is remembered.
  slow->seconds_ = 0.5;
  CHECK(forward(4) == 1.0F);
  CHECK(slow->calls == 6);
  CHECK(forward(8) == 2.0F);
  CHECK(forward(4) == 1.0F);
  CHECK(slow->calls == 7);

  // So is another pass.
  convolution.weight_gradient({&result, 8, 1, 1, 1, Layout::nhwc},
                              {&result, 8, 1, 1, 1, Layout::nhwc}, {&result, 1, 1});
  CHECK(result == 1.0F);
  convolution.input_gradient({&result, 8, 1, 1, 1, Layout::nhwc}, {&result, 1, 1},
                             {&result, 8, 1, 1, 1, Layout::nhwc});
  CHECK(result == 1.0F);

  // After four other batch sizes it is forgotten.
  for (const index_t batch : {1, 2, 3, 5}) forward(batch);
  CHECK(forward(8) == 1.0F);
}

TEST_CASE("What an implementation takes to find its own fastest form does not count") {
  double now = 0;
  const auto ready = std::make_shared<TimedConvolution>(now, 1.0, 1.0F);
  const auto searching = std::make_shared<TimedConvolution>(now, 0.5, 2.0F, 6.0);
  FastestConvolution<float> convolution({ready, searching}, [&] { return now; });
  float result = 0;
  convolution.input_gradient({&result, 8, 1, 1, 1, Layout::nhwc}, {&result, 1, 1},
                             {&result, 8, 1, 1, 1, Layout::nhwc});
  CHECK(result == 2.0F);
}

TEST_CASE("Without a clock the first of several convolutions runs") {
  double now = 0;
  const auto first = std::make_shared<TimedConvolution>(now, 2.0, 1.0F);
  const auto second = std::make_shared<TimedConvolution>(now, 1.0, 2.0F);
  FastestConvolution<float> convolution({first, second}, {});
  float result = 0;
  convolution.input_gradient({&result, 8, 1, 1, 1, Layout::nhwc}, {&result, 1, 1},
                             {&result, 8, 1, 1, 1, Layout::nhwc});
  CHECK(result == 1.0F);
  CHECK(first->calls == 1);
  CHECK(second->calls == 0);
}

TEST_CASE("There must be something to choose from") {
  CHECK_THROWS_WITH(FastestConvolution<float>({}), contains("got 0"));
  CHECK_THROWS_WITH(FastestConvolution<float>({nullptr}), contains("null implementation"));
}
