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
        slot_count_(detail::table_slots(count_)),
        threads_(context.threads()),
        frame_(context.workspace()) {
    Workspace& workspace = context.workspace();
    first_ = workspace.template take<index_t>(count_);
    distinct_ = workspace.template take<index_t>(count_);
    hashes_ = workspace.template take<std::uint64_t>(count_);
    like_left_ = workspace.template take<unsigned char>(count_);
    slots_ = workspace.template take<index_t>(slot_count_);
    keys_ = workspace.template take<std::uint32_t>(2 * key_places(tiles));
    row_hashes_ = workspace.template take<std::uint64_t>(threads_ * row_elements(tiles));
    row_starts_ = workspace.template take<index_t>(threads_ * row_elements(tiles));
    pixel_hashes_ = workspace.template take<std::uint64_t>(threads_ * pixels_at_once(tiles));
    differs_ = workspace.template take<unsigned char>(threads_ * pixels_at_once(tiles));
    find();
  }

  [[nodiscard]] static std::size_t workspace_bytes(const TileInputs& tiles, int threads) {
    const index_t count = tiles.tiles();
    return WorkspaceSize()
        .add<index_t>(count)
        .add<index_t>(count)
        .add<std::uint64_t>(count)
        .add<unsigned char>(count)
        .add<index_t>(detail::table_slots(count))
        .add<std::uint32_t>(2 * key_places(tiles))
        .add<std::uint64_t>(threads * row_elements(tiles))
        .add<index_t>(threads * row_elements(tiles))
        .add<std::uint64_t>(threads * pixels_at_once(tiles))
        .add<unsigned char>(threads * pixels_at_once(tiles))
        .bytes();
  }

  [[nodiscard]] const index_t* first() const noexcept { return first_; }
  [[nodiscard]] TileList distinct() const noexcept { return {distinct_, distinct_count_}; }
  [[nodiscard]] index_t count() const noexcept { return count_; }

 private:
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
    simd::fill_hash_keys(keys_, key_places(tiles_));
    const index_t parts = (tiles_.grid.rows + k_task_rows - 1) / k_task_rows;
    parallel_for(tiles_.x.images.batch * parts, threads_, [&](index_t task, int thread) {
      hash_tiles(task / parts, partition(tiles_.grid.rows, parts, task % parts), thread);
    });
    detail::find_first(hashes_, count_, slots_, slot_count_, first_,
                       [&](index_t tile) { return like_left_[tile] != 0; });
    constexpr index_t k_compared_at_once = 64;
    const index_t pieces = (count_ + k_compared_at_once - 1) / k_compared_at_once;
    parallel_for(pieces, threads_, [&](index_t piece, int) {
      const IndexRange range = partition(count_, pieces, piece);
      for (index_t tile = range.first; tile < range.last; ++tile) {
        if (like_left_[tile] == 0 && first_[tile] != tile &&
            !same_tiles(tiles_, tile, first_[tile])) {
          first_[tile] = tile;
        }
      }
    });
    distinct_count_ = 0;
    for (index_t tile = 0; tile < count_; ++tile) {
      if (like_left_[tile] != 0) first_[tile] = first_[tile - 1];
      if (first_[tile] == tile) distinct_[distinct_count_++] = tile;
    }
  }

  /// Hashes the windows of some rows of tiles of an image, and finds those that are like the one at
  /// their left because every row of theirs is one run of the same pixel.
  void hash_tiles(index_t image, const IndexRange& rows, int thread) noexcept {
    const TileGrid& grid = tiles_.grid;
    const index_t inputs = tiles_.inputs;
    const index_t elements = row_elements(tiles_);
    std::uint64_t* padded = row_hashes_ + thread * elements;
    index_t* starts = row_starts_ + thread * elements;
    std::uint64_t* sums = padded + tiles_.padded_columns();
    index_t* runs = starts + tiles_.padded_columns();
    std::uint64_t* hashes = pixel_hashes_ + thread * pixels_at_once(tiles_);
    unsigned char* differs = differs_ + thread * pixels_at_once(tiles_);
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
          hash_pixels(tiles_, image, kept * grid.in_width, (hashed - kept) * grid.in_width, keys_,
                      key_places(tiles_), hashes, differs);
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
        hashes_[first_tile + column] = FoldHash()(simd::mixed_bits(sum));
        like_left_[first_tile + column] = like_left ? 1 : 0;
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
  index_t slot_count_;
  int threads_;
  Workspace::Frame frame_;
  std::array<std::uint64_t, static_cast<std::size_t>(k_most_inputs)> place_keys_;
  index_t* first_ = nullptr;
  index_t* distinct_ = nullptr;
  std::uint64_t* hashes_ = nullptr;
  unsigned char* like_left_ = nullptr;
  index_t* slots_ = nullptr;
  std::uint32_t* keys_ = nullptr;
  std::uint64_t* row_hashes_ = nullptr;
  index_t* row_starts_ = nullptr;
  std::uint64_t* pixel_hashes_ = nullptr;
  unsigned char* differs_ = nullptr;
  index_t distinct_count_ = 0;
};

}  // namespace exact
ADR_NAMESPACE_END
