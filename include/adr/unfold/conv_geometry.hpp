// The shape of a 2-d convolution layer and the unfolded (im2col) matrix that it implies.
#pragma once

#include <string>
#include <tuple>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// The shape of a convolution layer, batch excluded: plain data, which whoever takes it validates.
///
/// Math: out(y, x) = the sum over the kernel of in(y * stride + i * dilation - pad, ...) * w(i, j);
/// out_height() = floor((in_height + pad_top + pad_bottom - dilation_height * (kernel_height - 1) -
/// 1) / stride_height) + 1, the width likewise. Units: sizes, padding, strides and dilation in
/// pixels. The unfolded input of one group has rows(batch) = batch * out_height * out_width rows,
/// one per output pixel in the order image, y, x, and columns() = kernel_height * kernel_width *
/// in_channels / groups columns. Columns run over (channel, ky, kx) in layout nchw and over (ky,
/// kx, channel) in layout nhwc, so a contiguous filter of the same layout (OIHW or OHWI) is one row
/// of the weights.
struct ConvGeometry {
  index_t in_channels = 1;       ///< of the input, all groups together
  index_t in_height = 1;         ///< of the input, without padding
  index_t in_width = 1;          ///< of the input, without padding
  index_t out_channels = 1;      ///< filters, all groups together
  index_t kernel_height = 1;     ///< of a filter
  index_t kernel_width = 1;      ///< of a filter
  index_t stride_height = 1;     ///< from output row to output row
  index_t stride_width = 1;      ///< from output column to output column
  index_t pad_top = 0;           ///< rows of zeros above
  index_t pad_bottom = 0;        ///< rows of zeros below
  index_t pad_left = 0;          ///< columns of zeros at the left
  index_t pad_right = 0;         ///< columns of zeros at the right
  index_t dilation_height = 1;   ///< rows from kernel row to kernel row; 1: neighbours
  index_t dilation_width = 1;    ///< columns from kernel column to kernel column; 1: neighbours
  index_t groups = 1;            ///< divides both numbers of channels; each sees its own alone
  Layout layout = Layout::nchw;  ///< of input, output and filters

  /// A kernel of size x size.
  void set_kernel(index_t size) { kernel_height = kernel_width = size; }
  /// The same stride in both directions.
  void set_stride(index_t stride) { stride_height = stride_width = stride; }
  /// The same padding on all four sides.
  void set_padding(index_t pad) { pad_top = pad_bottom = pad_left = pad_right = pad; }
  /// The same dilation in both directions.
  void set_dilation(index_t dilation) { dilation_height = dilation_width = dilation; }

  /// Rows of the output; 0 where the kernel does not fit.
  [[nodiscard]] index_t out_height() const noexcept {
    return extent(in_height + pad_top + pad_bottom, kernel_height, dilation_height, stride_height);
  }
  /// Columns of the output; 0 where the kernel does not fit.
  [[nodiscard]] index_t out_width() const noexcept {
    return extent(in_width + pad_left + pad_right, kernel_width, dilation_width, stride_width);
  }
  /// Pixels of an output image.
  [[nodiscard]] index_t out_pixels() const noexcept { return out_height() * out_width(); }
  /// Input channels of one group.
  [[nodiscard]] index_t group_in_channels() const noexcept { return in_channels / groups; }
  /// Filters of one group.
  [[nodiscard]] index_t group_out_channels() const noexcept { return out_channels / groups; }
  /// K, the weights of a filter: kernel_height * kernel_width * in_channels / groups.
  [[nodiscard]] index_t columns() const noexcept {
    return kernel_height * kernel_width * group_in_channels();
  }
  /// N, the output pixels of a batch.
  [[nodiscard]] index_t rows(index_t batch) const noexcept { return batch * out_pixels(); }

  /// Returns an empty string when the geometry describes a layer, else one sentence that names the
  /// rule and the values. Thread-safety: reentrant. Errors: std::overflow_error when the sizes of
  /// the layer do not fit index_t.
  [[nodiscard]] std::string validate() const {
    using checks::message;
    const struct {
      const char* name;
      index_t value;
    } positive[] = {{"in_channels", in_channels},
                    {"in_height", in_height},
                    {"in_width", in_width},
                    {"out_channels", out_channels},
                    {"kernel_height", kernel_height},
                    {"kernel_width", kernel_width},
                    {"stride_height", stride_height},
                    {"stride_width", stride_width},
                    {"dilation_height", dilation_height},
                    {"dilation_width", dilation_width},
                    {"groups", groups}};
    for (const auto& field : positive) {
      if (field.value < 1) return message(field.name, " must be at least 1, got ", field.value);
    }
    const struct {
      const char* name;
      index_t value;
    } paddings[] = {{"pad_top", pad_top},
                    {"pad_bottom", pad_bottom},
                    {"pad_left", pad_left},
                    {"pad_right", pad_right}};
    for (const auto& field : paddings) {
      if (field.value < 0) return message(field.name, " must be at least 0, got ", field.value);
    }
    if (in_channels % groups != 0 || out_channels % groups != 0) {
      return message("groups must divide in_channels and out_channels, got ", groups, " groups, ",
                     in_channels, " and ", out_channels, " channels");
    }
    checked_product("input image", in_channels, in_height, in_width);
    checked_product("kernel", kernel_height, kernel_width, in_channels, out_channels);
    const index_t tall = checked_product("kernel height", kernel_height, dilation_height);
    const index_t wide = checked_product("kernel width", kernel_width, dilation_width);
    constexpr index_t k_largest = index_t{1} << (8 * sizeof(index_t) - 4);
    for (const index_t size :
         {tall, wide, in_height, in_width, pad_top, pad_bottom, pad_left, pad_right}) {
      if (size > k_largest) return message("sizes must be at most ", k_largest, ", got ", size);
    }
    if (out_height() < 1 || out_width() < 1) {
      return message("the kernel must fit the padded input, got a kernel of ",
                     dilation_height * (kernel_height - 1) + 1, " x ",
                     dilation_width * (kernel_width - 1) + 1, " on an input of ",
                     in_height + pad_top + pad_bottom, " x ", in_width + pad_left + pad_right);
    }
    checked_product("output image", out_channels, out_height(), out_width());
    return {};
  }

 private:
  static index_t extent(index_t padded, index_t kernel, index_t dilation, index_t stride) noexcept {
    const index_t room = padded - (dilation * (kernel - 1) + 1);
    return room < 0 ? 0 : room / stride + 1;
  }
};

/// Whether all that describes a layer is the same.
inline bool operator==(const ConvGeometry& a, const ConvGeometry& b) noexcept {
  const auto all = [](const ConvGeometry& g) {
    return std::tie(g.in_channels, g.in_height, g.in_width, g.out_channels, g.kernel_height,
                    g.kernel_width, g.stride_height, g.stride_width, g.pad_top, g.pad_bottom,
                    g.pad_left, g.pad_right, g.dilation_height, g.dilation_width, g.groups,
                    g.layout);
  };
  return all(a) == all(b);
}

/// Whether anything differs.
inline bool operator!=(const ConvGeometry& a, const ConvGeometry& b) noexcept { return !(a == b); }

}  // namespace adr
