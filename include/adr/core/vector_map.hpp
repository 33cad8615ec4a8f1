// Which neuron vectors exist and who shares them, as plain numbers: the bridge between what unfolds
// images (unfold/) and what multiplies (gemm/), which do not see each other.
//
// A neuron vector lies at a place (y, x) of a grid over one image. Output pixel (oy, ox) meets, at
// kernel offset (i, j), the vector at
//   y = oy * step_y + i * dilation_y - pad_top,  x = ox * step_x + j * dilation_x - pad_left,
// or padding (a vector of zeros) where that lies outside the grid. One vector serves every offset
// and output that meets it, which is why it is rotated once.
//
// Sources of neuron vectors (unfold/neuron_vectors.hpp, unfold/matrix_vectors.hpp) offer
//   map(), length()
//   load_columns(first_vector, first_element, block)   block(e, i) = element first_element + e of
//                                                      vector first_vector + i, as float
//   load_rows(first_vector, first_element, block)      block(i, e) likewise, in the element type
//   add_rows(first_vector, first_element, block)       the adjoint of load_rows: adds to the source
//   store_rows(first_vector, first_element, block)     sets the source, if can_store_rows()
// Vectors are numbered image by image, row by row; a block may cross rows and images.
#pragma once

#include <algorithm>

#include "adr/core/neuron_vector_kind.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// The i in [0, count) for which start + i * step lies in [0, length); an empty range lies within
/// [0, count], too. Requires: step at least 1.
inline IndexRange steps_inside(index_t start, index_t step, index_t length,
                               index_t count) noexcept {
  const index_t room = length - 1 - start;
  index_t first = start < 0 ? -start : 0;
  index_t last = room < 0 ? 0 : room + 1;
  if (step != 1) {  // divisions take longer than all the rest
    first = (first + step - 1) / step;
    last = room < 0 ? 0 : room / step + 1;
  }
  first = std::min(count, first);
  return {first, std::max(first, std::min(count, last))};
}

}  // namespace detail

/// The grids of neuron vectors of a batch of images and the output pixels that read them.
struct VectorMap {
  index_t images = 0;       ///< of the batch
  index_t grid_height = 1;  ///< rows of vectors of an image
  index_t grid_width = 1;   ///< vectors of a row
  index_t out_height = 1;   ///< rows of output pixels
  index_t out_width = 1;    ///< output pixels of a row
  index_t offset_rows = 1;  ///< kernel offsets that share a vector: offset_rows x offset_cols
  index_t offset_cols = 1;  ///< see offset_rows
  index_t step_y = 1;       ///< grid rows from output row to output row
  index_t step_x = 1;       ///< grid columns from output column to output column
  index_t dilation_y = 1;   ///< grid rows from kernel row to kernel row
  index_t dilation_x = 1;   ///< grid columns from kernel column to kernel column
  index_t pad_top = 0;      ///< grid rows of zeros above
  index_t pad_left = 0;     ///< grid columns of zeros at the left

  /// Vectors of an image.
  [[nodiscard]] index_t grid_size() const noexcept { return grid_height * grid_width; }
  /// Vectors of the batch.
  [[nodiscard]] index_t vectors() const noexcept { return images * grid_size(); }
  /// Output pixels of an image.
  [[nodiscard]] index_t out_size() const noexcept { return out_height * out_width; }
  /// Output pixels of the batch.
  [[nodiscard]] index_t rows() const noexcept { return images * out_size(); }
  /// Kernel offsets that share a vector.
  [[nodiscard]] index_t offsets() const noexcept { return offset_rows * offset_cols; }

  /// The grid row that output row oy meets at offset row i. May lie outside the grid: padding.
  [[nodiscard]] index_t grid_y(index_t oy, index_t i) const noexcept {
    return oy * step_y + i * dilation_y - pad_top;
  }
  /// The grid column that output column ox meets at offset column j. May lie outside the grid.
  [[nodiscard]] index_t grid_x(index_t ox, index_t j) const noexcept {
    return ox * step_x + j * dilation_x - pad_left;
  }
  /// The output rows whose vector at offset row i lies inside the grid.
  [[nodiscard]] IndexRange inside_rows(index_t i) const noexcept {
    return detail::steps_inside(i * dilation_y - pad_top, step_y, grid_height, out_height);
  }
  /// The output columns whose vector at offset column j lies inside the grid.
  [[nodiscard]] IndexRange inside_cols(index_t j) const noexcept {
    return detail::steps_inside(j * dilation_x - pad_left, step_x, grid_width, out_width);
  }
  /// Whether some output meets padding at some offset.
  [[nodiscard]] bool has_padding() const noexcept {
    for (index_t i = 0; i < offset_rows; ++i) {
      if (inside_rows(i).size() < out_height) return true;
    }
    for (index_t j = 0; j < offset_cols; ++j) {
      if (inside_cols(j).size() < out_width) return true;
    }
    return false;
  }
  /// Whether output n reads vector n and nothing else: a plain product, or an unshared vector.
  [[nodiscard]] bool is_identity() const noexcept {
    return offsets() == 1 && grid_height == out_height && grid_width == out_width &&
           (step_y == 1 || out_height == 1) && (step_x == 1 || out_width == 1) && pad_top == 0 &&
           pad_left == 0;
  }
};

ADR_NAMESPACE_END
