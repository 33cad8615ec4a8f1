// Windows of few columns, as first layers have: where pixels lie side by side they are read in
// place from lines with their padding, and nothing is unfolded.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/panels.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The lines of an image that a few lines of outputs see, with zeros for the padding.
///
/// The window of output (line, pixel) of a band consists of kernel_height runs of run() elements,
/// the first one at line * line_step() + pixel * pixel_step(), run_step() elements apart.
struct PaddedLines {
  const ConvGeometry& geometry;

  /// Lines of outputs that are computed together: some 256 pixels.
  [[nodiscard]] index_t band() const noexcept {
    return std::clamp<index_t>(k_most_depth / geometry.out_width(), 1, geometry.out_height());
  }
  /// Bands of an image.
  [[nodiscard]] index_t bands() const noexcept { return blocks_of(geometry.out_height(), band()); }
  [[nodiscard]] IndexRange lines(index_t band) const noexcept {
    return partition(geometry.out_height(), bands(), band);
  }
  [[nodiscard]] index_t line_size() const noexcept {
    return (geometry.in_width + geometry.pad_left + geometry.pad_right) * geometry.in_channels;
  }
  [[nodiscard]] index_t run() const noexcept {
    return geometry.kernel_width * geometry.in_channels;
  }
  [[nodiscard]] index_t run_step() const noexcept { return geometry.dilation_height * line_size(); }
  [[nodiscard]] index_t line_step() const noexcept { return geometry.stride_height * line_size(); }
  [[nodiscard]] index_t pixel_step() const noexcept {
    return geometry.stride_width * geometry.in_channels;
  }
  /// Elements of a band.
  [[nodiscard]] index_t size() const noexcept { return input_lines(band()) * line_size(); }

  /// Copies what some lines of outputs see; returns the end of it.
  template <class T>
  T* copy(const T* image, const IndexRange& lines, T* to) const noexcept {
    const ConvGeometry& g = geometry;
    const index_t first = lines.first * g.stride_height - g.pad_top;
    const index_t width = g.in_width * g.in_channels;
    for (index_t i = 0; i < input_lines(lines.size()); ++i) {
      const index_t y = first + i;
      if (y < 0 || y >= g.in_height) {
        to = std::fill_n(to, line_size(), T(0));
        continue;
      }
      to = std::fill_n(to, g.pad_left * g.in_channels, T(0));
      to = std::copy_n(image + y * width, width, to);
      to = std::fill_n(to, g.pad_right * g.in_channels, T(0));
    }
    return to;
  }

 private:
  [[nodiscard]] index_t input_lines(index_t lines) const noexcept {
    return (lines - 1) * geometry.stride_height +
           (geometry.kernel_height - 1) * geometry.dilation_height + 1;
  }
};

/// Whether windows are read from padded lines: runs of one kernel line each, all of them within one
/// block of a sum, and lines that a second cache holds.
template <class T>
bool has_line_windows(const ConvGeometry& g) noexcept {
  constexpr index_t k_most_bytes = index_t{256} << 10;
  return g.layout == Layout::nhwc && g.groups == 1 && g.dilation_width == 1 &&
         g.kernel_height * g.kernel_width > 1 && g.columns() <= k_most_depth &&
         PaddedLines{g}.size() <= k_most_bytes / static_cast<index_t>(sizeof(T));
}

}  // namespace detail
ADR_NAMESPACE_END
