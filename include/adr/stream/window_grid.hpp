// Which pixels of the input the outputs of a convolution see, a block of outputs at a time.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/exact/tile_inputs.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// One dimension of the blocks that the outputs of an image are cut into.
struct WindowAxis {
  index_t blocks = 0;
  index_t outputs = 0;    ///< of a block; the last one may reach beyond the map
  index_t step = 0;       ///< pixels from window to window
  index_t size = 0;       ///< pixels of a window
  index_t before = 0;     ///< pixels of the first window before the image
  index_t in_pixels = 0;  ///< of the image
  index_t out_pixels = 0;

  /// The outputs of a block in the map.
  [[nodiscard]] IndexRange written(index_t block) const noexcept {
    return {block * outputs, std::min((block + 1) * outputs, out_pixels)};
  }
  /// The first pixel of a window; it may lie before the image.
  [[nodiscard]] index_t first(index_t block) const noexcept { return block * step - before; }
  /// The pixels of a window in the image.
  [[nodiscard]] IndexRange seen(index_t block) const noexcept {
    return {std::clamp<index_t>(first(block), 0, in_pixels),
            std::clamp<index_t>(first(block) + size, 0, in_pixels)};
  }
  /// Those of all windows together.
  [[nodiscard]] index_t all_seen() const noexcept {
    index_t sum = 0;
    for (index_t i = 0; i < blocks; ++i) sum += seen(i).size();
    return sum;
  }
};

/// The blocks of every image of a batch, row by row, as tiles are numbered.
struct WindowGrid {
  WindowAxis y;
  WindowAxis x;

  [[nodiscard]] index_t per_image() const noexcept { return y.blocks * x.blocks; }
  [[nodiscard]] index_t in_pixels() const noexcept { return y.in_pixels * x.in_pixels; }
  /// The outputs of a block.
  [[nodiscard]] exact::PixelRect written(index_t block) const noexcept {
    return rect(y.written(block % per_image() / x.blocks), x.written(block % x.blocks));
  }
  /// The pixels of its window in the image.
  [[nodiscard]] exact::PixelRect seen(index_t block) const noexcept {
    return rect(y.seen(block % per_image() / x.blocks), x.seen(block % x.blocks));
  }
  /// In how many windows a pixel is on average.
  [[nodiscard]] double windows_of_pixel() const noexcept {
    return static_cast<double>(y.all_seen()) * static_cast<double>(x.all_seen()) /
           static_cast<double>(in_pixels());
  }

 private:
  static exact::PixelRect rect(const IndexRange& rows, const IndexRange& columns) noexcept {
    return {rows.first, rows.last, columns.first, columns.last};
  }
};

/// The windows of tiles.
inline WindowGrid window_grid(const exact::TileInputs& tiles) noexcept {
  const exact::TileGrid& g = tiles.grid;
  return {{g.rows, g.step, g.step, tiles.inputs, g.before_y, g.in_height, g.out_height},
          {g.columns, g.step, g.step, tiles.inputs, g.before_x, g.in_width, g.out_width}};
}

/// The windows of squares of `outputs` x `outputs`, for any convolution.
inline WindowGrid window_grid(const ConvGeometry& g, index_t outputs) noexcept {
  const auto axis = [&](index_t kernel, index_t stride, index_t dilation, index_t before,
                        index_t in_pixels, index_t out_pixels) {
    return WindowAxis{blocks_of(out_pixels, outputs),
                      outputs,
                      outputs * stride,
                      (outputs - 1) * stride + (kernel - 1) * dilation + 1,
                      before,
                      in_pixels,
                      out_pixels};
  };
  return {axis(g.kernel_height, g.stride_height, g.dilation_height, g.pad_top, g.in_height,
               g.out_height()),
          axis(g.kernel_width, g.stride_width, g.dilation_width, g.pad_left, g.in_width,
               g.out_width())};
}

}  // namespace stream
ADR_NAMESPACE_END
