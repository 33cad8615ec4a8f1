// The gradients of a product or convolution over the non-zeros of the output gradient alone: exact
// for what is listed, at a cost that falls with the density.
//
// Neuron vectors are worked on a tile of output pixels and a strip of elements at a time. What is
// summed in parts is cut by shape, every sum has a fixed order, and the bits do not depend on the
// number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gradients/channel_blocks.hpp"
#include "adr/gradients/sparse_rows.hpp"
#include "adr/gradients/sparse_tiles.hpp"
#include "adr/gradients/vector_sinks.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/sparse_kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// A plane of neuron vectors of every thread, and so many times the strips of a weight matrix:
/// strips x channels x offsets x strip elements; the order in which offsets and channels follow
/// each other is the products' own.
template <class T>
struct SparseScratch {
  index_t plane_size;
  index_t strip_size;
  T* planes;
  T* strips;

  template <class Memory>
  SparseScratch(Memory& memory, const SparseTiles& tiles, index_t channels, index_t times,
                int threads)
      : plane_size(simd::padded(
            checked_product("neuron vectors of a tile", tiles.plane_places(), tiles.strip()))),
        strip_size(
            checked_product("strips of weights", channels, tiles.map().offsets(), tiles.strip())),
        planes(memory.template take<T>(checked_product("planes", threads, plane_size))),
        strips(memory.template take<T>(
            checked_product("strips of weights", times, tiles.strips(), strip_size))) {}
};

/// The elements of vectors that a strip covers.
inline index_t strip_cols(const SparseTiles& tiles, index_t length, index_t strip) noexcept {
  return std::min(tiles.strip(), length - strip * tiles.strip());
}

/// Into how many parts the tiles are cut that have a partial weight gradient each.
inline index_t weight_gradient_parts(const SparseTiles& tiles) noexcept {
  constexpr index_t k_wanted_parts = 8;
  const index_t parts = k_wanted_parts / std::max<index_t>(tiles.strips(), 1);
  return std::max<index_t>(std::min(parts, tiles.count()), 1);
}

/// Calls use(first row, rows, first column, columns) for the blocks that the kernel offsets are
/// cut into, so that there is a kernel for each.
template <class Use>
void for_each_weight_block(const SparseTiles& tiles, const Use& use) noexcept {
  const VectorMap& map = tiles.map();
  for (index_t col = 0, cols = 0; col < map.offset_cols; col += cols) {
    cols = simd::offset_run(map.offset_cols - col, map.dilation_x == 1 ? 5 : 1);
    const index_t most_rows = simd::k_most_sums / (cols * tiles.registers());
    for (index_t row = 0, rows = 0; row < map.offset_rows; row += rows) {
      rows = simd::offset_run(map.offset_rows - row, most_rows);
      use(row, rows, col, cols);
    }
  }
}

/// Whether the sums of an input gradient slide along the rows of the plane.
inline bool slides(const VectorMap& map) noexcept {
  return map.offset_cols > 1 && map.step_x == 1 && map.dilation_x == 1;
}

/// Calls use(first offset, offsets) for the runs that the kernel offsets are cut into, which stay
/// in one kernel row where sums slide.
template <class Use>
void for_each_offset_run(const VectorMap& map, const Use& use) noexcept {
  const index_t whole = slides(map) ? map.offset_cols : map.offsets();
  for (index_t first = 0, count = 0; first < map.offsets(); first += count) {
    count = simd::offset_run(whole - first % whole);
    use(first, count);
  }
}

/// Channels whose weights a task copies: their rows lie far apart in large weight matrices, and so
/// many fit the address translation at once.
inline constexpr index_t k_copied_channels = 8;

inline index_t copy_tasks(index_t channels) noexcept {
  return blocks_of(channels, k_copied_channels);
}
inline IndexRange copied_channels(index_t task, index_t channels) noexcept {
  return {task * k_copied_channels, std::min(channels, (task + 1) * k_copied_channels)};
}

