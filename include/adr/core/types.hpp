// The index type and the non-owning views that every public function takes.
//
// Sizes and strides are signed and count elements. A view never owns, never copies, and carries its
// constness in T: MatrixView<const float> is read-only. Views are checked at every public entry, so
// that the code behind it can trust them. They are the same types for all instruction sets (see
// core/abi.hpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "adr/core/errors.hpp"

namespace adr {

using index_t = std::ptrdiff_t;
static_assert(sizeof(index_t) == 8, "adr needs a target of 64 bits");

/// Multiplies non-negative sizes and throws std::overflow_error when the product leaves index_t.
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

/// A row-major matrix somewhere in memory: element (i, j) is data[i * row_stride + j].
template <class T>
struct MatrixView {
  T* data = nullptr;
  index_t rows = 0;
  index_t cols = 0;
  index_t row_stride = 0;  ///< in elements, at least cols

  MatrixView() = default;
  MatrixView(T* data_, index_t rows_, index_t cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  MatrixView(T* data_, index_t rows_, index_t cols_, index_t row_stride_)
      : data(data_), rows(rows_), cols(cols_), row_stride(row_stride_) {}

  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  MatrixView(const MatrixView<U>& other)  // NOLINT: adding const is implicit, as for pointers
      : MatrixView(other.data, other.rows, other.cols, other.row_stride) {}

  [[nodiscard]] T* row(index_t i) const noexcept { return data + i * row_stride; }
  T& operator()(index_t i, index_t j) const noexcept { return row(i)[j]; }

  [[nodiscard]] MatrixView block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {row(first_row) + first_col, row_count, col_count, row_stride};
  }
  [[nodiscard]] MatrixView middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols);
  }
};

/// A contiguous vector somewhere in memory; an empty view means "not given" where a vector is
/// optional.
template <class T>
struct VectorView {
  T* data = nullptr;
  index_t size = 0;

  VectorView() = default;
  VectorView(T* data_, index_t size_) : data(data_), size(size_) {}

  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  VectorView(const VectorView<U>& other)  // NOLINT: adding const is implicit, as for pointers
      : VectorView(other.data, other.size) {}

  T& operator[](index_t i) const noexcept { return data[i]; }
  [[nodiscard]] bool empty() const noexcept { return size == 0; }
};

/// The order of a tensor's dimensions in memory, slowest first.
enum class Layout { nchw, nhwc };

/// A batch of images somewhere in memory. Within one image the elements are dense in the order of
/// the layout; images are image_stride elements apart.
template <class T>
struct TensorView {
  T* data = nullptr;
  index_t batch = 0;
  index_t channels = 0;
  index_t height = 0;
  index_t width = 0;
  Layout layout = Layout::nchw;
  index_t image_stride = 0;  ///< in elements, at least channels * height * width

  TensorView() = default;
  /// Images that follow each other without a gap. Errors: those of checked_product.
  TensorView(T* data_, index_t batch_, index_t channels_, index_t height_, index_t width_,
             Layout layout_)
      : TensorView(data_, batch_, channels_, height_, width_, layout_,
                   checked_product("TensorView", channels_, height_, width_)) {}
  TensorView(T* data_, index_t batch_, index_t channels_, index_t height_, index_t width_,
             Layout layout_, index_t image_stride_)
      : data(data_),
        batch(batch_),
        channels(channels_),
        height(height_),
        width(width_),
        layout(layout_),
        image_stride(image_stride_) {}

  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  TensorView(const TensorView<U>& other)  // NOLINT: adding const is implicit, as for pointers
      : TensorView(other.data, other.batch, other.channels, other.height, other.width, other.layout,
                   other.image_stride) {}

  [[nodiscard]] T* image(index_t n) const noexcept { return data + n * image_stride; }
  [[nodiscard]] index_t image_size() const noexcept { return channels * height * width; }
};

}  // namespace adr
