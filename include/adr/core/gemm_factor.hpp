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
  MatrixView<const T> matrix;
  bool transposed = false;

  [[nodiscard]] index_t rows() const noexcept { return transposed ? matrix.cols : matrix.rows; }
  [[nodiscard]] index_t cols() const noexcept { return transposed ? matrix.rows : matrix.cols; }

  [[nodiscard]] GemmFactor transpose() const noexcept { return {matrix, !transposed}; }
  [[nodiscard]] GemmFactor block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {transposed ? matrix.block(first_col, first_row, col_count, row_count)
                       : matrix.block(first_row, first_col, row_count, col_count),
            transposed};
  }
  [[nodiscard]] GemmFactor middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols());
  }
};

template <class T>
GemmFactor<std::remove_const_t<T>> as_is(const MatrixView<T>& matrix) noexcept {
  return {matrix, false};
}
template <class T>
GemmFactor<std::remove_const_t<T>> transposed(const MatrixView<T>& matrix) noexcept {
  return {matrix, true};
}

/// The fingerprint of a factor: the same elements in memory taken the other way round are another
/// matrix.
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
  MatrixView<T> matrix;
  bool transposed = false;

  [[nodiscard]] index_t rows() const noexcept { return transposed ? matrix.cols : matrix.rows; }
  [[nodiscard]] index_t cols() const noexcept { return transposed ? matrix.rows : matrix.cols; }
  /// True when the result is not wanted.
  [[nodiscard]] bool empty() const noexcept { return matrix.data == nullptr; }

  [[nodiscard]] GemmResult block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {transposed ? matrix.block(first_col, first_row, col_count, row_count)
                       : matrix.block(first_row, first_col, row_count, col_count),
            transposed};
  }
  [[nodiscard]] GemmResult middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols());
  }
};

/// Whether a product replaces its result or is added to it.
enum class Update { replace, accumulate };

ADR_NAMESPACE_END
