// The forward pass over tiles, which with turned weights is the input gradient as well: transform a
// block of tiles, multiply it frequency by frequency with one panel of outputs after the other,
// transform back.
//
// What is computed for a tile does not depend on the block it is in, on whether weights are
// transformed in advance or on the way, or on the thread: the bits follow from shape and
// instruction set.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/exact/tile_transforms.hpp"
#include "adr/exact/tile_weights.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// Which scratch a forward pass over tiles takes and in which portions it works; keeps bits.
struct TileForwardPlan {
  index_t block = 1;       ///< tiles at once
  bool in_advance = true;  ///< weights are transformed once, before the first block
};

namespace detail {

/// Transformed weights that are kept for all blocks, and transformed tiles that wait for weights.
inline constexpr index_t k_most_weight_bytes = index_t{10} << 20;
inline constexpr index_t k_most_tile_bytes = index_t{8} << 20;

inline index_t round_up(index_t count, index_t unit) noexcept {
  return (count + unit - 1) / unit * unit;
}

}  // namespace detail

/// The portions for so many tiles. Weights in advance let blocks be small enough for the
/// second-level cache; where they would take more memory than that is worth, they are transformed
/// again for every block, which then has to be large.
template <class Algorithm, class T>
TileForwardPlan plan_tile_forward(index_t tiles, index_t depths, index_t outputs) noexcept {
  constexpr index_t k_width = simd::KernelShape<simd::Batch<T>>::width;
  constexpr index_t k_plane = Algorithm::products * Algorithm::products;
  constexpr auto k_bytes = static_cast<index_t>(sizeof(T));
  const index_t tile_bytes = k_plane * detail::round_up(depths, simd::k_chunk) * k_bytes;
  const index_t weight_bytes = k_plane * depths * detail::round_up(outputs, k_width) * k_bytes;
  const index_t whole = std::clamp<index_t>(detail::k_most_tile_bytes / tile_bytes, 16, 256);
  TileForwardPlan plan;
  plan.in_advance = tiles > whole && weight_bytes <= detail::k_most_weight_bytes;
  // Measured on 512 KB of second-level cache: half of it for the tiles, but never so few that the
  // weights pass by more often than the products take time.
  const index_t cached = std::clamp<index_t>((index_t{1} << 18) / tile_bytes, 28, 112);
  const index_t most = plan.in_advance ? cached : whole;
  const index_t blocks = (std::max<index_t>(tiles, 1) + most - 1) / most;
  plan.block = (std::max<index_t>(tiles, 1) + blocks - 1) / blocks;
  return plan;
}

/// One forward pass or input gradient of one group.
template <class Algorithm, class T>
class TileForward {
  using Shape = simd::KernelShape<simd::Batch<T>>;
  static constexpr index_t k_width = Shape::width;
  static constexpr index_t k_products = Algorithm::products;
  static constexpr index_t k_plane = k_products * k_products;
  /// Depths of a panel that stay in the first-level cache beside the rows that they meet.
  static constexpr index_t k_depth_block =
      (index_t{16} << 10) / (k_width * static_cast<index_t>(sizeof(T)));

 public:
  TileForward(const TileGrid& grid, const TileList& list, const GroupImages<const T>& x,
              const Filters<const T>& filters, WeightUse use, const Finish<T>& finish,
              const GroupImages<T>& y, const TileForwardPlan& plan)
      : grid_(grid),
        list_(list),
        x_(x),
        filters_(filters),
        use_(use),
        finish_(finish),
        y_(y),
        plan_(plan),
        depths_(depths_of(filters, use)),
        outputs_(outputs_of(filters, use)) {
    blocks_ = (list.count + plan.block - 1) / std::max<index_t>(plan.block, 1);
    panels_ = (outputs_ + k_width - 1) / k_width;
    input_stride_ = frequency_stride(detail::round_up(depths_, simd::k_chunk) * plan_.block);
    product_stride_ = frequency_stride(k_width * plan_.block);
    weight_stride_ =
        frequency_stride(plan_.in_advance ? panels_ * depths_ * k_width
                                          : std::min(depths_, k_depth_block) * k_width);
  }

