// Least squares with a penalty for large solutions.
#pragma once

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <type_traits>

#include "adr/core/one_eigen_thread.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Solves (G + lambda) C = R in place, lambda a share of the mean of G's diagonal.
///
/// Shapes: gram n x n, symmetric and positive semidefinite, overwritten; solutions m x n, one row
/// per right side, which becomes its solution. Requires: finite values, ridge > 0; where the sums
/// of floats are not positive definite, solutions are of no use. Cost: n^3 / 3 + m n^2. Memory:
/// n^2. Errors: std::bad_alloc. Thread-safety: reentrant. Source: ridge regression. A template for
/// the sake of those who do not fit; T is float.
template <class T>
void solve_ridge(const MatrixView<T>& gram, double ridge, const MatrixView<T>& solutions) {
  static_assert(std::is_same_v<T, float>, "weights are fitted as floats");
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  const detail::OneEigenThread guard;
  const index_t n = gram.rows;
  ADR_ASSERT(gram.row_stride == n && solutions.row_stride == n, "ridge: rows must touch");
  // Rows that touch are the columns of Eigen's matrices.
  Eigen::Map<Matrix> g(gram.data, n, n);
  Eigen::Map<Matrix> c(solutions.data, n, solutions.rows);
  g.diagonal().array() += static_cast<T>(ridge) * g.trace() / static_cast<T>(n);
  Eigen::LLT<Matrix>(g).solveInPlace(c);
}

ADR_NAMESPACE_END
