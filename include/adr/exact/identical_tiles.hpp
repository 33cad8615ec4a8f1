// Which tiles of a batch have the same inputs: hashes propose, comparisons decide, so what is
// computed once and copied is what would have been computed.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/first_equal.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_inputs.hpp"
#include "adr/simd/word_sums.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// What becomes of the hash of a tile before it is looked up: nothing. Tests have others, under
/// which hashes collide.
struct WholeHash {
  std::uint64_t operator()(std::uint64_t hash) const noexcept { return hash; }
};

/// Finds tiles with the same inputs.
///
/// Result: first()[t], for every tile t of the batch, is a tile at or before it with the same
/// inputs bit for bit (0.0 and -0.0 differ, a NaN is equal to itself; zero beyond the image) and as
/// many outputs in the map; distinct() lists the tiles with first()[t] == t, ascending. first()[t]
/// is the very first such tile, unless hashes of different tiles collide (a chance of about
/// tiles^2 / 2^61): a tile that is not what its hash promised counts as distinct. Cost: one read of
/// the inputs, and one more of the windows that repeat, except beside their like. Memory:
/// workspace_bytes, taken from the context when it is made and held while it lives: per tile 58
/// bytes at most, per thread what one row of tiles needs. Thread-safety: reentrant with contexts of
/// their own; results do not depend on the number of threads. Source: this library.
template <class FoldHash = WholeHash>
class IdenticalTiles {
 public:
  /// Requires: workspace_bytes reserved.
  IdenticalTiles(const TileInputs& tiles, Context& context)
      : tiles_(tiles),
        count_(tiles.tiles()),
        threads_(context.threads()),
        frame_(context.workspace()),
        scratch_(context.workspace(), tiles, threads_) {
    find();
  }

  [[nodiscard]] static std::size_t workspace_bytes(const TileInputs& tiles, int threads) {
    return scratch_bytes<Scratch>(tiles, threads);
  }

  [[nodiscard]] const index_t* first() const noexcept { return scratch_.first; }
  [[nodiscard]] TileList distinct() const noexcept { return {scratch_.distinct, distinct_count_}; }
  [[nodiscard]] index_t count() const noexcept { return count_; }

 private:
  struct Scratch {
    index_t slot_count;
    index_t* first;
    index_t* distinct;
    std::uint64_t* hashes;
    unsigned char* like_left;
    index_t* slots;
    std::uint32_t* keys;
    std::uint64_t* row_hashes;
    index_t* row_starts;
    std::uint64_t* pixel_hashes;
    unsigned char* differs;

    template <class Memory>
    Scratch(Memory& memory, const TileInputs& tiles, int threads)
        : slot_count(detail::table_slots(tiles.tiles())),
          first(memory.template take<index_t>(tiles.tiles())),
          distinct(memory.template take<index_t>(tiles.tiles())),
          hashes(memory.template take<std::uint64_t>(tiles.tiles())),
          like_left(memory.template take<unsigned char>(tiles.tiles())),
          slots(memory.template take<index_t>(slot_count)),
          keys(memory.template take<std::uint32_t>(2 * key_places(tiles))),
          row_hashes(memory.template take<std::uint64_t>(threads * row_elements(tiles))),
          row_starts(memory.template take<index_t>(threads * row_elements(tiles))),
          pixel_hashes(memory.template take<std::uint64_t>(threads * pixels_at_once(tiles))),
          differs(memory.template take<unsigned char>(threads * pixels_at_once(tiles))) {}
  };

  /// Rows of tiles that one task hashes: the rows of pixels that it shares with its neighbour are
  /// hashed twice.
  static constexpr index_t k_task_rows = 16;
  static constexpr index_t k_most_inputs = 8;
  /// An odd factor for the pixels, or the rows, at one place of their windows.
  [[nodiscard]] std::uint64_t place_key(index_t place) const noexcept {
    return place_keys_[static_cast<std::size_t>(place)];
  }

  static index_t key_places(const TileInputs& tiles) noexcept {
    return (tiles.x.channels + simd::k_hash_words - 1) / simd::k_hash_words * simd::k_hash_words;
  }
  /// Of a thread: the pixels of one row, and the tiles of `inputs` rows.
  static index_t row_elements(const TileInputs& tiles) noexcept {
    return tiles.padded_columns() + tiles.inputs * tiles.grid.columns;
  }

  /// Rows of pixels that are hashed together, in the order of memory.
  static index_t pixels_at_once(const TileInputs& tiles) noexcept {
    return tiles.grid.step * tiles.grid.in_width;
  }