  /// Bytes of scratch for that many threads.
  [[nodiscard]] std::size_t workspace_bytes(int threads) const {
    WorkspaceSize size;
    for (const index_t count : scratch(threads)) size.add<T>(count);
    return size.bytes();
  }

  /// Requires: scratch reserved; matching shapes.
  void run(Context& context) const {
    const int threads = context.threads();
    const Workspace::Frame frame(context.workspace());
    std::array<T*, 5> memory{};
    const auto sizes = scratch(threads);
    for (std::size_t i = 0; i < memory.size(); ++i) {
      memory[i] = context.workspace().template take<T>(sizes[i]);
    }
    if (plan_.in_advance) {
      parallel_for(panels_, threads, [&](index_t panel, int) {
        transform_weights<Algorithm>(filters_, use_, panel * k_width, 0, depths_,
                                     memory[0] + panel * depths_ * k_width, weight_stride_);
      });
    }
    const bool by_block = blocks_are_shared_out(threads);
    const auto at = [&](std::size_t i, int thread) {
      const index_t copies = is_per_thread(i, threads) ? threads : 1;
      return memory[i] + (copies > 1 ? thread * (sizes[i] / copies) : 0);
    };
    const auto block = [&](index_t index, int outer, int inner_threads) {
      const IndexRange range = partition(list_.count, blocks_, index);
      const TilePanels<T> tiles = {at(1, outer), input_stride_, range.size(), simd::k_chunk};
      const index_t parts =
          inner_threads > 1 ? std::min<index_t>(range.size(), 4 * inner_threads) : 1;
      parallel_for(parts, inner_threads, [&](index_t part, int inner) {
        const IndexRange some = partition(range.size(), parts, part);
        transform_tiles(range.first, {range.first + some.first, range.first + some.last}, tiles,
                        at(3, inner_threads > 1 ? inner : outer));
      });
      parallel_for(panels_, inner_threads, [&](index_t panel, int inner) {
        const int thread = inner_threads > 1 ? inner : outer;
        T* products = at(2, thread);
        multiply(tiles, panel, at(0, plan_.in_advance ? 0 : thread), products);
        write_tiles(range, panel, products, at(4, thread));
      });
    };
    if (by_block) {
      parallel_for(blocks_, threads, [&](index_t index, int thread) { block(index, thread, 1); });
    } else {
      for (index_t index = 0; index < blocks_; ++index) block(index, 0, threads);
    }
  }

 private:
  /// Whether threads take blocks of their own; else they share the work on each block.
  [[nodiscard]] bool blocks_are_shared_out(int threads) const noexcept {
    return threads > 1 && plan_.in_advance && blocks_ >= 4 * threads;
  }
  [[nodiscard]] bool is_per_thread(std::size_t i, int threads) const noexcept {
    if (i == 0) return !plan_.in_advance;
    if (i == 1) return blocks_are_shared_out(threads);
    return true;
  }

