// The weight gradient over tiles: the products of transformed inputs and transformed output
// gradients, summed over the tiles and transformed back.
//
// Sums run over a block of tiles, then over the blocks, which rounds less than one long sum. Where
// sums are small, blocks are added up in a few parts, which threads work on apart: transformed
// tiles stay in the caches of the core that needs them. Blocks and parts follow from the shape
// alone, so the bits do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/streamed_results.hpp"
#include "adr/exact/tile_forward.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/exact/tile_transforms.hpp"
#include "adr/exact/tile_weights.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/micro_kernel.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// One weight gradient of one group: d_w = sum over tiles of G^T ((B^T x B) * (A d_y A^T)) G.
template <class Algorithm, class T>
class TileWeightGradient {
  static constexpr index_t k_width = simd::KernelShape<simd::Batch<T>>::width;
  static constexpr index_t k_plane = Algorithm::products * Algorithm::products;
  /// Filters whose sums lie together.
  static constexpr index_t k_rows = simd::k_chunk;
  /// Sums of the filters that are worked on at once, and transformed tiles.
  static constexpr index_t k_most_sum_bytes = index_t{10} << 20;
  static constexpr index_t k_wanted_sum_bytes = index_t{4} << 20;
  static constexpr index_t k_most_tile_bytes = index_t{5} << 20;
  static constexpr index_t k_most_single_block = 128;
  /// Parts of small sums, what small means, and the tiles that each part transforms at once.
  static constexpr index_t k_sum_parts = 4;
  static constexpr index_t k_small_sum_bytes = index_t{5} << 18;
  static constexpr index_t k_part_tile_bytes = index_t{detail::k_large_own_caches ? 1 : 2} << 20;

 public:
  TileWeightGradient(const TileGrid& grid, const GroupImages<const T>& x,
                     const GroupImages<const T>& d_y, const Filters<T>& d_filters)
      : grid_(grid),
        x_(x),
        d_y_(d_y),
        d_filters_(d_filters),
        tiles_(x.images.batch * grid.per_image()),
        list_{nullptr, tiles_} {
    constexpr auto k_bytes = static_cast<index_t>(sizeof(T));
    const index_t channels = round_up(d_filters.channels, k_width);
    const index_t filters = round_up(d_filters.count(), k_rows);
    panels_ = channels / k_width;
    const index_t filter_bytes = k_plane * channels * k_bytes;
    const auto strip = [&](index_t bytes) {
      const index_t parts = blocks_of(filters * filter_bytes, bytes);
      return round_up(blocks_of(filters, parts), k_rows);
    };
    // With one block its tiles are transformed once, however many strips of filters there are;
    // with several a strip should hold all filters.
    single_block_ = tiles_ <= k_most_single_block &&
                    k_plane * channels * k_bytes * tiles_ <= 2 * k_most_tile_bytes;
    strip_ = strip(single_block_ ? k_wanted_sum_bytes : k_most_sum_bytes);
    const auto most_tiles = [&](index_t bytes) {
      return std::clamp<index_t>(bytes / (k_plane * k_bytes * (channels + strip_)), 16, 128);
    };
    const index_t part_blocks = blocks_of(tiles_, most_tiles(k_part_tile_bytes));
    const bool in_parts = !single_block_ && filters * filter_bytes <= k_small_sum_bytes &&
                          part_blocks >= 2 * k_sum_parts;
    sum_parts_ = in_parts ? k_sum_parts : 1;
    blocks_ = single_block_ ? 1
              : in_parts    ? round_up(part_blocks, k_sum_parts)
                            : blocks_of(tiles_, most_tiles(k_most_tile_bytes));
    block_ = blocks_of(tiles_, std::max<index_t>(blocks_, 1));
    input_stride_ = frequency_stride(channels * TilePanels<T>::places(block_));
    gradient_stride_ = frequency_stride(strip_ * TilePanels<T>::places(block_));
    sum_stride_ = frequency_stride(strip_ * channels);
  }

