// An input with as much redundancy as is asked for. Random noise has none, and real data have what
// they have: neither can show at which redundancy reuse begins to pay.
#pragma once

#include <adr/core/random.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "bench/support/matrix.hpp"

namespace adr_bench {

struct Redundancy {
  index_t vector_length = 32;    ///< columns per slice
  double remaining_ratio = 0.1;  ///< distinct prototypes per row in every slice
  /// Half the width of the noise around a prototype, whose elements have variance 1. Small, because
  /// noise carries a vector over one of H hyperplanes with a probability of about H * noise / 4,
  /// and each such vector makes a cluster more than asked for.
  double noise = 1e-4;
  std::uint64_t seed = 1;
};

/// A rows x columns matrix whose every slice holds remaining_ratio * rows different normal vectors,
/// each in about equally many rows and in random order, plus noise. Equal sizes and random order
/// are the worst case for caches; real clusters differ in size and neighbours in the image are
/// alike.
inline Matrix redundant_matrix(index_t rows, index_t columns, const Redundancy& redundancy) {
  Matrix matrix(rows, columns);
  adr::Random random(redundancy.seed);
  const index_t distinct = std::clamp<index_t>(
      std::lround(redundancy.remaining_ratio * static_cast<double>(rows)), 1, rows);
  std::vector<index_t> order(static_cast<std::size_t>(rows));
  for (index_t i = 0; i < rows; ++i) order[static_cast<std::size_t>(i)] = i;
  for (index_t first = 0; first < columns; first += redundancy.vector_length) {
    const index_t length = std::min(redundancy.vector_length, columns - first);
    const Matrix prototypes = normal_matrix(distinct, length, 1.0, random.bits());
    for (index_t i = rows - 1; i > 0; --i) {
      std::swap(order[static_cast<std::size_t>(i)],
                order[static_cast<std::size_t>(random.below(i + 1))]);
    }
    for (index_t i = 0; i < rows; ++i) {
      const float* prototype = prototypes.data() + i % distinct * length;
      float* to = matrix.row(order[static_cast<std::size_t>(i)]) + first;
      for (index_t l = 0; l < length; ++l) {
        const double shift = (2 * random.uniform() - 1) * redundancy.noise;
        to[l] = prototype[l] + static_cast<float>(shift);
      }
    }
  }
  return matrix;
}

}  // namespace adr_bench
