// The gradients of a plain product of few rows over the non-zeros of the output gradient: weights
// are read once, and their gradient is written once, where it lies.
//
// The products of gradients/sparse_gradient.hpp copy all weights into strips and sums out of them,
// which for a fully connected layer takes as long as the dense product. Weights may have a row per
// output or a row per element: a strip of the former is a run in memory, of the latter a column.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gradients/channel_blocks.hpp"
#include "adr/gradients/sparse_rows.hpp"
#include "adr/gradients/sparse_tiles.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/sparse_kernels.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Strips that are passed over together at most, and outputs whose weight gradient is written in
/// turn: so many rows fit the address translation at once, and what a strip of them is summed from
/// stays in the first-level cache meanwhile.
inline constexpr index_t k_strips_in_block = 4;
inline constexpr index_t k_rows_in_block = 32;

template <class T>
inline constexpr index_t k_wide_strip = index_t{simd::k_wide_registers} * simd::Batch<T>::size;

/// The neuron vectors of a tile, a block of strips each, of every thread.
template <class T>
struct BlockPlanes {
  index_t elements;  ///< of a thread
  T* data;

  template <class Memory>
  BlockPlanes(Memory& memory, const SparseTiles& tiles, int threads)
      : elements(checked_product("neuron vectors of a tile", tiles.plane_places(), k_wide_strip<T>,
                                 k_strips_in_block)),
        data(memory.template take<T>(checked_product("planes", threads, elements))) {}
};
/// Strips of a block: fewer where there would be too few blocks for the threads. Strips have sums
/// of their own, so that this cut may depend on the number of threads.
template <class T>
index_t strips_of_block(index_t length, int thread_count) noexcept {
  constexpr index_t k_wanted_per_thread = 2;
  const index_t strips = (length + k_wide_strip<T> - 1) / k_wide_strip<T>;
  if (thread_count == 1) return k_strips_in_block;
  return std::clamp<index_t>(strips / (k_wanted_per_thread * thread_count), 1, k_strips_in_block);
}

/// The weights of a block of channels and one strip, beside each other.
template <class T>
inline constexpr index_t k_packed_weights = ChannelBlocks::k_channels* k_wide_strip<T>;

template <class T>
struct InPlaceInputScratch {
  T* packed;  ///< k_packed_weights of every thread
  BlockPlanes<T> planes;

  template <class Memory>
  InPlaceInputScratch(Memory& memory, const SparseTiles& tiles, int threads)
      : packed(memory.template take<T>(threads * k_packed_weights<T>)),
        planes(memory, tiles, threads) {}
};

/// One block of strips of the weights, with a plane of neuron vectors for each.
template <class T>
class StripBlock {
 public:
  static constexpr index_t k_strip = k_wide_strip<T>;

  /// Strips from `first_column` on, at most so many.
  StripBlock(const SparseTiles& tiles, index_t length, index_t first_column, index_t most_strips,
             T* planes) noexcept
      : tiles_(tiles), planes_(planes), first_column_(first_column) {
    cols_ = std::min(most_strips * k_strip, length - first_column_);
    strips_ = (cols_ + k_strip - 1) / k_strip;
  }

  [[nodiscard]] index_t strips() const noexcept { return strips_; }
  [[nodiscard]] index_t first_column() const noexcept { return first_column_; }
  [[nodiscard]] index_t cols() const noexcept { return cols_; }
  [[nodiscard]] index_t cols(index_t s) const noexcept {
    return s + 1 < strips_ ? k_strip : cols_ - s * k_strip;
  }
  [[nodiscard]] T* plane(index_t s) const noexcept {
    return planes_ + s * tiles_.plane_places() * k_strip;
  }
  void clear() const noexcept {
    std::fill_n(planes_, strips_ * tiles_.plane_places() * k_strip, T(0));
  }

  /// Calls use(first vector, first element, rows of a plane) for the neuron vectors of a tile.
  template <class Use>
  void for_each_run(index_t tile, const Use& use) const noexcept {
    tiles_.for_each_run(tiles_.tile(tile), [&](index_t vector, index_t place, index_t count) {
      for (index_t s = 0; s < strips_; ++s) {
        use(vector, first_column_ + s * k_strip,
            MatrixView<T>(plane(s) + place * k_strip, count, cols(s), k_strip));
      }
    });
  }

  /// Calls use(outputs, strip) for at most k_rows_in_block outputs at a time, in the order that
  /// k_strips_in_block and k_rows_in_block explain.
  template <class Use>
  void for_each_strip(IndexRange outputs, const Use& use) const noexcept {
    for (index_t first = outputs.first; first < outputs.last; first += k_rows_in_block) {
      const IndexRange some{first, std::min(outputs.last, first + k_rows_in_block)};
      for (index_t s = 0; s < strips_; ++s) use(some, s);
    }
  }

