// Exact products of matrices leave out zeros, in every orientation, and say so.
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "adr/adapt/report_line.hpp"
#include "adr/extern_layers.hpp"
#include "adr/gradients/masked_gradients.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_gemm_blas.hpp"
#include "adr/reuse_linear.hpp"
#include "adr/simd/masked_sums.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Context;
using adr::index_t;
using adr::MatrixView;
using adr::ReuseGemm;
using adr::ReuseLinear;
using adr::VectorView;
using adr_test::Comparison;
using adr_test::Data;
using Catch::Matchers::WithinAbs;

constexpr index_t k_rows = 64;
constexpr index_t k_columns = 600;
constexpr index_t k_outputs = 512;
constexpr double k_input_density = 0.25;
constexpr double k_gradient_density = 0.5;

/// Rows x cols elements of which some are zero.
std::vector<float> rectified(index_t rows, index_t cols, double density, Data& data) {
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  for (float& value : values) value = data.normal_or_zero<float>(density);
  return values;
}

std::vector<float> flipped(const std::vector<float>& values, index_t rows, index_t cols) {
  std::vector<float> result(values.size());
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      result[static_cast<std::size_t>(j * rows + i)] =
          values[static_cast<std::size_t>(i * cols + j)];
    }
  }
  return result;
}

/// A product a b of an n x k and a k x m matrix, in double precision, with what its sums may be
/// off.
struct Expected {
  std::vector<double> sums;
  std::vector<double> tolerances;

  Expected(const std::vector<float>& a, const std::vector<float>& b, index_t n, index_t k,
           index_t m)
      : sums(static_cast<std::size_t>(n * m)), tolerances(sums.size()) {
    std::vector<double> magnitudes(sums.size());
    for (index_t i = 0; i < n; ++i) {
      for (index_t l = 0; l < k; ++l) {
        const double x = a[static_cast<std::size_t>(i * k + l)];
        for (index_t j = 0; j < m; ++j) {
          const double product = x * b[static_cast<std::size_t>(l * m + j)];
          sums[static_cast<std::size_t>(i * m + j)] += product;
          magnitudes[static_cast<std::size_t>(i * m + j)] += std::abs(product);
        }
      }
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      tolerances[i] = adr_test::sum_tolerance<float>(k + 1, magnitudes[i] + 1);
    }
  }

  [[nodiscard]] std::string fault(const std::vector<float>& actual, double offset = 0) const {
    Comparison comparison;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      comparison.expect(static_cast<double>(actual[i]), sums[i] + offset, tolerances[i]);
    }
    return comparison.fault();
  }
};

/// Operands of a product and its gradients.
struct Case {
  Data data;
  std::vector<float> x = rectified(k_rows, k_columns, k_input_density, data);
  std::vector<float> w = data.normals<float>(k_columns * k_outputs);
  std::vector<float> d_y = rectified(k_rows, k_outputs, k_gradient_density, data);
  Expected y{x, w, k_rows, k_columns, k_outputs};
  Expected d_w{flipped(x, k_rows, k_columns), d_y, k_columns, k_rows, k_outputs};
  Expected d_x{d_y, flipped(w, k_columns, k_outputs), k_rows, k_outputs, k_columns};
};

/// weights: the density of the factor whose zeros the weight gradient leaves out.
void check_report(const adr::Report& report, double weights) {
  const double work = double{k_rows} * k_columns * k_outputs;
  CHECK(report.is_exact());
  CHECK(report.computed_share() == 1);
  CHECK_THAT(report.forward.multiply_adds_done / work, WithinAbs(k_input_density, 0.02));
  CHECK_THAT(report.zero_multiply_adds / work, WithinAbs(1 - k_input_density, 0.02));
  CHECK_THAT(report.weight_gradient.multiply_adds_done / work, WithinAbs(weights, 0.02));
  CHECK_THAT(report.input_gradient.multiply_adds_done / work, WithinAbs(k_gradient_density, 0.02));
  CHECK(adr::to_string(report).find(", zeros left out 0.7") != std::string::npos);
  adr::Report sum = report;
  sum.add(report);
  CHECK(sum.zero_multiply_adds == 2 * report.zero_multiply_adds);
}

}  // namespace

