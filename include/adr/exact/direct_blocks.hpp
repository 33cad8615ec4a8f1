// How the direct forms cut their work: blocks of rows, and parts of the weights.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/panels.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

template <class T>
bool images_touch(const TensorView<T>& images) noexcept {
  return images.image_stride == images.image_size() || images.batch <= 1;
}

/// Whether windows are pixels.
inline bool is_pointwise(const ConvGeometry& g) noexcept {
  return g.kernel_height == 1 && g.kernel_width == 1 && g.stride_height == 1 &&
         g.stride_width == 1 && g.pad_top == 0 && g.pad_bottom == 0 && g.pad_left == 0 &&
         g.pad_right == 0;
}

/// Where windows are pixels, lines do not matter: the whole image is one.
inline ConvGeometry without_lines(const ConvGeometry& g) noexcept {
  ConvGeometry flat = g;
  if (is_pointwise(g)) {
    flat.in_width = g.in_height * g.in_width;
    flat.in_height = 1;
  }
  return flat;
}

/// Blocks of rows that do not cross images, or cross them where images touch.
struct RowBlocks {
  index_t units;  ///< images, or one for all of them
  index_t rows;   ///< of a unit
  index_t blocks;

  RowBlocks(index_t images, index_t rows_of_image, bool together, index_t block_rows) noexcept
      : units(together ? 1 : images),
        rows(together ? images * rows_of_image : rows_of_image),
        blocks(blocks_of(rows, block_rows)) {}
  [[nodiscard]] index_t count() const noexcept { return units * blocks; }
  /// Rows of a block, counted over all images.
  [[nodiscard]] IndexRange block(index_t i) const noexcept {
    const IndexRange range = partition(rows, blocks, i % blocks);
    const index_t first = i / blocks * rows;
    return {first + range.first, first + range.last};
  }
};

/// How the weights are packed as the right factor, terms x outputs: in parts of the outputs, at
/// least so many where that many panels are there, and as many parts at once as fit 8 MB of floats.
template <class T>
struct WeightParts {
  index_t terms;
  index_t outputs;
  index_t depth;      ///< terms of a block
  index_t width;      ///< outputs of a part
  index_t together;   ///< parts that are packed at once
  index_t count;      ///< parts
  index_t part_size;  ///< elements

  WeightParts(index_t terms_, index_t outputs_, index_t least_count = 1)
      : terms(terms_), outputs(outputs_), depth(depth_block(terms_)) {
    constexpr index_t k_room = index_t{1} << 21;
    constexpr index_t k_width = k_panel_width<T>;
    least_count = std::clamp<index_t>(least_count, 1, panel_count<T>(outputs));
    const index_t most =
        std::max<index_t>(k_room / least_count / (terms + blocks()) / k_width, 1) * k_width;
    count = std::max(blocks_of(outputs, most), least_count);
    width = (panel_count<T>(outputs) + count - 1) / count * k_width;
    count = blocks_of(outputs, width);
    part_size = checked_product("packed weights", width, terms + blocks());
    together = std::clamp<index_t>(k_room / part_size, 1, count);
  }
  [[nodiscard]] index_t blocks() const noexcept { return blocks_of(terms, depth); }
  /// Where block b of a part begins.
  [[nodiscard]] index_t block_place(index_t b) const noexcept { return b * (depth + 1) * width; }
  [[nodiscard]] IndexRange block_terms(index_t b) const noexcept {
    return {b * depth, std::min(terms, (b + 1) * depth)};
  }
  [[nodiscard]] IndexRange part_outputs(index_t part) const noexcept {
    const index_t first = part * width;
    return {first, std::min(outputs, first + width)};
  }

  /// Calls pack(outputs, terms, to) for every block of `parts` parts from first on.
  template <class Pack>
  void pack(index_t first, index_t parts, T* packed, int threads, const Pack& use) const {
    parallel_for(parts * blocks(), threads, [&](index_t task, int) {
      const index_t part = first + task / blocks();
      const index_t b = task % blocks();
      use(part_outputs(part), block_terms(b), packed + (part - first) * part_size + block_place(b));
    });
  }
};

/// Elements between rows of gathered windows: one line more than they need, for the same reason as
/// panel_stride.
inline index_t window_stride(index_t depth) noexcept {
  return (depth + simd::k_chunk - 1) / simd::k_chunk * simd::k_chunk + simd::k_chunk;
}

}  // namespace detail
ADR_NAMESPACE_END
