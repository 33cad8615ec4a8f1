// Eigenvalues and eigenvectors of symmetric matrices.
//
// The library has its own because those of Eigen take 13 s of compiling in every program that may
// fit a subspace (docs/decisions/0018); these take a tenth of a second.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "adr/algebra/matrix.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace algebra {

/// A symmetric matrix as the sum of value_i v_i^T v_i over its orthonormal eigenvectors.
struct SymmetricEigen {
  AlignedBuffer<double> values;  ///< falling
  Matrix vectors;                ///< v_i in row i
};

namespace detail {

/// A = Q T Q^T with T tridiagonal and Q the product of reflections I - factor_k v_k v_k^T.
struct Tridiagonal {
  AlignedBuffer<double> diagonal;  // [n]
  AlignedBuffer<double> beside;    // [n], the last one 0
  AlignedBuffer<float> factors;    // [n]; 0: no reflection
  Matrix reflections;              // v_k in row k, from column k + 1 on
};

inline Tridiagonal tridiagonalise(Matrix a) {
  const index_t n = a.rows();
  Tridiagonal t;
  t.diagonal.resize(n);
  t.beside.assign(n, 0.0);
  t.factors.assign(n, 0.0F);
  AlignedBuffer<float> w(n);
  for (index_t k = 0; k < n; ++k) {
    t.diagonal[k] = double{a(k, k)};
    if (k + 1 == n) break;
    float* v = a.row(k) + k + 1;
    const index_t m = n - k - 1;
    const double tail = double{simd::dot(v + 1, v + 1, m - 1)};
    t.beside[k] = double{v[0]};
    if (!(tail > double{std::numeric_limits<float>::min()})) continue;
    // The reflection takes the row to a multiple of its first element, away from which it turns.
    const double first = double{v[0]};
    const double image = -std::copysign(std::sqrt(first * first + tail), first);
    v[0] = static_cast<float>(first - image);
    const double factor = 2.0 / ((first - image) * (first - image) + tail);
    t.beside[k] = image;
    t.factors[k] = static_cast<float>(factor);
    // What is left becomes A - v w^T - w v^T.
    for (index_t i = 0; i < m; ++i) {
      w[i] = t.factors[k] * simd::dot(a.row(k + 1 + i) + k + 1, v, m);
    }
    simd::add_scaled(-0.5F * t.factors[k] * simd::dot(w.data(), v, m), v, w.data(), m);
    for (index_t i = 0; i < m; ++i) {
      float* row = a.row(k + 1 + i) + k + 1;
      simd::add_scaled(-v[i], w.data(), row, m);
      simd::add_scaled(-w[i], v, row, m);
    }
  }
  t.reflections = std::move(a);
  return t;
}

/// Makes T diagonal by the implicit QL method with Wilkinson's shifts, and applies its rotations to
/// rows. Values that do not converge stay as they are.
inline void diagonalise(AlignedBuffer<double>& d, AlignedBuffer<double>& e, Matrix& rows) {
  constexpr double k_negligible = 1e-12;
  constexpr int k_most_sweeps = 64;
  const index_t n = d.size();
  for (index_t l = 0; l < n; ++l) {
    for (int sweep = 0; sweep < k_most_sweeps; ++sweep) {
      index_t m = l;
      while (m + 1 < n &&
             !(std::abs(e[m]) <= k_negligible * (std::abs(d[m]) + std::abs(d[m + 1])))) {
        ++m;
      }
      if (m == l) break;
      const double slope = (d[l + 1] - d[l]) / (2 * e[l]);
      double g = d[m] - d[l] + e[l] / (slope + std::copysign(std::hypot(slope, 1.0), slope));
      double sine = 1;
      double cosine = 1;
      double shift = 0;
      index_t i = m - 1;
      for (; i >= l; --i) {
        const double f = sine * e[i];
        const double b = cosine * e[i];
        const double r = std::hypot(f, g);
        e[i + 1] = r;
        if (!(r > 0)) break;
        sine = f / r;
        cosine = g / r;
        g = d[i + 1] - shift;
        const double turned = (d[i] - g) * sine + 2 * cosine * b;
        shift = sine * turned;
        d[i + 1] = g + shift;
        g = cosine * turned - b;
        simd::rotate(static_cast<float>(cosine), static_cast<float>(sine), rows.row(i),
                     rows.row(i + 1), rows.cols());
      }
      if (i >= l) {  // the matrix has fallen apart
        d[i + 1] -= shift;
      } else {
        d[l] -= shift;
        e[l] = g;
      }
      e[m] = 0;
    }
  }
}

}  // namespace detail

/// Finds all eigenvalues and eigenvectors of a symmetric matrix; without a finite element sum, all
/// of them are NaN.
///
/// Shapes: n x n, both triangles given. Accuracy: that of floats, relative to the largest value.
/// Cost: some 10 n^3 multiply-adds. Memory: 3 n^2 floats. Errors: std::bad_alloc. Thread-safety:
/// reentrant. Source: Householder's reflections and the implicit QL method (Golub and Van Loan,
/// Matrix Computations, 8.3).
inline SymmetricEigen symmetric_eigen(const MatrixView<const float>& matrix) {
  const index_t n = matrix.rows;
  SymmetricEigen result{AlignedBuffer<double>(n), Matrix(n, n)};
  const double size = largest(matrix);
  if (!std::isfinite(size)) {
    result.values.assign(n, std::numeric_limits<double>::quiet_NaN());
    std::fill_n(result.vectors.row(0), n * n, std::numeric_limits<float>::quiet_NaN());
    return result;
  }
  // Squares of elements are formed: large and small ones are brought near 1.
  const double scale = size > 0 ? size : 1.0;
  Matrix scaled(matrix);
  divide(scaled, scale);
  detail::Tridiagonal t = detail::tridiagonalise(std::move(scaled));
  Matrix vectors(n, n);
  std::fill_n(vectors.row(0), n * n, 0.0F);
  for (index_t i = 0; i < n; ++i) vectors(i, i) = 1;
  detail::diagonalise(t.diagonal, t.beside, vectors);

  AlignedBuffer<index_t> order(n);
  std::iota(order.data(), order.data() + n, index_t{0});
  std::stable_sort(order.data(), order.data() + n,
                   [&](index_t a, index_t b) { return t.diagonal[a] > t.diagonal[b]; });
  for (index_t i = 0; i < n; ++i) {
    result.values[i] = scale * t.diagonal[order[i]];
    float* x = result.vectors.row(i);
    std::copy_n(vectors.row(order[i]), n, x);
    for (index_t k = n - 2; k >= 0; --k) {
      if (!(t.factors[k] > 0)) continue;
      const float* v = t.reflections.row(k) + k + 1;
      const index_t m = n - k - 1;
      simd::add_scaled(-t.factors[k] * simd::dot(v, x + k + 1, m), v, x + k + 1, m);
    }
  }
  return result;
}

}  // namespace algebra
ADR_NAMESPACE_END
