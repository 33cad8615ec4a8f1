// The weights of a direct convolution as the micro-kernel reads them, packed once per call: those
// of the forward pass as they are, those of the input gradient flipped.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/weight_use.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The weights of one group as a matrix with one row per output channel of `geometry`, in the order
/// of its columns. For the input gradient `geometry` is the convolution that carries an output
/// gradient back, and `weights` are those of the forward convolution.
template <class T>
struct GroupFilters {
  const ConvGeometry& geometry;
  MatrixView<const T> weights;
  exact::WeightUse use;

  /// Element where output channel 0 of a kernel place begins in a forward filter, and the elements
  /// from one output channel to the next.
  [[nodiscard]] index_t flipped_place(index_t ky, index_t kx) const noexcept {
    const ConvGeometry& g = geometry;
    const index_t place = (g.kernel_height - 1 - ky) * g.kernel_width + (g.kernel_width - 1 - kx);
    return g.layout == Layout::nchw ? place : place * g.group_out_channels();
  }
};

/// The filters of output channels [first, first + count) as panels of columns [k, k + depth), for
/// windows of layout nhwc as the left factor.
template <class T>
void pack_filter_panels(const GroupFilters<T>& filters, index_t first, index_t count, index_t k,
                        index_t depth, T* to) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  const index_t stride = panel_stride(depth, k_width);
  const MatrixView<const T>& w = filters.weights;
  if (filters.use == exact::WeightUse::forward) {
    pack_columns<k_width>(w.row(first) + k, w.row_stride, depth, count, to, stride);
    return;
  }
  // Column (ky, kx, m) of the flipped filter of channel c is weight (m, ky', kx', c).
  const index_t channels = filters.geometry.group_in_channels();
  const index_t kernel_width = filters.geometry.kernel_width;
  for (index_t at = 0; at < depth;) {
    const index_t column = k + at;
    const index_t m = column % channels;
    const index_t place = column / channels;
    const index_t run = std::min(channels - m, depth - at);
    const T* from =
        w.row(m) + filters.flipped_place(place / kernel_width, place % kernel_width) + first;
    pack_rows<k_width>(from, w.row_stride, run, count, to + at * k_width, stride);
    at += run;
  }
}

/// The filters of all output channels as rows, for windows of layout nchw as the right factor;
/// `memory` holds them where they do not lie that way.
template <class T>
MatrixView<const T> filter_rows(const GroupFilters<T>& filters, T* memory) noexcept {
  if (filters.use == exact::WeightUse::forward) return filters.weights;
  const ConvGeometry& g = filters.geometry;
  const index_t outputs = g.group_out_channels();
  const index_t columns = g.columns();
  const index_t kernel = g.kernel_height * g.kernel_width;
  const MatrixView<const T>& w = filters.weights;
  if (kernel == 1) {
    simd::transpose(w.data, w.row_stride, w.rows, outputs, memory, columns);
    return {memory, outputs, columns};
  }
  for (index_t m = 0; m < w.rows; ++m) {
    for (index_t c = 0; c < outputs; ++c) {
      // A whole kernel the other way round.
      const T* from = w.row(m) + c * kernel + kernel - 1;
      T* to = memory + c * columns + m * kernel;
      for (index_t place = 0; place < kernel; ++place) to[place] = from[-place];
    }
  }
  return {memory, outputs, columns};
}

/// Elements that filter_rows needs of memory.
template <class T>
index_t filter_rows_size(const ConvGeometry& g, exact::WeightUse use) {
  if (use == exact::WeightUse::forward) return 0;
  return checked_product("flipped weights", g.group_out_channels(), g.columns());
}

}  // namespace detail
ADR_NAMESPACE_END
