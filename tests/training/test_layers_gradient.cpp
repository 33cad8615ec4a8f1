// The backward pass of every layer against central differences, in double and in both layouts.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adr/extern_layers.hpp"
#include "support/catch.hpp"
#include "training/layers/batch_norm.hpp"
#include "training/layers/conv.hpp"
#include "training/layers/linear.hpp"
#include "training/layers/max_pool.hpp"
#include "training/layers/relu.hpp"
#include "training/layers/softmax_loss.hpp"
#include "training/network_builder.hpp"

namespace {

using namespace training;

void fill_normal(adr::Random& random, double* values, index_t count) {
  for (index_t i = 0; i < count; ++i) values[i] = random.normal();
}

/// Central difference of f over one number.
double slope(double& number, const std::function<double()>& f) {
  constexpr double k_step = 1e-5;
  const double kept = number;
  number = kept + k_step;
  const double above = f();
  number = kept - k_step;
  const double below = f();
  number = kept;
  return (above - below) / (2 * k_step);
}

void check_gradient(double* numbers, const double* gradient, index_t count,
                    const std::function<double()>& f) {
  for (index_t i = 0; i < count; ++i) {
    INFO("element " << i);
    CHECK_THAT(gradient[i], Catch::Matchers::WithinAbs(slope(numbers[i], f), 1e-6));
  }
}

/// Checks d_x and every parameter gradient for the loss <r, y> with random r.
void check_layer(Layer<double>& layer, const ImageShape& input, adr::Layout layout,
                 std::uint64_t seed) {
  constexpr index_t k_batch = 3;
  adr::Random random(seed);
  Tensor<double> x, y, d_y, d_x;
  x.resize(k_batch, input, layout);
  y.resize(k_batch, layer.output_shape(), layout);
  d_y.resize(k_batch, layer.output_shape(), layout);
  d_x.resize(k_batch, input, layout);
  const index_t in_count = k_batch * input.size();
  const index_t out_count = k_batch * layer.output_shape().size();
  fill_normal(random, x.view().data, in_count);
  fill_normal(random, d_y.view().data, out_count);

  const auto loss = [&] {
    layer.forward(x.const_view(), y.view());
    double sum = 0;
    for (index_t i = 0; i < out_count; ++i) sum += y.view().data[i] * d_y.view().data[i];
    return sum;
  };
  loss();
  layer.backward(x.const_view(), y.const_view(), d_y.const_view(), d_x.view());
  check_gradient(x.view().data, d_x.view().data, in_count, loss);
  for (Parameter<double>* parameter : layer.parameters()) {
    INFO(parameter->name());
    check_gradient(parameter->value(), parameter->gradient(), parameter->size(), loss);
  }
}

const adr::Layout k_layouts[] = {adr::Layout::nhwc, adr::Layout::nchw};

bool equal_or_no_numbers(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

TEST_CASE("ReLU") {
  adr::Context context(2);
  for (const adr::Layout layout : k_layouts) {
    Relu<double> relu("relu", {3, 4, 5}, context);
    check_layer(relu, {3, 4, 5}, layout, 11);
  }
}

TEST_CASE("ReLU in place") {
  adr::Context context(2);
  const ImageShape shape{3, 4, 5};
  Relu<float> relu("relu", shape, context);
  REQUIRE(relu.works_in_place());
  Tensor<float> x, y, d_y, d_x;
  for (Tensor<float>* tensor : {&x, &y, &d_y, &d_x}) {
    tensor->resize(2, shape, adr::Layout::nhwc);
    for (index_t i = 0; i < 2 * shape.size(); ++i) {
      tensor->view().data[i] = static_cast<float>(i * 7 % 13 - 6);
    }
  }
  relu.forward(x.const_view(), y.view());
  relu.backward(x.const_view(), y.const_view(), d_y.const_view(), d_x.view());
  relu.forward(x.const_view(), x.view());
  relu.backward(x.const_view(), x.const_view(), d_y.const_view(), d_y.view());
  for (index_t i = 0; i < 2 * shape.size(); ++i) {
    CHECK(x.view().data[i] == y.view().data[i]);
    CHECK(d_y.view().data[i] == d_x.view().data[i]);
  }
}

TEST_CASE("A NaN passes through ReLU") {
  adr::Context context(1);
  Relu<double> relu("relu", {1, 1, 2}, context);
  Tensor<double> x, y;
  x.resize(1, {1, 1, 2}, adr::Layout::nhwc);
  y.resize(1, {1, 1, 2}, adr::Layout::nhwc);
  x.view().data[0] = std::nan("");
  x.view().data[1] = -1;
  relu.forward(x.const_view(), y.view());
  CHECK(std::isnan(y.view().data[0]));
  CHECK(y.view().data[1] == 0);
}

TEST_CASE("Batch normalisation while training") {
  adr::Context context(2);
  for (const adr::Layout layout : k_layouts) {
    BatchNorm<double> norm("norm", {3, 4, 5}, context);
    for (index_t c = 0; c < 3; ++c) {
      norm.parameters()[0]->value()[c] = 0.5 + static_cast<double>(c);
      norm.parameters()[1]->value()[c] = 2.0 - static_cast<double>(c);
    }
    check_layer(norm, {3, 4, 5}, layout, 12);
  }
}

TEST_CASE("Batch normalisation keeps averages of batches for afterwards") {
  const ImageShape shape = {2, 3, 2};
  for (const adr::Layout layout : k_layouts) {
    for (const int threads : {1, 3}) {
      adr::Context context(threads);
      BatchNorm<double> norm("norm", shape, context);
      adr::Random random(3);
      Tensor<double> x, y;
      x.resize(40, shape, layout);
      y.resize(40, shape, layout);
      const index_t channel_stride = layout == adr::Layout::nhwc ? 1 : 6;
      const index_t pixel_stride = layout == adr::Layout::nhwc ? 2 : 1;
      const auto mean_and_square = [&](const Tensor<double>& tensor, index_t channel) {
        std::pair<double, double> sums = {0, 0};
        for (index_t n = 0; n < 40; ++n) {
          for (index_t p = 0; p < 6; ++p) {
            const double value =
                tensor.const_view().image(n)[channel * channel_stride + p * pixel_stride];
            sums.first += value / 240;
            sums.second += value * value / 240;
          }
        }
        return sums;
      };
      fill_normal(random, x.view().data, 480);
      for (index_t i = 0; i < 480; ++i) x.view().data[i] = 3 * x.view().data[i] + 5;
      for (int step = 0; step < 100; ++step) norm.forward(x.const_view(), y.view());
      for (index_t c = 0; c < 2; ++c) {
        const auto [mean, square] = mean_and_square(y, c);
        CHECK(std::abs(mean) < 1e-12);
        CHECK(std::abs(square - 1) < 1e-4);
        // 0.9^100 of the start is left in the averages.
        const auto [x_mean, x_square] = mean_and_square(x, c);
        CHECK(std::abs(norm.parameters()[2]->value()[c] - x_mean) < 2e-4);
        CHECK(std::abs(norm.parameters()[3]->value()[c] - (x_square - x_mean * x_mean)) < 1e-3);
      }
      // An image no longer depends on its neighbours, and nothing is learned.
      norm.set_training(false);
      norm.forward(x.const_view(), y.view());
      const std::vector<double> together(y.const_view().image(7), y.const_view().image(7) + 12);
      const double average = norm.parameters()[2]->value()[0];
      Tensor<double> one, alone;
      one.resize(1, shape, layout);
      alone.resize(1, shape, layout);
      std::copy_n(x.const_view().image(7), 12, one.view().data);
      norm.forward(one.const_view(), alone.view());
      CHECK(std::vector<double>(alone.view().data, alone.view().data + 12) == together);
      CHECK(norm.parameters()[2]->value()[0] == average);
    }
  }
}

TEST_CASE("Max pooling with apart, overlapping and clipped windows") {
  adr::Context context(2);
  const struct {
    ImageShape input;
    index_t window;
    index_t stride;
    ImageShape output;
  } cases[] = {{{5, 4, 6}, 2, 2, {5, 2, 3}},
               {{3, 7, 5}, 3, 2, {3, 3, 2}},
               {{2, 6, 6}, 3, 2, {2, 3, 3}},
               {{1, 5, 5}, 2, 1, {1, 4, 4}},
               {{2, 3, 3}, 3, 3, {2, 1, 1}}};
  for (const auto& c : cases) {
    for (const adr::Layout layout : k_layouts) {
      for (const bool rectifies : {false, true}) {
        MaxPool<double> pool("pool", c.input, c.window, c.stride, rectifies, context);
        REQUIRE(pool.output_shape() == c.output);
        check_layer(pool, c.input, layout, 12);
      }
    }
  }
}

TEST_CASE("A pool that rectifies is a pool and a ReLU, a NaN included") {
  adr::Context context(2);
  const ImageShape input{19, 7, 8};
  for (const auto& [window, stride] : {std::pair<index_t, index_t>{2, 2}, {3, 3}, {3, 2}}) {
    for (const adr::Layout layout : k_layouts) {
      INFO("window " << window << ", stride " << stride);
      MaxPool<float> both("pool", input, window, stride, true, context);
      MaxPool<float> pool("pool", input, window, stride, false, context);
      Relu<float> relu("relu", pool.output_shape(), context);
      Tensor<float> x, d_x, d_x_of_both, y, y_of_both, d_y;
      for (Tensor<float>* of_input : {&x, &d_x, &d_x_of_both}) of_input->resize(3, input, layout);
      for (Tensor<float>* of_output : {&y, &y_of_both, &d_y}) {
        of_output->resize(3, pool.output_shape(), layout);
      }
      adr::Random random(23);
      const auto draw = [&](Tensor<float>& tensor) {
        for (index_t n = 0; n < 3; ++n) {
          float* image = tensor.view().image(n);
          for (index_t i = 0; i < tensor.view().image_size(); ++i) {
            image[i] = static_cast<float>(random.normal()) - 1;
          }
        }
      };
      draw(x);
      draw(d_y);
      x.view().image(1)[0] = std::numeric_limits<float>::quiet_NaN();
      both.forward(x.const_view(), y_of_both.view());
      both.backward(x.const_view(), y_of_both.const_view(), d_y.const_view(), d_x_of_both.view());
      pool.forward(x.const_view(), y.view());
      relu.forward(y.const_view(), y.view());
      relu.backward(y.const_view(), y.const_view(), d_y.const_view(), d_y.view());
      pool.backward(x.const_view(), y.const_view(), d_y.const_view(), d_x.view());
      const auto same = [](Tensor<float>& a, Tensor<float>& b) {
        bool equal = true;
        for (index_t n = 0; n < 3; ++n) {
          for (index_t i = 0; i < a.view().image_size(); ++i) {
            equal = equal && equal_or_no_numbers(a.view().image(n)[i], b.view().image(n)[i]);
          }
        }
        return equal;
      };
      CHECK(same(y, y_of_both));
      CHECK(same(d_x, d_x_of_both));
    }
  }
}

TEST_CASE("Max pool finds the same maxima in both layouts, ties and NaN included") {
  adr::Context context(2);
  const ImageShape input{19, 6, 8};
  for (const auto& [window, stride] : {std::pair<index_t, index_t>{2, 2}, {3, 3}, {3, 2}}) {
    const index_t pixels = input.height * input.width;
    adr::Random random(21);
    MaxPool<float> pool("pool", input, window, stride, false, context);
    const ImageShape output = pool.output_shape();
    const index_t output_pixels = output.height * output.width;
    Tensor<float> x[2];
    Tensor<float> y[2];
    Tensor<float> d_y[2];
    Tensor<float> d_x[2];
    for (std::size_t l = 0; l < 2; ++l) {
      for (Tensor<float>* of_input : {&x[l], &d_x[l]}) of_input->resize(1, input, k_layouts[l]);
      for (Tensor<float>* of_output : {&y[l], &d_y[l]}) of_output->resize(1, output, k_layouts[l]);
    }
    const auto at = [](const adr::TensorView<float>& t, index_t channel, index_t pixel) -> float& {
      const bool by_pixel = t.layout == adr::Layout::nhwc;
      return t.data[by_pixel ? pixel * t.channels + channel : channel * t.height * t.width + pixel];
    };
    for (index_t c = 0; c < input.channels; ++c) {
      for (index_t p = 0; p < pixels; ++p) {
        // Few different values, so that there are ties.
        const auto draw = static_cast<int>(random.uniform() * 8);
        const float value =
            draw == 7 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(draw - 3);
        for (auto& images : x) at(images.view(), c, p) = value;
      }
      for (index_t p = 0; p < output_pixels; ++p) {
        for (auto& images : d_y) {
          at(images.view(), c, p) = static_cast<float>(c * output_pixels + p + 1);
        }
      }
    }
    for (std::size_t l = 0; l < 2; ++l) {
      pool.forward(x[l].const_view(), y[l].view());
      pool.backward(x[l].const_view(), y[l].const_view(), d_y[l].const_view(), d_x[l].view());
    }
    const auto same = [&](Tensor<float>(&tensors)[2], index_t count) {
      bool equal = true;
      for (index_t c = 0; c < input.channels; ++c) {
        for (index_t p = 0; p < count; ++p) {
          equal = equal &&
                  equal_or_no_numbers(at(tensors[0].view(), c, p), at(tensors[1].view(), c, p));
        }
      }
      return equal;
    };
    INFO("window " << window << ", stride " << stride);
    CHECK(same(y, output_pixels));
    CHECK(same(d_x, pixels));
  }
}

TEST_CASE("Impossible windows are refused") {
  adr::Context context(1);
  const ImageShape shape{1, 4, 4};
  CHECK_THROWS_AS(MaxPool<double>("pool", shape, 0, 1, false, context), UserError);
  CHECK_THROWS_AS(MaxPool<double>("pool", shape, 2, 3, false, context), UserError);
  CHECK_THROWS_AS(MaxPool<double>("pool", shape, 5, 2, false, context), UserError);
}

TEST_CASE("Convolution and fully connected layer, exact") {
  adr::Context context(2);
  for (const adr::Layout layout : k_layouts) {
    adr::Random random(5);
    const ImageShape input{3, 5, 4};
    Conv<double> conv("conv", conv_geometry(ConvLayer{4, 3, 2, 1}, input, layout), {}, {},
                      FollowedBy::relu, random, context);
    CHECK(conv.output_shape() == ImageShape{4, 3, 2});
    check_layer(conv, input, layout, 15);
    Linear<double> linear("linear", 12, 5, {}, FollowedBy::nothing, random, context);
    check_layer(linear, {3, 2, 2}, layout, 16);
  }
}

TEST_CASE("Softmax with cross entropy") {
  constexpr index_t k_rows = 4;
  constexpr index_t k_classes = 5;
  adr::Random random(17);
  std::vector<double> logits(k_rows * k_classes);
  std::vector<double> gradient(logits.size());
  fill_normal(random, logits.data(), k_rows * k_classes);
  const std::vector<std::uint8_t> labels = {0, 4, 2, 2};
  const adr::MatrixView<const double> rows(logits.data(), k_rows, k_classes);
  const auto loss = [&] {
    std::vector<double> ignored(logits.size());
    return softmax_loss(rows, labels, adr::MatrixView<double>(ignored.data(), k_rows, k_classes))
               .loss_sum /
           k_rows;
  };
  softmax_loss(rows, labels, adr::MatrixView<double>(gradient.data(), k_rows, k_classes));
  check_gradient(logits.data(), gradient.data(), k_rows * k_classes, loss);
}

TEST_CASE("Softmax survives large logits and reports a NaN") {
  std::vector<float> logits = {1000.0F, -1000.0F, 0.0F, 3.0F};
  std::vector<float> gradient(4);
  const adr::MatrixView<const float> rows(logits.data(), 2, 2);
  const adr::MatrixView<float> d_rows(gradient.data(), 2, 2);
  const BatchResult fine = softmax_loss(rows, {0, 1}, d_rows);
  CHECK(std::isfinite(fine.loss_sum));
  CHECK(fine.correct == 2);
  logits[0] = std::nanf("");
  const BatchResult broken = softmax_loss(rows, {0, 1}, d_rows);
  CHECK_FALSE(std::isfinite(broken.loss_sum));
  CHECK(broken.correct == 1);
}
