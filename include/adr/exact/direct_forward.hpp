// The direct form of a convolution: windows are gathered block by block and meet weights that are
// packed once per call. The unfolded matrix is never stored whole.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/direct_weights.hpp"
#include "adr/exact/finish.hpp"
#include "adr/exact/line_forward.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/padded_lines.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_forward.hpp"
#include "adr/exact/weight_use.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One block of rows of layout nhwc with one part of the weights.
template <class T>
struct PixelTask {
  const ConvGeometry& geometry;
  const TensorView<const T>& x;
  const TensorView<T>& y;
  const WeightParts<T>& parts;
  bool in_place;
  exact::Finish<T> finish;

  /// bias: that of the part, in whole panels, or none. next: rows of the block that follows.
  void run(index_t part, const T* packed, const T* bias, const IndexRange& rows, index_t next,
           T* windows) const noexcept {
    const ConvGeometry& g = geometry;
    constexpr index_t k_width = k_panel_width<T>;
    const IndexRange filters = parts.part_outputs(part);
    const index_t pixels = g.out_pixels();
    const index_t count = rows.size();
    T* result = y.image(rows.first / pixels) + rows.first % pixels * y.channels + filters.first;
    const index_t stride = window_stride(parts.depth);
    Ahead ahead;
    if (next > 0) {
      const auto at = [&](const auto& images) {
        return images.image(rows.last / pixels) + rows.last % pixels * images.channels;
      };
      if (in_place) {
        ahead.left = LinesAhead<false>(at(x), x.channels, next, g.group_in_channels());
      }
      ahead.result = LinesAhead<true>(at(y) + filters.first, y.channels, next, filters.size());
      ahead.plan(parts.blocks() * panel_count<T>(filters.size()) *
                 step_count<T>(LeftForm::rows, count));
    }
    for (index_t b = 0; b < parts.blocks(); ++b) {
      const index_t k = parts.block_terms(b).first;
      const index_t depth = parts.block_terms(b).size();
      LeftRows<T> left{windows, stride};
      if (in_place) {
        left = {x.image(rows.first / pixels) + rows.first % pixels * x.channels + k, x.channels};
      } else {
        im2col<T>(g, x, 0, rows.first, k, MatrixView<T>(windows, count, depth, stride));
      }
      const T* panel = packed + parts.block_place(b);
      const index_t panel_step = panel_stride(depth, k_width);
      const bool last = b + 1 == parts.blocks();
      multiply_by_panels(left, count, panel, panel_step, depth, filters.size(), result, y.channels,
                         b == 0 ? simd::Sums::start : simd::Sums::add, b == 0 ? bias : nullptr,
                         ahead, [&](index_t i, index_t step, index_t f, index_t cols) {
                           if (last && finish.relu) {
                             finish_columns(exact::Finish<T>{nullptr, true}, 0,
                                            result + i * y.channels + f, y.channels, step, cols);
                           }
                         });
    }
  }
};

/// Parts of the weights: enough of them to give all threads work where rows are one block or two.
template <class T>
WeightParts<T> pixel_parts(const ConvGeometry& g, index_t batch, int threads) {
  const index_t least_blocks = blocks_of(g.rows(batch), k_most_left_rows);
  return {g.columns(), g.group_out_channels(),
          blocks_of(threads, std::max<index_t>(least_blocks, 1))};
}

template <class T>
struct PixelScratch {
  index_t window_size;  ///< of a thread: windows that are pixels are read in place
  T* packed;            ///< weights
  T* windows;
  T* bias;

  template <class Memory>
  PixelScratch(Memory& memory, const WeightParts<T>& parts, bool in_place, int threads)
      : window_size(in_place ? 0 : k_most_left_rows * window_stride(parts.depth)),
        packed(memory.template take<T>(
            checked_product("packed weights", parts.together, parts.part_size))),
        windows(memory.template take<T>(checked_product("windows", threads, window_size))),
        bias(memory.template take<T>(parts.together * parts.width)) {}
};