  /// Bytes of scratch for that many threads.
  [[nodiscard]] std::size_t workspace_bytes(int threads) const {
    return scratch_bytes<Scratch>(*this, threads);
  }

  /// Requires: scratch reserved; matching shapes; at least one tile.
  void run(Context& context) const {
    const int threads = context.threads();
    const Workspace::Frame frame(context.workspace());
    const Scratch scratch(context.workspace(), *this, threads);
    const bool stream = streams_results();
    const int apart = threads_apart(threads);
    for (index_t first = 0; first < d_filters_.count(); first += strip_) {
      const IndexRange filters = {first, std::min(first + strip_, d_filters_.count())};
      parallel_for(sum_parts_, apart, [&](index_t part, int thread) {
        add_up(part, filters, scratch, thread, apart > 1 ? 1 : threads);
      });
      const index_t groups = blocks_of(filters.size(), k_rows);
      parallel_for(groups, threads, [&](index_t group, int) {
        join_parts(group, scratch);
        const index_t count = std::min(k_rows, filters.size() - group * k_rows);
        for (index_t panel = 0; panel < panels_; ++panel) {
          transform_weight_gradient<Algorithm, T>(piece(scratch.sums, 0, group, panel), sum_stride_,
                                                  first + group * k_rows, count, panel * k_width,
                                                  d_filters_, stream);
        }
        if (stream) simd::finish_streaming();
      });
    }
  }

 private:
  struct Scratch {
    index_t input_size;     ///< of a thread that works apart
    index_t gradient_size;  ///< of a thread that works apart
    index_t sum_size;       ///< of a part
    index_t row_size;       ///< of a thread
    T* inputs;              ///< transformed tiles of x
    T* gradients;           ///< transformed tiles of d_y
    T* sums;
    T* rows;  ///< of x or d_y

    template <class Memory>
    Scratch(Memory& memory, const TileWeightGradient& pass, int threads)
        : input_size(checked_product("transformed tiles", k_plane, pass.input_stride_)),
          gradient_size(checked_product("transformed tiles", k_plane, pass.gradient_stride_)),
          sum_size(checked_product("sums of tiles", k_plane, pass.sum_stride_)),
          row_size(std::max(
              pass.x_.gathered_size(Algorithm::inputs, simd::padded(pass.d_filters_.channels)),
              pass.d_y_.gathered_size(Algorithm::outputs, simd::padded(pass.strip_)))),
          inputs(memory.template take<T>(
              checked_product("scratch", input_size, pass.threads_apart(threads)))),
          gradients(memory.template take<T>(
              checked_product("scratch", gradient_size, pass.threads_apart(threads)))),
          sums(memory.template take<T>(checked_product("scratch", sum_size, pass.sum_parts_))),
          rows(memory.template take<T>(checked_product("scratch", row_size, threads))) {}
  };

  /// Threads that work on a part each; 1 where all of them share one.
  [[nodiscard]] int threads_apart(int threads) const noexcept {
    return threads <= sum_parts_ ? threads : 1;
  }

  [[nodiscard]] bool streams_results() const noexcept {
    const MatrixView<T>& w = d_filters_.matrix;
    return d_filters_.layout == Layout::nhwc && d_filters_.channels % k_width == 0 &&
           is_streamed<T>(w.data, w.row_stride, d_filters_.channels, w.rows * w.cols);
  }

  /// The sums of k_rows filters with one panel of channels.
  [[nodiscard]] T* piece(T* sums, index_t frequency, index_t group, index_t panel) const noexcept {
    return sums + frequency * sum_stride_ + (group * panels_ + panel) * k_rows * k_width;
  }

