// What every public entry asks of the views it is handed, in one place, so that the messages agree.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <string_view>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The address range [first, last) that a view may touch.
struct MemoryRange {
  const void* first = nullptr;
  const void* last = nullptr;
};

template <class T>
MemoryRange memory_range(const MatrixView<T>& view) {
  if (view.rows == 0 || view.cols == 0) return {};
  return {view.data, view.row(view.rows - 1) + view.cols};
}
template <class T>
MemoryRange memory_range(const VectorView<T>& view) {
  return {view.data, view.data + view.size};
}
template <class T>
MemoryRange memory_range(const TensorView<T>& view) {
  if (view.batch == 0 || view.image_size() == 0) return {};
  return {view.data, view.image(view.batch - 1) + view.image_size()};
}

}  // namespace detail

/// Throws std::invalid_argument unless the view is a usable matrix of the given shape: sizes equal,
/// row_stride >= cols, and a pointer where there are elements. Throws std::overflow_error when
/// rows * row_stride exceeds index_t.
template <class T>
void require_shape(std::string_view name, const MatrixView<T>& view, index_t rows, index_t cols) {
  detail::require(view.rows == rows && view.cols == cols, name, " must be ", rows, " x ", cols,
                  ", got ", view.rows, " x ", view.cols);
  detail::require(view.row_stride >= view.cols, name, ": row_stride must be at least cols, got ",
                  view.row_stride, " < ", view.cols);
  checked_product(name, view.rows, view.row_stride, static_cast<index_t>(sizeof(T)));
  detail::require(view.data != nullptr || rows == 0 || cols == 0, name, " of ", rows, " x ", cols,
                  " elements has a null pointer");
}

/// Throws std::invalid_argument unless the vector has the given size, and a pointer if it is not 0.
template <class T>
void require_size(std::string_view name, const VectorView<T>& view, index_t size) {
  detail::require(view.size == size, name, " must have ", size, " elements, got ", view.size);
  detail::require(view.data != nullptr || size == 0, name, " of ", size,
                  " elements has a null pointer");
}

/// Throws std::invalid_argument unless the tensor has the given shape and images that do not
/// overlap.
template <class T>
void require_shape(std::string_view name, const TensorView<T>& view, index_t batch,
                   index_t channels, index_t height, index_t width, Layout layout) {
  const auto word = [](Layout l) { return l == Layout::nchw ? "nchw" : "nhwc"; };
  detail::require(view.layout == layout, name, " must be in layout ", word(layout), ", got ",
                  word(view.layout));
  detail::require(view.batch == batch && view.channels == channels && view.height == height &&
                      view.width == width,
                  name, " must have batch x channels x height x width = ", batch, " x ", channels,
                  " x ", height, " x ", width, ", got ", view.batch, " x ", view.channels, " x ",
                  view.height, " x ", view.width);
  const index_t image_size = checked_product(name, channels, height, width);
  detail::require(view.image_stride >= image_size, name,
                  ": image_stride must be at least channels * height * width, got ",
                  view.image_stride, " < ", image_size);
  checked_product(name, batch, view.image_stride, static_cast<index_t>(sizeof(T)));
  detail::require(view.data != nullptr || batch == 0 || image_size == 0, name,
                  " has elements and a null pointer");
}

/// Throws std::invalid_argument when the memory of an output and of another operand may overlap.
template <class Output, class Other>
void require_disjoint(std::string_view output_name, const Output& output,
                      std::string_view other_name, const Other& other) {
  const detail::MemoryRange a = detail::memory_range(output);
  const detail::MemoryRange b = detail::memory_range(other);
  const std::less<const void*> before;
  const bool disjoint = a.first == a.last || b.first == b.last || !before(a.first, b.last) ||
                        !before(b.first, a.last);
  detail::require(disjoint, output_name, " must not overlap ", other_name, ": ", output_name,
                  " spans [", a.first, ", ", a.last, "), ", other_name, " spans [", b.first, ", ",
                  b.last, ")");
}

/// Throws std::invalid_argument naming the first element that is a NaN or an infinity.
/// Cost: one read of the view.
template <class T>
void require_finite(std::string_view name, const MatrixView<T>& view) {
  for (index_t i = 0; i < view.rows; ++i) {
    for (index_t j = 0; j < view.cols; ++j) {
      detail::require(std::isfinite(view(i, j)), name, " must be finite, element (", i, ", ", j,
                      ") is ", view(i, j));
    }
  }
}

template <class T>
void require_finite(std::string_view name, const VectorView<T>& view) {
  require_finite(name, MatrixView<T>(view.data, 1, view.size));
}

template <class T>
void require_finite(std::string_view name, const TensorView<T>& view) {
  require_finite(name, MatrixView<T>(view.data, view.batch, view.image_size(), view.image_stride));
}

ADR_NAMESPACE_END
