// The double-precision matrix of the reference definitions. Slow and plain on purpose: the
// functions under reference/ are the definition of correct that the fast code is tested against.
#pragma once

#include <cstddef>
#include <vector>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace reference {

/// A row-major matrix of doubles that owns its elements, zero at first.
struct Matrix {
  index_t rows = 0;
  index_t cols = 0;
  std::vector<double> elements;

  Matrix() = default;
  Matrix(index_t rows_, index_t cols_)
      : rows(rows_),
        cols(cols_),
        elements(static_cast<std::size_t>(checked_product("Matrix", rows_, cols_))) {}
  /// Copies any matrix, widened to double.
  template <class T>
  explicit Matrix(const MatrixView<T>& view) : Matrix(view.rows, view.cols) {
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < cols; ++j) (*this)(i, j) = static_cast<double>(view(i, j));
    }
  }

  double& operator()(index_t i, index_t j) {
    return elements[static_cast<std::size_t>(i * cols + j)];
  }
  double operator()(index_t i, index_t j) const {
    return elements[static_cast<std::size_t>(i * cols + j)];
  }
};

}  // namespace reference
ADR_NAMESPACE_END
