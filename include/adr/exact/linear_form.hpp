// Convolutions that are plain matrix products: the kernel covers the whole image, as in fully
// connected layers over images of one pixel, so that images and filters are rows of matrices in the
// same order.
#pragma once

#include <algorithm>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/finish.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

template <class T>
T finished(T value, T bias, bool relu) noexcept {
  value += bias;
  // NaN stays NaN.
  return relu && value < T(0) ? T(0) : value;
}

/// Finishes results with one column per output channel; bias begins at the first of them.
template <class T>
void finish_columns(const exact::Finish<T>& finish, index_t first_channel, T* result,
                    index_t stride, index_t rows, index_t cols) noexcept {
  using B = simd::Batch<T>;
  if (finish.bias == nullptr && !finish.relu) return;
  const B zero = B::broadcast(T(0));
  index_t j = 0;
  for (; j + B::size <= cols; j += B::size) {
    const B bias = finish.bias != nullptr ? B::load(finish.bias + first_channel + j) : zero;
    for (index_t i = 0; i < rows; ++i) {
      T* place = result + i * stride + j;
      B value = B::load(place) + bias;
      if (finish.relu) value = select_less(value, zero, zero, value);
      value.store(place);
    }
  }
  for (; j < cols; ++j) {
    const T bias = finish.bias != nullptr ? finish.bias[first_channel + j] : T(0);
    for (index_t i = 0; i < rows; ++i) {
      T& place = result[i * stride + j];
      place = finished(place, bias, finish.relu);
    }
  }
}

/// Whether windows are whole images.
inline bool is_linear(const ConvGeometry& g) noexcept {
  return g.groups == 1 && g.out_pixels() == 1 && g.pad_top == 0 && g.pad_left == 0 &&
         g.kernel_height == g.in_height && g.kernel_width == g.in_width;
}

/// Images as rows of a matrix.
template <class T>
MatrixView<T> image_rows(const TensorView<T>& images) noexcept {
  return {images.data, images.batch, images.image_size(), images.image_stride};
}

/// Pixels for which weights are not packed in advance.
inline constexpr index_t k_short_pixels = 512;

/// Whether pixels are the rows of plain matrices and so few of them that weights are better read
/// where they lie than packed for all of them.
template <class T>
bool is_short_pointwise(const ConvGeometry& g, const TensorView<const T>& x,
                        const TensorView<const T>& y) noexcept {
  return g.groups == 1 && g.layout == Layout::nhwc && is_pointwise(g) && images_touch(x) &&
         images_touch(y) && g.rows(x.batch) <= k_short_pixels;
}
/// Pixels as rows of a matrix; requires images that touch.
template <class T>
MatrixView<T> pixels_as_rows(const TensorView<T>& images) noexcept {
  return {images.data, images.batch * images.height * images.width, images.channels};
}

/// Whether the planes of one image in layout nchw are the rows of plain matrices and so short that
/// weights are better read where they lie than flipped first.
inline bool is_short_planes(const ConvGeometry& g, index_t batch) noexcept {
  return g.groups == 1 && g.layout == Layout::nchw && is_pointwise(g) && batch == 1 &&
         g.out_pixels() <= k_short_pixels;
}
template <class T>
MatrixView<T> planes_as_rows(const TensorView<T>& images) noexcept {
  return {images.data, images.channels, images.height * images.width};
}

/// So few rows take as long as reading the weights does.
inline constexpr index_t k_few_rows = 8;

/// As many parts as there are, or a few more, so that two, four and eight threads have the same
/// work.
inline index_t even_parts(index_t parts) noexcept {
  index_t even = 1;
  while (even < parts) even *= 2;
  return even;
}
/// Parts of the weights that different threads work on: few where rows are few, because memory
/// likes long runs.
inline index_t linear_parts(index_t size, index_t rows) noexcept {
  return rows <= k_few_rows ? std::clamp<index_t>(size / 1024, 1, 16)
                            : even_parts(std::clamp<index_t>(size / 128, 1, 8));
}
/// The same where weights lie along the common dimension: every row of them is a long run, so that
/// parts may be small, and two threads find work in small layers.
inline index_t linear_forward_parts(index_t outputs, index_t rows) noexcept {
  const index_t of_64 = outputs / 64;
  return rows <= k_few_rows
             ? std::clamp<index_t>(of_64, 1, 16)
             : even_parts(std::clamp<index_t>(of_64 / 2, std::clamp<index_t>(of_64, 1, 2), 8));
}

/// One of some nearly equal parts of columns, whole panels each.
template <class T>
IndexRange part_of_panels(index_t cols, index_t parts, index_t part) noexcept {
  const IndexRange panels = partition(panel_count<T>(cols), parts, part);
  return {panels.first * k_panel_width<T>, std::min(panels.last * k_panel_width<T>, cols)};
}

/// Rows that a thread multiplies at once.
inline constexpr index_t k_linear_rows = 512;

template <class T>
void linear_forward(const MatrixView<const T>& x, const MatrixView<const T>& w,
                    const exact::Finish<T>& finish, const MatrixView<T>& y, int threads) {
  const index_t parts = linear_forward_parts(y.cols, y.rows);
  const index_t row_parts = std::max<index_t>(blocks_of(y.rows, k_linear_rows), 1);
  parallel_for(parts * row_parts, threads, [&](index_t task, int) {
    const IndexRange outputs = part_of_panels<T>(y.cols, parts, task % parts);
    const IndexRange rows = partition(y.rows, row_parts, task / parts);
    const MatrixView<T> to = y.block(rows.first, outputs.first, rows.size(), outputs.size());
    packed_gemm(as_is(x.middle_rows(rows.first, rows.size())),
                transposed(w.middle_rows(outputs.first, outputs.size())), Update::replace, to);
    finish_columns(finish, outputs.first, to.data, to.row_stride, to.rows, to.cols);
  });
}

template <class T>
void linear_weight_gradient(const MatrixView<const T>& x, const MatrixView<const T>& d_y,
                            const MatrixView<T>& d_w, int threads) {
  const index_t parts = linear_parts(d_w.rows, x.rows);
  parallel_for(parts, threads, [&](index_t task, int) {
    const IndexRange outputs = partition(d_w.rows, parts, task);
    packed_gemm(transposed(d_y.block(0, outputs.first, d_y.rows, outputs.size())), as_is(x),
                Update::replace, d_w.middle_rows(outputs.first, outputs.size()));
  });
}

template <class T>
void linear_input_gradient(const MatrixView<const T>& d_y, const MatrixView<const T>& w,
                           const MatrixView<T>& d_x, int threads) {
  const index_t parts = linear_parts(d_x.cols, d_x.rows);
  const index_t row_parts = std::max<index_t>(blocks_of(d_x.rows, k_linear_rows), 1);
  parallel_for(parts * row_parts, threads, [&](index_t task, int) {
    const IndexRange cols = part_of_panels<T>(d_x.cols, parts, task % parts);
    const IndexRange rows = partition(d_x.rows, row_parts, task / parts);
    packed_gemm(as_is(d_y.middle_rows(rows.first, rows.size())),
                as_is(w.block(0, cols.first, w.rows, cols.size())), Update::replace,
                d_x.block(rows.first, cols.first, rows.size(), cols.size()));
  });
}

}  // namespace detail
ADR_NAMESPACE_END
