// The direct form in layout nchw: panels of windows, with the filters as the left factor, so that
// results are written as they lie.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/direct_weights.hpp"
#include "adr/exact/finish.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_lines.hpp"
#include "adr/exact/plane_windows.hpp"
#include "adr/exact/streamed_results.hpp"
#include "adr/exact/weight_use.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// How a pass in layout nchw is cut, and the scratch of it.
template <class T>
struct PlaneShape {
  ConvGeometry geometry;  ///< without_lines
  index_t depth;          ///< columns that are unfolded at once
  PlaneBlocks blocks;

  PlaneShape(const ConvGeometry& g, index_t batch)
      : geometry(without_lines(g)),
        depth(depth_block(g.columns())),
        blocks(PlaneBlocks::of<T>(geometry, batch, depth)) {}

  [[nodiscard]] index_t line_size() const {
    return is_pointwise(geometry) ? 0 : PlaneLines(geometry, blocks).template size<T>(depth);
  }
  [[nodiscard]] index_t panel_size() const noexcept { return blocks.pixels * (depth + 1); }
};

/// One block of pixels.
template <class T>
struct PlaneTask {
  const PlaneShape<T>& shape;
  const PlanePlaces* places;  ///< where windows are no pixels
  const TensorView<const T>& x;
  const TensorView<T>& y;
  exact::Finish<T> finish;
  bool stream;

  /// Of the filters those in `part`.
  void run(const MatrixView<const T>& filters, const IndexRange& part, const IndexRange& pixels,
           T* lines, T* panels) const noexcept {
    const ConvGeometry& g = shape.geometry;
    constexpr index_t k_width = k_panel_width<T>;
    const index_t columns = g.columns();
    for (index_t k = 0; k < columns; k += shape.depth) {
      const index_t depth = std::min(shape.depth, columns - k);
      const index_t step = panel_stride(depth, k_width);
      if (places == nullptr) {
        gather_pixel_panels(g, x, columns, pixels, k, depth, panels);
      } else {
        gather_line_panels(*places, x, pixels, k, depth, lines, panels);
      }
      const bool last = k + depth == columns;
      for (index_t f = part.first; f < part.last; f += k_most_left_rows) {
        const FilterRows mine{filters.row(f) + k,
                              filters.row_stride,
                              std::min(k_most_left_rows, part.last - f),
                              depth,
                              f,
                              k == 0 && finish.bias != nullptr ? finish.bias + f : nullptr};
        const T* panel = panels;
        for (index_t p = pixels.first; p < pixels.last; p += k_width, panel += step) {
          write(mine, panel, {p, std::min(p + k_width, pixels.last)},
                k == 0 ? simd::Sums::start : simd::Sums::add, last);
        }
      }
    }
    if (stream) simd::finish_streaming();
  }

 private:
  /// Some filters of one block of columns.
  struct FilterRows {
    const T* data;
    index_t stride;
    index_t count;
    index_t depth;
    index_t channel;
    const T* bias;  ///< what sums begin with, or null

    void multiply(const T* panel, T* result, index_t result_stride,
                  simd::Sums sums) const noexcept {
      simd::multiply_matrix_rows<T>(data, stride, count, panel, depth, result, result_stride, sums,
                                    nullptr, bias);
    }
  };

  void write(const FilterRows& filters, const T* panel, const IndexRange& pixels, simd::Sums sums,
             bool last) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    const index_t plane = shape.geometry.out_pixels();
    const index_t image = pixels.first / plane;
    const index_t pixel = pixels.first - image * plane;
    if (pixels.size() == k_width && pixel + k_width <= plane) {
      T* to = y.image(image) + filters.channel * plane + pixel;
      filters.multiply(panel, to, plane, stream ? simd::Sums::start_streamed : sums);
      if (last) rectify(to, filters.count, k_width);
      return;
    }
    // A panel that ends early or spans images.
    ResultTile<T> tile;
    filters.multiply(panel, tile.element, k_width, simd::Sums::start);
    for_each_image_run(plane, pixels.first, pixels.size(),
                       [&](index_t n, index_t first, index_t count, index_t at) {
                         T* to = y.image(n) + filters.channel * plane + first;
                         for (index_t i = 0; i < filters.count; ++i) {
                           const T* from = tile.element + i * k_width + at;
                           if (sums == simd::Sums::start) {
                             simd::copy(from, to + i * plane, count);
                           } else {
                             simd::add(from, to + i * plane, count);
                           }
                         }
                         if (last) rectify(to, filters.count, count);
                       });
  }

  void rectify(T* result, index_t rows, index_t cols) const noexcept {
    if (!finish.relu) return;
    for (index_t i = 0; i < rows; ++i, result += shape.geometry.out_pixels()) {
      for (index_t j = 0; j < cols; ++j) result[j] = finished(result[j], T(0), true);
    }
  }
};

