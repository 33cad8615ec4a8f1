// The metric in which an error of a vector counts by what it does to the products it enters.
#pragma once

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <cmath>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// Vectors up to this length are decomposed in full, which takes seconds for longer ones.
constexpr index_t k_longest_decomposed = 1024;

/// A factor R of the gram matrix G = R R^T: with x a column, R^T x has the length that the products
/// of x have. Symmetric for vectors up to k_longest_decomposed, Cholesky's above. Directions of G
/// weaker than 1e-4 of the strongest are strengthened so that R can be inverted: to that, or, with
/// Cholesky's factor, by that. Matrix is a matrix type of Eigen.
template <class Matrix>
class ProductMetric {
 public:
  using Scalar = typename Matrix::Scalar;
  using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

  /// The lengths of the vectors themselves.
  ProductMetric() = default;

  explicit ProductMetric(const Matrix& gram) {
    if (gram.rows() > k_longest_decomposed) {
      factorise(gram);
    } else {
      decompose(gram);
    }
  }

  /// x R, one vector per row.
  [[nodiscard]] Matrix weighted(const Matrix& rows) const {
    return is_identity() ? rows : Matrix(rows * root_);
  }
  /// R u: what takes R^T x to its coordinates along u takes x there.
  [[nodiscard]] Matrix encoding(const Matrix& u) const {
    return is_identity() ? u : Matrix(root_ * u);
  }
  /// R^-T u: the way back from coordinates along u.
  [[nodiscard]] Matrix decoding(const Matrix& u) const {
    if (is_identity()) return u;
    if (inverse_root_.size() > 0) return inverse_root_ * u;
    return root_.template triangularView<Eigen::Lower>().transpose().solve(u);
  }

 private:
  static constexpr Scalar k_weakest = Scalar(1e-4);

  [[nodiscard]] bool is_identity() const { return root_.size() == 0; }

  void decompose(const Matrix& gram) {
    const Eigen::SelfAdjointEigenSolver<Matrix> solver(gram);
    const Vector& values = solver.eigenvalues();
    const Scalar strongest = values[values.size() - 1];
    if (!(strongest > 0) || !std::isfinite(strongest)) return;
    const Vector roots = values.array().max(k_weakest * strongest).sqrt().matrix();
    const Matrix& vectors = solver.eigenvectors();
    root_ = vectors * roots.asDiagonal() * vectors.transpose();
    inverse_root_ = vectors * roots.cwiseInverse().asDiagonal() * vectors.transpose();
  }

  void factorise(const Matrix& gram) {
    const Scalar strongest = strongest_direction(gram);
    if (!(strongest > 0) || !std::isfinite(strongest)) return;
    Matrix strengthened = gram;
    strengthened.diagonal().array() += k_weakest * strongest;
    const Eigen::LLT<Matrix> factor(strengthened);
    if (factor.info() == Eigen::Success) root_ = factor.matrixL();
  }

  /// The largest eigenvalue, by power iteration; a few per cent below is as good here.
  static Scalar strongest_direction(const Matrix& gram) {
    constexpr int k_iterations = 10;
    Vector direction = Vector::Ones(gram.rows()).normalized();
    Scalar value = 0;
    for (int i = 0; i < k_iterations; ++i) {
      direction = gram * direction;
      value = direction.norm();
      if (!(value > 0)) return gram.trace();  // at right angles to the start
      direction /= value;
    }
    return value;
  }

  Matrix root_;          ///< empty: identity
  Matrix inverse_root_;  ///< empty with Cholesky's factor
};

}  // namespace detail

ADR_NAMESPACE_END
