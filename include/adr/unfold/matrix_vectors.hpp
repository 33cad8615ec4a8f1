// The rows of a plain matrix as neuron vectors, each read by one output. The interface is described
// in core/vector_map.hpp.
#pragma once

#include <cstddef>
#include <numeric>
#include <type_traits>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/row_copies.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN

/// Which weights meet which elements of the rows of a matrix: element e meets row e of the weights.
inline std::vector<index_t> weight_columns(index_t length) {
  std::vector<index_t> columns(static_cast<std::size_t>(length));
  std::iota(columns.begin(), columns.end(), index_t{0});
  return columns;
}

/// Where the rows of a matrix lie as neuron vectors: every output reads its own.
inline VectorMap row_map(index_t rows) noexcept {
  VectorMap map;
  map.images = 1;
  map.grid_height = map.out_height = rows;
  return map;
}

/// The rows of a matrix, or of its transpose, as a source of neuron vectors. Thread-safety: loads
/// are reentrant; adds are as long as they touch different elements.
template <class T>
class MatrixVectors {
  using Element = std::remove_const_t<T>;

 public:
  explicit MatrixVectors(const MatrixView<T>& matrix, bool transposed = false) noexcept
      : matrix_(matrix),
        transposed_(transposed),
        map_(row_map(transposed ? matrix.cols : matrix.rows)) {}

  [[nodiscard]] const VectorMap& map() const noexcept { return map_; }
  [[nodiscard]] index_t length() const noexcept {
    return transposed_ ? matrix_.rows : matrix_.cols;
  }

  /// Whether the vectors lie in memory as rows of floats, and those rows.
  [[nodiscard]] bool has_rows() const noexcept {
    return std::is_same_v<Element, float> && !transposed_;
  }
  [[nodiscard]] MatrixView<const float> rows() const noexcept {
    if constexpr (std::is_same_v<Element, float>) return matrix_;
    return {};
  }

  /// block(e, i) = element first_element + e of vector first_vector + i, as float.
  void load_columns(index_t first_vector, index_t first_element,
                    const MatrixView<float>& block) const noexcept {
    if (transposed_) {
      for (index_t e = 0; e < block.rows; ++e) {
        const T* from = matrix_.row(first_element + e) + first_vector;
        for (index_t i = 0; i < block.cols; ++i) block(e, i) = static_cast<float>(from[i]);
      }
    } else {
      simd::transpose(matrix_.row(first_vector) + first_element, matrix_.row_stride, block.cols,
                      block.rows, block.data, block.row_stride);
    }
  }
  /// block(i, e) = element first_element + e of vector first_vector + i.
  void load_rows(index_t first_vector, index_t first_element,
                 const MatrixView<Element>& block) const noexcept {
    if (transposed_) {
      simd::transpose(matrix_.row(first_element) + first_vector, matrix_.row_stride, block.cols,
                      block.rows, block.data, block.row_stride);
      return;
    }
    simd::copy_rows<Element>(matrix_.row(first_vector) + first_element, matrix_.row_stride,
                             block.rows, block.cols, block.data, block.row_stride);
  }
  /// Adds block(i, e) to the matrix where load_rows reads it.
  void add_rows(index_t first_vector, index_t first_element,
                const MatrixView<const Element>& block) const noexcept {
    if (transposed_) {
      simd::transpose_add(block.data, block.row_stride, block.rows, block.cols,
                          matrix_.row(first_element) + first_vector, matrix_.row_stride);
      return;
    }
    for (index_t i = 0; i < block.rows; ++i) {
      simd::add<Element>(block.row(i), matrix_.row(first_vector + i) + first_element, block.cols);
    }
  }

  /// Whether adds to different elements of the vectors touch different memory.
  [[nodiscard]] static bool adds_are_independent() noexcept { return true; }

 private:
  MatrixView<T> matrix_;
  bool transposed_;
  VectorMap map_;
};

ADR_NAMESPACE_END
