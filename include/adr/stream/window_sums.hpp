// Sums over the windows of blocks of outputs of something that every pixel has.
#pragma once

#include <algorithm>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/stream/window_grid.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// Sums the values of the pixels in every window.
///
/// values: an element per pixel of the batch; columns: scratch of a line of pixels for every
/// thread; sums: an element per block. Beyond the image there is nothing. Cost: a few additions a
/// pixel. Determinism: the bits do not depend on the number of threads.
inline void sum_windows(const WindowGrid& grid, index_t batch, const float* values, int threads,
                        float* columns, float* sums) {
  const index_t width = grid.x.in_pixels;
  parallel_for(batch * grid.y.blocks, threads, [&](index_t task, int thread) {
    const index_t image = task / grid.y.blocks;
    const IndexRange lines = grid.y.seen(task % grid.y.blocks);
    float* column = columns + thread * width;
    std::fill_n(column, width, 0.0F);
    for (index_t y = lines.first; y < lines.last; ++y) {
      const float* line = values + image * grid.in_pixels() + y * width;
      for (index_t x = 0; x < width; ++x) column[x] += line[x];
    }
    float* row = sums + task * grid.x.blocks;
    for (index_t block = 0; block < grid.x.blocks; ++block) {
      const IndexRange seen = grid.x.seen(block);
      float sum = 0;
      for (index_t x = seen.first; x < seen.last; ++x) sum += column[x];
      row[block] = sum;
    }
  });
}

}  // namespace stream
ADR_NAMESPACE_END
