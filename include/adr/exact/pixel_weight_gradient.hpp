// The weight gradient of the direct form in layout nhwc: windows are gathered block by block and
// meet the output gradients of the same pixels.
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
#include "adr/simd/micro_kernel.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One block of the weights.
template <class T>
struct PixelGradientTask {
  const ConvGeometry& geometry;
  const TensorView<const T>& x;
  const TensorView<const T>& d_y;
  const GradientBlock& block;

  /// Adds up pixels in blocks. gradients, windows, grouped: memory of a thread.
  void sum(const IndexRange& pixels, index_t step, T* sums, T* gradients, T* windows,
           T* grouped) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    if (pixels.size() == 0)
      std::fill_n(sums, block.columns.size() * panel_cols<T>(block.filters.size()), T(0));
    for (index_t first = pixels.first; first < pixels.last; first += step) {
      const index_t count = std::min(step, pixels.last - first);
      pack_gradients(first, count, gradients);
      const LeftRows<T> left = window_columns(first, count, windows, grouped);
      const simd::Sums mode = first == pixels.first ? simd::Sums::start : simd::Sums::add;
      const T* panel = gradients;
      T* to = sums;
      for (index_t f = 0; f < block.filters.size(); f += k_width) {
        multiply_by_panel(left, block.columns.size(), panel, count, to, k_width, mode);
        panel += panel_stride(count, k_width);
        to += block.columns.size() * k_width;
      }
    }
  }

 private:
  void pack_gradients(index_t first, index_t count, T* to) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    const index_t stride = panel_stride(count, k_width);
    for_each_image_run(geometry.out_pixels(), first, count,
                       [&](index_t image, index_t pixel, index_t run, index_t at) {
                         const T* from = d_y.image(image);
                         pack_rows<k_width>(from + pixel * d_y.channels + block.filters.first,
                                            d_y.channels, run, block.filters.size(),
                                            to + at * k_width, stride);
                       });
  }

  LeftRows<T> window_columns(index_t first, index_t count, T* windows, T* grouped) const noexcept {
    const ConvGeometry& g = geometry;
    const index_t stride = panel_stride(count, simd::k_chunk);
    const index_t block_stride = window_stride(block.columns.size());
    if (!is_pointwise(g)) {
      im2col<T>(g, x, 0, first, block.columns.first,
                MatrixView<T>(windows, count, block.columns.size(), block_stride));
      if (reads_columns_in_place<T>(block_stride, block.filters.size())) {
        return {windows, block_stride, LeftForm::columns};
      }
      pack_rows<simd::k_chunk>(windows, block_stride, count, block.columns.size(), grouped, stride);
      return {grouped, stride, LeftForm::groups};
    }
    const auto pixels_at = [&](index_t image, index_t pixel) {
      return x.image(image) + pixel * x.channels + block.columns.first;
    };
    if (images_touch(x) && reads_columns_in_place<T>(x.channels, block.filters.size())) {
      return {pixels_at(0, first), x.channels, LeftForm::columns};
    }
    for_each_image_run(geometry.out_pixels(), first, count,
                       [&](index_t image, index_t pixel, index_t run, index_t at) {
                         pack_rows<simd::k_chunk>(pixels_at(image, pixel), x.channels, run,
                                                  block.columns.size(),
                                                  grouped + at * simd::k_chunk, stride);
                       });
    return {grouped, stride, LeftForm::groups};
  }
};

template <class T>
struct PixelGradientScratch {
  index_t window_size;   ///< of a thread
  index_t grouped_size;  ///< of a thread
  T* sums;
  T* gradients;  ///< packed
  T* windows;    ///< gathered
  T* grouped;    ///< the groups of columns that windows become

  template <class Memory>
  PixelGradientScratch(Memory& memory, const GradientParts<T>& parts, int threads)
      : window_size(parts.pixels * window_stride(parts.part_columns)),
        grouped_size(window_stride(parts.part_columns) * (parts.pixels + 1)),
        sums(memory.template take<T>(parts.sums_size(threads))),
        gradients(memory.template take<T>(
            checked_product("packed gradients", threads, parts.gradient_size()))),
        windows(memory.template take<T>(checked_product("windows", threads, window_size))),
        grouped(memory.template take<T>(checked_product("windows", threads, grouped_size))) {}
};

template <class T>
void pixel_weight_gradient(const ConvGeometry& g, const TensorView<const T>& x,
                           const TensorView<const T>& d_y, const MatrixView<T>& d_w,
                           Context& context) {
  const GradientParts<T> parts(g, x.batch);
  const Workspace::Frame frame(context.workspace());
  const int threads = context.threads();
  const PixelGradientScratch<T> scratch(context.workspace(), parts, threads);
  add_up_gradient(parts, scratch.sums, d_w, threads,
                  [&](const GradientBlock& block, index_t part, T* to, int thread) {
                    const PixelGradientTask<T> task{g, x, d_y, block};
                    task.sum(partition(g.rows(x.batch), parts.pixel_parts, part), parts.pixels, to,
                             scratch.gradients + thread * parts.gradient_size(),
                             scratch.windows + thread * scratch.window_size,
                             scratch.grouped + thread * scratch.grouped_size);
                  });
}

template <class T>
std::size_t pixel_weight_gradient_workspace_bytes(const ConvGeometry& g, index_t batch,
                                                  int threads) {
  return scratch_bytes<PixelGradientScratch<T>>(GradientParts<T>(g, batch), threads);
}

}  // namespace detail
ADR_NAMESPACE_END
