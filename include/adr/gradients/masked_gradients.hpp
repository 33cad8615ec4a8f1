// The gradients of a product of few rows over the listed non-zeros of the output gradient, as
// masked products (gemm/masked_product.hpp): weights are copied a strip at a time where they are
// needed.
//
// The products of gradients/sparse_gradient.hpp make room for all weights before they begin, which
// for a fully connected layer takes as long as the dense product.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/panels.hpp"
#include "adr/gemm/masked_product.hpp"
#include "adr/gemm/masked_rows.hpp"
#include "adr/gradients/sparse_rows.hpp"
#include "adr/simd/masked_sums.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Neuron vectors as the right factor of a masked product.
template <class T, class Vectors>
struct VectorStrips {
  const Vectors& vectors;

  [[nodiscard]] index_t cols() const noexcept { return vectors.length(); }
  void load(index_t first_row, index_t rows, index_t first_col, index_t cols,
            T* strips) const noexcept {
    vectors.load_rows(first_row, first_col, MatrixView<T>(strips, rows, cols, simd::k_strip<T>));
    fill_up_strips(strips, rows, cols);
  }
  [[nodiscard]] static LinesAhead<false> ahead(index_t /*first_row*/, index_t /*rows*/,
                                               index_t /*first_col*/, index_t /*cols*/) noexcept {
    return {};
  }
};

/// Neuron vectors that the result of a masked product is added to.
template <class T, class Vectors>
struct AddedVectors {
  const Vectors& vectors;

  [[nodiscard]] static T* strip(index_t /*row*/, index_t /*first_col*/) noexcept { return nullptr; }
  void store(index_t first_row, index_t first_col,
             const MatrixView<const T>& block) const noexcept {
    vectors.add_rows(first_row, first_col, block);
  }
};

/// The pixels of a tile, numbered over the batch.
inline IndexRange pixels_of(const SparseTiles& tiles, index_t t) noexcept {
  const SparseTile tile = tiles.tile(t);
  const index_t first =
      (tile.first_image * tiles.map().out_height + tile.first_row) * tiles.map().out_width;
  return {first, first + tiles.pixels(tile)};
}

/// Sets what is listed by pixel: rows are pixels, columns channels.
template <class T>
void load_listed(const SparseRows<T>& rows, const MaskedRows<T>& to, int threads) {
  constexpr index_t k_block = MaskedRows<T>::k_block;
  const SparseTiles& tiles = rows.tiles();
  parallel_for(tiles.count(), threads, [&](index_t t, int /*thread*/) {
    const auto list = rows.by_pixel(t);
    const IndexRange pixels = pixels_of(tiles, t);
    for (index_t p = pixels.first; p < pixels.last; ++p) {
      std::int32_t k = list.starts[p - pixels.first];
      const std::int32_t last = list.starts[p - pixels.first + 1];
      for (index_t b = 0; b < to.blocks(); ++b) {
        std::uint64_t mask = 0;
        T* values = to.values(b, p);
        std::fill_n(values, k_block, T(0));
        for (; k < last && list.indices[k] < (b + 1) * k_block; ++k) {
          const index_t channel = list.indices[k] - b * k_block;
          values[channel] = list.values[k];
          mask |= std::uint64_t{1} << channel;
        }
        to.set_mask(b, p, mask);
      }
    }
  });
}

/// Sets the transpose: rows are channels, columns pixels.
template <class T>
void load_listed_transposed(const SparseRows<T>& rows, const MaskedRows<T>& to, int threads) {
  constexpr index_t k_block = MaskedRows<T>::k_block;
  const SparseTiles& tiles = rows.tiles();
  parallel_for(to.blocks(), threads, [&](index_t b, int /*thread*/) {
    std::fill_n(to.values(b, 0), to.rows() * k_block, T(0));
    for (index_t m = 0; m < to.rows(); ++m) to.set_mask(b, m, 0);
    for (index_t t = 0; t < tiles.count(); ++t) {
      const auto list = rows.by_pixel(t);
      const IndexRange pixels = pixels_of(tiles, t);
      const index_t last = std::min(pixels.last, (b + 1) * k_block);
      for (index_t p = std::max(pixels.first, b * k_block); p < last; ++p) {
        const index_t place = p - b * k_block;
        const std::int32_t* starts = list.starts + (p - pixels.first);
        for (std::int32_t k = starts[0]; k < starts[1]; ++k) {
          const index_t m = list.indices[k];
          to.values(b, m)[place] = list.values[k];
          to.set_mask(b, m, to.mask(b, m) | std::uint64_t{1} << place);
        }
      }
    }
  });
}

}  // namespace detail