 private:
  const SparseTiles& tiles_;
  T* planes_;
  index_t first_column_;
  index_t cols_;
  index_t strips_;
};

/// Copies weights of at most k_wide_strip elements, elements x outputs, to one strip per output;
/// what the elements leave of a strip becomes zero.
template <class T>
void load_strips(const GemmFactor<T>& weights, T* strips) noexcept {
  const index_t elements = weights.rows();
  const index_t outputs = weights.cols();
  if (weights.transposed) {
    for (index_t m = 0; m < outputs; ++m) {
      std::copy_n(weights.matrix.row(m), elements, strips + m * k_wide_strip<T>);
    }
  } else {
    simd::transpose(weights.matrix.data, weights.matrix.row_stride, elements, outputs, strips,
                    k_wide_strip<T>);
  }
  for (index_t m = 0; elements < k_wide_strip<T> && m < outputs; ++m) {
    std::fill_n(strips + m * k_wide_strip<T> + elements, k_wide_strip<T> - elements, T(0));
  }
}

/// The way back.
template <class T>
void store_strips(const T* strips, const GemmResult<T>& weights) noexcept {
  if (weights.transposed) {
    for (index_t m = 0; m < weights.cols(); ++m) {
      std::copy_n(strips + m * k_wide_strip<T>, weights.rows(), weights.matrix.row(m));
    }
  } else {
    simd::transpose(strips, k_wide_strip<T>, weights.cols(), weights.rows(), weights.matrix.data,
                    weights.matrix.row_stride);
  }
}

/// Calls use(block, channels, thread) for the blocks that weights of that length are cut into and
/// the ranges that `cut_channels` are, each a task; cut_channels is 0 where a task needs them all.
template <class T, class Use>
void for_each_block(const SparseTiles& tiles, const BlockPlanes<T>& planes, index_t length,
                    index_t cut_channels, int threads, const Use& use) {
  const index_t strips = strips_of_block<T>(length, threads);
  const index_t block_cols = strips * k_wide_strip<T>;
  const index_t blocks = (length + block_cols - 1) / block_cols;
  const index_t ranges = channel_ranges(blocks, cut_channels, threads);
  parallel_for(blocks * ranges, threads, [&](index_t task, int thread) {
    use(StripBlock<T>(tiles, length, task / ranges * block_cols, strips,
                      planes.data + thread * planes.elements),
        partition(cut_channels, ranges, task % ranges), thread);
  });
}

/// Adds the products of one tile, a block of channels and one strip of weights to a plane.
template <class T>
void add_strip_products(const SparseRows<T>& rows, index_t t, index_t channel_block,
                        const T* packed, T* plane) noexcept {
  const SparseTiles& tiles = rows.tiles();
  const auto list = rows.by_pixel(t);
  const PixelRange range = rows.channel_blocks().range(list, t, channel_block);
  const auto first_channel = static_cast<std::int32_t>(channel_block * ChannelBlocks::k_channels);
  const index_t pixels = tiles.pixels(tiles.tile(t));
  for (index_t p = 0; p < pixels; ++p) {
    const std::int32_t first = range.starts[p];
    simd::wide_sum<T>({list.indices + first, list.values + first, range.ends[p] - first},
                      first_channel, packed, true, plane + rows.places()[p] * k_wide_strip<T>);
  }
}

}  // namespace detail

/// Whether the gradients of a product whose outputs read neuron vectors of that length, each its
/// own, are better computed in place: strips of weights are passed over once per tile of rows.
template <class T>
bool sparse_gradients_in_place(const VectorMap& map, index_t length) {
  constexpr index_t k_most_passes = 2;
  if (map.offsets() != 1) return false;
  const SparseTiles tiles = SparseTiles::of<T>(map, length);
  // A row of pixels is never cut, however long it is.
  const bool fits = tiles.plane_places() <=
                    SparseTiles::k_plane_bytes / (tiles.strip() * static_cast<index_t>(sizeof(T)));
  return fits && tiles.count() <= k_most_passes;
}

/// Bytes of scratch that sparse_weight_gradient_in_place takes. Errors: std::overflow_error,
/// std::invalid_argument (absurd sizes).
template <class T>
std::size_t sparse_weight_gradient_in_place_workspace_bytes(const VectorMap& map, index_t length,
                                                            int thread_count) {
  return scratch_bytes<detail::BlockPlanes<T>>(SparseTiles::of<T>(map, length), thread_count);
}

/// Bytes of scratch that sparse_input_gradient_in_place takes. Errors: as for the weights.
template <class T>
std::size_t sparse_input_gradient_in_place_workspace_bytes(const VectorMap& map, index_t length,
                                                           int thread_count) {
  return scratch_bytes<detail::InPlaceInputScratch<T>>(SparseTiles::of<T>(map, length),
                                                       thread_count);
}

