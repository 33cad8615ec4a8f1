// The algebra of fits against what defines it: eigenvectors, factors and orthonormal rows, in
// double precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "adr/algebra/cholesky.hpp"
#include "adr/algebra/matrix.hpp"
#include "adr/algebra/orthonormal_rows.hpp"
#include "adr/algebra/symmetric_eigen.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

namespace {

using adr::index_t;
using adr::algebra::Cholesky;
using adr::algebra::Matrix;
using adr::algebra::SymmetricEigen;
using adr_test::Data;

Matrix random_matrix(index_t rows, index_t cols, Data& data) {
  Matrix matrix(rows, cols);
  for (index_t i = 0; i < matrix.size(); ++i) matrix.row(0)[i] = data.normal<float>();
  return matrix;
}

/// x^T x of random rows, of which there are `rank`.
Matrix gram_matrix(index_t n, index_t rank, Data& data) {
  const Matrix x = random_matrix(rank, n, data);
  return adr::algebra::product(transposed(x.view()), as_is(x.view()));
}

double row_product(const Matrix& a, index_t i, const Matrix& b, index_t j) {
  double total = 0;
  for (index_t e = 0; e < a.cols(); ++e) {
    total += static_cast<double>(a(i, e)) * static_cast<double>(b(j, e));
  }
  return total;
}

/// Rounding of floats that grows with the size of the problem.
double tolerance(index_t n) { return 4e-6 * std::sqrt(static_cast<double>(n)); }

void require_decomposed(const Matrix& matrix, const SymmetricEigen& eigen) {
  const index_t n = matrix.rows();
  double size = 0;
  for (index_t i = 0; i < n; ++i) size = std::max(size, std::abs(eigen.values[i]));
  for (index_t i = 0; i < n; ++i) {
    if (i > 0) REQUIRE(eigen.values[i] <= eigen.values[i - 1]);
    for (index_t j = 0; j <= i; ++j) {
      REQUIRE(std::abs(row_product(eigen.vectors, i, eigen.vectors, j) - (i == j ? 1 : 0)) <
              tolerance(n));
    }
    for (index_t r = 0; r < n; ++r) {
      double left = 0;
      for (index_t c = 0; c < n; ++c) {
        left += static_cast<double>(matrix(r, c)) * static_cast<double>(eigen.vectors(i, c));
      }
      REQUIRE(std::abs(left - eigen.values[i] * static_cast<double>(eigen.vectors(i, r))) <=
              tolerance(n) * size);
    }
  }
}

}  // namespace

TEST_CASE("symmetric matrices are decomposed: full, of low rank, diagonal, zero, of any scale") {
  Data data;
  INFO(data);
  for (const index_t n : {1, 2, 3, 7, 16, 33, 65, 130}) {
    for (const index_t rank : {index_t{1}, (n + 1) / 2, 2 * n}) {
      for (const float scale : {1.0F, 1e-25F, 1e25F}) {
        INFO(n << " x " << n << ", rank " << rank << ", times " << scale);
        Matrix matrix = gram_matrix(n, rank, data);
        adr::simd::scale(scale, matrix.row(0), matrix.size());
        require_decomposed(matrix, adr::algebra::symmetric_eigen(matrix.view()));
      }
    }
    Matrix diagonal(n, n);
    std::fill_n(diagonal.row(0), n * n, 0.0F);
    require_decomposed(diagonal, adr::algebra::symmetric_eigen(diagonal.view()));
    for (index_t i = 0; i < n; ++i) diagonal(i, i) = static_cast<float>(i * 17 % n) - 2.0F;
    const SymmetricEigen eigen = adr::algebra::symmetric_eigen(diagonal.view());
    require_decomposed(diagonal, eigen);
    CHECK(std::abs(eigen.values[0] - static_cast<double>(n - 3)) < 1e-6 * static_cast<double>(n));
  }
}

TEST_CASE("eigenvalues that are known are found") {
  // -1, 2, -1 along the diagonal: 2 - 2 cos(pi k / (n + 1)).
  constexpr index_t k_n = 20;
  Matrix matrix(k_n, k_n);
  std::fill_n(matrix.row(0), k_n * k_n, 0.0F);
  for (index_t i = 0; i < k_n; ++i) {
    matrix(i, i) = 2;
    if (i > 0) matrix(i, i - 1) = matrix(i - 1, i) = -1;
  }
  const SymmetricEigen eigen = adr::algebra::symmetric_eigen(matrix.view());
  for (index_t i = 0; i < k_n; ++i) {
    const double expected = 2 - 2 * std::cos(std::acos(-1.0) * static_cast<double>(k_n - i) /
                                             static_cast<double>(k_n + 1));
    CHECK(std::abs(eigen.values[i] - expected) < 1e-5);
  }
}

