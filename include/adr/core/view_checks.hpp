// What every public entry asks of the views it is handed, in one place, so that the messages agree.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The memory that a view may touch: `count` runs of `bytes` bytes, the beginnings of neighbours
/// `step` bytes apart. A single run has no step of its own.
struct MemoryRuns {
  std::uintptr_t first = 0;
  std::uintptr_t bytes = 0;
  std::uintptr_t step = 0;
  std::uintptr_t count = 0;

  [[nodiscard]] std::uintptr_t last() const noexcept {
    return count == 0 ? first : first + (count - 1) * step + bytes;
  }
};

template <class T>
MemoryRuns memory_runs(const T* data, index_t count, index_t size, index_t stride) noexcept {
  const auto bytes = static_cast<std::uintptr_t>(size) * sizeof(T);
  if (count == 0 || bytes == 0) return {};
  const std::uintptr_t step = count == 1 ? bytes : static_cast<std::uintptr_t>(stride) * sizeof(T);
  return {reinterpret_cast<std::uintptr_t>(data), bytes, step, static_cast<std::uintptr_t>(count)};
}
template <class T>
MemoryRuns memory_runs(const MatrixView<T>& view) noexcept {
  return memory_runs(view.data, view.rows, view.cols, view.row_stride);
}
template <class T>
MemoryRuns memory_runs(const VectorView<T>& view) noexcept {
  return memory_runs(view.data, 1, view.size, view.size);
}
template <class T>
MemoryRuns memory_runs(const TensorView<T>& view) noexcept {
  return memory_runs(view.data, view.batch, view.image_size(), view.image_stride);
}

/// Whether a byte belongs to both. Cost: one division where the address ranges are apart or both
/// are blocks of columns of one matrix, else one per run of the one with fewer runs.
inline bool share_memory(const MemoryRuns& a, const MemoryRuns& b) noexcept {
  if (a.count == 0 || b.count == 0 || a.first >= b.last() || b.first >= a.last()) return false;
  if (a.step == b.step) {
    const MemoryRuns& low = a.first < b.first ? a : b;
    const MemoryRuns& high = a.first < b.first ? b : a;
    const std::uintptr_t column = (high.first - low.first) % low.step;
    if (column >= low.bytes && column + high.bytes <= low.step) return false;
  }
  if (a.count > b.count) return share_memory(b, a);
  for (std::uintptr_t i = 0; i < a.count; ++i) {
    const std::uintptr_t first = a.first + i * a.step;
    // The first run of the other that ends behind this beginning.
    const std::uintptr_t end = b.first + b.bytes;
    const std::uintptr_t j = first < end ? 0 : (first - end) / b.step + 1;
    if (j < b.count && b.first + j * b.step < first + a.bytes) return true;
  }
  return false;
}

}  // namespace detail

/// The view with a stride that any product takes: where there is one row or image at most, its
/// stride means nothing, and callers may hand over what they have.
template <class T>
MatrixView<T> plain_stride(MatrixView<T> view) noexcept {
  if (view.rows <= 1) view.row_stride = view.cols;
  return view;
}
template <class T>
TensorView<T> plain_stride(TensorView<T> view) noexcept {
  if (view.batch <= 1) view.image_stride = view.image_size();
  return view;
}

/// Throws std::invalid_argument unless the view is a usable matrix of the given shape: sizes equal,
/// row_stride >= cols where there are several rows, and a pointer where there are elements. Throws
/// std::overflow_error when rows * row_stride exceeds index_t.
template <class T>
void require_shape(std::string_view name, const MatrixView<T>& view, index_t rows, index_t cols) {
  detail::require(view.rows == rows && view.cols == cols, name, " must be ", rows, " x ", cols,
                  ", got ", view.rows, " x ", view.cols);
  const index_t stride = plain_stride(view).row_stride;
  detail::require(stride >= view.cols, name, ": row_stride must be at least cols, got ", stride,
                  " < ", view.cols);
  checked_product(name, view.rows, stride, static_cast<index_t>(sizeof(T)));
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

/// Throws std::invalid_argument unless the tensor has the given shape and images, where there are
/// several, that do not overlap.
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
  const index_t stride = plain_stride(view).image_stride;
  detail::require(stride >= image_size, name,
                  ": image_stride must be at least channels * height * width, got ", stride, " < ",
                  image_size);
  checked_product(name, batch, stride, static_cast<index_t>(sizeof(T)));
  detail::require(view.data != nullptr || batch == 0 || image_size == 0, name,
                  " has elements and a null pointer");
}

/// Throws std::invalid_argument when an output and another operand have an element in common; gaps
/// between rows or images belong to neither, so that both may be blocks of one matrix. Requires:
/// views that require_shape or require_size accepts.
template <class Output, class Other>
void require_disjoint(std::string_view output_name, const Output& output,
                      std::string_view other_name, const Other& other) {
  const detail::MemoryRuns a = detail::memory_runs(output);
  const detail::MemoryRuns b = detail::memory_runs(other);
  const auto address = [](std::uintptr_t byte) { return reinterpret_cast<const void*>(byte); };
  detail::require(!detail::share_memory(a, b), output_name, " must not overlap ", other_name, ": ",
                  output_name, " spans [", address(a.first), ", ", address(a.last()), "), ",
                  other_name, " spans [", address(b.first), ", ", address(b.last()), ")");
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
