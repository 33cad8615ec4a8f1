// The weight gradient of the direct form in layout nchw: columns of the unfolded matrix lie along
// pixels, as the left factor is read, and output gradients are transposed.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/gradient_parts.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_lines.hpp"
#include "adr/exact/plane_windows.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// How the weight gradient is cut, and the scratch of it.
template <class T>
struct PlaneGradientShape {
  ConvGeometry geometry;  ///< without_lines
  GradientParts<T> parts;
  PlaneBlocks blocks;

  PlaneGradientShape(const ConvGeometry& g, index_t batch)
      : geometry(without_lines(g)),
        parts(geometry, batch),
        blocks(PlaneBlocks::of_sums(geometry, batch)) {}

  [[nodiscard]] index_t line_size() const {
    return is_pointwise(geometry)
               ? 0
               : PlaneLines(geometry, blocks).template size<T>(parts.part_columns);
  }
  [[nodiscard]] index_t window_size() const noexcept {
    return parts.part_columns * window_stride(parts.pixels);
  }
};

template <class T>
struct PlaneGradientScratch {
  index_t line_size;  ///< of a thread
  T* sums;
  T* gradients;  ///< packed
  T* lines;
  T* windows;
  index_t* places;

  template <class Memory>
  PlaneGradientScratch(Memory& memory, const PlaneGradientShape<T>& shape, int threads)
      : line_size(shape.line_size()),
        sums(memory.template take<T>(shape.parts.sums_size(threads))),
        gradients(memory.template take<T>(
            checked_product("packed gradients", threads, shape.parts.gradient_size()))),
        lines(memory.template take<T>(checked_product("lines", threads, line_size))),
        windows(memory.template take<T>(checked_product("windows", threads, shape.window_size()))),
        places(memory.template take<index_t>(PlanePlaces::size(shape.geometry))) {}
};

/// One block of the weights.
template <class T>
struct PlaneGradientTask {
  const PlaneGradientShape<T>& shape;
  const PlanePlaces& places;
  const TensorView<const T>& x;
  const TensorView<const T>& d_y;
  const GradientBlock& block;

  /// Adds up blocks of pixels. gradients, lines, windows: memory of a thread.
  void sum(const IndexRange& pixel_blocks, T* sums, T* gradients, T* lines,
           T* windows) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    const index_t columns = block.columns.size();
    if (pixel_blocks.size() == 0)
      std::fill_n(sums, columns * panel_cols<T>(block.filters.size()), T(0));
    for (index_t i = pixel_blocks.first; i < pixel_blocks.last; ++i) {
      const IndexRange pixels = shape.blocks.block(i);
      pack_gradients(pixels, gradients);
      const LeftRows<T> left = window_rows(pixels, lines, windows);
      const simd::Sums mode = i == pixel_blocks.first ? simd::Sums::start : simd::Sums::add;
      // So many columns that they stay in the second cache while all filters pass.
      for (index_t k = 0; k < columns; k += k_most_left_rows) {
        const index_t rows = std::min(k_most_left_rows, columns - k);
        const T* panel = gradients;
        T* to = sums + k * k_width;
        for (index_t f = 0; f < block.filters.size(); f += k_width) {
          multiply_by_panel(left.from(k), rows, panel, pixels.size(), to, k_width, mode);
          panel += panel_stride(pixels.size(), k_width);
          to += columns * k_width;
        }
      }
    }
  }

 private:
  void pack_gradients(const IndexRange& pixels, T* to) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    const index_t plane = shape.geometry.out_pixels();
    for_each_image_run(plane, pixels.first, pixels.size(),
                       [&](index_t n, index_t first, index_t count, index_t at) {
                         pack_columns<k_width>(d_y.image(n) + block.filters.first * plane + first,
                                               plane, count, block.filters.size(),
                                               to + at * k_width,
                                               panel_stride(pixels.size(), k_width));
                       });
  }

  LeftRows<T> window_rows(const IndexRange& pixels, T* lines, T* windows) const noexcept {
    const ConvGeometry& g = shape.geometry;
    const index_t stride = window_stride(pixels.size());
    if (!is_pointwise(g)) {
      gather_line_rows(places, x, pixels, block.columns.first, block.columns.size(), lines, windows,
                       stride);
      return {windows, stride};
    }
    const index_t plane = g.out_pixels();
    const index_t image = pixels.first / plane;
    if (pixels.last <= (image + 1) * plane) {
      return {x.image(image) + block.columns.first * plane + (pixels.first - image * plane), plane};
    }
    gather_pixel_rows(g, x, pixels, block.columns.first, block.columns.size(), windows, stride);
    return {windows, stride};
  }
};

template <class T>
void plane_weight_gradient(const ConvGeometry& g, const TensorView<const T>& x,
                           const TensorView<const T>& d_y, const MatrixView<T>& d_w,
                           Context& context) {
  const PlaneGradientShape<T> shape(g, x.batch);
  const GradientParts<T>& parts = shape.parts;
  const int threads = context.threads();
  const Workspace::Frame frame(context.workspace());
  const PlaneGradientScratch<T> scratch(context.workspace(), shape, threads);
  const PlanePlaces places(PlaneLines(shape.geometry, shape.blocks), scratch.places);
  add_up_gradient(parts, scratch.sums, d_w, threads,
                  [&](const GradientBlock& block, index_t part, T* to, int thread) {
                    const PlaneGradientTask<T> task{shape, places, x, d_y, block};
                    task.sum(partition(shape.blocks.count(), parts.pixel_parts, part), to,
                             scratch.gradients + thread * parts.gradient_size(),
                             scratch.lines + thread * scratch.line_size,
                             scratch.windows + thread * shape.window_size());
                  });
}

template <class T>
std::size_t plane_weight_gradient_workspace_bytes(const ConvGeometry& g, index_t batch,
                                                  int threads) {
  return scratch_bytes<PlaneGradientScratch<T>>(PlaneGradientShape<T>(g, batch), threads);
}

}  // namespace detail
ADR_NAMESPACE_END