  /// Adds up the blocks of one part; threads: of those that share it, else `thread` works alone.
  void add_up(index_t part, const IndexRange& filters, const Scratch& scratch, int thread,
              int threads) const {
    const IndexRange blocks = partition(blocks_, sum_parts_, part);
    for (index_t block = blocks.first; block < blocks.last; ++block) {
      const IndexRange range = partition(tiles_, blocks_, block);
      const TilePanels<T> x = {scratch.inputs + thread * scratch.input_size, input_stride_,
                               range.size(), k_width};
      const TilePanels<T> y = {scratch.gradients + thread * scratch.gradient_size, gradient_stride_,
                               range.size(), k_rows};
      const bool reads_input = !single_block_ || filters.first == 0;
      const index_t pieces = std::min<index_t>(range.size(), threads > 1 ? 4 * threads : 1);
      parallel_for(pieces, threads, [&](index_t index, int inner) {
        const IndexRange some = partition(range.size(), pieces, index);
        transform_tiles({range.first + some.first, range.first + some.last}, range.first, filters,
                        reads_input, x, y, scratch.rows + (thread + inner) * scratch.row_size);
      });
      const simd::Sums mode = block == blocks.first ? simd::Sums::start : simd::Sums::add;
      parallel_for(k_plane, threads, [&](index_t frequency, int) {
        multiply(frequency, filters.size(), mode, x, y, scratch.sums + part * scratch.sum_size);
      });
    }
  }

  /// Adds the sums of the other parts to those of the first one, for k_rows filters.
  void join_parts(index_t group, const Scratch& scratch) const noexcept {
    for (index_t part = 1; part < sum_parts_; ++part) {
      for (index_t frequency = 0; frequency < k_plane; ++frequency) {
        T* first = piece(scratch.sums, frequency, group, 0);
        simd::add(first + part * scratch.sum_size, first, panels_ * k_rows * k_width);
      }
    }
  }

  void transform_tiles(const IndexRange& range, index_t first_of_block, const IndexRange& filters,
                       bool reads_input, const TilePanels<T>& x, const TilePanels<T>& y,
                       T* rows) const noexcept {
    GroupImages<const T> strip = d_y_;
    strip.first_channel += filters.first;
    strip.channels = filters.size();
    for_each_tile_row(
        list_, grid_, range.first, range.last,
        [&](index_t first, index_t last, const TilePlace& place) {
          const TilePlace last_place = grid_.place(list_[last - 1]);
          if (reads_input) {
            const PixelRect rect = read_rect(grid_, place, last_place, Algorithm::inputs);
            const auto window = read_pixels<T>(x_, place.image, rect, rows);
            transform_input<Algorithm, T>(window, grid_, list_, first, last, place,
                                          d_filters_.channels, x, first - first_of_block);
          }
          const PixelRect rect = written_rect(grid_, place, last_place);
          const auto window = read_pixels<T>(strip, place.image, rect, rows);
          transform_output_gradient<Algorithm, T>(window, grid_, list_, first, last, place,
                                                  filters.size(), y, first - first_of_block);
        });
  }

  /// One frequency: what it reads fits the second-level cache.
  void multiply(index_t frequency, index_t filters, simd::Sums mode, const TilePanels<T>& x,
                const TilePanels<T>& y, T* sums) const noexcept {
    for (index_t group = 0; group * k_rows < filters; ++group) {
      const index_t rows = std::min(k_rows, filters - group * k_rows);
      for (index_t panel = 0; panel < panels_; ++panel) {
        simd::multiply_chunk_columns(y.at(frequency, group * k_rows, 0), rows,
                                     x.at(frequency, panel * k_width, 0), x.tiles,
                                     piece(sums, frequency, group, panel), k_width, mode);
      }
    }
  }

  TileGrid grid_;
  GroupImages<const T> x_;
  GroupImages<const T> d_y_;
  Filters<T> d_filters_;
  index_t tiles_;
  TileList list_;
  index_t panels_ = 0;
  bool single_block_ = false;
  index_t strip_ = 0;
  index_t sum_parts_ = 1;
  index_t blocks_ = 0;
  index_t block_ = 0;
  index_t input_stride_ = 0;
  index_t gradient_stride_ = 0;
  index_t sum_stride_ = 0;
};

}  // namespace exact
ADR_NAMESPACE_END
