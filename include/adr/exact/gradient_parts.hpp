// How direct weight gradients are cut into sums of their own, and put together again.
//
// What is added up is the transposed gradient in panels, [filter / width][column][width]: there the
// output gradients are the right factor in either layout, and the windows the left one.
#pragma once

#include <algorithm>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/panels.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One result of a weight gradient: a block of the weights.
struct GradientBlock {
  IndexRange columns;
  IndexRange filters;
};

/// How a weight gradient is cut: by filters and columns into results of their own, and,
/// where these are few, by pixels into partial sums.
template <class T>
struct GradientParts {
  index_t columns;  ///< K
  index_t filters;
  index_t column_parts;
  index_t filter_parts;
  index_t pixel_parts;
  index_t pixels;        ///< pixels of a block
  index_t part_columns;  ///< of the largest part
  index_t part_filters;  ///< of the largest part, whole panels

  GradientParts(const ConvGeometry& g, index_t batch)
      : columns(g.columns()), filters(g.group_out_channels()) {
    constexpr index_t k_columns = 256;
    constexpr index_t k_filters = 512;
    constexpr index_t k_wanted = 16;
    const index_t rows = g.rows(batch);
    column_parts = blocks_of(columns, k_columns);
    filter_parts = blocks_of(filters, k_filters);
    part_columns = partition(columns, column_parts, 0).size();
    part_filters = panel_cols<T>(partition(filters, filter_parts, 0).size());
    pixel_parts = std::clamp<index_t>(rows / (4 * k_most_depth), 1,
                                      std::max<index_t>(k_wanted / results(), 1));
    pixels = std::min(k_most_depth, std::max<index_t>(rows, 1));
  }
  [[nodiscard]] index_t results() const noexcept { return column_parts * filter_parts; }
  /// Elements of the sums of a part.
  [[nodiscard]] index_t sum_size() const noexcept { return part_columns * part_filters; }
  /// Elements of packed output gradients.
  [[nodiscard]] index_t gradient_size() const noexcept { return part_filters * (pixels + 1); }
  /// Elements of all sums, which threads have one each of where pixels are not cut.
  [[nodiscard]] index_t sums_size(int threads) const {
    return checked_product("partial sums", pixel_parts > 1 ? results() * pixel_parts : threads,
                           sum_size());
  }
  [[nodiscard]] GradientBlock block(index_t result) const noexcept {
    return {partition(columns, column_parts, result / filter_parts),
            partition(filters, filter_parts, result % filter_parts)};
  }
  /// Writes the sums of a block to where they belong.
  void store(const GradientBlock& block, const T* sums, const MatrixView<T>& d_w) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    const index_t cols = block.columns.size();
    for (index_t f = block.filters.first; f < block.filters.last; f += k_width) {
      simd::transpose(sums, k_width, cols, std::min(k_width, block.filters.last - f),
                      d_w.row(f) + block.columns.first, d_w.row_stride);
      sums += cols * k_width;
    }
  }
};

/// Adds the sums of the other parts, `size` elements each, to those of the first one.
template <class T>
void join_parts(T* sums, index_t parts, index_t size) noexcept {
  for (index_t part = 1; part < parts; ++part) simd::add(sums + part * size, sums, size);
}

/// Adds up the weight gradient in the parts it is cut into; sum(block, pixel_part, to, thread)
/// writes the sums of one part to `to`. sums: parts.sums_size elements.
template <class T, class Sum>
void add_up_gradient(const GradientParts<T>& parts, T* sums, const MatrixView<T>& d_w, int threads,
                     const Sum& sum) {
  const bool whole = parts.pixel_parts == 1;
  parallel_for(parts.results() * parts.pixel_parts, threads, [&](index_t index, int thread) {
    const GradientBlock block = parts.block(index / parts.pixel_parts);
    T* to = sums + (whole ? thread : index) * parts.sum_size();
    sum(block, index % parts.pixel_parts, to, thread);
    if (whole) parts.store(block, to, d_w);
  });
  if (whole) return;
  parallel_for(parts.results(), threads, [&](index_t result, int) {
    T* first = sums + result * parts.pixel_parts * parts.sum_size();
    join_parts(first, parts.pixel_parts, parts.sum_size());
    parts.store(parts.block(result), first, d_w);
  });
}

}  // namespace detail
ADR_NAMESPACE_END
