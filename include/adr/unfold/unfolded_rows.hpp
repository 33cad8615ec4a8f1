// The unfolded input of a convolution seen as rows that can be read or added to in blocks; the
// interface is described in core/matrix_rows.hpp. Nothing is stored.
#pragma once

#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/unfold/col2im.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"

ADR_NAMESPACE_BEGIN

/// One group's unfolded matrix over a batch of images. The geometry must outlive it.
/// Thread-safety: loads are reentrant; adds are as long as they touch different images.
template <class T>
class UnfoldedRows {
  using Element = std::remove_const_t<T>;

 public:
  /// The unfolded matrix of one group. Requires: images as the geometry says.
  UnfoldedRows(const ConvGeometry& geometry, const TensorView<T>& images, index_t group) noexcept
      : geometry_(geometry), images_(images), group_(group) {}

  /// How many rows there are.
  [[nodiscard]] index_t rows() const noexcept { return geometry_.rows(images_.batch); }
  /// Elements of a row.
  [[nodiscard]] index_t cols() const noexcept { return geometry_.columns(); }

  /// Copies the elements at that place into the block.
  void load(index_t first_row, index_t first_col, const MatrixView<Element>& block) const noexcept {
    im2col<Element>(geometry_, images_, group_, first_row, first_col, block);
  }
  /// Whole rows to read, in place or copied into scratch.
  [[nodiscard]] MatrixView<const Element> view(index_t first_row, index_t count,
                                               Element* scratch) const noexcept {
    const MatrixView<Element> block(scratch, count, cols());
    load(first_row, 0, block);
    return block;
  }
  /// Adds the block to the elements at that place.
  void add(index_t first_row, index_t first_col,
           const MatrixView<const Element>& block) const noexcept {
    col2im_add<Element>(geometry_, block, group_, first_row, first_col, images_);
  }
  /// Whether view and target never copy.
  [[nodiscard]] static bool in_place() noexcept { return false; }
  /// Rows that different threads may add to at once start at multiples of this: whole images.
  [[nodiscard]] index_t independent_rows() const noexcept { return geometry_.out_pixels(); }
  /// Different columns of the unfolded matrix can be the same input element.
  [[nodiscard]] static bool columns_are_independent() noexcept { return false; }

 private:
  const ConvGeometry& geometry_;
  TensorView<T> images_;
  index_t group_;
};

ADR_NAMESPACE_END
