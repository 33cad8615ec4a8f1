// What a matrix product reads and writes: row-major matrices, each taken as it is or transposed.
#pragma once

#include <cstdint>
#include <type_traits>

#include "adr/core/fingerprint.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A factor of a product: a row-major matrix, taken as it is or transposed.
template <class T>
struct GemmFactor {
  MatrixView<const T> matrix;  ///< as it lies in memory
  bool transposed = false;     ///< whether its transpose takes part

  /// Rows of what takes part.
  [[nodiscard]] index_t rows() const noexcept { return transposed ? matrix.cols : matrix.rows; }
  /// Columns of what takes part.
  [[nodiscard]] index_t cols() const noexcept { return transposed ? matrix.rows : matrix.cols; }

  /// The transpose of what takes part.
  [[nodiscard]] GemmFactor transpose() const noexcept { return {matrix, !transposed}; }
  /// A block of what takes part. Requires: it lies inside.
  [[nodiscard]] GemmFactor block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {transposed ? matrix.block(first_col, first_row, col_count, row_count)
                       : matrix.block(first_row, first_col, row_count, col_count),
            transposed};
  }
  /// Rows of what takes part. Requires: they lie inside.
  [[nodiscard]] GemmFactor middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols());
  }
};

/// The matrix as it is, as a factor.
template <class T>
GemmFactor<std::remove_const_t<T>> as_is(const MatrixView<T>& matrix) noexcept {
  return {matrix, false};
}
/// The transpose of the matrix, as a factor; nothing is copied.
template <class T>
GemmFactor<std::remove_const_t<T>> transposed(const MatrixView<T>& matrix) noexcept {
  return {matrix, true};
}

/// The fingerprint of a factor, a hash of all its elements: the same elements in memory taken the
/// other way round are another matrix. Cost: one read.
template <class T>
std::uint64_t fingerprint(const GemmFactor<T>& factor) noexcept {
  constexpr std::uint64_t k_as_is = 0x452821e638d01377u;
  return fingerprint<T>(factor.matrix) ^ (factor.transposed ? 0 : k_as_is);
}

/// The same of a sample of its elements; see sampled_fingerprint of a matrix.
template <class T>
std::uint64_t sampled_fingerprint(const GemmFactor<T>& factor) noexcept {
  constexpr std::uint64_t k_as_is = 0x13198a2e03707344u;
  return sampled_fingerprint<T>(factor.matrix) ^ (factor.transposed ? 0 : k_as_is);
}

/// The result of a product: a row-major matrix, written as it is or transposed.
template <class T>
struct GemmResult {
  MatrixView<T> matrix;     ///< as it lies in memory
  bool transposed = false;  ///< whether the transpose of the product is written

  /// Rows of the product.
  [[nodiscard]] index_t rows() const noexcept { return transposed ? matrix.cols : matrix.rows; }
  /// Columns of the product.
  [[nodiscard]] index_t cols() const noexcept { return transposed ? matrix.rows : matrix.cols; }
  /// True when the result is not wanted.
  [[nodiscard]] bool empty() const noexcept { return matrix.data == nullptr; }

  /// A block of the product. Requires: it lies inside.
  [[nodiscard]] GemmResult block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {transposed ? matrix.block(first_col, first_row, col_count, row_count)
                       : matrix.block(first_row, first_col, row_count, col_count),
            transposed};
  }
  /// Rows of the product. Requires: they lie inside.
  [[nodiscard]] GemmResult middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols());
  }
};

/// Whether a product replaces its result or is added to it.
enum class Update {
  replace,    ///< result = a b
  accumulate  ///< result += a b
};

ADR_NAMESPACE_END
