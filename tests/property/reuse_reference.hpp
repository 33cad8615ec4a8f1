// What a product and its gradients have to be, by adr/reference/, with the bound on the rounding of
// the fast form beside every element.
//
// The bound of a sum is proportional to the sum of the absolute values of its terms. The same
// reference function applied to the absolute values of the operands gives just that, for the dense
// form and, with the same ids, for the clustered one.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/product/clustering.hpp"
#include "adr/reference/clustering.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/reference/products.hpp"
#include "support/tolerance.hpp"

namespace adr_test {

using adr::reference::Ids;
using adr::reference::Matrix;

/// A result with the sum of the absolute values of the terms of every element, and their number.
struct Expected {
  Matrix value;
  Matrix magnitude;
  index_t terms = 0;
};

/// The operands of a product y = x w + bias and of its gradients, w as K x M.
struct Operands {
  Matrix x;
  Matrix w;
  std::vector<double> bias;
  Matrix d_y;
};

inline Matrix absolute(Matrix matrix) {
  for (double& element : matrix.elements) element = std::abs(element);
  return matrix;
}

inline Operands absolute(const Operands& o) {
  std::vector<double> bias = o.bias;
  for (double& element : bias) element = std::abs(element);
  return {absolute(o.x), absolute(o.w), bias, absolute(o.d_y)};
}

template <class Compute>
Expected expected(const Operands& operands, index_t terms, const Compute& compute) {
  return {compute(operands), compute(absolute(operands)), terms};
}

// ---- Dense
// ----------------------------------------------------------------------------------------

inline Expected dense_output(const Operands& operands) {
  return expected(operands, operands.x.cols + 1, [](const Operands& o) {
    Matrix y = adr::reference::multiply(o.x, o.w);
    adr::reference::add_bias(o.bias, y);
    return y;
  });
}

inline Expected dense_weight_gradient(const Operands& operands) {
  return expected(operands, operands.x.rows, [](const Operands& o) {
    return adr::reference::multiply(adr::reference::transpose(o.x), o.d_y);
  });
}

inline Expected dense_input_gradient(const Operands& operands) {
  return expected(operands, operands.w.cols, [](const Operands& o) {
    return adr::reference::multiply(o.d_y, adr::reference::transpose(o.w));
  });
}

inline Expected bias_gradient(const Operands& operands) {
  return expected(operands, operands.x.rows, [](const Operands& o) {
    Matrix sums(1, o.d_y.cols);
    sums.elements = adr::reference::column_sums(o.d_y);
    return sums;
  });
}

// ---- Through clusters
// -----------------------------------------------------------------------------

/// The clusters that the library found; centroids are left to the reference.
struct GivenIds {
  std::vector<adr::reference::Slice> slices;
  Ids ids;

  template <class T>
  explicit GivenIds(const adr::Clustering<T>& clustering) {
    for (const auto& slice : clustering.slices) {
      slices.push_back({slice.first_column, slice.length});
      ids.emplace_back(slice.ids.data(), slice.ids.data() + slice.ids.size());
    }
  }

  [[nodiscard]] std::vector<Matrix> centroids(const Matrix& x) const {
    std::vector<Matrix> result;
    for (std::size_t s = 0; s < slices.size(); ++s) {
      result.push_back(adr::reference::centroids(x, slices[s], ids[s]));
    }
    return result;
  }
  [[nodiscard]] index_t largest_cluster() const {
    index_t largest = 0;
    for (const auto& slice : ids) {
      for (const index_t count : adr::reference::counts(slice)) largest = std::max(largest, count);
    }
    return largest;
  }
};

/// The input with every neuron vector replaced by the one that stands for it, where clusters have
/// such vectors and no centroids; the input as it is without clusters.
template <class T>
Matrix with_representatives(const Matrix& x, const adr::Clustering<T>& clustering) {
  Matrix result = x;
  for (const auto& slice : clustering.slices) {
    for (index_t i = 0; i < x.rows; ++i) {
      const index_t from = slice.first_members[slice.ids[i]];
      for (index_t k = slice.first_column; k < slice.first_column + slice.length; ++k) {
        result(i, k) = x(from, k);
      }
    }
  }
  return result;
}

/// The centroids that the library used, which are older than the batch with cluster reuse.
template <class T>
std::vector<Matrix> stored_centroids(const adr::Clustering<T>& clustering) {
  std::vector<Matrix> result;
  for (const auto& slice : clustering.slices) result.emplace_back(slice.centroid_matrix());
  return result;
}

inline Expected clustered_output(const Operands& operands, const GivenIds& given) {
  const index_t terms =
      operands.x.cols + static_cast<index_t>(given.slices.size()) + given.largest_cluster() + 1;
  return expected(operands, terms, [&](const Operands& o) {
    Matrix y = adr::reference::centroid_forward(given.slices, given.centroids(o.x), given.ids, o.w,
                                                o.x.rows);
    adr::reference::add_bias(o.bias, y);
    return y;
  });
}

inline Expected clustered_weight_gradient(const Operands& operands, const GivenIds& given) {
  return expected(operands, operands.x.rows + 2 * given.largest_cluster(), [&](const Operands& o) {
    return adr::reference::centroid_weight_gradient(given.slices, given.centroids(o.x), given.ids,
                                                    o.d_y, o.x.cols);
  });
}

inline Expected cluster_mean_input_gradient(const Operands& operands, const GivenIds& given) {
  return expected(operands, operands.w.cols + given.largest_cluster(), [&](const Operands& o) {
    return adr::reference::centroid_input_gradient(given.slices, given.ids, o.w, o.d_y);
  });
}

// ---- Comparing
// ------------------------------------------------------------------------------------

/// Empty when every element is as expected up to rounding in T.
template <class T>
std::string fault(const Matrix& actual, const Expected& expected) {
  if (actual.rows != expected.value.rows || actual.cols != expected.value.cols) {
    return "the shapes differ";
  }
  Comparison comparison;
  for (index_t i = 0; i < actual.rows; ++i) {
    for (index_t j = 0; j < actual.cols; ++j) {
      comparison.expect(actual(i, j), expected.value(i, j),
                        sum_tolerance<T>(expected.terms, expected.magnitude(i, j)));
    }
  }
  return comparison.fault();
}

template <class T>
std::string fault(const adr::MatrixView<T>& actual, const Expected& expected) {
  return fault<std::remove_const_t<T>>(Matrix(actual), expected);
}

/// ||a - b|| / ||b||
inline double relative_distance(const Matrix& a, const Matrix& b) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.elements.size(); ++i) {
    difference += (a.elements[i] - b.elements[i]) * (a.elements[i] - b.elements[i]);
    size += b.elements[i] * b.elements[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace adr_test
