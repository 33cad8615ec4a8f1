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
#include "adr/exact/tile_inputs.hpp"
#include "adr/exact/tile_transforms.hpp"
#include "adr/exact/tile_weights.hpp"
#include "adr/simd/micro_kernel.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

namespace detail {

/// Whether cores have large second-level caches of their own and a slow one that they share, as
/// server processors with AVX-512 do; others have it the other way round.
#if defined(__AVX512F__) && !defined(ADR_NO_SIMD)
inline constexpr bool k_large_own_caches = true;
#else
inline constexpr bool k_large_own_caches = false;
#endif

/// Transformed tiles that wait for weights; more would outgrow the last cache or what translates
/// addresses.
inline constexpr index_t k_most_tile_bytes = index_t{13} << 19;
/// Transformed tiles that stay near their core. Of few channels so many tiles are that small that
/// the weights, which every block transforms again, cost little.
inline constexpr index_t k_near_tile_bytes = index_t{3} << 18;
inline constexpr index_t k_least_near_tiles = 48;

}  // namespace detail

/// One forward pass or input gradient of one group.
///
/// Weights are transformed one panel at a time where they are used, which costs less memory traffic
/// than to read them transformed, and again for every block of tiles; or once for many passes
/// (keep_weights), for weights that stay.
template <class Algorithm, class T>
class TileForward {
  using Panels = TilePanels<T>;
  static constexpr index_t k_width = simd::KernelShape<simd::Batch<T>>::width;
  static constexpr index_t k_plane = Algorithm::products * Algorithm::products;
  static constexpr auto k_element = static_cast<index_t>(sizeof(T));
  /// Depths of a panel that stay in the first-level cache beside the rows that they meet.
  static constexpr index_t k_most_depths = (index_t{16} << 10) / (k_width * k_element);
  static constexpr index_t k_most_block = 192;

 public:
  TileForward(const TileGrid& grid, const TileList& list, const GroupImages<const T>& x,
              const Filters<const T>& filters, WeightUse use, const Finish<T>& finish,
              const GroupImages<T>& y, int threads)
      : grid_(grid),
        list_(list),
        x_(x),
        filters_(filters),
        use_(use),
        finish_(finish),
        y_(y),
        threads_(threads),
        depths_(depths_of(filters, use)),
        outputs_(outputs_of(filters, use)),
        panels_(blocks_of(outputs_, k_width)),
        depth_parts_(blocks_of(depths_, k_most_depths)),
        weight_stride_(frequency_stride(std::min(depths_, k_most_depths) * k_width)) {
    const index_t tiles = std::max<index_t>(list.count, 1);
    const index_t channels = round_up(depths_, simd::k_chunk);
    const index_t tile_bytes = k_plane * channels * k_element;
    const index_t near = detail::k_near_tile_bytes / tile_bytes;
    index_t most = std::clamp<index_t>(
        near >= detail::k_least_near_tiles ? near : detail::k_most_tile_bytes / tile_bytes, 16,
        k_most_block);
    shares_blocks_ = shares_blocks(tiles);
    if (shares_blocks_) most = std::min(most, blocks_of(tiles, threads));
    blocks_ = block_count(tiles, most);
    block_ = blocks_of(tiles, blocks_);
    input_stride_ = frequency_stride(channels * Panels::places(block_));
    product_stride_ = frequency_stride(k_width * block_);
  }

  /// The same pass over fewer tiles, an ascending list, in the scratch of this one.
  [[nodiscard]] TileForward over(const TileList& list) const noexcept {
    TileForward pass = *this;
    const index_t tiles = std::max<index_t>(list.count, 1);
    pass.list_ = list;
    pass.shares_blocks_ = shares_blocks_ && shares_blocks(tiles);
    pass.blocks_ = pass.block_count(tiles, block_);
    return pass;
  }
  [[nodiscard]] TileInputs inputs() const noexcept { return {grid_, x_, Algorithm::inputs}; }
  [[nodiscard]] const GroupImages<T>& results() const noexcept { return y_; }
  [[nodiscard]] bool streams() const noexcept { return finish_.stream; }
  [[nodiscard]] double multiply_adds() const noexcept {
    return static_cast<double>(list_.count) * static_cast<double>(k_plane) *
           static_cast<double>(depths_) * static_cast<double>(outputs_);
  }

  /// Bytes of scratch for a pass; kept: with weights that were transformed in advance.
  [[nodiscard]] std::size_t workspace_bytes(bool kept) const {
    return scratch_bytes<Scratch>(*this, kept);
  }

  /// Elements that keep_weights fills.
  [[nodiscard]] index_t kept_size() const {
    return checked_product("transformed weights", panels_, depth_parts_, k_plane, weight_stride_);
  }
  /// Transforms all weights for passes to come.
  void keep_weights(T* kept) const {
    parallel_for(panels_ * depth_parts_, threads_, [&](index_t slot, int) {
      transform_slot(slot / depth_parts_, slot % depth_parts_, slot_of(kept, slot));
    });
  }