TEST_CASE("A fully connected layer leaves out zeros in all three passes") {
  Case c;
  INFO(c.data);
  const std::vector<float> w = flipped(c.w, k_columns, k_outputs);
  const std::vector<float> bias(std::size_t{k_outputs}, 0.25F);
  std::vector<float> bits;
  for (const int threads : {1, 2, 5}) {
    Context context(threads);
    ReuseLinear<float> layer(k_columns, k_outputs, adr::Options(), context);
    std::vector<float> y(c.y.sums.size()), d_w(c.d_w.sums.size()), d_x(c.d_x.sums.size(), 1.0F);
    const MatrixView<const float> x_view(c.x.data(), k_rows, k_columns);
    const MatrixView<const float> w_view(w.data(), k_outputs, k_columns);
    layer.forward(x_view, w_view, VectorView<const float>(bias.data(), k_outputs),
                  MatrixView<float>(y.data(), k_rows, k_outputs));
    adr::ReuseLinear<float>::Gradients gradients{
        MatrixView<float>(d_x.data(), k_rows, k_columns),
        MatrixView<float>(d_w.data(), k_outputs, k_columns), VectorView<float>()};
    gradients.add_to_d_x = true;
    layer.backward(x_view, w_view, MatrixView<const float>(c.d_y.data(), k_rows, k_outputs),
                   gradients);
    CHECK(c.y.fault(y, 0.25) == "");
    CHECK(c.d_w.fault(flipped(d_w, k_outputs, k_columns)) == "");
    CHECK(c.d_x.fault(d_x, 1) == "");
    check_report(layer.report(), k_gradient_density);
    std::vector<float> all = y;
    all.insert(all.end(), d_w.begin(), d_w.end());
    all.insert(all.end(), d_x.begin(), d_x.end());
    if (bits.empty()) bits = all;
    CHECK(adr_test::same_bits(all, bits));
  }
}

TEST_CASE("Products in every orientation leave out zeros") {
  Case c;
  INFO(c.data);
  const std::vector<float> x_flipped = flipped(c.x, k_rows, k_columns);
  const std::vector<float> w_flipped = flipped(c.w, k_columns, k_outputs);
  const std::vector<float> d_y_flipped = flipped(c.d_y, k_rows, k_outputs);
  for (const bool by_columns : {false, true}) {
    for (const bool flip_x : {false, true}) {
      for (const bool flip_w : {false, true}) {
        INFO("by columns " << by_columns << ", x " << flip_x << ", w " << flip_w);
        const adr::Similar similar =
            by_columns ? adr::Similar::columns_of_b : adr::Similar::rows_of_a;
        // By columns the product is w^T x^T, whose operands lie the other way round.
        const bool x_lies_flipped = flip_x != by_columns;
        const bool w_lies_flipped = flip_w != by_columns;
        const std::vector<float>& x = x_lies_flipped ? x_flipped : c.x;
        const std::vector<float>& w = w_lies_flipped ? w_flipped : c.w;
        const std::vector<float>& d_y = by_columns ? d_y_flipped : c.d_y;
        const index_t x_ld = x_lies_flipped ? k_rows : k_columns;
        const index_t w_ld = w_lies_flipped ? k_columns : k_outputs;
        const index_t y_ld = by_columns ? k_rows : k_outputs;
        const index_t m = by_columns ? k_outputs : k_rows;
        const index_t n = by_columns ? k_rows : k_outputs;
        const bool trans_a = by_columns ? flip_w : flip_x;
        const bool trans_b = by_columns ? flip_x : flip_w;
        const float* a = by_columns ? w.data() : x.data();
        const float* b = by_columns ? x.data() : w.data();
        const index_t a_ld = by_columns ? w_ld : x_ld;
        const index_t b_ld = by_columns ? x_ld : w_ld;
        std::vector<float> y(c.y.sums.size()), d_w(c.d_w.sums.size()), d_x(c.d_x.sums.size());
        ReuseGemm<float> product;
        adr::reuse_gemm<float>(trans_a, trans_b, m, n, k_columns, 1, a, a_ld, b, b_ld, 0, y.data(),
                               y_ld, product, similar);
        adr::reuse_gemm_weight_gradient<float>(trans_a, trans_b, m, n, k_columns, 1, x.data(), x_ld,
                                               d_y.data(), y_ld, 0, d_w.data(), w_ld, product,
                                               similar);
        const double weight_work = product.report().weight_gradient.multiply_adds_done;
        adr::reuse_gemm_input_gradient<float>(trans_a, trans_b, m, n, k_columns, 1, d_y.data(),
                                              y_ld, w.data(), w_ld, 0, d_x.data(), x_ld, product,
                                              similar);
        // Rows of the gradient as it lies are outputs or columns.
        CHECK_THAT(weight_work / (double{k_rows} * k_columns * k_outputs),
                   WithinAbs(w_lies_flipped ? k_gradient_density : k_input_density, 0.02));
        CHECK(c.y.fault(by_columns ? flipped(y, k_outputs, k_rows) : y) == "");
        CHECK(c.d_w.fault(w_lies_flipped ? flipped(d_w, k_outputs, k_columns) : d_w) == "");
        CHECK(c.d_x.fault(x_lies_flipped ? flipped(d_x, k_columns, k_rows) : d_x) == "");
      }
    }
  }
}

