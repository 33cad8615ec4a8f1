// The directions in which vectors vary most.
#pragma once

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <cstdint>

#include "adr/cluster/product_metric.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// Orthonormal directions as columns, of falling variance. Matrix is a matrix type of Eigen.
template <class Matrix>
struct LeadingAxes {
  Matrix directions;
  Eigen::Matrix<typename Matrix::Scalar, Eigen::Dynamic, 1> variances;
};

/// All axes of centred vectors, one per row: n length^2 + O(length^3).
template <class Matrix>
LeadingAxes<Matrix> all_axes(const Matrix& centred) {
  using Scalar = typename Matrix::Scalar;
  const Matrix covariance = centred.transpose() * centred / static_cast<Scalar>(centred.rows());
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(covariance);
  return {solver.eigenvectors().rowwise().reverse(), solver.eigenvalues().reverse()};
}

/// The first `count` axes of centred vectors, by subspace iteration from random directions:
/// 12 n length (count + 16). Weak axes may be turned into one another, which costs no accuracy
/// worth the time of all of them. Source: Halko, Martinsson, Tropp, "Finding structure with
/// randomness", SIAM Review 53 (2011).
template <class Matrix>
LeadingAxes<Matrix> first_axes(const Matrix& centred, index_t count) {
  using Scalar = typename Matrix::Scalar;
  constexpr index_t k_more = 16;
  constexpr int k_iterations = 5;
  constexpr std::uint64_t k_seed = 1;
  const index_t length = centred.cols();
  const index_t width = std::min(length, count + k_more);
  const auto orthonormal = [&](const Matrix& columns) -> Matrix {
    return Eigen::HouseholderQR<Matrix>(columns).householderQ() * Matrix::Identity(length, width);
  };
  Random random(k_seed);
  Matrix directions(length, width);
  for (index_t i = 0; i < directions.size(); ++i) {
    directions.data()[i] = static_cast<Scalar>(random.normal());
  }
  for (int i = 0; i < k_iterations; ++i) {
    const Matrix coordinates = centred * orthonormal(directions);
    directions = centred.transpose() * coordinates;
  }
  directions = orthonormal(directions);
  const LeadingAxes<Matrix> within = all_axes<Matrix>(centred * directions);
  return {directions * within.directions.leftCols(count), within.variances.head(count)};
}

/// Axes of centred vectors, at least `count`, or all with count 0.
template <class Matrix>
LeadingAxes<Matrix> leading_axes(const Matrix& centred, index_t count) {
  constexpr index_t k_few = 4;  // of so many, finding all takes no longer
  const bool few = count > 0 && count <= centred.cols() / k_few;
  return few && centred.cols() > k_longest_decomposed ? first_axes(centred, count)
                                                      : all_axes(centred);
}

}  // namespace detail

ADR_NAMESPACE_END
