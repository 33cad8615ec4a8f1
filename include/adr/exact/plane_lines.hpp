// The lines of images in layout nchw that a block of output pixels sees, with zeros for the
// padding, taken apart by the stride: what neighbouring output pixels meet with one weight then
// lies side by side, whatever stride and dilation are.
#pragma once

#include <algorithm>
#include <numeric>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/panels.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One direction of an image: places that are a stride apart are neighbours in one of its phases.
///
/// Weight k meets, for output o, element o + shift(k) of phase k % period; that is place
/// (o + shift(k)) * stride + residue(phase) of the padded input.
struct PhaseAxis {
  index_t kernel;
  index_t stride;
  index_t dilation;

  /// Weights after which phases recur.
  [[nodiscard]] index_t period() const noexcept { return stride / std::gcd(stride, dilation); }
  [[nodiscard]] index_t phases() const noexcept { return std::min(kernel, period()); }
  [[nodiscard]] index_t residue(index_t phase) const noexcept { return phase * dilation % stride; }
  [[nodiscard]] index_t shift(index_t k) const noexcept { return k * dilation / stride; }
  /// The largest shift.
  [[nodiscard]] index_t reach() const noexcept { return shift(kernel - 1); }
};

/// Neighbouring output pixels, counted over all images.
struct PlaneBlocks {
  static constexpr index_t k_most_pixels = 256;

  index_t unit;    ///< pixels that blocks do not cross: those of all images, or of a line
  index_t units;   ///< how many of these
  index_t pixels;  ///< of a block

  /// depth: the columns that are unfolded at once.
  template <class T>
  static PlaneBlocks of(const ConvGeometry& g, index_t batch, index_t depth) noexcept {
    // Panels of few columns are small, and lines at the edges of a block are copied twice.
    const index_t room = k_most_left_rows * k_most_depth / depth;
    const index_t pixels =
        std::clamp(room, k_most_left_rows, k_most_pixels) / k_panel_width<T> * k_panel_width<T>;
    if (g.out_width() >= k_long_line && !is_pointwise(g)) {
      return {g.out_width(), batch * g.out_height(), pixels};
    }
    return {g.rows(batch), 1, pixels};
  }
  /// Blocks of sums over pixels.
  static PlaneBlocks of_sums(const ConvGeometry& g, index_t batch) noexcept {
    // Windows that are pixels are read in place where blocks do not cross images.
    const bool alone =
        is_pointwise(g) ? g.out_pixels() >= k_shortest_image : g.out_width() >= k_long_line;
    if (!alone) return {g.rows(batch), 1, k_most_depth};
    return {g.out_width(), batch * g.out_height(), depth_block(g.out_width())};
  }
  [[nodiscard]] index_t per_unit() const noexcept { return blocks_of(unit, pixels); }
  [[nodiscard]] index_t count() const noexcept { return units * per_unit(); }
  [[nodiscard]] IndexRange block(index_t i) const noexcept {
    const index_t first = i % per_unit() * pixels;
    const index_t start = i / per_unit() * unit;
    return {start + first, start + std::min(first + pixels, unit)};
  }

 private:
  /// Pixels of lines of which only a part is copied at a time.
  static constexpr index_t k_long_line = 1024;
  static constexpr index_t k_shortest_image = 128;
};

/// Neighbouring output pixels of one line of one image.
struct LineStretch {
  index_t image;
  index_t oy;
  index_t ox;
  index_t count;
  index_t at;  ///< pixels of the block before it
};

/// Cuts a block of output pixels into its lines; calls use(LineStretch).
template <class Use>
void for_each_output_line(const ConvGeometry& g, const IndexRange& pixels, const Use& use) {
  const index_t width = g.out_width();
  const index_t height = g.out_height();
  index_t ox = pixels.first % width;
  index_t oy = pixels.first / width % height;
  index_t image = pixels.first / width / height;
  for (index_t at = 0; at < pixels.size();) {
    const index_t count = std::min(width - ox, pixels.size() - at);
    use(LineStretch{image, oy, ox, count, at});
    at += count;
    ox = 0;
    if (++oy < height) continue;
    oy = 0;
    ++image;
  }
}

/// to[i] = line[start + i * step] for i < count, with zeros outside the line.
template <class T>
void copy_pixels(const T* line, index_t line_length, index_t start, index_t step, index_t count,
                 T* to) noexcept {
  index_t i = 0;
  for (; i < count && start + i * step < 0; ++i) to[i] = T(0);
  const index_t room = line_length - 1 - start;
  const index_t inside = room < 0 ? 0 : std::min(count, room / step + 1);
  if (step == 1) {
    if (inside > i) simd::copy(line + start + i, to + i, inside - i);
    i = std::max(i, inside);
  } else if (step == 2) {
    // A constant lets the compiler use registers.
    for (; i < inside; ++i) to[i] = line[start + i * 2];
  } else {
    for (; i < inside; ++i) to[i] = line[start + i * step];
  }
  for (; i < count; ++i) to[i] = T(0);
}

/// line[start + i * step] += from[i] for i < count, but for what is outside the line.
template <class T>
void add_pixels(const T* from, index_t count, index_t start, index_t step, T* line,
                index_t line_length) noexcept {
  const index_t first = start >= 0 ? 0 : std::min(count, blocks_of(-start, step));
  const index_t room = line_length - 1 - start;
  const index_t last = room < 0 ? 0 : std::min(count, room / step + 1);
  if (last <= first) return;
  if (step == 1) {
    simd::add(from + first, line + start + first, last - first);
  } else {
    for (index_t i = first; i < last; ++i) line[start + i * step] += from[i];
  }
}

