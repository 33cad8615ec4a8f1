// The weight gradient over windows of few columns: windows and output gradients are both read in
// place, line by line (padded_lines.hpp).
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/gradient_parts.hpp"
#include "adr/exact/padded_lines.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/sparse_lines.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Whether both factors of a weight gradient are read in place: filters fill whole panels.
template <class T>
bool has_gradient_lines(const ConvGeometry& g) noexcept {
  return has_line_windows<T>(g) && g.out_channels % k_panel_width<T> == 0;
}

/// How the bands of a batch are shared out: partial sums that follow from shape alone.
struct LineParts {
  index_t bands;  ///< of all images
  index_t parts;
  index_t sum_size;  ///< elements of [filter / width][column][width]

  template <class T>
  static LineParts of(const ConvGeometry& g, index_t batch) noexcept {
    constexpr index_t k_most = 16;
    const index_t bands = batch * PaddedLines{g}.bands();
    return {bands, std::clamp<index_t>(bands / 4, 1, k_most),
            panel_cols<T>(g.out_channels) * g.columns()};
  }
};

/// Adds some pixels of a line to the sums of all windows and filters. next: the output gradients
/// that follow.
template <class T>
void add_pixels(const PaddedLines& source, const T* windows, const MatrixView<const T>& d_y,
                LinesAhead<false> next, simd::Sums mode, T* sums) noexcept {
  constexpr index_t k_width = k_panel_width<T>;
  const ConvGeometry& g = source.geometry;
  const index_t calls = panel_count<T>(d_y.cols) * g.kernel_height;
  const index_t next_lines = blocks_of(next.lines(), calls);
  for (index_t f = 0; f < d_y.cols; f += k_width) {
    T* to = sums + f * g.columns();
    for (index_t ky = 0; ky < g.kernel_height; ++ky, to += source.run() * k_width) {
      next.bring(next_lines);
      simd::multiply_columns_unpacked(windows + ky * source.run_step(), source.pixel_step(),
                                      source.run(), d_y.data + f, d_y.row_stride, d_y.rows, to,
                                      k_width, mode);
    }
  }
}

/// The sums over the lines of a band, whose first window is at `windows`.
template <class T>
void sum_band(const PaddedLines& source, const T* windows, const T* d_y, const IndexRange& lines,
              T* sums) noexcept {
  // So many that their output gradients stay in the first cache while all windows pass.
  constexpr index_t k_pixels = 64;
  const ConvGeometry& g = source.geometry;
  const index_t parts = blocks_of(g.out_width(), k_pixels);
  simd::Sums mode = simd::Sums::start;
  for (index_t line = lines.first; line < lines.last; ++line, windows += source.line_step()) {
    for (index_t part = 0; part < parts; ++part) {
      const IndexRange pixels = partition(g.out_width(), parts, part);
      const index_t first = line * g.out_width() + pixels.first;
      const index_t after = std::min(first + 2 * pixels.size(), g.out_pixels());
      const MatrixView<const T> mine(d_y + first * g.out_channels, pixels.size(), g.out_channels);
      const LinesAhead<false> next(mine.row(mine.rows), g.out_channels,
                                   after - first - pixels.size(), g.out_channels);
      add_pixels(source, windows + pixels.first * source.pixel_step(), mine, next, mode, sums);
      mode = simd::Sums::continue_;
    }
  }
}

template <class T>
struct GradientLinesScratch {
  T* totals;           ///< of the parts
  T* sparse_totals;    ///< of the parts, over non-zeros
  T* channel_totals;   ///< of the parts: sums of the output gradient
  T* of_bands;         ///< the sums of one band, of every thread
  T* sparse_of_bands;  ///< those over the non-zeros of a few bands, of every thread
  index_t line_size;
  T* lines;  ///< padded, of every thread

  template <class Memory>
  GradientLinesScratch(Memory& memory, const LineParts& parts, const PaddedLines& source,
                       int threads)
      : totals(
            memory.template take<T>(checked_product("partial sums", parts.parts, parts.sum_size))),
        sparse_totals(memory.template take<T>(
            checked_product("partial sums", parts.parts, SparseLines<T>(source).sum_size()))),
        channel_totals(memory.template take<T>(
            checked_product("partial sums", parts.parts, source.geometry.out_channels))),
        of_bands(
            memory.template take<T>(checked_product("sums of bands", threads, parts.sum_size))),
        sparse_of_bands(memory.template take<T>(
            checked_product("sums of bands", threads, SparseLines<T>(source).sum_size()))),
        line_size(source.size() + simd::k_row_padding),
        lines(memory.template take<T>(checked_product("padded lines", threads, line_size))) {}
};

