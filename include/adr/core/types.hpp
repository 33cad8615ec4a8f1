// The index type and the non-owning views that every public function takes.
//
// Sizes and strides are signed and count elements. A view never owns, never copies, and carries its
// constness in T: MatrixView<const float> is read-only. Views are checked at every public entry, so
// that the code behind it can trust them. They are the same types for all instruction sets (see
// core/abi.hpp).
#pragma once

#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "adr/core/errors.hpp"

namespace adr {

/// Sizes, strides and indices: signed, of 64 bits, in elements.
using index_t = std::ptrdiff_t;
static_assert(sizeof(index_t) == 8, "adr needs a target of 64 bits");

/// Multiplies sizes, so that no product of them overflows unnoticed.
///
/// what: the name in the message. Errors: std::overflow_error when the product does not fit
/// index_t; std::invalid_argument for a negative size. Thread-safety: reentrant.
template <class... Sizes>
index_t checked_product(std::string_view what, Sizes... sizes) {
  index_t product = 1;
  for (const index_t size : {static_cast<index_t>(sizes)...}) {
    checks::require(size >= 0, what, ": sizes must not be negative, got ", size);
    if (size != 0 && product > std::numeric_limits<index_t>::max() / size) {
      ADR_THROW(std::overflow_error(checks::message(what, ": the product of the sizes exceeds ",
                                                    std::numeric_limits<index_t>::max(),
                                                    " at a factor of ", size)));
    }
    product *= size;
  }
  return product;
}

/// A row-major matrix somewhere in memory, which it does not own.
///
/// Math: element (i, j) is data[i * row_stride + j]. Units: sizes and stride in elements. T: float
/// or double, const where elements are only read. Requires: what is viewed outlives the view;
/// nothing is checked here, but by the functions that take views. Cost: none. Thread-safety: that
/// of a pointer.
template <class T>
struct MatrixView {
  T* data = nullptr;       ///< the first element
  index_t rows = 0;        ///< how many rows
  index_t cols = 0;        ///< elements of a row
  index_t row_stride = 0;  ///< from row to row, in elements, at least cols; any for a single row

  MatrixView() = default;
  /// Rows that follow each other without a gap.
  MatrixView(T* data_, index_t rows_, index_t cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  /// Rows that are row_stride_ elements apart.
  MatrixView(T* data_, index_t rows_, index_t cols_, index_t row_stride_)
      : data(data_), rows(rows_), cols(cols_), row_stride(row_stride_) {}

  /// A view of const elements, from one that may write them.
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  MatrixView(const MatrixView<U>& other)  // NOLINT: adding const is implicit, as for pointers
      : MatrixView(other.data, other.rows, other.cols, other.row_stride) {}

  /// The first element of row i.
  [[nodiscard]] T* row(index_t i) const noexcept { return data + i * row_stride; }
  /// Element (i, j).
  T& operator()(index_t i, index_t j) const noexcept { return row(i)[j]; }

  /// row_count x col_count elements from (first_row, first_col) on. Requires: they lie inside.
  [[nodiscard]] MatrixView block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {row(first_row) + first_col, row_count, col_count, row_stride};
  }
  /// row_count rows from first_row on. Requires: they lie inside.
  [[nodiscard]] MatrixView middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols);
  }
};

/// A contiguous vector somewhere in memory, which it does not own; an empty view means "not given"
/// where a vector is optional.
///
/// Units: size in elements. Requires, thread-safety: as MatrixView.
template <class T>
struct VectorView {
  T* data = nullptr;  ///< the first element
  index_t size = 0;   ///< how many elements

  VectorView() = default;
  /// size_ elements from data_ on.
  VectorView(T* data_, index_t size_) : data(data_), size(size_) {}

  /// A view of const elements, from one that may write them.
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  VectorView(const VectorView<U>& other)  // NOLINT: adding const is implicit, as for pointers
      : VectorView(other.data, other.size) {}

  /// Element i.
  T& operator[](index_t i) const noexcept { return data[i]; }
  /// Whether it has no elements.
  [[nodiscard]] bool empty() const noexcept { return size == 0; }
};

/// The order of a tensor's dimensions in memory, slowest first.
enum class Layout {
  nchw,  ///< image, channel, row, column
  nhwc   ///< image, row, column, channel
};

/// A batch of images somewhere in memory, which it does not own. Within one image the elements are
/// dense in the order of the layout; images are image_stride elements apart.
///
/// Units: sizes and stride in elements. Requires, thread-safety: as MatrixView.
template <class T>
struct TensorView {
  T* data = nullptr;             ///< the first element
  index_t batch = 0;             ///< how many images
  index_t channels = 0;          ///< of an image
  index_t height = 0;            ///< of an image, in pixels
  index_t width = 0;             ///< of an image, in pixels
  Layout layout = Layout::nchw;  ///< of an image
  index_t image_stride =
      0;  ///< from image to image, in elements, at least image_size(); any for a single image

  TensorView() = default;
  /// Images that follow each other without a gap. Errors: those of checked_product.
  TensorView(T* data_, index_t batch_, index_t channels_, index_t height_, index_t width_,
             Layout layout_)
      : TensorView(data_, batch_, channels_, height_, width_, layout_,
                   checked_product("TensorView", channels_, height_, width_)) {}
  /// Images that are image_stride_ elements apart.
  TensorView(T* data_, index_t batch_, index_t channels_, index_t height_, index_t width_,
             Layout layout_, index_t image_stride_)
      : data(data_),
        batch(batch_),
        channels(channels_),
        height(height_),
        width(width_),
        layout(layout_),
        image_stride(image_stride_) {}

  /// A view of const elements, from one that may write them.
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  TensorView(const TensorView<U>& other)  // NOLINT: adding const is implicit, as for pointers
      : TensorView(other.data, other.batch, other.channels, other.height, other.width, other.layout,
                   other.image_stride) {}

  /// The first element of image n.
  [[nodiscard]] T* image(index_t n) const noexcept { return data + n * image_stride; }
  /// Elements of an image: channels * height * width.
  [[nodiscard]] index_t image_size() const noexcept { return channels * height * width; }
};

}  // namespace adr