TEST_CASE("Equal rows with zeros have the same bits on any number of threads") {
  Case c;
  INFO(c.data);
  constexpr index_t k_many = 512;
  std::vector<float> x;
  for (index_t i = 0; i < k_many; ++i) x.insert(x.end(), c.x.begin(), c.x.begin() + k_columns);
  std::vector<float> bits;
  for (const int threads : {1, 2, 4, 16}) {
    Context context(threads);
    ReuseGemm<float> product(adr::Options(), context);
    std::vector<float> y(static_cast<std::size_t>(k_many * k_outputs));
    adr::reuse_gemm<float>(MatrixView<const float>(x.data(), k_many, k_columns),
                           MatrixView<const float>(c.w.data(), k_columns, k_outputs),
                           MatrixView<float>(y.data(), k_many, k_outputs), product);
    if (bits.empty()) bits = y;
    CHECK(adr_test::same_bits(y, bits));
  }
}

TEST_CASE("A weight that is not finite reaches every row, zeros included") {
  Case c;
  INFO(c.data);
  c.w[static_cast<std::size_t>(100 * k_outputs + 7)] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> y(c.y.sums.size());
  ReuseGemm<float> product;
  adr::reuse_gemm<float>(MatrixView<const float>(c.x.data(), k_rows, k_columns),
                         MatrixView<const float>(c.w.data(), k_columns, k_outputs),
                         MatrixView<float>(y.data(), k_rows, k_outputs), product);
  CHECK(product.report().zero_multiply_adds > 0);
  std::vector<float> d_x(c.d_x.sums.size());
  adr::reuse_gemm_input_gradient<float>(MatrixView<const float>(c.d_y.data(), k_rows, k_outputs),
                                        MatrixView<const float>(c.w.data(), k_columns, k_outputs),
                                        MatrixView<float>(d_x.data(), k_rows, k_columns), product);
  for (index_t i = 0; i < k_rows; ++i) {
    for (index_t j = 0; j < k_outputs; ++j) {
      CHECK(std::isnan(y[static_cast<std::size_t>(i * k_outputs + j)]) == (j == 7));
    }
    for (index_t k = 0; k < k_columns; ++k) {
      CHECK(std::isnan(d_x[static_cast<std::size_t>(i * k_columns + k)]) == (k == 100));
    }
  }
}

