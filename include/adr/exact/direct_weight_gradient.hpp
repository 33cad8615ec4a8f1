// The weight gradient of the direct form: windows are gathered block by block and meet the output
// gradients of the same pixels.
//
// What is added up is the transposed gradient in panels, [filter / width][column][width]: there the
// output gradients are the right factor in either layout, and the windows the left one.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/line_weight_gradient.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_windows.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// How a weight gradient is cut: by groups, filters and columns into results of their own, and,
/// where these are few, by pixels into partial sums.
template <class T>
struct GradientParts {
  index_t columns;  ///< K
  index_t filters;  ///< of a group
  index_t groups;
  index_t column_parts;
  index_t filter_parts;
  index_t pixel_parts;
  index_t pixels;        ///< pixels of a block
  index_t part_columns;  ///< of the largest part
  index_t part_filters;  ///< of the largest part, whole panels

  GradientParts(const ConvGeometry& g, index_t batch)
      : columns(g.columns()), filters(g.group_out_channels()), groups(g.groups) {
    constexpr index_t k_columns = 256;
    constexpr index_t k_filters = 512;
    constexpr index_t k_wanted = 16;
    const index_t rows = g.rows(batch);
    column_parts = (columns + k_columns - 1) / k_columns;
    filter_parts = (filters + k_filters - 1) / k_filters;
    part_columns = partition(columns, column_parts, 0).size();
    part_filters = panel_cols<T>(partition(filters, filter_parts, 0).size());
    pixel_parts = std::clamp<index_t>(rows / (4 * k_most_depth), 1,
                                      std::max<index_t>(k_wanted / results(), 1));
    pixels = std::min(k_most_depth, std::max<index_t>(rows, 1));
  }
  [[nodiscard]] index_t results() const noexcept { return groups * column_parts * filter_parts; }
  /// Elements of the sums of a part.
  [[nodiscard]] index_t sum_size() const noexcept { return part_columns * part_filters; }
  /// Elements of packed output gradients.
  [[nodiscard]] index_t gradient_size() const noexcept { return part_filters * (pixels + 1); }
  /// Elements of gathered windows, and of the groups of columns that they become in layout nhwc.
  [[nodiscard]] index_t window_size(Layout layout) const noexcept {
    return layout == Layout::nchw ? part_columns * window_stride(pixels)
                                  : pixels * window_stride(part_columns);
  }
  [[nodiscard]] index_t grouped_size(Layout layout) const noexcept {
    return layout == Layout::nchw ? 0 : window_stride(part_columns) * (pixels + 1);
  }
};

/// One result of a weight gradient.
template <class T>
struct GradientTask {
  const ConvGeometry& geometry;
  const TensorView<const T>& x;
  const TensorView<const T>& d_y;
  index_t group;
  IndexRange columns;
  IndexRange filters;

