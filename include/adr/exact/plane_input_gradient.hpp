// The input gradient of the direct form in layout nchw where it is no convolution: unfolded
// gradients, columns along pixels, are added back onto the planes they belong to.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_lines.hpp"
#include "adr/exact/plane_windows.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// How the unfolded gradient of an image is cut.
struct PlaneFold {
  index_t terms;   ///< output channels
  index_t depth;   ///< of them in a block of sums
  index_t pixels;  ///< of a block
  index_t rows;    ///< columns of the unfolded gradient that are added back at once
  index_t images;  ///< that are in a block together

  template <class T>
  static PlaneFold of(const ConvGeometry& g, index_t batch) noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    // Weights pass once for a block, and small images together leave less of the last panel empty.
    constexpr index_t k_room = index_t{1} << 17;
    constexpr index_t k_most_pixels = 256;
    const index_t terms = g.group_out_channels();
    const index_t most = std::clamp(k_room / terms, k_width, k_most_pixels) / k_width * k_width;
    const index_t images =
        std::clamp<index_t>(most / g.out_pixels(), 1, std::max<index_t>(batch, 1));
    const index_t even = images > 1 ? images * g.out_pixels()
                                    : blocks_of(g.out_pixels(), blocks_of(g.out_pixels(), most));
    // Whole channels, or equal parts of one.
    const index_t kernel = g.kernel_height * g.kernel_width;
    const index_t rows = kernel <= k_most_left_rows
                             ? std::min(k_most_left_rows / kernel * kernel, g.columns())
                             : blocks_of(kernel, blocks_of(kernel, k_most_left_rows));
    return {terms, depth_block(terms), panel_cols<T>(even), rows, images};
  }
  [[nodiscard]] index_t panel_size() const noexcept {
    return pixels * (terms + blocks_of(terms, depth));
  }
  [[nodiscard]] index_t result_size() const noexcept { return rows * pixels; }
  [[nodiscard]] PlaneBlocks blocks() const noexcept { return {pixels, 1, pixels}; }
  /// Elements of weights that are packed.
  [[nodiscard]] index_t left_size() const noexcept { return k_most_left_rows * (depth + 1); }
};

template <class T>
struct PlaneFoldTask {
  const ConvGeometry& geometry;
  const PlaneFold& fold;
  const TensorView<const T>& d_y;
  const MatrixView<const T>& w;
  const TensorView<T>& d_x;
  const PlanePlaces& places;

  /// Channels [first, last) of some images: of one, or of so many that one block holds
  /// their pixels. panels, left, results, lines: memory of a thread; lines are 0
  /// before and after.
  void run(const IndexRange& images, const IndexRange& channels, T* panels, T* left, T* results,
           T* lines) const noexcept {
    const ConvGeometry& g = geometry;
    const index_t plane = g.in_height * g.in_width;
    const index_t kernel = g.kernel_height * g.kernel_width;
    for (index_t image = images.first; image < images.last; ++image) {
      std::fill_n(d_x.image(image) + channels.first * plane, channels.size() * plane, T(0));
    }
    const index_t end = images.last * g.out_pixels();
    for (index_t first = images.first * g.out_pixels(); first < end; first += fold.pixels) {
      const IndexRange pixels{first, std::min(first + fold.pixels, end)};
      pack_gradients(pixels, panels);
      for (index_t k = channels.first * kernel; k < channels.last * kernel;) {
        const index_t end_of_part =
            kernel <= fold.rows ? channels.last * kernel : (k / kernel + 1) * kernel;
        const IndexRange columns{k, std::min(k + fold.rows, end_of_part)};
        multiply(columns, pixels.size(), panels, left, results);
        add_back(columns, pixels, results, lines);
        k = columns.last;
      }
    }
  }

 private:
  static constexpr index_t k_width = k_panel_width<T>;

  [[nodiscard]] index_t block_place(index_t m, index_t pixels) const noexcept {
    return m / fold.depth * (fold.depth + 1) * panel_cols<T>(pixels);
  }

  void pack_gradients(const IndexRange& pixels, T* panels) const noexcept {
    for (index_t m = 0; m < fold.terms; m += fold.depth) {
      gather_pixel_panels(geometry, d_y, fold.terms, pixels, m,
                          std::min(fold.depth, fold.terms - m),
                          panels + block_place(m, pixels.size()));
    }
  }

