// Convolution shapes at which unfolding goes wrong, and images with poison between them.
#pragma once

#include <ostream>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace adr_test {

using adr::ConvGeometry;
using adr::Layout;

/// The shape, for messages.
struct Shown {
  const ConvGeometry& geometry;
  friend std::ostream& operator<<(std::ostream& out, const Shown& shown) {
    const ConvGeometry& g = shown.geometry;
    return out << (g.layout == Layout::nchw ? "nchw " : "nhwc ") << g.in_channels << "x"
               << g.in_height << "x" << g.in_width << " kernel " << g.kernel_height << "x"
               << g.kernel_width << " stride " << g.stride_height << "," << g.stride_width
               << " dilation " << g.dilation_height << "," << g.dilation_width << " padding "
               << g.pad_top << "," << g.pad_bottom << "," << g.pad_left << "," << g.pad_right
               << " groups " << g.groups;
  }
};

/// A layer with a square kernel and the same padding on all sides.
inline ConvGeometry square_layer(index_t in_channels, index_t height, index_t width,
                                 index_t out_channels, index_t kernel, index_t padding,
                                 Layout layout) {
  ConvGeometry g;
  g.in_channels = in_channels;
  g.in_height = height;
  g.in_width = width;
  g.out_channels = out_channels;
  g.set_kernel(kernel);
  g.set_padding(padding);
  g.layout = layout;
  return g;
}

/// Both layouts, kernels of 1x1 to 7x7 and larger than the image, strides and dilations of 1 to 3
/// that differ in the two directions, no, even and uneven padding, 1 and 2 groups.
inline std::vector<ConvGeometry> conv_cases() {
  const index_t kernels[][2] = {{1, 1}, {1, 3}, {3, 3}, {5, 2}, {7, 7}};
  const index_t paddings[][4] = {{0, 0, 0, 0}, {2, 2, 2, 2}, {0, 3, 4, 1}};
  std::vector<ConvGeometry> cases;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const auto& kernel : kernels) {
      for (const index_t stride : {1, 2, 3}) {
        for (const index_t dilation : {1, 2, 3}) {
          for (const auto& padding : paddings) {
            for (const index_t groups : {1, 2}) {
              ConvGeometry g;
              g.layout = layout;
              g.in_channels = 2 * groups;
              g.out_channels = groups;
              g.in_height = 6;
              g.in_width = 7;
              g.kernel_height = kernel[0];
              g.kernel_width = kernel[1];
              g.stride_height = stride;
              g.stride_width = stride % 3 + 1;
              g.dilation_height = dilation % 3 + 1;
              g.dilation_width = dilation;
              g.pad_top = padding[0];
              g.pad_bottom = padding[1];
              g.pad_left = padding[2];
              g.pad_right = padding[3];
              g.groups = groups;
              if (g.validate().empty()) cases.push_back(g);
            }
          }
        }
      }
    }
  }
  // The usual layers, and a kernel that sticks out of the image on all sides.
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t channels : {1, 3, 5, 20}) {
      ConvGeometry g;
      g.layout = layout;
      g.in_channels = channels;
      g.in_height = 9;
      g.in_width = 11;
      g.set_kernel(5);
      g.set_padding(2);
      cases.push_back(g);
      g.in_height = 2;
      g.in_width = 1;
      g.set_kernel(7);
      g.set_padding(5);
      cases.push_back(g);
    }
    // Runs of more than one register that are no multiple of it, and the same cut up by groups.
    for (const index_t groups : {1, 3}) {
      ConvGeometry g;
      g.layout = layout;
      g.in_channels = 57;
      g.out_channels = 3;
      g.in_height = 4;
      g.in_width = 5;
      g.set_kernel(3);
      g.set_padding(2);
      g.set_dilation(2);
      g.groups = groups;
      cases.push_back(g);
    }
  }
  return cases;
}

/// A batch of images with poison between them.
template <class T>
class GuardedImages {
 public:
  GuardedImages(index_t batch, index_t channels, index_t height, index_t width, Layout layout,
                index_t gap)
      : buffer_(batch, channels * height * width, channels * height * width + gap,
                Start::misaligned),
        view_(buffer_.data(), batch, channels, height, width, layout,
              channels * height * width + gap) {}
  GuardedImages(const ConvGeometry& g, index_t batch, index_t gap)
      : GuardedImages(batch, g.in_channels, g.in_height, g.in_width, g.layout, gap) {}

  [[nodiscard]] const adr::TensorView<T>& view() const noexcept { return view_; }
  /// One image per row.
  [[nodiscard]] adr::MatrixView<T> elements() noexcept { return buffer_.view(); }
  [[nodiscard]] std::string damage() const { return buffer_.damage(); }

 private:
  GuardedBuffer<T> buffer_;
  adr::TensorView<T> view_;
};

/// A part of a matrix.
struct BlockPlace {
  index_t first_row;
  index_t first_col;
  index_t rows;
  index_t cols;
};

/// The whole matrix, its corners, nothing, and some random parts.
inline std::vector<BlockPlace> block_places(Data& data, index_t rows, index_t cols) {
  std::vector<BlockPlace> places = {
      {0, 0, rows, cols}, {rows - 1, cols - 1, 1, 1}, {0, 0, 0, cols}, {0, 0, rows, 0}};
  for (int i = 0; i < 4; ++i) {
    const index_t first_row = data.between(0, rows - 1);
    const index_t first_col = data.between(0, cols - 1);
    places.push_back({first_row, first_col, data.between(1, rows - first_row),
                      data.between(1, cols - first_col)});
  }
  return places;
}

}  // namespace adr_test