/// Requires: has_gradient_lines. channel_sums: null, or where the sums of d_y over all pixels go,
/// one per filter, which cost little while a band is in the caches.
template <class T>
void weight_gradient_lines(const ConvGeometry& g, const TensorView<const T>& x,
                           const TensorView<const T>& d_y, const MatrixView<T>& d_w,
                           T* channel_sums, Context& context) {
  constexpr index_t k_width = k_panel_width<T>;
  const PaddedLines source{g};
  const SparseLines<T> sparse(source);
  const index_t sparse_size = sparse.sum_size();
  const LineParts parts = LineParts::of<T>(g, x.batch);
  const Workspace::Frame frame(context.workspace());
  const GradientLinesScratch<T> scratch(context.workspace(), parts, source, context.threads());
  T* totals = scratch.totals;
  parallel_for(parts.parts, context.threads(), [&](index_t part, int thread) {
    const IndexRange mine = partition(parts.bands, parts.parts, part);
    T* total = totals + part * parts.sum_size;
    T* sparse_total = scratch.sparse_totals + part * sparse_size;
    T* of_band = scratch.of_bands + thread * parts.sum_size;
    T* sparse_of_bands = scratch.sparse_of_bands + thread * sparse_size;
    T* windows = scratch.lines + thread * scratch.line_size;
    const bool leaves_zeros = sparse.pay(d_y, mine);
    T* channel_total = scratch.channel_totals + part * g.out_channels;
    std::fill_n(channel_total, g.out_channels, T(0));
    std::fill_n(total, parts.sum_size, T(0));
    std::fill_n(sparse_total, sparse_size, T(0));
    std::fill_n(sparse_of_bands, sparse_size, T(0));
    for (index_t i = mine.first; i < mine.last; ++i) {
      const index_t image = i / source.bands();
      const IndexRange band = source.lines(i % source.bands());
      const T* gradients = d_y.image(image) + band.first * g.out_width() * g.out_channels;
      std::fill(source.copy(x.image(image), band, windows), windows + scratch.line_size, T(0));
      if (leaves_zeros && sparse.is_finite(windows)) {
        sparse.add(windows, gradients, band.size(), sparse_of_bands);
      } else {
        sum_band(source, static_cast<const T*>(windows), d_y.image(image), band, of_band);
        simd::add(of_band, total, parts.sum_size);
      }
      if (channel_sums != nullptr) {
        simd::add_column_sums(gradients, g.out_channels, band.size() * g.out_width(),
                              g.out_channels, channel_total);
      }
      // About as many terms at once as the dense sums of a band have.
      constexpr index_t k_sparse_bands = 4;
      if (leaves_zeros && ((i + 1 - mine.first) % k_sparse_bands == 0 || i + 1 == mine.last)) {
        simd::add(sparse_of_bands, sparse_total, sparse_size);
        std::fill_n(sparse_of_bands, sparse_size, T(0));
      }
    }
  });
  join_parts(totals, parts.parts, parts.sum_size);
  join_parts(scratch.sparse_totals, parts.parts, sparse_size);
  if (channel_sums != nullptr) {
    join_parts(scratch.channel_totals, parts.parts, g.out_channels);
    std::copy_n(scratch.channel_totals, g.out_channels, channel_sums);
  }
  for (index_t f = 0; f < g.out_channels; f += k_width) {
    simd::transpose(totals + f * g.columns(), k_width, g.columns(), k_width, d_w.row(f),
                    d_w.row_stride);
  }
  if (sparse_size > 0) sparse.finish(scratch.sparse_totals, d_w);
}

template <class T>
std::size_t weight_gradient_lines_workspace_bytes(const ConvGeometry& g, index_t batch,
                                                  int threads) {
  return scratch_bytes<GradientLinesScratch<T>>(LineParts::of<T>(g, batch), PaddedLines{g},
                                                threads);
}

}  // namespace detail
ADR_NAMESPACE_END