  void multiply(const IndexRange& columns, index_t pixels, const T* panels, T* memory,
                T* results) const noexcept {
    for (index_t m = 0; m < fold.terms; m += fold.depth) {
      const index_t depth = std::min(fold.depth, fold.terms - m);
      const LeftRows<T> left =
          left_rows(transposed(w), columns.first, columns.size(), m, depth, pixels, memory);
      const T* panel = panels + block_place(m, pixels);
      for (index_t p = 0; p < pixels; p += k_width, panel += panel_stride(depth, k_width)) {
        multiply_by_panel(left, columns.size(), panel, depth, results + p, fold.pixels,
                          m == 0 ? simd::Sums::start : simd::Sums::add);
      }
    }
  }

  void add_back(const IndexRange& columns, const IndexRange& pixels, const T* results,
                T* lines) const noexcept {
    places.lines.for_each_stretch(pixels, [&](const LineStretch& s, index_t first) {
      places.for_each_column(columns.first, columns.size(), [&](index_t k, index_t place) {
        simd::add(results + k * fold.pixels + s.at, lines + first + place, s.count);
      });
    });
    const index_t channel = columns.first / places.kernel;
    const index_t count = (columns.last - 1) / places.kernel + 1 - channel;
    places.lines.add(lines, channel, count, pixels, d_x);
    std::fill_n(lines, count * places.lines.channel_size(), T(0));
  }
};

template <class T>
struct PlaneFoldScratch {
  index_t line_size;  ///< of a thread
  T* panels;          ///< of gradients
  T* lefts;           ///< weights
  T* results;
  T* lines;
  index_t* places;

  template <class Memory>
  PlaneFoldScratch(Memory& memory, const PlaneFold& fold, const PlaneLines& shape, int threads)
      : line_size(shape.template size<T>(fold.rows)),
        panels(memory.template take<T>(checked_product("gradients", threads, fold.panel_size()))),
        lefts(memory.template take<T>(checked_product("weights", threads, fold.left_size()))),
        results(memory.template take<T>(checked_product("gradients", threads, fold.result_size()))),
        lines(memory.template take<T>(checked_product("lines", threads, line_size))),
        places(memory.template take<index_t>(PlanePlaces::size(shape.geometry))) {}
};

template <class T>
void plane_input_gradient(const ConvGeometry& g, const TensorView<const T>& d_y,
                          const MatrixView<const T>& w, const TensorView<T>& d_x,
                          Context& context) {
  const auto fold = PlaneFold::of<T>(g, d_x.batch);
  const PlaneLines shape(g, fold.blocks());
  const Workspace::Frame frame(context.workspace());
  const PlaneFoldScratch<T> scratch(context.workspace(), fold, shape, context.threads());
  std::fill_n(scratch.lines, context.threads() * scratch.line_size, T(0));
  const PlanePlaces places(shape, scratch.places);
  const PlaneFoldTask<T> task{g, fold, d_y, w, d_x, places};
  // Threads share the channels of an image where images are few; that changes no sum.
  const index_t channels = g.group_in_channels();
  const index_t units = blocks_of(d_x.batch, fold.images);
  const index_t parts =
      units >= context.threads() ? 1 : std::clamp<index_t>(channels / 8, 1, 2 * context.threads());
  parallel_for(units * parts, context.threads(), [&](index_t i, int thread) {
    const index_t image = i / parts * fold.images;
    task.run(
        {image, std::min(image + fold.images, d_x.batch)}, partition(channels, parts, i % parts),
        scratch.panels + thread * fold.panel_size(), scratch.lefts + thread * fold.left_size(),
        scratch.results + thread * fold.result_size(), scratch.lines + thread * scratch.line_size);
  });
}

template <class T>
std::size_t plane_input_gradient_workspace_bytes(const ConvGeometry& g, index_t batch,
                                                 int threads) {
  const auto fold = PlaneFold::of<T>(g, batch);
  return scratch_bytes<PlaneFoldScratch<T>>(fold, PlaneLines(g, fold.blocks()), threads);
}

}  // namespace detail
ADR_NAMESPACE_END
