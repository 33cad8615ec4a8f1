// A forward pass over tiles that computes tiles of the same inputs once, where a glance at the
// batch says that this pays.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/identical_sample.hpp"
#include "adr/exact/identical_tiles.hpp"
#include "adr/exact/tile_forward.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// Whether equal inputs are looked for.
enum class Look {
  sampled,  ///< where a sample of the pass promises more than the look costs
  never,
  always,
};

namespace detail {

/// What a pass, a look and a copy cost, in nanoseconds of one thread of a usual core: estimates
/// from shapes, so that what is decided does not depend on the clock.
struct LookCosts {
  double pass = 0;
  double look = 0;
  double copies = 0;  ///< of all results

  /// The share of repeating tiles from which a look pays, with a margin for what the sample cannot
  /// know.
  [[nodiscard]] double break_even() const noexcept {
    constexpr double k_margin = 1.2;
    return pass > copies ? k_margin * look / (pass - copies) : 2.0;
  }

  template <class Pass>
  static LookCosts of(const Pass& pass) noexcept {
    constexpr double k_multiply_adds = 6.0 * simd::Batch<float>::size;
    constexpr double k_bytes = 12;       // that are read or written
    constexpr double k_near_bytes = 24;  // transforms, in the caches
    constexpr double k_tile = 40;
    const TileInputs tiles = pass.inputs();
    const auto size = [](index_t number) { return static_cast<double>(number); };
    const double x_bytes = 4 * size(tiles.x.images.batch * tiles.grid.in_height) *
                           size(tiles.grid.in_width * tiles.x.channels);
    const double y_bytes = 4 * size(tiles.x.images.batch * tiles.grid.out_height) *
                           size(tiles.grid.out_width * pass.results().channels);
    LookCosts costs;
    costs.pass = pass.multiply_adds() / k_multiply_adds +
                 2 * size(tiles.inputs * tiles.inputs) / size(tiles.grid.step * tiles.grid.step) *
                     (x_bytes + y_bytes) / k_near_bytes;
    costs.look = x_bytes / k_bytes + size(tiles.tiles()) * k_tile;
    costs.copies = y_bytes / k_bytes;
    return costs;
  }
};

/// Whether to look for equal tiles.
template <class Pass>
bool repeats_pay(const Pass& pass, int threads) noexcept {
  constexpr double k_sampled_part = 0.005;
  constexpr double k_line = 15;
  constexpr index_t k_fewest = 16;
  const TileInputs tiles = pass.inputs();
  const LookCosts costs = LookCosts::of(pass);
  const double worth = costs.break_even();
  const double affordable =
      k_sampled_part * costs.pass / (static_cast<double>(threads * sampled_lines(tiles)) * k_line);
  // Compared as numbers with a fraction: a large pass affords more samples than fit an integer.
  const index_t count = std::min<index_t>(
      tiles.tiles(), static_cast<index_t>(std::min<double>(affordable, k_most_sampled)));
  if (worth >= 1 || count < k_fewest) return false;
  return sampled_repeats(tiles, count, worth) > worth;
}

/// Copies `count` results that lie side by side.
template <class T>
void copy_results(const T* from, index_t count, bool stream, T* to) noexcept {
  using B = simd::Batch<T>;
  if (!stream) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
    return;
  }
  for (index_t i = 0; i < count; i += B::size) B::load(from + i).stream(to + i);
}

/// The results of a tile, which lie in an image with its channels side by side, to another tile.
template <class T>
void copy_tile(const TileGrid& grid, const GroupImages<T>& y, index_t from, index_t to,
               bool stream) noexcept {
  const TilePlace source = grid.place(from);
  const TilePlace target = grid.place(to);
  const index_t height = std::min(grid.step, grid.out_height - target.y);
  const index_t width = std::min(grid.step, grid.out_width - target.x);
  const PixelWindow<T> source_image = y.in_place(source.image);
  const PixelWindow<T> target_image = y.in_place(target.image);
  const index_t pixel = target_image.pixel_stride;
  const bool one_run = y.channels == pixel;
  for (index_t i = 0; i < height; ++i) {
    const T* read = source_image.at(source.y + i, source.x);
    T* written = target_image.at(target.y + i, target.x);
    if (one_run) {
      copy_results(read, width * pixel, stream, written);
      continue;
    }
    for (index_t j = 0; j < width; ++j) {
      copy_results(read + j * pixel, y.channels, stream, written + j * pixel);
    }
  }
}

/// Tiles that are copied plane by plane, so that writes are neighbours.
inline constexpr index_t k_copied_at_once = 64;

