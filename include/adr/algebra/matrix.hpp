// Matrices that own their elements, for the algebra of fits.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/packed_gemm.hpp"

ADR_NAMESPACE_BEGIN
namespace algebra {

/// A row-major matrix of floats whose rows touch; elements are not initialised.
class Matrix {
 public:
  Matrix() = default;
  Matrix(index_t rows, index_t cols)
      : rows_(rows), cols_(cols), elements_(checked_product("matrix", rows, cols)) {}
  explicit Matrix(const MatrixView<const float>& other) : Matrix(other.rows, other.cols) {
    for (index_t i = 0; i < rows_; ++i) std::copy_n(other.row(i), cols_, row(i));
  }

  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  [[nodiscard]] index_t cols() const noexcept { return cols_; }
  [[nodiscard]] index_t size() const noexcept { return rows_ * cols_; }
  [[nodiscard]] float* row(index_t i) noexcept { return elements_.data() + i * cols_; }
  [[nodiscard]] const float* row(index_t i) const noexcept { return elements_.data() + i * cols_; }
  float& operator()(index_t i, index_t j) noexcept { return row(i)[j]; }
  float operator()(index_t i, index_t j) const noexcept { return row(i)[j]; }

  [[nodiscard]] MatrixView<float> view() noexcept { return {elements_.data(), rows_, cols_}; }
  [[nodiscard]] MatrixView<const float> view() const noexcept {
    return {elements_.data(), rows_, cols_};
  }

 private:
  index_t rows_ = 0;
  index_t cols_ = 0;
  AlignedBuffer<float> elements_;
};

/// Returns a b.
inline Matrix product(const GemmFactor<float>& a, const GemmFactor<float>& b) {
  Matrix result(a.rows(), b.cols());
  packed_gemm(a, b, Update::replace, result.view());
  return result;
}

/// Returns the largest size of an element; infinity where one of them is not finite.
inline double largest(const MatrixView<const float>& matrix) noexcept {
  float found = 0;
  for (index_t i = 0; i < matrix.rows; ++i) {
    for (index_t j = 0; j < matrix.cols; ++j) {
      const float size = std::abs(matrix(i, j));
      found = std::max(found, std::isfinite(size) ? size : std::numeric_limits<float>::infinity());
    }
  }
  return double{found};
}

/// Divides all elements, so that their squares stay within the range of floats.
inline void divide(Matrix& matrix, double divisor) noexcept {
  for (index_t i = 0; i < matrix.size(); ++i) {
    matrix.row(0)[i] = static_cast<float>(double{matrix.row(0)[i]} / divisor);
  }
}

/// Returns the sum of the squares of all elements.
inline double energy(const Matrix& matrix) noexcept {
  double total = 0;
  for (const float* x = matrix.row(0); x != matrix.row(matrix.rows()); ++x) {
    total += double{*x} * double{*x};
  }
  return total;
}

}  // namespace algebra
ADR_NAMESPACE_END
