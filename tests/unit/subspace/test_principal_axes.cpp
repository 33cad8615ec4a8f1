// Principal axes against what defines them: uncorrelated coordinates, falling variances, the least
// error in the metric, and the way back.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "adr/algebra/matrix.hpp"
#include "adr/reference/products.hpp"
#include "adr/subspace/leading_axes.hpp"
#include "adr/subspace/principal_axes.hpp"
#include "adr/subspace/product_metric.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/samples.hpp"

namespace {

using adr::index_t;
using adr::MatrixView;
using adr::PrincipalAxes;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::GuardedBuffer;

const MatrixView<const float> k_no_gram;

/// x - mean in coordinates, n x kept.
Matrix coordinates(const PrincipalAxes& axes, const MatrixView<const float>& x) {
  Matrix z(x.rows, axes.kept);
  for (index_t i = 0; i < x.rows; ++i) {
    for (index_t e = 0; e < axes.length; ++e) {
      const double centred = static_cast<double>(x(i, e)) - static_cast<double>(axes.mean[e]);
      for (index_t d = 0; d < axes.kept; ++d) {
        z(i, d) += centred * static_cast<double>(axes.encode[e * axes.encode_stride + d]);
      }
    }
  }
  return z;
}

/// What the coordinates leave out of the vectors.
Matrix residual(const PrincipalAxes& axes, const MatrixView<const float>& x) {
  const Matrix z = coordinates(axes, x);
  Matrix r(x.rows, axes.length);
  for (index_t i = 0; i < x.rows; ++i) {
    for (index_t e = 0; e < axes.length; ++e) {
      double value = static_cast<double>(axes.mean[e]);
      for (index_t d = 0; d < axes.kept; ++d) {
        value += z(i, d) * static_cast<double>(axes.decode[d * axes.decode_stride + e]);
      }
      r(i, e) = static_cast<double>(x(i, e)) - value;
    }
  }
  return r;
}

double energy(const Matrix& m) {
  double total = 0;
  for (const double element : m.elements) total += element * element;
  return total;
}

/// W W^T of weights whose rows differ in size by a factor of up to 100.
struct Weights {
  Matrix w;
  GuardedBuffer<float> gram;

  Weights(index_t length, index_t outputs, Data& data)
      : w(length, outputs), gram(length, length, length + 1) {
    for (index_t e = 0; e < length; ++e) {
      const double size =
          std::pow(100.0, -static_cast<double>(e * 7 % length) / static_cast<double>(length));
      for (index_t m = 0; m < outputs; ++m) w(e, m) = size * data.normal<double>();
    }
    const Matrix product = adr::reference::multiply(w, adr::reference::transpose(w));
    for (index_t i = 0; i < length; ++i) {
      for (index_t j = 0; j < length; ++j) gram(i, j) = static_cast<float>(product(i, j));
    }
  }
};

}  // namespace

TEST_CASE("principal coordinates are uncorrelated, of the stated falling variances") {
  Data data;
  INFO(data);
  for (const bool with_gram : {false, true}) {
    const auto x = adr_test::correlated_rows(500, 12, 5, 0.1, data);
    const Weights weights(12, 30, data);
    const PrincipalAxes axes =
        adr::fit_principal_axes(x.view(), with_gram ? weights.gram.view() : k_no_gram, {8, 0});
    REQUIRE(axes.length == 12);
    REQUIRE(axes.kept == 8);
    const Matrix z = coordinates(axes, x.view());
    const double largest = static_cast<double>(axes.variances[0]);
    for (index_t p = 0; p < 8; ++p) {
      if (p > 0) CHECK(axes.variances[p] <= axes.variances[p - 1]);
      for (index_t q = 0; q < 8; ++q) {
        double covariance = 0;
        for (index_t i = 0; i < z.rows; ++i) covariance += z(i, p) * z(i, q) / 500;
        const double expected = p == q ? static_cast<double>(axes.variances[p]) : 0;
        CHECK(std::abs(covariance - expected) < 1e-4 * largest);
      }
    }
    // The way back and forth changes no coordinate.
    for (index_t p = 0; p < 8; ++p) {
      for (index_t q = 0; q < 8; ++q) {
        double product = 0;
        for (index_t e = 0; e < 12; ++e) {
          product += static_cast<double>(axes.decode[p * axes.decode_stride + e]) *
                     static_cast<double>(axes.encode[e * axes.encode_stride + q]);
        }
        CHECK(std::abs(product - (p == q ? 1 : 0)) < 1e-3);
      }
    }
    CHECK(x.damage() + weights.gram.damage() == "");
  }
}