  /// Adds up pixels in blocks. gradients, windows, grouped: memory of a thread.
  void sum(const IndexRange& pixels, index_t block, T* sums, T* gradients, T* windows,
           T* grouped) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    if (pixels.size() == 0) std::fill_n(sums, columns.size() * panel_cols<T>(filters.size()), T(0));
    for (index_t first = pixels.first; first < pixels.last; first += block) {
      const index_t count = std::min(block, pixels.last - first);
      pack_gradients(first, count, gradients);
      const LeftRows<T> left = window_columns(first, count, windows, grouped);
      const simd::Sums mode = first == pixels.first ? simd::Sums::start : simd::Sums::add;
      const T* panel = gradients;
      T* to = sums;
      for (index_t f = 0; f < filters.size(); f += k_width) {
        multiply_by_panel(left, columns.size(), panel, count, to, k_width, mode);
        panel += panel_stride(count, k_width);
        to += columns.size() * k_width;
      }
    }
  }

  /// Writes the sums to where they belong.
  void store(const T* sums, const MatrixView<T>& d_w) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    for (index_t f = 0; f < filters.size(); f += k_width, sums += columns.size() * k_width) {
      const index_t row = group * geometry.group_out_channels() + filters.first + f;
      simd::transpose(sums, k_width, columns.size(), std::min(k_width, filters.size() - f),
                      d_w.row(row) + columns.first, d_w.row_stride);
    }
  }

 private:
  /// Calls use(image, pixel, count, at) for runs of pixels of one image.
  template <class Use>
  void for_each_run_of_pixels(index_t first, index_t count, const Use& use) const {
    const index_t plane = geometry.out_pixels();
    for (index_t at = 0; at < count;) {
      const index_t image = (first + at) / plane;
      const index_t pixel = first + at - image * plane;
      const index_t run = std::min(plane - pixel, count - at);
      use(image, pixel, run, at);
      at += run;
    }
  }

  void pack_gradients(index_t first, index_t count, T* to) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    const index_t stride = panel_stride(count, k_width);
    const index_t channel = group * geometry.group_out_channels() + filters.first;
    const index_t plane = geometry.out_pixels();
    for_each_run_of_pixels(
        first, count, [&](index_t image, index_t pixel, index_t run, index_t at) {
          const T* from = d_y.image(image);
          T* place = to + at * k_width;
          if (geometry.layout == Layout::nchw) {
            pack_columns<k_width>(from + channel * plane + pixel, plane, run, filters.size(), place,
                                  stride);
          } else {
            pack_rows<k_width>(from + pixel * geometry.out_channels + channel,
                               geometry.out_channels, run, filters.size(), place, stride);
          }
        });
  }

  LeftRows<T> window_columns(index_t first, index_t count, T* windows, T* grouped) const noexcept {
    const ConvGeometry& g = geometry;
    if (g.layout == Layout::nchw) {
      const index_t stride = window_stride(count);
      gather_plane_rows(g, x, group, first, count, columns.first,
                        MatrixView<T>(windows, columns.size(), count, stride));
      return {windows, stride};
    }
    const index_t stride = panel_stride(count, simd::k_chunk);
    const index_t block_stride = window_stride(columns.size());
    if (!is_pointwise(g)) {
      im2col<T>(g, x, group, first, columns.first,
                MatrixView<T>(windows, count, columns.size(), block_stride));
      if (reads_columns_in_place<T>(block_stride, filters.size())) {
        return {windows, block_stride, LeftForm::columns};
      }
      pack_rows<simd::k_chunk>(windows, block_stride, count, columns.size(), grouped, stride);
      return {grouped, stride, LeftForm::groups};
    }
    const auto pixels_at = [&](index_t image, index_t pixel) {
      return x.image(image) + pixel * g.in_channels + group * g.group_in_channels() + columns.first;
    };
    if (images_touch(x) && reads_columns_in_place<T>(g.in_channels, filters.size())) {
      return {pixels_at(0, first), g.in_channels, LeftForm::columns};
    }
    for_each_run_of_pixels(
        first, count, [&](index_t image, index_t pixel, index_t run, index_t at) {
          pack_rows<simd::k_chunk>(pixels_at(image, pixel), g.in_channels, run, columns.size(),
                                   grouped + at * simd::k_chunk, stride);
        });
    return {grouped, stride, LeftForm::groups};
  }
};

}  // namespace detail

/// Bytes of scratch that direct_weight_gradient takes: at most 1.8 MB of floats per thread, and
/// 8.5 MB of partial sums for all threads together.
template <class T>
std::size_t direct_weight_gradient_workspace_bytes(const ConvGeometry& geometry, index_t batch,
                                                   int threads) {
  if (detail::is_linear(geometry)) return 0;
  if (detail::has_gradient_lines<T>(geometry)) {
    return detail::weight_gradient_lines_workspace_bytes<T>(geometry, batch, threads);
  }
  const detail::GradientParts<T> parts(geometry, batch);
  const index_t sums = parts.pixel_parts > 1 ? parts.results() * parts.pixel_parts : threads;
  return WorkspaceSize()
      .template add<T>(checked_product("partial sums", sums, parts.sum_size()))
      .template add<T>(checked_product("packed gradients", threads, parts.gradient_size()))
      .template add<T>(checked_product("windows", threads, parts.window_size(geometry.layout)))
      .template add<T>(checked_product("windows", threads, parts.grouped_size(geometry.layout)))
      .bytes();
}