/// Whether results go past the caches: whole cache lines wherever a block begins, and all sums
/// complete at once. Not from
/// planes that are whole pages apart, whose lines get in each other's way there (measured: 1.4
/// times as long).
template <class T>
bool streams_planes(const PlaneShape<T>& shape, const exact::Finish<T>& finish,
                    const TensorView<T>& y) noexcept {
  constexpr index_t k_line = 64 / static_cast<index_t>(sizeof(T));
  constexpr index_t k_page = 4096 / static_cast<index_t>(sizeof(T));
  const index_t plane = shape.geometry.out_pixels();
  const bool blocks_begin_lines =
      shape.blocks.units == 1 || shape.geometry.out_width() % k_line == 0;
  return blocks_begin_lines && !finish.relu && shape.depth == shape.geometry.columns() &&
         plane % k_line == 0 && plane % k_page != 0 && y.image_stride % k_line == 0 &&
         exact::is_streamed<T>(y.data, plane, k_line, y.batch * y.image_size());
}

template <class T>
struct PlaneScratch {
  T* flipped;  ///< filters
  index_t* places;
  T* lines;
  T* panels;  ///< of windows

  template <class Memory>
  PlaneScratch(Memory& memory, const PlaneShape<T>& shape, exact::WeightUse use, int threads)
      : flipped(memory.template take<T>(filter_rows_size<T>(shape.geometry, use))),
        places(memory.template take<index_t>(PlanePlaces::size(shape.geometry))),
        lines(memory.template take<T>(checked_product("lines", threads, shape.line_size()))),
        panels(memory.template take<T>(checked_product("windows", threads, shape.panel_size()))) {}
};

/// Threads share the filters of a block where blocks are few; that changes no sum.
inline index_t filter_parts(index_t blocks, index_t filters, int threads) noexcept {
  const index_t wanted = threads == 1 ? 1 : blocks_of(4 * threads, std::max<index_t>(blocks, 1));
  return std::clamp<index_t>(wanted, 1, blocks_of(filters, k_most_left_rows));
}

template <class T>
void forward_planes(const ConvGeometry& geometry, const TensorView<const T>& x,
                    const MatrixView<const T>& w, exact::WeightUse use,
                    const exact::Finish<T>& finish, const TensorView<T>& y, Context& context) {
  const PlaneShape<T> shape(geometry, x.batch);
  const ConvGeometry& g = shape.geometry;
  const Workspace::Frame frame(context.workspace());
  const PlaneScratch<T> scratch(context.workspace(), shape, use, context.threads());
  const PlanePlaces places(PlaneLines(g, shape.blocks), scratch.places);
  const PlaneTask<T> task{shape,  is_pointwise(g) ? nullptr : &places, x, y,
                          finish, streams_planes(shape, finish, y)};
  const index_t parts =
      filter_parts(shape.blocks.count(), g.group_out_channels(), context.threads());
  const auto filters = filter_rows(GroupFilters<T>{g, w, use}, scratch.flipped);
  parallel_for(shape.blocks.count() * parts, context.threads(), [&](index_t i, int thread) {
    task.run(filters, partition(filters.rows, parts, i % parts), shape.blocks.block(i / parts),
             scratch.lines + thread * shape.line_size(),
             scratch.panels + thread * shape.panel_size());
  });
}

template <class T>
std::size_t forward_planes_workspace_bytes(const ConvGeometry& geometry, index_t batch,
                                           exact::WeightUse use, int threads) {
  return scratch_bytes<PlaneScratch<T>>(PlaneShape<T>(geometry, batch), use, threads);
}

}  // namespace detail
ADR_NAMESPACE_END