  /// Requires: scratch reserved; matching shapes. kept: what keep_weights has filled for these
  /// weights, or null.
  void run(Context& context, const T* kept = nullptr) const {
    const Workspace::Frame frame(context.workspace());
    const Scratch scratch(context.workspace(), *this, kept != nullptr);
    const auto of_thread = [&](std::size_t i, int thread) {
      return scratch.arrays[i] + thread * scratch.sizes[i];
    };
    const auto block = [&](index_t index, int outer, int inner_threads) {
      const IndexRange range = partition(list_.count, blocks_, index);
      if (range.size() == 0) return;
      const Panels tiles = {of_thread(0, shares_blocks_ ? outer : 0), input_stride_, range.size(),
                            simd::k_chunk};
      const index_t parts = inner_threads > 1 ? std::min<index_t>(range.size(), 4 * inner_threads)
                                              : std::min<index_t>(range.size(), 1);
      parallel_for(parts, inner_threads, [&](index_t part, int inner) {
        const IndexRange some = partition(range.size(), parts, part);
        transform_tiles(range.first, {range.first + some.first, range.first + some.last}, tiles,
                        of_thread(3, outer + inner));
      });
      parallel_for(panels_, inner_threads, [&](index_t panel, int inner) {
        T* products = of_thread(1, outer + inner);
        multiply(tiles, panel, kept, of_thread(2, outer + inner), products);
        write_tiles(range, panel, products, of_thread(4, outer + inner));
      });
    };
    if (shares_blocks_) {
      parallel_for(blocks_, threads_, [&](index_t index, int thread) { block(index, thread, 1); });
    } else {
      for (index_t index = 0; index < blocks_; ++index) block(index, 0, threads_);
    }
  }

 private:
  /// Panels are shared out where there are enough of them, else blocks, whose tiles then never
  /// leave their core: that is worth transforming all weights in each thread where caches are slow
  /// to hand tiles on.
  [[nodiscard]] bool shares_blocks(index_t tiles) const noexcept {
    const bool keeps_tiles = detail::k_large_own_caches && tiles >= 64 * threads_;
    return threads_ > 1 && (keeps_tiles || (panels_ <= 2 * threads_ && tiles >= 16 * threads_));
  }
  [[nodiscard]] index_t block_count(index_t tiles, index_t most) const noexcept {
    const index_t blocks = blocks_of(tiles, most);
    return shares_blocks_ ? round_up(blocks, threads_) : blocks;
  }
  [[nodiscard]] int copies(std::size_t i) const noexcept {
    return i == 0 && !shares_blocks_ ? 1 : threads_;
  }
  /// Transformed tiles, products, weights of a panel, rows of x, rows of y.
  struct Scratch {
    std::array<index_t, 5> sizes;  ///< elements of a copy
    std::array<T*, 5> arrays;

    template <class Memory>
    Scratch(Memory& memory, const TileForward& pass, bool kept)
        : sizes{checked_product("transformed tiles", k_plane, pass.input_stride_),
                checked_product("products of tiles", k_plane, pass.product_stride_),
                kept ? 0 : checked_product("transformed weights", k_plane, pass.weight_stride_),
                pass.x_.gathered_size(Algorithm::inputs, simd::padded(pass.depths_)),
                pass.y_.gathered_size(Algorithm::outputs, k_width)} {
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        arrays[i] = memory.template take<T>(checked_product("scratch", sizes[i], pass.copies(i)));
      }
    }
  };

  template <class Element>
  [[nodiscard]] Element* slot_of(Element* kept, index_t slot) const noexcept {
    return kept + slot * k_plane * weight_stride_;
  }
  void transform_slot(index_t panel, index_t part, T* weights) const noexcept {
    const index_t first = part * k_most_depths;
    transform_weights<Algorithm>(filters_, use_, panel * k_width, first,
                                 std::min(k_most_depths, depths_ - first), weights, weight_stride_);
  }

  void transform_tiles(index_t first_of_block, const IndexRange& range, const Panels& tiles,
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

  void multiply(const Panels& tiles, index_t panel, const T* kept, T* scratch,
                T* products) const noexcept {
    for (index_t part = 0; part < depth_parts_; ++part) {
      const index_t first = part * k_most_depths;
      const T* weights = scratch;
      if (kept != nullptr) {
        weights = slot_of(kept, panel * depth_parts_ + part);
      } else {
        transform_slot(panel, part, scratch);
      }
      const simd::Sums sums = part == 0 ? simd::Sums::start : simd::Sums::continue_;
      for (index_t frequency = 0; frequency < k_plane; ++frequency) {
        simd::multiply_chunk_rows(
            tiles.at(frequency, first, 0), Panels::places(tiles.tiles) * simd::k_chunk, tiles.tiles,
            weights + frequency * weight_stride_, std::min(k_most_depths, depths_ - first),
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
    for_each_row_of_neighbours(
        list_, grid_, range.first, range.last,
        [&](index_t first, index_t last, const TilePlace& place) {
          const PixelRect rect = written_rect(grid_, place, grid_.place(list_[last - 1]));
          PixelWindow<T> window = {rows, rect.first_y, rect.first_x, rect.width() * k_width,
                                   k_width};
          if (y_.channels_last()) {
            window = y_.in_place(place.image);
            window.data += first_output;
          }
          for (index_t position = first; position < last; ++position) {
            transform_output<Algorithm, T>(products + (position - range.first) * k_width,
                                           product_stride_, grid_, grid_.place(list_[position]),
                                           count, finish, window);
          }
          if (!y_.channels_last()) scatter(place.image, rect, first_output, count, rows);
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
  int threads_;
  index_t depths_;
  index_t outputs_;
  index_t panels_;
  index_t depth_parts_;
  index_t weight_stride_;
  bool shares_blocks_ = false;
  index_t blocks_ = 0;
  index_t block_ = 0;
  index_t input_stride_ = 0;
  index_t product_stride_ = 0;
};

}  // namespace exact
ADR_NAMESPACE_END
