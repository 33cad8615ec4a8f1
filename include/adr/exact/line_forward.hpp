// The direct form over windows of few columns, which are read in place (padded_lines.hpp).
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/direct_weights.hpp"
#include "adr/exact/finish.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/padded_lines.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/streamed_results.hpp"
#include "adr/exact/weight_use.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One line of outputs: its windows, at `from`, times all panels of weights.
template <class T>
void multiply_line(const PaddedLines& source, const T* from, const T* panels, const T* bias,
                   bool stream, const MatrixView<T>& outputs) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  const index_t columns = source.geometry.columns();
  const auto multiply = [&](index_t first, index_t rows, index_t channel, T* to, index_t stride,
                            simd::Sums sums) {
    simd::multiply_windows(from + first * source.pixel_step(), source.pixel_step(), source.run(),
                           source.run_step(), rows,
                           panels + channel / k_width * panel_stride(columns, k_width), columns, to,
                           stride, sums, bias != nullptr ? bias + channel : nullptr);
  };
  index_t channel = 0;
  for (; channel + k_width <= outputs.cols; channel += k_width) {
    multiply(0, outputs.rows, channel, outputs.data + channel, outputs.row_stride,
             stream ? simd::Sums::start_streamed : simd::Sums::start);
  }
  if (channel == outputs.cols) return;
  ResultTile<T> tile;
  for (index_t first = 0; first < outputs.rows; first += k_most_left_rows) {
    const index_t rows = std::min(k_most_left_rows, outputs.rows - first);
    multiply(first, rows, channel, tile.element, k_width, simd::Sums::start);
    for (index_t i = 0; i < rows; ++i) {
      std::copy_n(tile.element + i * k_width, outputs.cols - channel,
                  outputs.row(first + i) + channel);
    }
  }
}

template <class T>
struct LineScratch {
  index_t width;  ///< filters, in whole panels
  T* panels;      ///< of weights
  T* bias;
  T* lines;  ///< padded

  template <class Memory>
  LineScratch(Memory& memory, const PaddedLines& source, int threads)
      : width(panel_cols<T>(source.geometry.out_channels)),
        panels(memory.template take<T>(
            checked_product("packed weights", width, source.geometry.columns() + 1))),
        bias(memory.template take<T>(width)),
        lines(memory.template take<T>(checked_product("padded lines", threads, source.size()))) {}
};

/// Requires: has_line_windows.
template <class T>
void forward_lines(const ConvGeometry& g, const TensorView<const T>& x,
                   const MatrixView<const T>& w, exact::WeightUse use,
                   const exact::Finish<T>& finish, const TensorView<T>& y, Context& context) {
  const PaddedLines source{g};
  const Workspace::Frame frame(context.workspace());
  const LineScratch<T> scratch(context.workspace(), source, context.threads());
  const T* panels = scratch.panels;
  pack_filter_panels(GroupFilters<T>{g, w, use}, 0, g.out_channels, 0, g.columns(), scratch.panels);
  if (finish.bias != nullptr) {
    std::fill(std::copy_n(finish.bias, g.out_channels, scratch.bias), scratch.bias + scratch.width,
              T(0));
  }
  const bool stream =
      !finish.relu && g.out_channels % k_panel_width<T> == 0 &&
      exact::is_streamed<T>(y.data, y.image_stride, g.out_channels, y.batch * y.image_size());
  parallel_for(x.batch * source.bands(), context.threads(), [&](index_t task, int thread) {
    const index_t image = task / source.bands();
    const IndexRange band = source.lines(task % source.bands());
    T* from = scratch.lines + thread * source.size();
    source.copy(x.image(image), band, from);
    for (index_t line = band.first; line < band.last; ++line, from += source.line_step()) {
      const MatrixView<T> outputs(y.image(image) + line * g.out_width() * g.out_channels,
                                  g.out_width(), g.out_channels);
      multiply_line(source, static_cast<const T*>(from), panels,
                    finish.bias != nullptr ? scratch.bias : nullptr, stream, outputs);
      finish_columns(exact::Finish<T>{nullptr, finish.relu}, 0, outputs.data, outputs.row_stride,
                     outputs.rows, outputs.cols);
    }
    if (stream) simd::finish_streaming();
  });
}

template <class T>
std::size_t forward_lines_workspace_bytes(const ConvGeometry& g, int threads) {
  return scratch_bytes<LineScratch<T>>(PaddedLines{g}, threads);
}

}  // namespace detail
ADR_NAMESPACE_END