TEST_CASE("all principal coordinates give the vectors back") {
  Data data;
  INFO(data);
  for (const index_t length : {1, 2, 5, 16, 17}) {
    for (const bool with_gram : {false, true}) {
      INFO(length << " elements, with a gram matrix " << with_gram);
      const auto x = adr_test::correlated_rows(100, length, length, 0.5, data);
      const Weights weights(length, 2 * length, data);
      const PrincipalAxes axes = adr::fit_principal_axes(
          x.view(), with_gram ? weights.gram.view() : k_no_gram, {length, 0});
      CHECK(energy(residual(axes, x.view())) < 1e-6 * energy(Matrix(x.view())));
      CHECK(axes.left_out < 1e-3);
      // Padding is zero, so that kernels may read whole registers.
      for (index_t e = 0; e < length; ++e) {
        for (index_t d = length; d < axes.encode_stride; ++d) {
          CHECK(axes.encode[e * axes.encode_stride + d] == 0);
        }
      }
    }
  }
}

TEST_CASE("the axes leave out what they say, in the output of the weights") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(400, 10, 4, 0.3, data);
  const Weights weights(10, 25, data);
  for (const index_t kept : {1, 3, 6}) {
    const PrincipalAxes axes = adr::fit_principal_axes(x.view(), weights.gram.view(), {kept, 0});
    const double measured =
        std::sqrt(energy(adr::reference::multiply(residual(axes, x.view()), weights.w)) /
                  energy(adr::reference::multiply(Matrix(x.view()), weights.w)));
    // Of what is left out, the last digits are lost in the difference of float variances.
    CHECK(std::abs(measured - axes.left_out) < 0.01 * measured + 5e-4);
    // The metric is what makes it small.
    const PrincipalAxes plain = adr::fit_principal_axes(x.view(), k_no_gram, {kept, 0});
    const double without =
        std::sqrt(energy(adr::reference::multiply(residual(plain, x.view()), weights.w)) /
                  energy(adr::reference::multiply(Matrix(x.view()), weights.w)));
    CHECK(measured < 0.98 * without);
  }
}

TEST_CASE("an allowed error keeps the fewest coordinates that respect it") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(400, 14, 6, 0.2, data);
  index_t before = 14;
  for (const double error : {0.01, 0.1, 0.3, 0.9}) {
    INFO("error " << error);
    const PrincipalAxes axes = adr::fit_principal_axes(x.view(), k_no_gram, {0, error});
    CHECK(axes.left_out <= error);
    CHECK(axes.kept >= 1);
    CHECK(axes.kept <= before);
    before = axes.kept;
    if (axes.kept > 1) {
      CHECK(adr::fit_principal_axes(x.view(), k_no_gram, {axes.kept - 1, 0}).left_out > error);
    }
  }
  CHECK(before == 1);
}

TEST_CASE("principal axes of one vector, of equal vectors and of zeros are finite") {
  GuardedBuffer<float> x(40, 6, 7);
  for (const float value : {0.0F, 2.5F}) {
    for (index_t i = 0; i < 40; ++i) std::fill_n(&x(i, 0), 6, value);
    for (const index_t rows : {1, 40}) {
      INFO(rows << " rows of " << value);
      const MatrixView<const float> sample = x.view().middle_rows(0, rows);
      const PrincipalAxes axes = adr::fit_principal_axes(sample, k_no_gram, {4, 0});
      CHECK(axes.left_out < 1e-3);
      for (index_t d = 0; d < 4; ++d) CHECK(std::abs(axes.variances[d]) < 1e-9F);
      CHECK(energy(residual(axes, sample)) < 1e-9);
    }
  }
}

TEST_CASE("a metric that says nothing is the plain metric") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(60, 5, 3, 0.2, data);
  GuardedBuffer<float> zero(5, 5, 5);
  std::fill_n(zero.data(), 25, 0.0F);
  const PrincipalAxes plain = adr::fit_principal_axes(x.view(), k_no_gram, {3, 0});
  const PrincipalAxes axes = adr::fit_principal_axes(x.view(), zero.view(), {3, 0});
  for (index_t i = 0; i < axes.encode.size(); ++i) CHECK(axes.encode[i] == plain.encode[i]);
}