/// Calls use(e, m, element) for the weights of one offset, some channels and the elements e of a
/// strip, whose columns are given, in an order that suits the rows of the matrix.
template <class T, class Use>
void for_each_weight(const MatrixView<T>& matrix, bool transposed, const index_t* columns,
                     index_t cols, IndexRange channels, const Use& use) noexcept {
  if (!transposed) {
    for (index_t e = 0; e < cols; ++e) {
      T* row = matrix.row(columns[e]);
      for (index_t m = channels.first; m < channels.last; ++m) use(e, m, row[m]);
    }
    return;
  }
  index_t neighbours = 1;
  while (neighbours < cols && columns[neighbours] == columns[0] + neighbours) ++neighbours;
  for (index_t m = channels.first; m < channels.last; ++m) {
    T* row = matrix.row(m);
    if (neighbours == cols) {
      T* run = row + columns[0];
      for (index_t e = 0; e < cols; ++e) use(e, m, run[e]);
    } else {
      for (index_t e = 0; e < cols; ++e) use(e, m, row[columns[e]]);
    }
  }
}

/// Adds the products of one tile and strip to a plane. Weights: in the order of
/// for_each_offset_run, per run channels x offsets x strip elements.
template <class T>
void add_tile_products(const SparseRows<T>& rows, index_t t, const T* weights, T* plane) noexcept {
  const SparseTiles& tiles = rows.tiles();
  const VectorMap& map = tiles.map();
  const SparseTile tile = tiles.tile(t);
  const auto list = rows.by_pixel(t);
  const index_t width = map.out_width;
  const auto add_block = [&](const PixelRange& pixels, index_t first, index_t count) {
    if (slides(map) && count > 1) {
      const auto kernel = simd::row_kernel<T>(count, tiles.registers());
      for (index_t y = 0; y < tile.images * tile.rows; ++y) {
        if (!tiles.meets_grid(tile.first_row + y % tile.rows, first / map.offset_cols)) continue;
        const index_t place = rows.places()[y * width] + tiles.displacement(first);
        kernel(pixels.starts + y * width, pixels.ends + y * width, list.indices, list.values, width,
               weights, plane + place * tiles.strip());
      }
    } else {
      index_t displacements[5];
      for (index_t o = 0; o < count; ++o) displacements[o] = tiles.displacement(first + o);
      simd::pixel_kernel<T>(count, tiles.registers())(pixels.starts, pixels.ends, list.indices,
                                                      list.values, tiles.pixels(tile),
                                                      rows.places(), displacements, weights, plane);
    }
  };
  for_each_offset_run(map, [&](index_t first, index_t count) {
    for (index_t b = 0; b < rows.channel_blocks().count(); ++b) {
      add_block(rows.channel_blocks().range(list, t, b), first, count);
    }
    weights += rows.channels() * count * tiles.strip();
  });
}

/// Adds the products of some channels of one tile and strip to sums, channels x offsets x strip
/// elements.
template <class T>
void add_tile_sums(const SparseRows<T>& rows, index_t t, IndexRange channels, const T* plane,
                   T* sums) noexcept {
  const SparseTiles& tiles = rows.tiles();
  const VectorMap& map = tiles.map();
  const index_t strip = tiles.strip();
  const auto list = rows.by_channel(t);
  const index_t plane_row = map.dilation_y * tiles.plane_width() * strip;
  const index_t sum_row = map.offset_cols * strip;
  for_each_weight_block(tiles, [&](index_t row, index_t row_count, index_t col, index_t col_count) {
    const auto kernel = simd::weight_kernel<T>(row_count, col_count, tiles.registers());
    const index_t offset = row * map.offset_cols + col;
    const T* from = plane + tiles.displacement(offset) * strip;
    T* to = sums + offset * strip;
    for (index_t m = channels.first; m < channels.last; ++m, to += map.offsets() * strip) {
      const std::int32_t first = list.starts[m];
      const simd::NonZeros<T> non_zeros{list.indices + first, list.values + first,
                                        list.starts[m + 1] - first};
      if (non_zeros.count > 0) kernel(non_zeros, from, plane_row, to, sum_row);
    }
  });
}

}  // namespace detail

/// Bytes of scratch that sparse_weight_gradient takes, for vectors of that length on that map.
/// Errors: std::overflow_error, std::invalid_argument (absurd sizes).
template <class T>
std::size_t sparse_weight_gradient_workspace_bytes(const VectorMap& map, index_t length,
                                                   index_t channels, int thread_count) {
  const SparseTiles tiles = SparseTiles::of<T>(map, length);
  return scratch_bytes<detail::SparseScratch<T>>(
      tiles, channels, detail::weight_gradient_parts(tiles), thread_count);
}

