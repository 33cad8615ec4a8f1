// The directions in which vectors vary most.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "adr/algebra/matrix.hpp"
#include "adr/algebra/orthonormal_rows.hpp"
#include "adr/algebra/symmetric_eigen.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/subspace/product_metric.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// Orthonormal directions as rows, of falling variance.
struct LeadingAxes {
  algebra::Matrix directions;
  AlignedBuffer<double> variances;
};

/// All axes of centred vectors, one per row: n length^2 + O(length^3).
inline LeadingAxes all_axes(const algebra::Matrix& centred) {
  algebra::Matrix covariance = algebra::product(transposed(centred.view()), as_is(centred.view()));
  simd::scale(1.0F / static_cast<float>(centred.rows()), covariance.row(0), covariance.size());
  algebra::SymmetricEigen eigen = algebra::symmetric_eigen(covariance.view());
  return {std::move(eigen.vectors), std::move(eigen.values)};
}

/// The first axes, by subspace iteration from random directions: 12 n length (count + 16)
/// multiply-adds. The last of them are rough where variances fall slowly.
inline LeadingAxes first_axes(const algebra::Matrix& centred, index_t count) {
  constexpr index_t k_more = 16;
  constexpr int k_iterations = 5;
  constexpr std::uint64_t k_seed = 1;
  const index_t length = centred.cols();
  Random random(k_seed);
  algebra::Matrix directions(std::min(length, count + k_more), length);
  for (index_t i = 0; i < directions.size(); ++i) {
    directions.row(0)[i] = static_cast<float>(random.normal());
  }
  for (int i = 0; i < k_iterations; ++i) {
    algebra::make_orthonormal(directions);
    const algebra::Matrix coordinates =
        algebra::product(as_is(centred.view()), transposed(directions.view()));
    directions = algebra::product(transposed(coordinates.view()), as_is(centred.view()));
  }
  algebra::make_orthonormal(directions);
  LeadingAxes within =
      all_axes(algebra::product(as_is(centred.view()), transposed(directions.view())));
  const MatrixView<const float> first = within.directions.view().middle_rows(0, count);
  return {algebra::product(as_is(first), as_is(directions.view())), std::move(within.variances)};
}

/// The first `count` axes, or all for count 0, by what is faster.
inline LeadingAxes leading_axes(const algebra::Matrix& centred, index_t count) {
  constexpr index_t k_few = 4;  // of so many, finding all takes no longer
  const bool few = count > 0 && count <= centred.cols() / k_few;
  return few && centred.cols() > k_longest_decomposed ? first_axes(centred, count)
                                                      : all_axes(centred);
}

}  // namespace detail

ADR_NAMESPACE_END