TEST_CASE("weights that miss a direction leave a metric that can be inverted") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(200, 8, 8, 0.2, data);
  GuardedBuffer<float> gram(8, 8, 8);  // of rank 1
  for (index_t i = 0; i < 8; ++i) {
    for (index_t j = 0; j < 8; ++j) gram(i, j) = static_cast<float>((i + 1) * (j + 1));
  }
  const PrincipalAxes axes = adr::fit_principal_axes(x.view(), gram.view(), {8, 0});
  CHECK(energy(residual(axes, x.view())) < 1e-5 * energy(Matrix(x.view())));
}

TEST_CASE("encoded_mean gives the coordinates of the mean") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(90, 7, 4, 0.2, data);
  const PrincipalAxes axes = adr::fit_principal_axes(x.view(), k_no_gram, {5, 0});
  float z[5];
  axes.encoded_mean(z);
  for (index_t d = 0; d < 5; ++d) {
    double expected = 0;
    double magnitude = 0;
    for (index_t e = 0; e < 7; ++e) {
      const double term = static_cast<double>(axes.mean[e]) *
                          static_cast<double>(axes.encode[e * axes.encode_stride + d]);
      expected += term;
      magnitude += std::abs(term);
    }
    CHECK(std::abs(static_cast<double>(z[d]) - expected) <= 1e-6 * magnitude);
  }
}

TEST_CASE("the first axes of wide vectors are found by iteration and carry as much as all do") {
  Data data;
  INFO(data);
  const auto sample = adr_test::correlated_rows(300, 60, 8, 0.1, data);
  adr::algebra::Matrix centred(sample.view());
  for (index_t e = 0; e < 60; ++e) {
    double mean = 0;
    for (index_t i = 0; i < 300; ++i) mean += static_cast<double>(centred(i, e)) / 300;
    for (index_t i = 0; i < 300; ++i) centred(i, e) -= static_cast<float>(mean);
  }
  const auto all = adr::detail::all_axes(centred);
  const auto first = adr::detail::first_axes(centred, 6);
  REQUIRE(first.directions.rows() == 6);
  const auto products =
      adr::algebra::product(as_is(first.directions.view()), transposed(first.directions.view()));
  for (index_t d = 0; d < 6; ++d) {
    INFO("axis " << d);
    for (index_t other = 0; other < 6; ++other) {
      CHECK(std::abs(products(d, other) - (d == other ? 1.0F : 0.0F)) < 1e-5F);
    }
    CHECK(std::abs(first.variances[d] - all.variances[d]) < 1e-3 * all.variances[d]);
    const auto along = adr::algebra::product(as_is(centred.view()),
                                             transposed(first.directions.view().middle_rows(d, 1)));
    CHECK(std::abs(adr::algebra::energy(along) / 300 - all.variances[d]) < 1e-3 * all.variances[d]);
  }
}

TEST_CASE("vectors too wide to decompose have axes and a metric") {
  Data data;
  INFO(data);
  constexpr index_t k_length = adr::detail::k_longest_decomposed + 6;
  const auto x = adr_test::correlated_rows(80, k_length, 5, 0.05, data);
  const Weights weights(k_length, 12, data);
  for (const bool with_gram : {false, true}) {
    INFO("with a gram matrix " << with_gram);
    const PrincipalAxes axes =
        adr::fit_principal_axes(x.view(), with_gram ? weights.gram.view() : k_no_gram, {6, 0});
    REQUIRE(axes.kept == 6);
    const Matrix rest = residual(axes, x.view());
    const Matrix all(x.view());
    const double measured = with_gram
                                ? std::sqrt(energy(adr::reference::multiply(rest, weights.w)) /
                                            energy(adr::reference::multiply(all, weights.w)))
                                : std::sqrt(energy(rest) / energy(all));
    CHECK(measured < 0.2);
    // The strengthened directions count a little, in what is left out and in all.
    CHECK(std::abs(measured - axes.left_out) < 0.1 * measured + 5e-4);
    const Matrix z = coordinates(axes, x.view());
    for (index_t p = 0; p < 6; ++p) {
      for (index_t q = 0; q < p; ++q) {
        double covariance = 0;
        for (index_t i = 0; i < z.rows; ++i) covariance += z(i, p) * z(i, q) / 80;
        CHECK(std::abs(covariance) < 1e-3 * static_cast<double>(axes.variances[0]));
      }
    }
  }
}
