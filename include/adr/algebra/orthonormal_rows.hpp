// Rows made orthonormal.
#pragma once

#include <algorithm>
#include <cmath>

#include "adr/algebra/matrix.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace algebra {

/// Replaces the rows by an orthonormal basis of what they span, the first k by one of what the
/// first k span; a row that depends on those before it becomes zero.
///
/// Cost: 4 rows^2 cols multiply-adds. Memory: 32 x rows and 32 x cols floats. Errors:
/// std::bad_alloc. Source: the Gram-Schmidt process, twice in blocks of rows (Golub and Van Loan,
/// Matrix Computations, 5.2).
inline void make_orthonormal(Matrix& rows) {
  constexpr index_t k_rows = 32;
  constexpr float k_dependent = 1e-5F;
  const index_t cols = rows.cols();
  for (index_t first = 0; first < rows.rows(); first += k_rows) {
    const index_t count = std::min(k_rows, rows.rows() - first);
    const MatrixView<float> block = rows.view().middle_rows(first, count);
    float before[k_rows];
    for (index_t i = 0; i < count; ++i) {
      before[i] = std::sqrt(simd::dot(block.row(i), block.row(i), cols));
    }
    // Once more, because of what rounding leaves.
    for (int pass = 0; pass < 2; ++pass) {
      if (first > 0) {
        const MatrixView<float> done = rows.view().middle_rows(0, first);
        Matrix parts = product(as_is(block), transposed(done));
        simd::scale(-1.0F, parts.row(0), parts.size());
        packed_gemm(as_is(parts.view()), as_is(done), Update::accumulate, block);
      }
      for (index_t i = 0; i < count; ++i) {
        float* row = block.row(i);
        for (index_t j = 0; j < i; ++j) {
          simd::add_scaled(-simd::dot(row, block.row(j), cols), block.row(j), row, cols);
        }
        const float size = std::sqrt(simd::dot(row, row, cols));
        const bool dependent = !(size > k_dependent * before[i]);
        simd::scale(dependent ? 0.0F : 1.0F / size, row, cols);
        before[i] = 1;
      }
    }
  }
}

}  // namespace algebra
ADR_NAMESPACE_END
