// The mean row of an input, estimated on evenly spaced rows: where centred hyperplanes pass.
#pragma once

#include <algorithm>
#include <cmath>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Writes the mean of at most 1024 evenly spaced rows, one value per column; elements that are not
/// finite are left out. Cost: 1024 rows of unfolding. Source: this library.
template <class T, class Input>
void sampled_mean(const Input& input, AlignedBuffer<T>& mean) {
  constexpr index_t k_most_rows = 1024;
  const index_t columns = input.cols();
  const index_t samples = std::min(input.rows(), k_most_rows);
  AlignedBuffer<T> row(columns);
  AlignedBuffer<double> sums;
  AlignedBuffer<index_t> counts;
  sums.assign(columns, 0.0);
  counts.assign(columns, 0);
  for (index_t i = 0; i < samples; ++i) {
    input.load(i * input.rows() / samples, 0, MatrixView<T>(row.data(), 1, columns));
    for (index_t k = 0; k < columns; ++k) {
      if (!std::isfinite(row[k])) continue;
      sums[k] += static_cast<double>(row[k]);
      ++counts[k];
    }
  }
  mean.assign(columns, T(0));
  for (index_t k = 0; k < columns; ++k) {
    if (counts[k] > 0) mean[k] = static_cast<T>(sums[k] / static_cast<double>(counts[k]));
  }
}

ADR_NAMESPACE_END
