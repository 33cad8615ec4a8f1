// Shared neuron vectors by their definition: the unfolded matrix that they stand for, and the
// output when something else, such as the centroids of their clusters, stands in for them.
#pragma once

#include <cstddef>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/reference/products.hpp"

ADR_NAMESPACE_BEGIN
namespace reference {

/// The unfolded matrix, N x K: X(n, columns[o * length + e]) is element e of the vector that output
/// n meets at offset o, 0 in the padding. Shapes: vectors map.vectors() x length, columns K =
/// map.offsets() * length.
inline Matrix unfold(const VectorMap& map, const Matrix& vectors,
                     const std::vector<index_t>& columns) {
  Matrix unfolded(map.rows(), static_cast<index_t>(columns.size()));
  for (index_t n = 0; n < map.rows(); ++n) {
    const index_t image = n / (map.out_height * map.out_width);
    const index_t oy = n / map.out_width % map.out_height;
    const index_t ox = n % map.out_width;
    for (index_t o = 0; o < map.offset_rows * map.offset_cols; ++o) {
      const index_t y = oy * map.step_y + o / map.offset_cols * map.dilation_y - map.pad_top;
      const index_t x = ox * map.step_x + o % map.offset_cols * map.dilation_x - map.pad_left;
      if (y < 0 || y >= map.grid_height || x < 0 || x >= map.grid_width) continue;
      const index_t v = (image * map.grid_height + y) * map.grid_width + x;
      for (index_t e = 0; e < vectors.cols; ++e) {
        unfolded(n, columns[static_cast<std::size_t>(o * vectors.cols + e)]) = vectors(v, e);
      }
    }
  }
  return unfolded;
}

/// The output when `decoded` stands in for the vectors: Y = unfold(decoded) W + bias, N x M; an
/// empty bias adds nothing.
inline Matrix clustered_output(const VectorMap& map, const Matrix& decoded,
                               const std::vector<index_t>& columns, const Matrix& weights,
                               const std::vector<double>& bias) {
  Matrix y = multiply(unfold(map, decoded, columns), weights);
  add_bias(bias, y);
  return y;
}

}  // namespace reference
ADR_NAMESPACE_END
