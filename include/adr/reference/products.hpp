// Products by definition: dense, through clusters, and their gradients.
#pragma once

#include <cstddef>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/reference/clustering.hpp"
#include "adr/reference/matrix.hpp"

ADR_NAMESPACE_BEGIN
namespace reference {

/// a b
inline Matrix multiply(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.cols);
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t k = 0; k < a.cols; ++k) {
      for (index_t j = 0; j < b.cols; ++j) c(i, j) += a(i, k) * b(k, j);
    }
  }
  return c;
}

inline Matrix transpose(const Matrix& a) {
  Matrix t(a.cols, a.rows);
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t j = 0; j < a.cols; ++j) t(j, i) = a(i, j);
  }
  return t;
}

/// Adds a bias, one value per column, to every row; an empty bias adds nothing.
inline void add_bias(const std::vector<double>& bias, Matrix& y) {
  if (bias.empty()) return;
  for (index_t i = 0; i < y.rows; ++i) {
    for (index_t j = 0; j < y.cols; ++j) y(i, j) += bias[static_cast<std::size_t>(j)];
  }
}

inline std::vector<double> column_sums(const Matrix& a) {
  std::vector<double> sums(static_cast<std::size_t>(a.cols));
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t j = 0; j < a.cols; ++j) sums[static_cast<std::size_t>(j)] += a(i, j);
  }
  return sums;
}

/// Rows [first, first + count) of a matrix.
inline Matrix rows_of(const Matrix& a, index_t first, index_t count) {
  Matrix part(count, a.cols);
  for (index_t i = 0; i < count; ++i) {
    for (index_t j = 0; j < a.cols; ++j) part(i, j) = a(first + i, j);
  }
  return part;
}

/// The published forward product: y[n,:] = sum over s of (C_s W_s)[id_s(n),:].
inline Matrix centroid_forward(const std::vector<Slice>& slices,
                               const std::vector<Matrix>& centroids, const Ids& ids,
                               const Matrix& weights, index_t rows) {
  Matrix y(rows, weights.cols);
  for (std::size_t s = 0; s < slices.size(); ++s) {
    const Matrix table =
        multiply(centroids[s], rows_of(weights, slices[s].first, slices[s].length));
    for (index_t n = 0; n < rows; ++n) {
      for (index_t m = 0; m < y.cols; ++m) y(n, m) += table(ids[s][static_cast<std::size_t>(n)], m);
    }
  }
  return y;
}

/// D[c,:], the sum of d_y[n,:] over the members n of cluster c.
inline Matrix cluster_sums(const std::vector<index_t>& ids, const Matrix& d_y) {
  Matrix sums(cluster_count(ids), d_y.cols);
  for (index_t n = 0; n < d_y.rows; ++n) {
    for (index_t m = 0; m < d_y.cols; ++m) sums(ids[static_cast<std::size_t>(n)], m) += d_y(n, m);
  }
  return sums;
}

/// The published weight gradient: d_weights_s = C_s^T D_s.
inline Matrix centroid_weight_gradient(const std::vector<Slice>& slices,
                                       const std::vector<Matrix>& centroids, const Ids& ids,
                                       const Matrix& d_y, index_t columns) {
  Matrix d_weights(columns, d_y.cols);
  for (std::size_t s = 0; s < slices.size(); ++s) {
    const Matrix part = multiply(transpose(centroids[s]), cluster_sums(ids[s], d_y));
    for (index_t l = 0; l < part.rows; ++l) {
      for (index_t m = 0; m < part.cols; ++m) d_weights(slices[s].first + l, m) = part(l, m);
    }
  }
  return d_weights;
}

/// The published input gradient: d_x[n, s] = ((D_s / count) W_s^T)[id_s(n),:].
inline Matrix centroid_input_gradient(const std::vector<Slice>& slices, const Ids& ids,
                                      const Matrix& weights, const Matrix& d_y) {
  Matrix d_x(d_y.rows, weights.rows);
  for (std::size_t s = 0; s < slices.size(); ++s) {
    Matrix means = cluster_sums(ids[s], d_y);
    const std::vector<index_t> members = counts(ids[s]);
    for (index_t c = 0; c < means.rows; ++c) {
      for (index_t m = 0; m < means.cols; ++m) {
        means(c, m) /= static_cast<double>(members[static_cast<std::size_t>(c)]);
      }
    }
    const Matrix rows =
        multiply(means, transpose(rows_of(weights, slices[s].first, slices[s].length)));
    for (index_t n = 0; n < d_x.rows; ++n) {
      for (index_t l = 0; l < rows.cols; ++l) {
        d_x(n, slices[s].first + l) = rows(ids[s][static_cast<std::size_t>(n)], l);
      }
    }
  }
  return d_x;
}

}  // namespace reference
ADR_NAMESPACE_END