template <class T>
void forward_pixels(const ConvGeometry& g, const TensorView<const T>& x,
                    const MatrixView<const T>& w, exact::WeightUse use,
                    const exact::Finish<T>& finish, const TensorView<T>& y, Context& context) {
  const bool in_place = is_pointwise(g);
  const RowBlocks rows(x.batch, g.out_pixels(), images_touch(y) && (!in_place || images_touch(x)),
                       k_most_left_rows);
  const WeightParts<T> parts = pixel_parts<T>(g, x.batch, context.threads());
  const PixelTask<T> pixels{g, x, y, parts, in_place, finish};
  const Workspace::Frame frame(context.workspace());
  const PixelScratch<T> scratch(context.workspace(), parts, in_place, context.threads());
  for (index_t first = 0; first < parts.count; first += parts.together) {
    const index_t count = std::min(parts.together, parts.count - first);
    parts.pack(first, count, scratch.packed, context.threads(),
               [&](const IndexRange& filters, const IndexRange& columns, T* to) {
                 pack_filter_panels(GroupFilters<T>{g, w, use}, filters.first, filters.size(),
                                    columns.first, columns.size(), to);
               });
    if (finish.bias != nullptr) {
      // In whole panels, as sums begin with it.
      for (index_t part = 0; part < count; ++part) {
        const IndexRange filters = parts.part_outputs(first + part);
        T* to = scratch.bias + part * parts.width;
        std::fill(std::copy_n(finish.bias + filters.first, filters.size(), to), to + parts.width,
                  T(0));
      }
    }
    parallel_for(rows.count() * count, context.threads(), [&](index_t task, int thread) {
      const index_t part = task % count;
      const index_t block = task / count;
      const bool more = (block + 1) % rows.blocks != 0;
      pixels.run(first + part, scratch.packed + part * parts.part_size,
                 finish.bias != nullptr ? scratch.bias + part * parts.width : nullptr,
                 rows.block(block), more ? rows.block(block + 1).size() : 0,
                 scratch.windows + thread * scratch.window_size);
    });
  }
}

template <class T>
std::size_t window_product_workspace_bytes(const ConvGeometry& g, index_t batch,
                                           exact::WeightUse use, int threads) {
  if (g.layout == Layout::nchw) {
    return forward_planes_workspace_bytes<T>(g, batch, use, threads);
  }
  if (has_line_windows<T>(g)) return forward_lines_workspace_bytes<T>(g, threads);
  return scratch_bytes<PixelScratch<T>>(pixel_parts<T>(g, batch, threads), is_pointwise(g),
                                        threads);
}

/// So few windows do not pay for packing the weights that they meet; with fewer filters there would
/// be no work for two threads.
inline constexpr index_t k_few_windows = 48;
inline constexpr index_t k_least_filters_of_few = 128;

/// Whether all windows are gathered at once, so that the weights are read where they lie.
template <class T>
bool has_few_windows(const ConvGeometry& g, index_t batch) noexcept {
  return g.layout == Layout::nhwc && g.rows(batch) <= k_few_windows &&
         g.group_out_channels() >= k_least_filters_of_few && !has_line_windows<T>(g);
}

/// All windows of a few images, as rows.
template <class T>
struct FewWindows {
  MatrixView<T> rows;

  template <class Memory>
  FewWindows(Memory& memory, const ConvGeometry& g, index_t batch) {
    const index_t stride = window_stride(g.columns());
    rows = {memory.template take<T>(g.rows(batch) * stride), g.rows(batch), g.columns(), stride};
  }
};