  void find() noexcept {
    ADR_ASSERT(tiles_.inputs <= k_most_inputs, "a window is larger than that of any algorithm");
    for (std::size_t i = 0; i < place_keys_.size(); ++i) place_keys_[i] = simd::mixed_bits(~i) | 1U;
    simd::fill_hash_keys(scratch_.keys, key_places(tiles_));
    const index_t parts = (tiles_.grid.rows + k_task_rows - 1) / k_task_rows;
    parallel_for(tiles_.x.images.batch * parts, threads_, [&](index_t task, int thread) {
      hash_tiles(task / parts, partition(tiles_.grid.rows, parts, task % parts), thread);
    });
    detail::find_first(scratch_.hashes, count_, scratch_.slots, scratch_.slot_count, scratch_.first,
                       [&](index_t tile) { return scratch_.like_left[tile] != 0; });
    constexpr index_t k_compared_at_once = 64;
    const index_t pieces = blocks_of(count_, k_compared_at_once);
    parallel_for(pieces, threads_, [&](index_t piece, int) {
      const IndexRange range = partition(count_, pieces, piece);
      for (index_t tile = range.first; tile < range.last; ++tile) {
        if (scratch_.like_left[tile] == 0 && scratch_.first[tile] != tile &&
            !same_tiles(tiles_, tile, scratch_.first[tile])) {
          scratch_.first[tile] = tile;
        }
      }
    });
    distinct_count_ = 0;
    for (index_t tile = 0; tile < count_; ++tile) {
      if (scratch_.like_left[tile] != 0) scratch_.first[tile] = scratch_.first[tile - 1];
      if (scratch_.first[tile] == tile) scratch_.distinct[distinct_count_++] = tile;
    }
  }

  /// Hashes the windows of some rows of tiles of an image, and finds those that are like the one at
  /// their left because every row of theirs is one run of the same pixel.
  void hash_tiles(index_t image, const IndexRange& rows, int thread) noexcept {
    const TileGrid& grid = tiles_.grid;
    const index_t inputs = tiles_.inputs;
    const index_t elements = row_elements(tiles_);
    std::uint64_t* padded = scratch_.row_hashes + thread * elements;
    index_t* starts = scratch_.row_starts + thread * elements;
    std::uint64_t* sums = padded + tiles_.padded_columns();
    index_t* runs = starts + tiles_.padded_columns();
    std::uint64_t* hashes = scratch_.pixel_hashes + thread * pixels_at_once(tiles_);
    unsigned char* differs = scratch_.differs + thread * pixels_at_once(tiles_);
    index_t hashed = 0;  // rows of pixels before this one are hashed, padding aside
    index_t kept = 0;    // from this one on they still are
    index_t next_y = rows.first * grid.step - grid.before_y;
    for (index_t row = rows.first; row < rows.last; ++row) {
      const index_t end_y = row * grid.step - grid.before_y + inputs;
      for (; next_y < end_y; ++next_y) {
        const bool inside = next_y >= 0 && next_y < grid.in_height;
        if (inside && next_y >= hashed) {
          kept = next_y;
          hashed = std::min({next_y + grid.step, end_y, grid.in_height});
          hash_pixels(tiles_, image, kept * grid.in_width, (hashed - kept) * grid.in_width,
                      scratch_.keys, key_places(tiles_), hashes, differs);
        }
        const index_t at = (next_y - kept) * grid.in_width;
        pad_pixel_row(tiles_, image, next_y, inside ? hashes + at : nullptr,
                      inside ? differs + at : nullptr, padded, starts);
        const index_t slot = (next_y + grid.before_y) % inputs * grid.columns;
        sum_row(padded, starts, sums + slot, runs + slot);
      }
      const index_t height = std::min(grid.step, grid.out_height - row * grid.step);
      const index_t first_tile = image * grid.per_image() + row * grid.columns;
      for (index_t column = 0; column < grid.columns; ++column) {
        const index_t width = std::min(grid.step, grid.out_width - column * grid.step);
        auto sum = static_cast<std::uint64_t>(height * grid.step + width);
        bool like_left = column > 0 && width == grid.step;
        for (index_t i = 0; i < inputs; ++i) {
          const index_t at = (row * grid.step + i) % inputs * grid.columns + column;
          sum += (sums[at] ^ sums[at] >> 32) * place_key(i);
          like_left = like_left && runs[at] != 0;
        }
        scratch_.hashes[first_tile + column] = FoldHash()(simd::mixed_bits(sum));
        scratch_.like_left[first_tile + column] = like_left ? 1 : 0;
      }
    }
  }

  /// One row of pixels of every tile of a row: its hash, and whether it is one run that began in
  /// the tile at the left.
  void sum_row(const std::uint64_t* hashes, const index_t* starts, std::uint64_t* sums,
               index_t* runs) const noexcept {
    const index_t inputs = tiles_.inputs;
    for (index_t column = 0; column < tiles_.grid.columns; ++column) {
      const index_t first = column * tiles_.grid.step;
      runs[column] = column > 0 && starts[first + inputs - 1] <= first - tiles_.grid.step ? 1 : 0;
      if (runs[column] != 0) {
        sums[column] = sums[column - 1];
        continue;
      }
      // A polynomial in one key would be a chain of multiplications, each waiting for the last.
      std::uint64_t sum = 0;
      for (index_t j = 0; j < inputs; ++j) sum += hashes[first + j] * place_key(j);
      sums[column] = sum;
    }
  }

  TileInputs tiles_;
  index_t count_;
  int threads_;
  Workspace::Frame frame_;
  Scratch scratch_;
  std::array<std::uint64_t, static_cast<std::size_t>(k_most_inputs)> place_keys_;
  index_t distinct_count_ = 0;
};

}  // namespace exact
ADR_NAMESPACE_END
