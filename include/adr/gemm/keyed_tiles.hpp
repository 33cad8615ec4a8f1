// Shared neuron vectors in the order of their clusters: what sums of an output gradient per cluster
// walk along.
//
// The outputs that meet a neuron vector lie around it, one per kernel offset. So a convolution is
// also a map from vectors to outputs, its adjoint, in which offsets run backwards: a vector at
// place p of a plane of output gradients meets them at p + displacement(offset), wherever p is.
// With strides, vectors whose grid positions leave the same remainder meet the same offsets; each
// such phase has an adjoint of step 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/sparse_tiles.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// One direction of a phase: which grid positions it has and which offsets they meet. Grid position
/// first + a * step meets, at offset first_offset + k * offset_step, output a + (offsets - 1 - k) *
/// dilation - pad.
struct PhaseAxis {
  index_t first = 0;
  index_t step = 1;
  index_t positions = 0;
  index_t first_offset = 0;
  index_t offset_step = 1;
  index_t offsets = 0;
  index_t dilation = 1;
  index_t pad = 0;
};

/// How many phases one direction has.
inline index_t phase_count(index_t step, index_t dilation, index_t offsets) noexcept {
  return std::min(offsets, step / std::gcd(step, dilation));
}

inline PhaseAxis phase_axis(index_t phase, index_t grid, index_t step, index_t dilation,
                            index_t offsets, index_t pad) noexcept {
  const index_t common = std::gcd(step, dilation);
  PhaseAxis axis;
  axis.step = step;
  axis.first_offset = phase;
  axis.offset_step = step / common;
  axis.offsets = (offsets - 1 - phase) / axis.offset_step + 1;
  axis.dilation = dilation / common;
  const index_t start = phase * dilation - pad;  // the grid position that output 0 meets
  axis.first = (start % step + step) % step;
  axis.positions = axis.first < grid ? (grid - 1 - axis.first) / step + 1 : 0;
  axis.pad = (axis.offsets - 1) * axis.dilation - (axis.first - start) / step;
  return axis;
}

/// The vectors of a map that meet the same kernel offsets.
class VectorPhase {
 public:
  static index_t count(const VectorMap& map) noexcept {
    return cols(map) * phase_count(map.step_y, map.dilation_y, map.offset_rows);
  }

  VectorPhase(const VectorMap& map, index_t phase) noexcept
      : y_(phase_axis(phase / cols(map), map.grid_height, map.step_y, map.dilation_y,
                      map.offset_rows, map.pad_top)),
        x_(phase_axis(phase % cols(map), map.grid_width, map.step_x, map.dilation_x,
                      map.offset_cols, map.pad_left)),
        grid_height_(map.grid_height),
        grid_width_(map.grid_width),
        offset_cols_(map.offset_cols) {
    adjoint_.images = map.images;
    adjoint_.grid_height = map.out_height;
    adjoint_.grid_width = map.out_width;
    adjoint_.out_height = y_.positions;
    adjoint_.out_width = x_.positions;
    adjoint_.offset_rows = y_.offsets;
    adjoint_.offset_cols = x_.offsets;
    adjoint_.dilation_y = y_.dilation;
    adjoint_.dilation_x = x_.dilation;
    adjoint_.pad_top = y_.pad;
    adjoint_.pad_left = x_.pad;
  }

  /// The map whose outputs are the vectors of the phase and whose grid are the output pixels.
  [[nodiscard]] const VectorMap& adjoint() const noexcept { return adjoint_; }
  /// The vector in the given row and column of the phase; its right neighbour is `step` further.
  [[nodiscard]] index_t vector(index_t image, index_t row, index_t col) const noexcept {
    return (image * grid_height_ + y_.first + row * y_.step) * grid_width_ + x_.first +
           col * x_.step;
  }
  [[nodiscard]] index_t vector_step() const noexcept { return x_.step; }
  /// The kernel offset that an offset of the adjoint stands for.
  [[nodiscard]] index_t offset(index_t adjoint_offset) const noexcept {
    const index_t i = y_.offsets - 1 - adjoint_offset / x_.offsets;
    const index_t j = x_.offsets - 1 - adjoint_offset % x_.offsets;
    return (y_.first_offset + i * y_.offset_step) * offset_cols_ + x_.first_offset +
           j * x_.offset_step;
  }

 private:
  static index_t cols(const VectorMap& map) noexcept {
    return phase_count(map.step_x, map.dilation_x, map.offset_cols);
  }

  PhaseAxis y_;
  PhaseAxis x_;
  index_t grid_height_;
  index_t grid_width_;
  index_t offset_cols_;
  VectorMap adjoint_;
};

/// The place on the plane of its tile of every vector of a tile, ordered by cluster: those of
/// cluster t are places[starts[t]] to places[starts[t + 1]], in the order of the vectors. Shapes:
/// places one per vector of the tile, starts clusters + 1. Requires: ids below `clusters`. Cost:
/// two passes over the ids.
template <class Id>
void list_members(const VectorPhase& phase, const SparseTiles& tiles, const SparseTile& tile,
                  const Id* ids, index_t clusters, std::int32_t* places,
                  std::int32_t* starts) noexcept {
  const index_t width = tiles.map().out_width;
  const index_t step = phase.vector_step();
  const auto for_each_row = [&](const auto& use) {
    for (index_t row = 0; row < tile.images * tile.rows; ++row) {
      use(ids +
              phase.vector(tile.first_image + row / tile.rows, tile.first_row + row % tile.rows, 0),
          static_cast<std::int32_t>(tiles.place(row * width)));
    }
  };
  std::fill_n(starts, clusters + 1, 0);
  for_each_row([&](const Id* id, std::int32_t /*place*/) {
    for (index_t x = 0; x < width; ++x) ++starts[id[x * step] + 1];
  });
  for (index_t t = 0; t < clusters; ++t) starts[t + 1] += starts[t];
  for_each_row([&](const Id* id, std::int32_t place) {
    for (index_t x = 0; x < width; ++x) {
      places[starts[id[x * step]]++] = place + static_cast<std::int32_t>(x);
    }
  });
  // Every start has moved to the end of its cluster, which is the next one's start.
  for (index_t t = clusters; t > 0; --t) starts[t] = starts[t - 1];
  starts[0] = 0;
}

}  // namespace detail
ADR_NAMESPACE_END
