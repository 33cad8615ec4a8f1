// The sums of the columns of a matrix: the gradient of a bias.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Writes sums[j] = sum over i of matrix(i, j), in the order of i. Cost: one addition per element.
/// Thread-safety: reentrant. Source: backpropagation.
template <class T>
void column_sums(const MatrixView<const T>& matrix, T* sums) noexcept {
  std::fill_n(sums, matrix.cols, T(0));
  for (index_t i = 0; i < matrix.rows; ++i) simd::add(matrix.row(i), sums, matrix.cols);
}

ADR_NAMESPACE_END