/// Whether the gradients of a product with so many outputs, each of which reads a neuron vector of
/// that length of its own, are better computed as masked products: rows are few beside the weights.
/// Thread-safety: reentrant.
template <class T>
bool masks_gradients(const VectorMap& map, index_t length, index_t outputs) noexcept {
  constexpr index_t k_most_rows = 1024;
  return map.is_identity() && map.rows() <= k_most_rows && length >= simd::k_strip<T> &&
         fits_masked_rows<T>(map.rows(), outputs) && fits_masked_rows<T>(outputs, map.rows());
}

/// Bytes of scratch that masked_weight_gradient takes. Errors: std::overflow_error.
template <class T>
std::size_t masked_weight_gradient_workspace_bytes(const VectorMap& map, index_t channels,
                                                   int threads) {
  return masked_gemm_workspace_bytes<T>(channels, map.rows(), threads);
}

/// Bytes of scratch that masked_input_gradient takes. Errors: as for the weights.
template <class T>
std::size_t masked_input_gradient_workspace_bytes(const VectorMap& map, index_t channels,
                                                  int threads) {
  return masked_gemm_workspace_bytes<T>(map.rows(), channels, threads);
}

/// Computes the gradient with respect to the weights over the listed non-zeros.
///
/// Math: d_weights[e, m] = sum over n of X[n, e] d_y[n, m]. Shapes: X N x K, d_weights K x M, every
/// element overwritten. Requires: masks_gradients, rows listed by pixel, scratch reserved (callers
/// check). Cost: one multiply-add per non-zero and element, and for every 256 outputs or fewer one
/// pass over the vectors. The bits do not depend on the order of the weights in memory.
/// Thread-safety: as Context.
template <class T, class Vectors>
void masked_weight_gradient(const SparseRows<T>& rows, const Vectors& input,
                            const GemmResult<T>& d_weights, Context& context) {
  const Workspace::Frame frame(context.workspace());
  const detail::MaskedGemmScratch<T> scratch(context.workspace(), rows.channels(),
                                             input.map().rows(), context.threads());
  detail::load_listed_transposed(rows, scratch.left, context.threads());
  const GemmResult<T> result{d_weights.matrix, !d_weights.transposed};
  detail::multiply_masked(scratch.left, detail::VectorStrips<T, Vectors>{input},
                          detail::ResultStrips<T>{result}, scratch.scratch, context.threads());
}

/// Adds the gradient with respect to the input over the listed non-zeros.
///
/// Math: d_X[n, e] += sum over m of d_y[n, m] weights[e, m]. Shapes, requirements and
/// thread-safety: as masked_weight_gradient; d_input is a source of vectors with add_rows, whose
/// elements different threads may add to at once (asserted). Cost: likewise, with a pass over the
/// weights for every 256 rows or fewer.
template <class T, class Vectors>
void masked_input_gradient(const SparseRows<T>& rows, const GemmFactor<T>& weights,
                           const Vectors& d_input, Context& context) {
  ADR_ASSERT(d_input.adds_are_independent(), "threads add to the same elements");
  const Workspace::Frame frame(context.workspace());
  const detail::MaskedGemmScratch<T> scratch(context.workspace(), d_input.map().rows(),
                                             rows.channels(), context.threads());
  detail::load_listed(rows, scratch.left, context.threads());
  detail::multiply_masked(scratch.left, detail::FactorStrips<T>{weights.transpose()},
                          detail::AddedVectors<T, Vectors>{d_input}, scratch.scratch,
                          context.threads());
}

ADR_NAMESPACE_END
