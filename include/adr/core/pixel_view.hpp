// Outputs seen as pixels and channels, whatever their order in memory: images of either layout, or
// the rows and columns of a matrix.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Channel c of pixel p of image b is data[b image_stride + p pixel_stride + c channel_stride].
/// One of pixel_stride and channel_stride is 1, unless there is only one pixel or channel.
template <class T>
struct PixelView {
  T* data = nullptr;
  index_t images = 0;
  index_t pixels = 0;  ///< per image
  index_t channels = 0;
  index_t image_stride = 0;
  index_t pixel_stride = 0;
  index_t channel_stride = 0;

  [[nodiscard]] index_t rows() const noexcept { return images * pixels; }
  [[nodiscard]] T* at(index_t image, index_t pixel, index_t channel) const noexcept {
    return data + image * image_stride + pixel * pixel_stride + channel * channel_stride;
  }
};

/// The channels [first_channel, first_channel + channel_count) of a batch of images.
template <class T>
PixelView<T> pixel_view(const TensorView<T>& images, index_t first_channel, index_t channel_count) {
  PixelView<T> view;
  const index_t pixels = images.height * images.width;
  const bool nchw = images.layout == Layout::nchw;
  view.pixel_stride = nchw ? 1 : images.channels;
  view.channel_stride = nchw ? pixels : 1;
  view.data = images.data + first_channel * view.channel_stride;
  view.images = images.batch;
  view.pixels = pixels;
  view.channels = channel_count;
  view.image_stride = images.image_stride;
  return view;
}

/// The rows of a matrix, or of its transpose, as the pixels of one image.
template <class T>
PixelView<T> pixel_view(const MatrixView<T>& matrix, bool transposed = false) {
  PixelView<T> view;
  view.data = matrix.data;
  view.images = 1;
  view.pixels = transposed ? matrix.cols : matrix.rows;
  view.channels = transposed ? matrix.rows : matrix.cols;
  view.pixel_stride = transposed ? 1 : matrix.row_stride;
  view.channel_stride = transposed ? matrix.row_stride : 1;
  return view;
}

/// Sets all channels of one image to zero.
template <class T>
void set_image_zero(const PixelView<T>& view, index_t image) noexcept {
  const bool channels_last = view.channel_stride == 1;
  index_t runs = channels_last ? view.pixels : view.channels;
  index_t run = channels_last ? view.channels : view.pixels;
  const index_t step = channels_last ? view.pixel_stride : view.channel_stride;
  if (step == run) {
    run *= runs;
    runs = 1;
  }
  for (index_t i = 0; i < runs; ++i) std::fill_n(view.at(image, 0, 0) + i * step, run, T(0));
}

/// The same for all images.
template <class T>
void set_zero(const PixelView<T>& view, int threads) {
  parallel_for(view.images, threads,
               [&](index_t image, int /*thread*/) { set_image_zero(view, image); });
}

namespace detail {

template <class T>
void set_zero(const MatrixView<T>& matrix) noexcept {
  for (index_t i = 0; i < matrix.rows; ++i) std::fill_n(matrix.row(i), matrix.cols, T(0));
}

}  // namespace detail

/// Sets a matrix to zero.
template <class T>
void set_zero(const MatrixView<T>& matrix, int threads) {
  constexpr index_t k_rows = 256;
  const index_t blocks = blocks_of(matrix.rows, k_rows);
  parallel_for(blocks, threads, [&](index_t block, int /*thread*/) {
    const IndexRange rows = partition(matrix.rows, blocks, block);
    detail::set_zero(matrix.middle_rows(rows.first, rows.size()));
  });
}

/// Calls use(image, pixel, count, at) for the runs of pixels of one image that make up rows
/// [first_row, first_row + row_count), with image_pixels rows to an image; at counts from
/// first_row.
template <class Use>
void for_each_image_run(index_t image_pixels, index_t first_row, index_t row_count,
                        const Use& use) {
  for (index_t row = 0; row < row_count;) {
    const index_t image = (first_row + row) / image_pixels;
    const index_t pixel = first_row + row - image * image_pixels;
    const index_t count = std::min(image_pixels - pixel, row_count - row);
    use(image, pixel, count, row);
    row += count;
  }
}

ADR_NAMESPACE_END