TEST_CASE("A product of the user's own gets all of its factors") {
  Case c;
  INFO(c.data);
  std::vector<float> y(c.y.sums.size());
  ReuseGemm<float> product;
  index_t calls = 0;
  product.set_dense_gemm(adr::DenseGemm<float>(
      [&](const auto& a, const auto& b, adr::Update update, const MatrixView<float>& result) {
        ++calls;
        adr::packed_gemm(a, b, update, result);
      }));
  adr::reuse_gemm<float>(MatrixView<const float>(c.x.data(), k_rows, k_columns),
                         MatrixView<const float>(c.w.data(), k_columns, k_outputs),
                         MatrixView<float>(y.data(), k_rows, k_outputs), product);
  CHECK(calls > 0);
  CHECK(product.report().zero_multiply_adds == 0);
  CHECK(c.y.fault(y) == "");
}

TEST_CASE("Gradients of 1 x 1 convolutions over non-zeros, images in several bands") {
  Data data;
  INFO(data);
  // Strips of channels that are not whole, and fewer rows than would not be masked any more.
  constexpr index_t k_images = 3;
  constexpr index_t k_height = 16;
  constexpr index_t k_width = 17;
  constexpr index_t k_pixels = k_images * k_height * k_width;
  const index_t channels = adr::simd::k_strip<float> + 3;
  constexpr index_t k_filters = 40;
  const std::vector<float> x = data.normals<float>(k_pixels * channels);
  const std::vector<float> d_y = rectified(k_pixels, k_filters, k_gradient_density, data);
  const std::vector<float> w = data.normals<float>(k_filters * channels);
  const Expected d_w(flipped(d_y, k_pixels, k_filters), x, k_filters, k_pixels, channels);
  const Expected d_x(d_y, w, k_pixels, k_filters, channels);
  REQUIRE(adr::masks_gradients<float>(adr::row_map(k_pixels), channels, k_filters));
  for (const adr::Layout layout : {adr::Layout::nhwc, adr::Layout::nchw}) {
    INFO((layout == adr::Layout::nhwc ? "nhwc" : "nchw"));
    // By image, from pixels of channels to planes.
    const auto placed = [&](const std::vector<float>& pixels, index_t depth, bool back) {
      if (layout == adr::Layout::nhwc) return pixels;
      std::vector<float> result;
      constexpr index_t k_size = k_height * k_width;
      for (index_t b = 0; b < k_images; ++b) {
        const auto first = pixels.begin() + b * k_size * depth;
        const std::vector<float> image(first, first + k_size * depth);
        const std::vector<float> other =
            back ? flipped(image, depth, k_size) : flipped(image, k_size, depth);
        result.insert(result.end(), other.begin(), other.end());
      }
      return result;
    };
    adr::ConvGeometry g;
    g.in_channels = channels;
    g.in_height = k_height;
    g.in_width = k_width;
    g.out_channels = k_filters;
    g.set_kernel(1);
    g.layout = layout;
    adr::Plan plan;
    plan.method = adr::Method::exact;
    plan.weight_gradient = adr::WeightGradient::over_non_zeros;
    plan.input_gradient = adr::InputGradient::over_non_zeros;
    Context context(3);
    adr::ReuseConv2d<float> layer(g, plan, context);
    const std::vector<float> images = placed(x, channels, false);
    const std::vector<float> d_output = placed(d_y, k_filters, false);
    std::vector<float> got_w(w.size()), got_x(x.size());
    layer.backward(
        adr::TensorView<const float>(images.data(), k_images, channels, k_height, k_width, layout),
        MatrixView<const float>(w.data(), k_filters, channels),
        adr::TensorView<const float>(d_output.data(), k_images, k_filters, k_height, k_width,
                                     layout),
        {adr::TensorView<float>(got_x.data(), k_images, channels, k_height, k_width, layout),
         MatrixView<float>(got_w.data(), k_filters, channels), VectorView<float>()});
    CHECK(d_w.fault(got_w) == "");
    CHECK(d_x.fault(placed(got_x, channels, true)) == "");
  }
}