/// The same for the tiles `range` of one row of tiles where channels are planes.
template <class T>
void copy_tiles_of_planes(const TileGrid& grid, const GroupImages<T>& y, const index_t* first,
                          const IndexRange& range) noexcept {
  std::array<std::array<index_t, 2>, static_cast<std::size_t>(k_copied_at_once)> copies;
  index_t count = 0;
  const TilePlace place = grid.place(range.first);
  // Offsets of the first result of a tile from the first plane of the row's image.
  const auto offset = [&](const TilePlace& at) {
    return (at.image - place.image) * y.images.image_stride + at.y * grid.out_width + at.x;
  };
  for (index_t tile = range.first; tile < range.last; ++tile) {
    if (first[tile] == tile) continue;
    copies[static_cast<std::size_t>(count++)] = {offset(grid.place(first[tile])),
                                                 offset(grid.place(tile))};
  }
  if (count == 0) return;
  const index_t height = std::min(grid.step, grid.out_height - place.y);
  for (index_t c = 0; c < y.channels; ++c) {
    for (index_t i = 0; i < height; ++i) {
      T* row = y.plane(place.image, c) + i * grid.out_width;
      for (index_t k = 0; k < count; ++k) {
        const auto& [from, to] = copies[static_cast<std::size_t>(k)];
        const index_t width = std::min(grid.step, grid.out_width - to % grid.out_width);
        if (width == 4) {
          std::memcpy(row + to, row + from, 4 * sizeof(T));
        } else {
          for (index_t j = 0; j < width; ++j) row[to + j] = row[from + j];
        }
      }
    }
  }
}

/// Copies the results of first[t] to every tile t of a batch that is not its own first.
template <class T>
void copy_repeats(const TileGrid& grid, const GroupImages<T>& y, const index_t* first,
                  index_t count, bool stream, int threads) {
  const TileList all = {nullptr, count};
  const index_t pieces = blocks_of(count, k_copied_at_once);
  parallel_for(pieces, threads, [&](index_t piece, int) {
    const IndexRange range = partition(count, pieces, piece);
    if (!y.channels_last()) {
      for_each_tile_row(all, grid, range.first, range.last,
                        [&](index_t from, index_t to, const TilePlace& /*place*/) {
                          copy_tiles_of_planes(grid, y, first, {from, to});
                        });
      return;
    }
    for (index_t tile = range.first; tile < range.last; ++tile) {
      if (first[tile] != tile) copy_tile(grid, y, first[tile], tile, stream);
    }
    if (stream) simd::finish_streaming();
  });
}

/// Whether a pass may look at all. With more tiles than this the memory of a look, up to 58 bytes a
/// tile, would exceed what a pass may take.
template <class Pass>
bool may_look(const Pass& pass, Look look) {
  constexpr index_t k_most_tiles = index_t{1} << 16;
  return look == Look::always || (look == Look::sampled && pass.inputs().tiles() <= k_most_tiles);
}

}  // namespace detail

/// Bytes of scratch for run_tiles, which takes those of the look only when it looks.
template <class Pass>
std::size_t run_tiles_workspace_bytes(const Pass& pass, Look look, bool kept, int threads) {
  return pass.workspace_bytes(kept) +
         (detail::may_look(pass, look) ? IdenticalTiles<>::workspace_bytes(pass.inputs(), threads)
                                       : 0);
}

/// Runs a forward pass (TileForward over all tiles), tiles of the same inputs once: to the bits
/// that the pass has without, but for which of several NaN an output is.
///
/// A tile's results depend on its inputs and on nothing else, so equal tiles may be copied. Returns
/// the share of tiles that was computed. Cost: where nothing repeats, a sample of at most 96
/// tiles, less than 1 % of the pass; else IdenticalTiles and one write of what is copied. Requires:
/// run_tiles_workspace_bytes reserved. Thread-safety, determinism: those of the pass.
template <class Pass, class T>
double run_tiles(const Pass& pass, Look look, Context& context, const T* kept) {
  const bool looks = detail::may_look(pass, look) &&
                     (look == Look::always || detail::repeats_pay(pass, context.threads()));
  const TileInputs tiles = pass.inputs();
  if (!looks || tiles.tiles() == 0) {
    pass.run(context, kept);
    return 1;
  }
  const IdenticalTiles<> found(tiles, context);
  pass.over(found.distinct()).run(context, kept);
  detail::copy_repeats(tiles.grid, pass.results(), found.first(), found.count(), pass.streams(),
                       context.threads());
  return static_cast<double>(found.distinct().count) / static_cast<double>(found.count());
}

}  // namespace exact
ADR_NAMESPACE_END
