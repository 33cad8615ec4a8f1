// Decoding entries fitted together: what every entry of every codebook contributes to a vector, so
// that the sums come nearest to the vectors.
//
// A codebook encodes a few coordinates, but knowing its entry tells something about all elements.
// Least squares over all entries of all codebooks uses that, at no cost when products are looked
// up. The equations are solved by going through the books in turn (Gauss-Seidel), which is also how
// later batches refine the entries.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "adr/cluster/clustering.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Takes what the books decode off vectors that are given less their mean.
/// Math: residuals[i,:] -= sum over books b of entry ids[b][i] of book b. Shapes: residuals n x
/// book.stride; ids[b] n entries.
inline void subtract_decoded(const DecodingBook& book, const std::uint8_t* ids,
                             const MatrixView<float>& residuals) noexcept {
  for (index_t i = 0; i < residuals.rows; ++i) {
    const float* entry = book.entries.data() + ids[i] * book.stride;
    float* r = residuals.row(i);
    for (index_t e = 0; e < book.length; ++e) r[e] -= entry[e];
  }
}

/// Moves the entries of one book by the mean residual of their members, and the residuals with
/// them.
///
/// Math: for entry t with n_t members, delta = sum of their residuals / (n_t + inertia); entry +=
/// delta, residuals of its members -= delta. inertia > 0 holds rare entries where they are: with it
/// the fixed point of repeated sweeps is the ridge regression towards the starting entries.
/// Shapes: residuals n x stride >= book.length, scratch entry_count x book.stride floats. Cost: 2 n
/// length additions. Thread-safety: reentrant for different books and residuals.
inline void sweep_book(DecodingBook& book, index_t entry_count, const std::uint8_t* ids,
                       float inertia, const MatrixView<float>& residuals, float* scratch) noexcept {
  constexpr index_t k_most_entries = std::numeric_limits<std::uint8_t>::max() + 1;
  index_t counts[k_most_entries] = {};
  std::fill_n(scratch, entry_count * book.stride, 0.0F);
  for (index_t i = 0; i < residuals.rows; ++i) {
    simd::add(residuals.row(i), scratch + ids[i] * book.stride, book.length);
    ++counts[ids[i]];
  }
  for (index_t t = 0; t < entry_count; ++t) {
    if (counts[t] == 0) continue;
    float* delta = scratch + t * book.stride;
    simd::scale(1.0F / (static_cast<float>(counts[t]) + inertia), delta, book.length);
    simd::add(delta, book.entries.data() + t * book.stride, book.length);
    simd::scale(-1.0F, delta, book.length);
  }
  for (index_t i = 0; i < residuals.rows; ++i) {
    simd::add(scratch + ids[i] * book.stride, residuals.row(i), book.length);
  }
}

ADR_NAMESPACE_END
