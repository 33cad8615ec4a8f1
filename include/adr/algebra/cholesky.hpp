// Cholesky's factor of positive definite matrices, and systems of equations with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "adr/algebra/matrix.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace algebra {

/// A = L L^T with L lower triangular.
///
/// Cost: n^3 / 3 multiply-adds to factor, n^2 per system. Memory: n^2 floats and a strip of 64
/// columns. Errors: std::bad_alloc. Thread-safety: reentrant once made. Source: Golub and Van Loan,
/// Matrix Computations, 4.2.
class Cholesky {
 public:
  /// Requires: a symmetric matrix, of which the lower triangle is read.
  explicit Cholesky(Matrix matrix) : lower_(std::move(matrix)) {
    const index_t n = lower_.rows();
    for (index_t k = 0; k < n && is_definite_; k += k_columns) {
      const index_t last = std::min(k + k_columns, n);
      for (index_t i = k; i < n; ++i) finish_row(i, k, std::min(i + 1, last));
      take_off(k, last);
    }
    for (index_t i = 0; i < n; ++i) std::fill(lower_.row(i) + i + 1, lower_.row(i) + n, 0.0F);
  }

  /// Whether the matrix was positive definite to the precision of floats; else nothing else may be
  /// called.
  [[nodiscard]] bool is_definite() const noexcept { return is_definite_; }
  [[nodiscard]] const Matrix& lower() const noexcept { return lower_; }

  /// Replaces x by the solution of L y = x.
  void solve_lower(float* x) const noexcept {
    for (index_t i = 0; i < lower_.rows(); ++i) {
      x[i] = (x[i] - simd::dot(lower_.row(i), x, i)) / lower_(i, i);
    }
  }
  /// Replaces x by the solution of L^T y = x.
  void solve_upper(float* x) const noexcept {
    for (index_t i = lower_.rows() - 1; i >= 0; --i) {
      x[i] /= lower_(i, i);
      simd::add_scaled(-x[i], lower_.row(i), x, i);
    }
  }

 private:
  static constexpr index_t k_columns = 64;

  /// Elements [first, last) of row i, from which the columns before `first` were taken off.
  void finish_row(index_t i, index_t first, index_t last) noexcept {
    float* row = lower_.row(i);
    for (index_t j = first; j < last; ++j) {
      const float rest = row[j] - simd::dot(row + first, lower_.row(j) + first, j - first);
      if (j < i) {
        row[j] = rest / lower_(j, j);
      } else {
        is_definite_ = is_definite_ && rest > 0 && std::isfinite(rest);
        row[j] = is_definite_ ? std::sqrt(rest) : 1.0F;
      }
    }
  }

  /// Takes the product of columns [first, last) off the rows behind them.
  void take_off(index_t first, index_t last) {
    constexpr index_t k_rows = 256;
    const index_t rows = lower_.rows() - last;
    if (rows == 0) return;
    const MatrixView<float> behind = lower_.view().block(last, last, rows, rows);
    const MatrixView<float> strip = lower_.view().block(last, first, rows, last - first);
    Matrix negated{MatrixView<const float>(strip)};
    simd::scale(-1.0F, negated.row(0), negated.size());
    for (index_t i = 0; i < rows; i += k_rows) {
      const index_t count = std::min(k_rows, rows - i);
      packed_gemm(as_is(negated.view().middle_rows(i, count)),
                  transposed(strip.middle_rows(0, i + count)), Update::accumulate,
                  behind.block(i, 0, count, i + count));
    }
  }

  Matrix lower_;
  bool is_definite_ = true;
};

/// Replaces right-hand sides by ridge solutions: (gram + ridge * trace(gram) / n) x = b.
///
/// Shapes: gram n x n, solutions m x n, a system in each row. Returns false, and leaves the
/// right-hand sides as they are, where the sum is not positive definite. Errors: std::bad_alloc.
inline bool solve_ridge(Matrix gram, double ridge, Matrix& solutions) {
  const index_t n = gram.rows();
  double trace = 0;
  for (index_t i = 0; i < n; ++i) trace += double{gram(i, i)};
  const auto added = static_cast<float>(ridge * trace / static_cast<double>(n));
  for (index_t i = 0; i < n; ++i) gram(i, i) += added;
  const Cholesky factor(std::move(gram));
  if (!factor.is_definite()) return false;
  for (index_t i = 0; i < solutions.rows(); ++i) {
    factor.solve_lower(solutions.row(i));
    factor.solve_upper(solutions.row(i));
  }
  return true;
}

}  // namespace algebra
ADR_NAMESPACE_END