  /// Elements of: transformed weights, transformed tiles, products, rows of x, rows of y.
  [[nodiscard]] std::array<index_t, 5> scratch(int threads) const {
    std::array<index_t, 5> sizes = {checked_product("transformed weights", k_plane, weight_stride_),
                                    checked_product("transformed tiles", k_plane, input_stride_),
                                    checked_product("products of tiles", k_plane, product_stride_),
                                    x_.gathered_size(Algorithm::inputs, simd::padded(depths_)),
                                    y_.gathered_size(Algorithm::outputs, k_width)};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (is_per_thread(i, threads)) sizes[i] = checked_product("scratch", sizes[i], threads);
    }
    return sizes;
  }

  void transform_tiles(index_t first_of_block, const IndexRange& range, const TilePanels<T>& tiles,
                       T* rows) const noexcept {
    for_each_tile_row(list_, grid_, range.first, range.last,
                      [&](index_t first, index_t last, const TilePlace& place) {
                        const PixelRect rect = read_rect(grid_, place, grid_.place(list_[last - 1]),
                                                         Algorithm::inputs);
                        const PixelWindow<const T> window =
                            read_pixels<T>(x_, place.image, rect, rows);
                        transform_input<Algorithm, T>(window, grid_, list_, first, last, place,
                                                      depths_, tiles, first - first_of_block);
                      });
  }

  void multiply(const TilePanels<T>& tiles, index_t panel, T* weights, T* products) const noexcept {
    for (index_t first = 0; first < depths_; first += k_depth_block) {
      const index_t count = std::min(k_depth_block, depths_ - first);
      const T* right = weights + (panel * depths_ + first) * k_width;
      if (!plan_.in_advance) {
        transform_weights<Algorithm>(filters_, use_, panel * k_width, first, count, weights,
                                     weight_stride_);
        right = weights;
      }
      const simd::Sums sums = first == 0 ? simd::Sums::start : simd::Sums::continue_;
      for (index_t frequency = 0; frequency < k_plane; ++frequency) {
        simd::multiply_chunk_rows(tiles.at(frequency, first, 0), tiles.tiles * simd::k_chunk,
                                  tiles.tiles, right + frequency * weight_stride_, count,
                                  products + frequency * product_stride_, k_width, sums);
      }
    }
  }

  void write_tiles(const IndexRange& range, index_t panel, const T* products,
                   T* rows) const noexcept {
    const index_t first_output = panel * k_width;
    const index_t count = std::min(k_width, outputs_ - first_output);
    Finish<T> finish = finish_;
    if (finish.bias != nullptr) finish.bias += first_output;
    for_each_tile_row(list_, grid_, range.first, range.last,
                      [&](index_t first, index_t last, const TilePlace& place) {
                        const PixelRect rect =
                            written_rect(grid_, place, grid_.place(list_[last - 1]));
                        PixelWindow<T> window = {rows, rect.first_y, rect.first_x,
                                                 rect.width() * k_width, k_width};
                        if (y_.channels_last()) {
                          window = y_.in_place(place.image);
                          window.data += first_output;
                        }
                        for (index_t position = first; position < last; ++position) {
                          transform_output<Algorithm, T>(
                              products + (position - range.first) * k_width, product_stride_, grid_,
                              grid_.place(list_[position]), count, finish, window);
                        }
                        if (!y_.channels_last())
                          scatter(place.image, rect, first_output, count, rows);
                      });
    if (finish.stream) simd::finish_streaming();
  }

  /// Writes the pixels of a rectangle, [pixel][panel width], to the planes of their channels.
  void scatter(index_t image, const PixelRect& rect, index_t first_output, index_t count,
               const T* rows) const noexcept {
    const index_t plane = grid_.out_height * grid_.out_width;
    for (index_t y = rect.first_y; y < rect.last_y; ++y) {
      simd::transpose(rows + (y - rect.first_y) * rect.width() * k_width, k_width, rect.width(),
                      count, y_.plane(image, first_output) + y * grid_.out_width + rect.first_x,
                      plane);
    }
  }

  TileGrid grid_;
  TileList list_;
  GroupImages<const T> x_;
  Filters<const T> filters_;
  WeightUse use_;
  Finish<T> finish_;
  GroupImages<T> y_;
  TileForwardPlan plan_;
  index_t depths_;
  index_t outputs_;
  index_t blocks_ = 0;
  index_t panels_ = 0;
  index_t input_stride_ = 0;
  index_t product_stride_ = 0;
  index_t weight_stride_ = 0;
};

}  // namespace exact
ADR_NAMESPACE_END