/// Computes the gradient with respect to the weights without Winograd.
///
/// Math: d_w = windows(x)^T d_y, one filter per row. Shapes, requirements, errors, thread-safety,
/// source: those of direct_forward; d_w out_channels x columns, any row stride, replaced. Sums:
/// blocks of 256 pixels in order, added up in order within at most 16 parts of the pixels that
/// follow from shape alone, then over the parts. Cost: N K M multiply-adds, and copies of windows
/// and d_y.
template <class T>
void direct_weight_gradient(const ConvGeometry& geometry, const TensorView<const T>& x,
                            const TensorView<const T>& d_y, const MatrixView<T>& d_w,
                            Context& context) {
  if (detail::is_linear(geometry)) {
    detail::linear_weight_gradient(detail::image_rows(x), detail::image_rows(d_y), d_w,
                                   context.threads());
    return;
  }
  if (detail::is_short_pointwise<T>(geometry, x, d_y)) {
    detail::linear_weight_gradient(detail::pixels_as_rows(x), detail::pixels_as_rows(d_y), d_w,
                                   context.threads());
    return;
  }
  if (detail::has_gradient_lines<T>(geometry)) {
    detail::weight_gradient_lines(geometry, x, d_y, d_w, context);
    return;
  }
  const ConvGeometry flat = detail::without_lines(geometry);
  const detail::GradientParts<T> parts(flat, x.batch);
  const bool whole = parts.pixel_parts == 1;
  const Workspace::Frame frame(context.workspace());
  Workspace& memory = context.workspace();
  const index_t threads = context.threads();
  T* sums =
      memory.take<T>((whole ? threads : parts.results() * parts.pixel_parts) * parts.sum_size());
  T* gradients = memory.take<T>(threads * parts.gradient_size());
  T* windows = memory.take<T>(threads * parts.window_size(geometry.layout));
  T* grouped = memory.take<T>(threads * parts.grouped_size(geometry.layout));
  const auto task_of = [&](index_t result) {
    const index_t filter_part = result % parts.filter_parts;
    const index_t column_part = result / parts.filter_parts % parts.column_parts;
    return detail::GradientTask<T>{flat,
                                   x,
                                   d_y,
                                   result / parts.filter_parts / parts.column_parts,
                                   partition(parts.columns, parts.column_parts, column_part),
                                   partition(parts.filters, parts.filter_parts, filter_part)};
  };
  parallel_for(
      parts.results() * parts.pixel_parts, context.threads(), [&](index_t index, int thread) {
        const detail::GradientTask<T> task = task_of(index / parts.pixel_parts);
        T* to = sums + (whole ? thread : index) * parts.sum_size();
        task.sum(partition(geometry.rows(x.batch), parts.pixel_parts, index % parts.pixel_parts),
                 parts.pixels, to, gradients + thread * parts.gradient_size(),
                 windows + thread * parts.window_size(geometry.layout),
                 grouped + thread * parts.grouped_size(geometry.layout));
        if (whole) task.store(to, d_w);
      });
  if (whole) return;
  parallel_for(parts.results(), context.threads(), [&](index_t result, int) {
    T* first = sums + result * parts.pixel_parts * parts.sum_size();
    for (index_t part = 1; part < parts.pixel_parts; ++part) {
      simd::add(first + part * parts.sum_size(), first, parts.sum_size());
    }
    task_of(result).store(first, d_w);
  });
}

ADR_NAMESPACE_END