/// Computes the gradient with respect to the weights over the listed non-zeros.
///
/// Math: d_weights[columns[o length + e], m] = sum over n of X[v(n, o), e] d_y[n, m], where v(n, o)
/// is the vector that output n meets at kernel offset o; padding gives nothing.
/// Shapes: columns offsets x length, each row of d_weights (K x M) once; overwritten. Requires:
/// rows listed for this use and for input.map() and input.length(); scratch reserved (callers
/// check). Cost: one multiply-add per non-zero, offset and element, registers filled up.
/// Thread-safety: as Context.
template <class T, class Vectors>
void sparse_weight_gradient(const SparseRows<T>& rows, const Vectors& input, const index_t* columns,
                            const GemmResult<T>& d_weights, Context& context) {
  const SparseTiles& tiles = rows.tiles();
  const index_t channels = rows.channels();
  const index_t length = input.length();
  const index_t strip = tiles.strip();
  const index_t offsets = tiles.map().offsets();
  const index_t parts = detail::weight_gradient_parts(tiles);
  const Workspace::Frame frame(context.workspace());
  const detail::SparseScratch<T> scratch(context.workspace(), tiles, channels, parts,
                                         context.threads());
  const index_t strip_size = scratch.strip_size;
  const index_t part_size = tiles.strips() * strip_size;
  // Neuron vectors are loaded for each range. Channels have sums of their own.
  constexpr index_t k_fewest_channels = 16;
  const index_t ranges =
      parts_for_threads(parts * tiles.strips(), channels, k_fewest_channels, context.threads());
  parallel_for(parts * tiles.strips() * ranges, context.threads(), [&](index_t task, int thread) {
    const index_t s = task / ranges / parts;
    const index_t part = task / ranges % parts;
    const IndexRange some = partition(channels, ranges, task % ranges);
    const index_t cols = detail::strip_cols(tiles, length, s);
    const IndexRange range = partition(tiles.count(), parts, part);
    T* plane = scratch.planes + thread * scratch.plane_size;
    T* to = scratch.strips + part * part_size + s * strip_size + some.first * offsets * strip;
    std::fill_n(to, some.size() * offsets * strip, T(0));
    for (index_t t = range.first; t < range.last; ++t) {
      const SparseTile tile = tiles.tile(t);
      // What is padding stays padding from tile to tile, but for bands of an image.
      if (t == range.first || tiles.bands() > 1) std::fill_n(plane, scratch.plane_size, T(0));
      tiles.for_each_run(tile, [&](index_t vector, index_t place, index_t count) {
        input.load_rows(vector, s * strip,
                        MatrixView<T>(plane + place * strip, count, cols, strip));
      });
      detail::add_tile_sums(rows, t, some, plane, to);
    }
  });

  parallel_for(detail::copy_tasks(channels), context.threads(), [&](index_t task, int /*thread*/) {
    const IndexRange some = detail::copied_channels(task, channels);
    for (index_t s = 0; s < tiles.strips(); ++s) {
      T* strip_sums = scratch.strips + s * strip_size;
      T* mine = strip_sums + some.first * offsets * strip;
      for (index_t part = 1; part < parts; ++part) {
        simd::add(mine + part * part_size, mine, some.size() * offsets * strip);
      }
      for (index_t o = 0; o < offsets; ++o) {
        detail::for_each_weight(
            d_weights.matrix, d_weights.transposed, columns + o * length + s * strip,
            detail::strip_cols(tiles, length, s), some, [&](index_t e, index_t m, T& weight) {
              weight = strip_sums[(m * offsets + o) * strip + e];
            });
      }
    }
  });
}

/// Bytes of scratch that sparse_input_gradient takes, for vectors of that length on that map.
/// Errors: std::overflow_error, std::invalid_argument (absurd sizes).
template <class T>
std::size_t sparse_input_gradient_workspace_bytes(const VectorMap& map, index_t length,
                                                  index_t channels, int thread_count) {
  const SparseTiles tiles = SparseTiles::of<T>(map, length);
  return scratch_bytes<detail::SparseScratch<T>>(tiles, channels, 1, thread_count);
}

