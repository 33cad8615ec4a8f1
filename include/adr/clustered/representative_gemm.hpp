// The products of representatives: each is computed once, and read by all members of its cluster.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Rows whose products are gathered at once.
inline constexpr index_t k_scattered_rows = 64;

template <class T>
struct RepresentativeScratch {
  index_t gathered;  ///< rows
  index_t pieces;
  T* rows;           ///< representatives side by side, of every thread
  T* table;          ///< their products
  T* norms;          ///< their squared norms
  T* products;       ///< of the representatives side by side, where not all are multiplied
  T* results;        ///< rows of the output that do not lie in place, of every thread
  double* energies;  ///< of the results of every piece

  template <class Memory>
  RepresentativeScratch(Memory& memory, index_t block_rows, index_t clusters, index_t length,
                        index_t outputs, bool some, int threads)
      : gathered(gathered_rows(length)),
        pieces(blocks_of(block_rows, k_scattered_rows)),
        rows(
            memory.template take<T>(checked_product("representatives", threads, gathered, length))),
        table(memory.template take<T>(checked_product("products", clusters, outputs))),
        norms(memory.template take<T>(clusters)),
        products(memory.template take<T>(
            some ? checked_product("products", threads, gathered, outputs) : 0)),
        results(memory.template take<T>(
            checked_product("results", threads, k_scattered_rows, outputs))),
        energies(memory.template take<double>(pieces)) {}
};

/// The sum of the squares of all elements.
template <class T>
double squared_norm(const MatrixView<const T>& matrix) noexcept {
  double squares = 0;
  for (index_t i = 0; i < matrix.rows; ++i) {
    squares += static_cast<double>(simd::dot(matrix.row(i), matrix.row(i), matrix.cols));
  }
  return squares;
}

}  // namespace detail

/// Multiplies representatives by the weights, and takes their norms: vector(c) is that of cluster c
/// < count; of them those that `list` names are multiplied, or all.
///
/// Math: table[c,:] = vector(c) weights; norms[c] = ||vector(c)||^2, both of the scratch. Shapes:
/// weights L x M. Requires: scratch made for L, and for a list if there is one. Cost: count L M
/// multiply-adds.
template <class T, class Vector>
void multiply_representatives(const Vector& vector, const index_t* list, index_t count,
                              const GemmFactor<T>& weights, const DenseGemm<T>& gemm,
                              const detail::RepresentativeScratch<T>& scratch, int threads) {
  const index_t length = weights.rows();
  const index_t outputs = weights.cols();
  const index_t blocks = blocks_of(count, scratch.gathered);
  parallel_for(blocks, threads, [&](index_t block, int thread) {
    const IndexRange range = partition(count, blocks, block);
    const MatrixView<T> rows(scratch.rows + thread * scratch.gathered * length, range.size(),
                             length);
    const auto cluster = [&](index_t i) {
      return list != nullptr ? list[range.first + i] : range.first + i;
    };
    for (index_t i = 0; i < rows.rows; ++i) {
      std::copy_n(vector(cluster(i)), length, rows.row(i));
      scratch.norms[cluster(i)] = simd::dot(rows.row(i), rows.row(i), length);
    }
    T* products = list != nullptr ? scratch.products + thread * scratch.gathered * outputs
                                  : scratch.table + range.first * outputs;
    const MatrixView<T> result(products, rows.rows, outputs);
    gemm(as_is(rows), weights, Update::replace, result);
    for (index_t i = 0; list != nullptr && i < rows.rows; ++i) {
      std::copy_n(result.row(i), outputs, scratch.table + cluster(i) * outputs);
    }
  });
}

/// Which of the slices whose products a result is the sum of.
struct SlicePlace {
  bool first;
  bool last;
};

/// Gives every row the product of its cluster.
///
/// Math: output[first + i,:] = (or += but for the first slice) table[ids[i] - first_id,:], after
/// the last slice + bias. Returns the sum of the squares of the results before the bias, those that
/// are finite, after the last slice. Shapes: ids count, table clusters x M, bias M or empty, output
/// any rows x M. Cost: count M copies or additions.
template <class T, class Output>
double scatter_products(const std::int32_t* ids, std::int32_t first_id, index_t first,
                        index_t count, const MatrixView<const T>& table, const SlicePlace& slice,
                        const VectorView<const T>& bias, const Output& output,
                        const detail::RepresentativeScratch<T>& scratch, int threads) {
  const index_t pieces = blocks_of(count, detail::k_scattered_rows);
  const index_t outputs = table.cols;
  parallel_for(pieces, threads, [&](index_t piece, int thread) {
    const IndexRange range = partition(count, pieces, piece);
    const MatrixView<T> y =
        output.target(first + range.first, range.size(),
                      scratch.results + thread * detail::k_scattered_rows * outputs,
                      slice.first ? Keep::nothing : Keep::contents);
    double energy = 0;
    for (index_t i = 0; i < y.rows; ++i) {
      const T* product = table.row(ids[range.first + i] - first_id);
      if (slice.first) {
        simd::copy(product, y.row(i), outputs);
      } else {
        simd::add(product, y.row(i), outputs);
      }
      if (!slice.last) continue;
      const T squares = simd::dot(y.row(i), y.row(i), outputs);
      if (std::isfinite(squares)) energy += static_cast<double>(squares);
      if (!bias.empty()) simd::add(bias.data, y.row(i), outputs);
    }
    output.store(first + range.first, y);
    scratch.energies[piece] = energy;
  });
  double energy = 0;
  for (index_t piece = 0; piece < pieces; ++piece) energy += scratch.energies[piece];
  return energy;
}

ADR_NAMESPACE_END
