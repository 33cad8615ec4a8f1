// Samples of vectors as layers meet them: correlated elements, a mean far from zero.
#pragma once

#include <cmath>
#include <vector>

#include "adr/core/types.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace adr_test {

/// Rows that lie near a plane of `rank` dimensions, whose directions fall in size by a third each;
/// `noise` is how far the elements stray from it.
inline GuardedBuffer<float> correlated_rows(index_t rows, index_t length, index_t rank,
                                            double noise, Data& data) {
  GuardedBuffer<float> result(rows, length, length + 1);
  const std::vector<double> mean = data.normals<double>(length);
  const std::vector<double> directions = data.normals<double>(rank * length);
  for (index_t i = 0; i < rows; ++i) {
    const std::vector<double> hidden = data.normals<double>(rank);
    for (index_t e = 0; e < length; ++e) {
      double value = mean[static_cast<std::size_t>(e)] + noise * data.normal<double>();
      double size = 1;
      for (index_t r = 0; r < rank; ++r) {
        value += size * hidden[static_cast<std::size_t>(r)] *
                 directions[static_cast<std::size_t>(r * length + e)];
        size *= 2.0 / 3;
      }
      result(i, e) = static_cast<float>(value);
    }
  }
  return result;
}

}  // namespace adr_test
