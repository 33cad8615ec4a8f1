// Windows of images in layout nchw, where neighbouring output pixels are neighbours in memory:
// columns of the unfolded matrix are copied in runs of pixels, from the lines of plane_lines.hpp,
// or from the images themselves where windows are pixels.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_lines.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// What the output pixels of a panel meet: runs that lie side by side, each of them at the same
/// distance from its first element for any column.
template <class T>
struct PanelRuns {
  struct Run {
    const T* from;  ///< of the first column
    index_t lane;
  };
  std::array<Run, static_cast<std::size_t>(k_panel_width<T>)> run;
  std::size_t count = 0;

  void add(const T* from, index_t lane) noexcept { run[count++] = {from, lane}; }
};

/// Copies one row of a panel. Runs are copied as if they filled it; what follows overwrites what is
/// too much, which after the last run is in the next row.
template <class T>
[[gnu::always_inline]] inline void copy_panel_row(const PanelRuns<T>& runs, index_t place,
                                                  T* to) noexcept {
  for (std::size_t r = 0; r < runs.count; ++r) {
    copy_width<k_panel_width<T>>(runs.run[r].from + place, to + runs.run[r].lane);
  }
}

/// Where the columns of unfolded matrices of a geometry lie in lines that are copied.
struct PlanePlaces {
  PlaneLines lines;
  const index_t* place;  ///< of every weight of a channel
  index_t kernel;        ///< weights of a channel

  [[nodiscard]] static index_t size(const ConvGeometry& g) noexcept {
    return g.kernel_height * g.kernel_width;
  }
  /// memory: size(geometry) elements.
  PlanePlaces(const PlaneLines& lines_, index_t* memory) noexcept
      : lines(lines_), place(memory), kernel(size(lines_.geometry)) {
    for (index_t ky = 0; ky < lines.rows.kernel; ++ky) {
      for (index_t kx = 0; kx < lines.cols.kernel; ++kx) *memory++ = lines.place(ky, kx);
    }
  }
  /// Calls use(column, place) for columns first_col + [0, count) in lines whose first channel is
  /// that of the first of them.
  template <class Use>
  [[gnu::always_inline]] void for_each_column(index_t first_col, index_t count,
                                              const Use& use) const {
    index_t weight = first_col % kernel;
    index_t channel_place = 0;
    for (index_t k = 0; k < count; channel_place += lines.channel_size(), weight = 0) {
      for (; weight < kernel && k < count; ++weight, ++k) use(k, channel_place + place[weight]);
    }
  }
  template <class T>
  void copy_lines(const TensorView<const T>& images, const IndexRange& pixels, index_t first_col,
                  index_t count, T* to) const noexcept {
    const index_t first = first_col / kernel;
    const index_t last = (first_col + count - 1) / kernel + 1;
    lines.copy(images, first, last - first, pixels, to);
  }
};

/// Windows of output pixels as panels for the micro-kernel: pixel i of piece p and column k at
/// to[p * panel_stride(count) + k * width + i]; what is missing from the last panel is anything.
/// memory: PlaneLines::size(count) elements.
template <class T>
void gather_line_panels(const PlanePlaces& places, const TensorView<const T>& images,
                        const IndexRange& pixels, index_t first_col, index_t count, T* memory,
                        T* to) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  places.copy_lines(images, pixels, first_col, count, memory);
  PanelRuns<T> runs;
  const auto write = [&] {
    if (runs.count == 1) {
      const T* from = runs.run[0].from;
      places.for_each_column(first_col, count, [&](index_t k, index_t place) {
        copy_width<k_width>(from + place, to + k * k_width);
      });
    } else {
      places.for_each_column(first_col, count, [&](index_t k, index_t place) {
        copy_panel_row(runs, place, to + k * k_width);
      });
    }
    to += panel_stride(count, k_width);
    runs.count = 0;
  };
  places.lines.for_each_stretch(pixels, [&](const LineStretch& s, index_t first) {
    for (index_t done = 0; done < s.count;) {
      const index_t lane = (s.at + done) % k_width;
      runs.add(memory + first + done, lane);
      done += std::min(s.count - done, k_width - lane);
      if ((s.at + done) % k_width == 0) write();
    }
  });
  if (runs.count > 0) write();
}

/// Windows of output pixels as rows, one for every column: pixel i and column k at to[k * stride +
/// i]. Requires: window_stride(pixels) elements in a row.
template <class T>
void gather_line_rows(const PlanePlaces& places, const TensorView<const T>& images,
                      const IndexRange& pixels, index_t first_col, index_t count, T* memory, T* to,
                      index_t stride) noexcept {
  using B = simd::Batch<T>;
  places.copy_lines(images, pixels, first_col, count, memory);
  places.lines.for_each_stretch(pixels, [&](const LineStretch& s, index_t first) {
    places.for_each_column(first_col, count, [&](index_t k, index_t place) {
      // Whole registers: the next stretch overwrites what is too much.
      const T* from = memory + first + place;
      T* row = to + k * stride + s.at;
      for (index_t i = 0; i < s.count; i += B::size) B::load(from + i).store(row + i);
    });
  });
}

/// Channels [first, first + count) of the `channels` of a group as panels, as gather_line_panels
/// has them; geometry: without_lines; images: those of the group (exact::images_from_group).
template <class T>
void gather_pixel_panels(const ConvGeometry& g, const TensorView<const T>& images, index_t channels,
                         const IndexRange& pixels, index_t first, index_t count, T* to) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  const index_t plane = g.out_pixels();
  const index_t stride = panel_stride(count, k_width);
  // The last channels of an image have no room for reading whole rows of a panel, and the last
  // group ends with it.
  const index_t guarded =
      std::min(count, std::max<index_t>(first + count + blocks_of(k_width, plane) - channels, 0));
  for (index_t at = pixels.first; at < pixels.last;) {
    const index_t pixel = at % plane;
    const T* from = images.image(at / plane) + first * plane + pixel;
    const index_t inside = std::min(plane - pixel, pixels.last - at);
    if (const index_t whole = inside / k_width; whole > 0) {
      pack_rows<k_width>(from, plane, count, whole * k_width, to, stride);
      at += whole * k_width;
      to += whole * stride;
      continue;
    }
    PanelRuns<T> runs;
    const index_t last = std::min(at + k_width, pixels.last);
    for (index_t p = at; p < last; p = (p / plane + 1) * plane) {
      runs.add(images.image(p / plane) + first * plane + p % plane, p - at);
    }
    for (index_t k = 0; k < count - guarded; ++k) copy_panel_row(runs, k * plane, to + k * k_width);
    for (index_t k = count - guarded; k < count; ++k) {
      for (std::size_t r = 0; r < runs.count; ++r) {
        const index_t lane = runs.run[r].lane;
        const index_t end = r + 1 < runs.count ? runs.run[r + 1].lane : last - at;
        simd::copy(runs.run[r].from + k * plane, to + k * k_width + lane, end - lane);
      }
    }
    at = last;
    to += stride;
  }
}

/// The same as rows, as gather_line_rows has them.
template <class T>
void gather_pixel_rows(const ConvGeometry& g, const TensorView<const T>& images,
                       const IndexRange& pixels, index_t first, index_t count, T* to,
                       index_t stride) noexcept {
  for_each_output_line(g, pixels, [&](const LineStretch& s) {
    const T* from = images.image(s.image) + first * g.out_pixels() + s.ox;
    for (index_t k = 0; k < count; ++k) {
      simd::copy(from + k * g.out_pixels(), to + k * stride + s.at, s.count);
    }
  });
}

}  // namespace detail
ADR_NAMESPACE_END