/// y = few windows of x times the filters of a group. Requires: has_few_windows.
template <class T>
void few_window_product(const ConvGeometry& g, const TensorView<const T>& x,
                        const MatrixView<const T>& w, const exact::Finish<T>& finish,
                        const TensorView<T>& y, Context& context) {
  const Workspace::Frame frame(context.workspace());
  const MatrixView<T> windows = FewWindows<T>(context.workspace(), g, x.batch).rows;
  const index_t blocks = blocks_of(g.columns(), k_most_depth);
  parallel_for(blocks, context.threads(), [&](index_t block, int) {
    const IndexRange columns = partition(g.columns(), blocks, block);
    im2col<T>(g, x, 0, 0, columns.first,
              windows.block(0, columns.first, windows.rows, columns.size()));
  });
  // Images that lie apart are no rows of one matrix.
  const RowBlocks images(x.batch, g.out_pixels(), images_touch(y), k_few_windows);
  for (index_t i = 0; i < images.count(); ++i) {
    const IndexRange rows = images.block(i);
    const MatrixView<T> results(y.image(rows.first / g.out_pixels()), rows.size(),
                                g.group_out_channels(), y.channels);
    linear_forward<T>(windows.middle_rows(rows.first, rows.size()), w, finish, results,
                      context.threads());
  }
}

/// y = windows of x times filters, in either layout.
template <class T>
void window_product(const ConvGeometry& geometry, const TensorView<const T>& x,
                    const MatrixView<const T>& w, exact::WeightUse use,
                    const exact::Finish<T>& finish, const TensorView<T>& y, Context& context) {
  if (x.batch == 0) return;
  const ConvGeometry g = without_lines(geometry);
  if (g.layout == Layout::nchw) {
    forward_planes(g, x, w, use, finish, y, context);
  } else if (has_line_windows<T>(g)) {
    forward_lines(g, x, w, use, finish, y, context);
  } else {
    forward_pixels(g, x, w, use, finish, y, context);
  }
}

}  // namespace detail

/// Bytes of scratch that direct_forward takes: at most 8 MB of floats of packed weights for all
/// threads together (more where one panel of them is larger), and 0.1 MB of windows per thread; in
/// layout nchw windows and the lines that they are copied from, and no weights.
template <class T>
std::size_t direct_forward_workspace_bytes(const ConvGeometry& geometry, index_t batch,
                                           int threads) {
  if (detail::is_linear(geometry)) return 0;
  if (detail::has_few_windows<T>(geometry, batch)) {
    return scratch_bytes<detail::FewWindows<T>>(geometry, batch);
  }
  return detail::window_product_workspace_bytes<T>(geometry, batch, exact::WeightUse::forward,
                                                   threads);
}

/// Convolves one group without Winograd.
///
/// Math: y = x * w + bias, or its positive part with relu. Shapes: x and y as the geometry says, of
/// its layout, any batch; of several groups x and y begin at the channels of the one that is meant
/// (images_from_group); w one filter of it per row, columns in the order of ConvGeometry; bias an
/// element for each or empty. Requires: a valid geometry, matching shapes, y overlapping nothing,
/// scratch reserved in the context (direct_forward_workspace_bytes); callers check. Sums: blocks of
/// at most 256 terms in the order of columns, added up in order; the bits follow from shape,
/// instruction set and, of few windows or pixels, from whether images touch, not from the number of
/// threads. Cost: N K M multiply-adds, and copies of the
/// windows. Errors: std::bad_alloc from packing where the layer is fully connected. Thread-safety:
/// reentrant with contexts of their own. Source: im2col as in Caffe, block by block.
template <class T>
void direct_forward(const ConvGeometry& geometry, const TensorView<const T>& x,
                    const MatrixView<const T>& w, const VectorView<const T>& bias,
                    const TensorView<T>& y, Context& context, bool relu = false) {
  const exact::Finish<T> finish{bias.empty() ? nullptr : bias.data, relu};
  if (detail::is_linear(geometry)) {
    detail::linear_forward(detail::image_rows(x), w, finish, detail::image_rows(y),
                           context.threads());
  } else if (detail::is_short_pointwise<T>(geometry, x, y)) {
    detail::linear_forward(detail::pixels_as_rows(x), w, finish, detail::pixels_as_rows(y),
                           context.threads());
  } else if (detail::has_few_windows<T>(geometry, x.batch)) {
    detail::few_window_product(geometry, x, w, finish, y, context);
  } else {
    detail::window_product(geometry, x, w, exact::WeightUse::forward, finish, y, context);
  }
}

ADR_NAMESPACE_END
