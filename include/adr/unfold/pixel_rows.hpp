// The output of a convolution seen as a matrix with one row per pixel and one column per channel of
// a group; the interface is described in core/matrix_rows.hpp. In layout nhwc this is how it lies
// in memory; in layout nchw blocks are transposed on the way in and out.
#pragma once

#include <algorithm>
#include <type_traits>

#include "adr/core/matrix_rows.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The pixels of a batch of images as rows, the channels of one group as columns.
/// Thread-safety: disjoint rows may be written by different threads.
template <class T>
class PixelRows {
  using Element = std::remove_const_t<T>;

 public:
  /// channel_count channels from first_channel on. Requires: they are there.
  PixelRows(const TensorView<T>& images, index_t first_channel, index_t channel_count) noexcept
      : images_(images),
        first_channel_(first_channel),
        channel_count_(channel_count),
        pixels_(images.height * images.width) {}

  /// How many rows there are.
  [[nodiscard]] index_t rows() const noexcept { return images_.batch * pixels_; }
  /// Elements of a row.
  [[nodiscard]] index_t cols() const noexcept { return channel_count_; }

  /// Copies the elements at that place into the block.
  void load(index_t first_row, index_t first_col, const MatrixView<Element>& block) const noexcept {
    for_each_element(first_row, first_col, block.rows, block.cols,
                     [&](index_t i, index_t j, T* pixel) { block(i, j) = *pixel; });
  }
  /// Whole rows to read, in place or copied into scratch.
  [[nodiscard]] MatrixView<const Element> view(index_t first_row, index_t count,
                                               Element* scratch) const noexcept {
    if (in_place()) return in_place_rows(first_row, count);
    const MatrixView<Element> block(scratch, count, channel_count_);
    load(first_row, 0, block);
    return block;
  }
  /// Whole rows to write, in place or in scratch.
  [[nodiscard]] MatrixView<T> target(index_t first_row, index_t count, Element* scratch,
                                     Keep keep) const noexcept {
    if (in_place()) return in_place_rows(first_row, count);
    const MatrixView<Element> block(scratch, count, channel_count_);
    if (keep == Keep::contents) load(first_row, 0, block);
    return block;
  }
  /// Completes what target began.
  void store(index_t first_row, const MatrixView<T>& block) const noexcept {
    if (in_place()) return;
    for_each_element(first_row, 0, block.rows, block.cols,
                     [&](index_t i, index_t j, T* pixel) { *pixel = block(i, j); });
  }

  /// True when any block of rows lies row-major in memory.
  [[nodiscard]] bool in_place() const noexcept {
    return images_.layout == Layout::nhwc &&
           (images_.image_stride == images_.image_size() || images_.batch <= 1);
  }

 private:
  [[nodiscard]] MatrixView<T> in_place_rows(index_t first_row, index_t count) const noexcept {
    return {images_.data + first_row * images_.channels + first_channel_, count, channel_count_,
            images_.channels};
  }

  /// Calls use(i, j, pointer) for a block, with i innermost where pixels are neighbours in memory.
  template <class Use>
  void for_each_element(index_t first_row, index_t first_col, index_t row_count, index_t col_count,
                        const Use& use) const noexcept {
    const bool nchw = images_.layout == Layout::nchw;
    const index_t pixel_step = nchw ? 1 : images_.channels;
    const index_t channel_step = nchw ? pixels_ : 1;
    for (index_t row = 0; row < row_count;) {
      const index_t pixel = (first_row + row) % pixels_;
      const index_t count = std::min(pixels_ - pixel, row_count - row);
      T* base = images_.image((first_row + row) / pixels_) + pixel * pixel_step +
                (first_channel_ + first_col) * channel_step;
      // Tiles keep the rows of the block in the first-level cache while it is transposed.
      constexpr index_t k_tile = 16;
      for (index_t i0 = 0; i0 < count; i0 += k_tile) {
        const index_t tile = std::min(k_tile, count - i0);
        for (index_t j = 0; j < col_count; ++j) {
          T* from = base + i0 * pixel_step + j * channel_step;
          for (index_t i = 0; i < tile; ++i) use(row + i0 + i, j, from + i * pixel_step);
        }
      }
      row += count;
    }
  }

  TensorView<T> images_;
  index_t first_channel_;
  index_t channel_count_;
  index_t pixels_;
};

ADR_NAMESPACE_END