/// [channel][phase of lines][phase of columns][line][pitch]; images of a block below one another.
struct PlaneLines {
  const ConvGeometry& geometry;
  PhaseAxis rows;
  PhaseAxis cols;
  index_t pitch;  ///< elements of a line
  index_t lines;  ///< of a block, at most
  bool cut;       ///< whether lines begin with the first pixel of the block

  PlaneLines(const ConvGeometry& g, const PlaneBlocks& blocks) noexcept
      : geometry(g),
        rows{g.kernel_height, g.stride_height, g.dilation_height},
        cols{g.kernel_width, g.stride_width, g.dilation_width},
        cut(blocks.units > 1) {
    const index_t pixels = std::min(blocks.pixels, blocks.unit);
    pitch = (cut ? pixels : g.out_width()) + cols.reach();
    const auto most_met = [&](index_t size) { return cut ? 1 : blocks_of(pixels - 1, size) + 1; };
    lines = most_met(g.out_width()) + most_met(g.out_pixels()) * rows.reach();
  }
  [[nodiscard]] index_t phase_size() const noexcept { return lines * pitch; }
  [[nodiscard]] index_t channel_size() const noexcept {
    return rows.phases() * cols.phases() * phase_size();
  }
  /// Elements that so many columns need, and those that copies of whole registers read beyond.
  template <class T>
  [[nodiscard]] index_t size(index_t depth) const {
    const index_t kernel = geometry.kernel_height * geometry.kernel_width;
    const index_t channels = std::min(geometry.group_in_channels(), (depth - 1) / kernel + 2);
    return checked_product("lines", channels, channel_size()) + k_panel_width<T>;
  }

  /// Where what weight (ky, kx) meets lies, from that of output pixel (0, 0) of a phase on.
  [[nodiscard]] index_t place(index_t ky, index_t kx) const noexcept {
    const index_t phase = ky % rows.period() * cols.phases() + kx % cols.period();
    return phase * phase_size() + rows.shift(ky) * pitch + cols.shift(kx);
  }

  /// Calls use(stretch, where its first pixel lies from the beginning of a phase on).
  template <class Use>
  void for_each_stretch(const IndexRange& pixels, const Use& use) const {
    index_t line = 0;
    for_each_output_line(geometry, pixels, [&](const LineStretch& s) {
      use(s, line * pitch + (cut ? 0 : s.ox));
      ++line;
      if (s.oy + 1 == geometry.out_height()) line += rows.reach();
    });
  }

  /// Copies what the block sees of channels [first, first + count) of all.
  template <class T>
  void copy(const TensorView<const T>& images, index_t first, index_t count,
            const IndexRange& pixels, T* to) const noexcept {
    for_each_line(
        first, count, pixels,
        [&](index_t image, index_t plane, index_t y, index_t x, index_t size, index_t at) {
          if (y < 0 || y >= geometry.in_height) {
            std::fill_n(to + at, size, T(0));
          } else {
            copy_pixels(images.image(image) + plane + y * geometry.in_width, geometry.in_width, x,
                        geometry.stride_width, size, to + at);
          }
        });
  }
  /// Adds the lines to those that copy would read.
  template <class T>
  void add(const T* from, index_t first, index_t count, const IndexRange& pixels,
           const TensorView<T>& images) const noexcept {
    for_each_line(
        first, count, pixels,
        [&](index_t image, index_t plane, index_t y, index_t x, index_t size, index_t at) {
          if (y < 0 || y >= geometry.in_height) return;
          add_pixels(from + at, size, x, geometry.stride_width,
                     images.image(image) + plane + y * geometry.in_width, geometry.in_width);
        });
  }

 private:
  /// Calls use(image, where a plane begins in it, line y of it, x of the first element, elements,
  /// where they are kept) for all lines of all phases.
  template <class Use>
  void for_each_line(index_t first_channel, index_t channels, const IndexRange& pixels,
                     const Use& use) const {
    const ConvGeometry& g = geometry;
    const index_t width = g.out_width();
    const index_t plane = g.out_pixels();
    index_t line = 0;
    for (index_t done = pixels.first; done < pixels.last;) {
      const index_t image = done / plane;
      const IndexRange mine{done - image * plane, std::min(pixels.last - image * plane, plane)};
      const IndexRange out_lines{mine.first / width, (mine.last - 1) / width + 1};
      // Of a single line only what is seen.
      const bool one = out_lines.size() == 1;
      const index_t ox = one ? mine.first % width : 0;
      const index_t size = (one ? mine.size() : width) + cols.reach();
      index_t phase = line * pitch + (cut ? 0 : ox);
      for (index_t c = 0; c < channels; ++c) {
        const index_t in_plane = (first_channel + c) * g.in_height * g.in_width;
        for (index_t py = 0; py < rows.phases(); ++py) {
          for (index_t px = 0; px < cols.phases(); ++px, phase += phase_size()) {
            const index_t x = ox * g.stride_width + cols.residue(px) - g.pad_left;
            for (index_t i = out_lines.first; i < out_lines.last + rows.reach(); ++i) {
              const index_t y = i * g.stride_height + rows.residue(py) - g.pad_top;
              use(image, in_plane, y, x, size, phase + (i - out_lines.first) * pitch);
            }
          }
        }
      }
      line += out_lines.size() + rows.reach();
      done += mine.size();
    }
  }
};

}  // namespace detail
ADR_NAMESPACE_END
