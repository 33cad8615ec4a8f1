// The metric in which an error of a vector counts by what it does to the products it enters.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "adr/algebra/cholesky.hpp"
#include "adr/algebra/matrix.hpp"
#include "adr/algebra/symmetric_eigen.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// Vectors up to this length are decomposed in full, which takes seconds for longer ones.
constexpr index_t k_longest_decomposed = 1024;

/// A factor R of the gram matrix G = R R^T: with x a row, x R has the length that the products of x
/// have. Symmetric for vectors up to k_longest_decomposed, Cholesky's above. Directions of G weaker
/// than 1e-4 of the strongest are strengthened so that R can be inverted: to that, or, with
/// Cholesky's factor, by that.
class ProductMetric {
 public:
  /// The lengths of the vectors themselves.
  ProductMetric() = default;

  explicit ProductMetric(const MatrixView<const float>& gram) {
    if (gram.rows > k_longest_decomposed) {
      factorise(gram);
    } else {
      decompose(gram);
    }
  }

  /// Replaces every row x by x R.
  void weigh(algebra::Matrix& rows) const {
    if (!is_identity()) rows = algebra::product(as_is(rows.view()), as_is(root().view()));
  }
  /// Replaces every row u, a direction, by u R^T.
  void encode(algebra::Matrix& rows) const {
    if (!is_identity()) rows = algebra::product(as_is(rows.view()), transposed(root().view()));
  }
  /// Replaces every row u by u R^-1.
  void decode(algebra::Matrix& rows) const {
    if (cholesky_) {
      for (index_t i = 0; i < rows.rows(); ++i) cholesky_->solve_upper(rows.row(i));
    } else if (!is_identity()) {
      rows = algebra::product(as_is(rows.view()), as_is(inverse_root_.view()));
    }
  }

 private:
  static constexpr double k_weakest = 1e-4;

  [[nodiscard]] bool is_identity() const noexcept { return root_.size() == 0 && !cholesky_; }
  [[nodiscard]] const algebra::Matrix& root() const noexcept {
    return cholesky_ ? cholesky_->lower() : root_;
  }

  void decompose(const MatrixView<const float>& gram) {
    const algebra::SymmetricEigen eigen = algebra::symmetric_eigen(gram);
    const double strongest = eigen.values[0];
    if (!(strongest > 0) || !std::isfinite(strongest)) return;
    // V^T diag(f) V of the eigenvectors V.
    const auto with_values = [&](auto&& of_value) {
      algebra::Matrix scaled(eigen.vectors.view());
      for (index_t i = 0; i < scaled.rows(); ++i) {
        const double value = std::max(eigen.values[i], k_weakest * strongest);
        simd::scale(static_cast<float>(of_value(value)), scaled.row(i), scaled.cols());
      }
      return algebra::product(transposed(eigen.vectors.view()), as_is(scaled.view()));
    };
    root_ = with_values([](double value) { return std::sqrt(value); });
    inverse_root_ = with_values([](double value) { return 1 / std::sqrt(value); });
  }

  void factorise(const MatrixView<const float>& gram) {
    const double strongest = strongest_direction(gram);
    if (!(strongest > 0) || !std::isfinite(strongest)) return;
    algebra::Matrix strengthened(gram);
    for (index_t i = 0; i < gram.rows; ++i) {
      strengthened(i, i) += static_cast<float>(k_weakest * strongest);
    }
    algebra::Cholesky factor(std::move(strengthened));
    if (factor.is_definite()) cholesky_.emplace(std::move(factor));
  }

  /// An estimate of the largest eigenvalue, from below, by power iteration.
  static double strongest_direction(const MatrixView<const float>& gram) {
    constexpr int k_iterations = 10;
    const index_t length = gram.rows;
    algebra::Matrix direction(1, length);
    std::fill_n(direction.row(0), length, 1.0F);
    double value = 0;
    for (int i = 0; i < k_iterations; ++i) {
      simd::scale(1.0F / std::sqrt(static_cast<float>(algebra::energy(direction))),
                  direction.row(0), length);
      direction = algebra::product(as_is(direction.view()), transposed(gram));
      value = std::sqrt(algebra::energy(direction));
      if (!(value > 0)) return trace(gram);  // at right angles to the start
    }
    return value;
  }
  static double trace(const MatrixView<const float>& gram) noexcept {
    double total = 0;
    for (index_t i = 0; i < gram.rows; ++i) total += double{gram(i, i)};
    return total;
  }

  algebra::Matrix root_;  // empty: identity, or Cholesky's factor
  algebra::Matrix inverse_root_;
  std::optional<algebra::Cholesky> cholesky_;
};

}  // namespace detail

ADR_NAMESPACE_END