/// Computes the gradient with respect to the weights over the listed non-zeros.
///
/// Math: d_weights[e, m] = sum over n of X[n, e] d_y[n, m]. Shapes: X N x K, d_weights K x M, every
/// element overwritten. Requires: rows listed for the weight gradient of input.map() and
/// input.length(), offsets() == 1, scratch reserved (callers check). Cost: one multiply-add per
/// non-zero and element, one pass over the weights per tile. The bits do not depend on the order of
/// the weights in memory. Thread-safety: as Context.
template <class T, class Vectors>
void sparse_weight_gradient_in_place(const SparseRows<T>& rows, const Vectors& input,
                                     const GemmResult<T>& d_weights, Context& context) {
  constexpr index_t k_strip = detail::k_wide_strip<T>;
  const SparseTiles& tiles = rows.tiles();
  const auto work = [&](const detail::StripBlock<T>& block, IndexRange channels, int /*thread*/) {
    block.clear();
    T copies[detail::k_rows_in_block * k_strip];
    for (index_t t = 0; t < tiles.count(); ++t) {
      block.for_each_run(t, [&](index_t vector, index_t element, const MatrixView<T>& plane) {
        input.load_rows(vector, element, plane);
      });
      const auto list = rows.by_channel(t);
      block.for_each_strip(channels, [&](IndexRange outputs, index_t s) {
        const GemmResult<T> to = d_weights.block(block.first_column() + s * k_strip, outputs.first,
                                                 block.cols(s), outputs.size());
        // A strip is summed where it lies only if all of it lies there, in one run.
        const bool in_run = to.transposed && to.rows() == k_strip;
        if (!in_run && t > 0) detail::load_strips(GemmFactor<T>{to.matrix, to.transposed}, copies);
        for (index_t m = 0; m < outputs.size(); ++m) {
          const std::int32_t first = list.starts[outputs.first + m];
          const simd::NonZeros<T> non_zeros{list.indices + first, list.values + first,
                                            list.starts[outputs.first + m + 1] - first};
          simd::wide_sum(non_zeros, 0, block.plane(s), t > 0,
                         in_run ? to.matrix.row(m) : copies + m * k_strip);
        }
        if (!in_run) detail::store_strips(copies, to);
      });
    }
    if (tiles.count() == 0) {
      const MatrixView<T> none =
          d_weights.block(block.first_column(), channels.first, block.cols(), channels.size())
              .matrix;
      for (index_t i = 0; i < none.rows; ++i) std::fill_n(none.row(i), none.cols, T(0));
    }
  };
  const Workspace::Frame frame(context.workspace());
  const detail::BlockPlanes<T> planes(context.workspace(), tiles, context.threads());
  detail::for_each_block(tiles, planes, input.length(), rows.channels(), context.threads(), work);
}

/// Adds the gradient with respect to the input over the listed non-zeros.
///
/// Math: d_X[n, e] += sum over m of d_y[n, m] weights[e, m]. Shapes, cost and thread-safety: as
/// sparse_weight_gradient_in_place. Requires: rows listed for the input gradient, scratch reserved;
/// d_input is a source of vectors with add_rows, whose elements different threads may add to at
/// once.
template <class T, class Vectors>
void sparse_input_gradient_in_place(const SparseRows<T>& rows, const GemmFactor<T>& weights,
                                    const Vectors& d_input, Context& context) {
  constexpr index_t k_channels = ChannelBlocks::k_channels;
  constexpr index_t k_strip = detail::k_wide_strip<T>;
  const SparseTiles& tiles = rows.tiles();
  const Workspace::Frame frame(context.workspace());
  const detail::InPlaceInputScratch<T> scratch(context.workspace(), tiles, context.threads());
  const auto work = [&](const detail::StripBlock<T>& block, IndexRange /*all*/, int thread) {
    T* packed = scratch.packed + thread * detail::k_packed_weights<T>;
    for (index_t t = 0; t < tiles.count(); ++t) {
      block.clear();
      for (index_t b = 0; b < rows.channel_blocks().count(); ++b) {
        const index_t first = b * k_channels;
        const index_t channels = std::min(k_channels, rows.channels() - first);
        for (index_t s = 0; s < block.strips(); ++s) {
          detail::load_strips(
              weights.block(block.first_column() + s * k_strip, first, block.cols(s), channels),
              packed);
          detail::add_strip_products(rows, t, b, packed, block.plane(s));
        }
      }
      block.for_each_run(t, [&](index_t vector, index_t element, const MatrixView<T>& plane) {
        d_input.add_rows(vector, element, plane);
      });
    }
  };
  detail::for_each_block(tiles, scratch.planes, d_input.length(), 0, context.threads(), work);
}

ADR_NAMESPACE_END