/// Whether sparse_input_gradient can replace what is there: where every vector is met by one tile.
template <class Vectors>
bool can_replace_input(const SparseTiles& tiles, const Vectors& d_input) noexcept {
  return tiles.cover_grid_once() && detail::StoresRows<Vectors>::of(d_input);
}

/// Computes the gradient with respect to the input over the listed non-zeros, and adds it to what
/// is there or replaces that.
///
/// Math: d_X[v(n, o), e] += sum over m of d_y[n, m] weights[columns[o length + e], m], where v(n,
/// o) is the vector that output n meets at kernel offset o; what falls on padding is lost. Shapes,
/// requirements, cost and thread-safety: as sparse_weight_gradient, weights K x M; to replace,
/// can_replace_input. d_input is a source of vectors with add_rows; with a member
/// adds_are_independent() that returns true, strips and tiles are tasks of their own, else images.
template <class T, class Vectors>
void sparse_input_gradient(const SparseRows<T>& rows, const GemmFactor<T>& weights,
                           const index_t* columns, const Vectors& d_input, Update update,
                           Context& context) {
  using Store = detail::StoresRows<Vectors>;
  const SparseTiles& tiles = rows.tiles();
  ADR_ASSERT(update != Update::replace || can_replace_input(tiles, d_input), "tiles overlap");
  const index_t channels = rows.channels();
  const index_t length = d_input.length();
  const index_t strip = tiles.strip();
  const Workspace::Frame frame(context.workspace());
  const detail::SparseScratch<T> scratch(context.workspace(), tiles, channels, 1,
                                         context.threads());

  parallel_for(detail::copy_tasks(channels), context.threads(), [&](index_t task, int /*thread*/) {
    const IndexRange some = detail::copied_channels(task, channels);
    for (index_t s = 0; s < tiles.strips(); ++s) {
      const index_t cols = detail::strip_cols(tiles, length, s);
      T* run = scratch.strips + s * scratch.strip_size;
      detail::for_each_offset_run(tiles.map(), [&](index_t first, index_t count) {
        if (cols < strip) {
          std::fill_n(run + some.first * count * strip, some.size() * count * strip, T(0));
        }
        for (index_t o = 0; o < count; ++o) {
          detail::for_each_weight(
              weights.matrix, weights.transposed, columns + (first + o) * length + s * strip, cols,
              some,
              [&](index_t e, index_t m, T weight) { run[(m * count + o) * strip + e] = weight; });
        }
        run += channels * count * strip;
      });
    }
  });

  const bool independent = detail::AddsAreIndependent<Vectors>::of(d_input);
  const index_t tiles_per_task = independent && !tiles.tiles_overlap() ? 1 : tiles.bands();
  const index_t strips_per_task = independent ? 1 : tiles.strips();
  const index_t strip_tasks = tiles.strips() / strips_per_task;
  const index_t tile_tasks = tiles.count() / tiles_per_task;
  parallel_for(tile_tasks * strip_tasks, context.threads(), [&](index_t task, int thread) {
    T* plane = scratch.planes + thread * scratch.plane_size;
    const index_t first_tile = task / strip_tasks * tiles_per_task;
    const index_t first_strip = task % strip_tasks * strips_per_task;
    for (index_t s = first_strip; s < first_strip + strips_per_task; ++s) {
      const index_t cols = detail::strip_cols(tiles, length, s);
      for (index_t t = first_tile; t < first_tile + tiles_per_task; ++t) {
        std::fill_n(plane, scratch.plane_size, T(0));
        detail::add_tile_products(rows, t, scratch.strips + s * scratch.strip_size, plane);
        tiles.for_each_run(tiles.tile(t), [&](index_t vector, index_t place, index_t count) {
          const MatrixView<const T> found(plane + place * strip, count, cols, strip);
          if (update == Update::replace) {
            Store::store(d_input, vector, s * strip, found);
          } else {
            d_input.add_rows(vector, s * strip, found);
          }
        });
      }
    }
  });
}

ADR_NAMESPACE_END