TEST_CASE("a matrix that is not finite has no eigenvectors, and is told so at once") {
  Data data;
  INFO(data);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix matrix = gram_matrix(40, 40, data);
    matrix(20, 3) = matrix(3, 20) = bad;
    const SymmetricEigen eigen = adr::algebra::symmetric_eigen(matrix.view());
    CHECK(std::isnan(eigen.values[0]));
    CHECK(std::isnan(eigen.vectors(39, 39)));
  }
}

TEST_CASE("Cholesky's factor multiplies out to the matrix and solves systems") {
  Data data;
  INFO(data);
  for (const index_t n : {1, 2, 5, 63, 64, 65, 200}) {
    INFO(n << " x " << n);
    const Matrix matrix = gram_matrix(n, 3 * n, data);
    const Cholesky factor{Matrix(matrix.view())};
    REQUIRE(factor.is_definite());
    const double size = static_cast<double>(3 * n);
    for (index_t i = 0; i < n; ++i) {
      for (index_t j = 0; j <= i; ++j) {
        REQUIRE(std::abs(row_product(factor.lower(), i, factor.lower(), j) -
                         static_cast<double>(matrix(i, j))) < tolerance(n) * size);
        if (j < i) REQUIRE(factor.lower()(j, i) == 0);
      }
    }
    Matrix x = random_matrix(1, n, data);
    const Matrix right(x.view());
    factor.solve_lower(x.row(0));
    factor.solve_upper(x.row(0));
    const Matrix back = adr::algebra::product(as_is(x.view()), as_is(matrix.view()));
    for (index_t i = 0; i < n; ++i) {
      CHECK(std::abs(back(0, i) - right(0, i)) < 1e-3F);
    }
  }
  Matrix indefinite = gram_matrix(10, 30, data);
  indefinite(4, 4) = -1;
  CHECK_FALSE(Cholesky(std::move(indefinite)).is_definite());
  Matrix singular(8, 8);
  std::fill_n(singular.row(0), 64, 0.0F);
  CHECK_FALSE(Cholesky(std::move(singular)).is_definite());
}

TEST_CASE("ridge solutions solve the strengthened system, and what is not definite is left alone") {
  Data data;
  INFO(data);
  const index_t n = 30;
  const Matrix gram = gram_matrix(n, 10, data);
  double trace = 0;
  for (index_t i = 0; i < n; ++i) trace += static_cast<double>(gram(i, i));
  const double ridge = 0.05;
  const Matrix right = random_matrix(4, n, data);
  Matrix x(right.view());
  REQUIRE(adr::algebra::solve_ridge(Matrix(gram.view()), ridge, x));
  for (index_t m = 0; m < 4; ++m) {
    for (index_t i = 0; i < n; ++i) {
      const double left = row_product(x, m, gram, i) +
                          ridge * trace / static_cast<double>(n) * static_cast<double>(x(m, i));
      CHECK(std::abs(left - static_cast<double>(right(m, i))) < 1e-3);
    }
  }
  Matrix zero(n, n);
  std::fill_n(zero.row(0), n * n, 0.0F);
  Matrix untouched(right.view());
  CHECK_FALSE(adr::algebra::solve_ridge(std::move(zero), ridge, untouched));
  CHECK(std::equal(right.row(0), right.row(4), untouched.row(0)));
}

TEST_CASE("rows are made orthonormal, and dependent ones zero") {
  Data data;
  INFO(data);
  for (const index_t count : {1, 5, 32, 33, 70}) {
    INFO(count << " rows");
    Matrix rows = random_matrix(count, 90, data);
    // Badly conditioned: every row is nearly the first.
    for (index_t i = 1; i < count; ++i) {
      for (index_t e = 0; e < 90; ++e) rows(i, e) = rows(0, e) + 0.01F * rows(i, e);
    }
    const bool with_copy = count > 3;
    if (with_copy) std::copy_n(rows.row(1), 90, rows.row(count - 1));
    const Matrix before(rows.view());
    adr::algebra::make_orthonormal(rows);
    for (index_t i = 0; i < count; ++i) {
      const bool is_copy = with_copy && i == count - 1;
      for (index_t j = 0; j <= i; ++j) {
        const double expected = i == j && !is_copy ? 1 : 0;
        CHECK(std::abs(row_product(rows, i, rows, j) - expected) < 1e-5);
      }
    }
    // The first row keeps its direction.
    CHECK(std::abs(row_product(rows, 0, before, 0) - std::sqrt(row_product(before, 0, before, 0))) <
          1e-3);
  }
}
