// Sums of an output gradient per cluster of shared neuron vectors, a strip of channels at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/keyed_tiles.hpp"
#include "adr/gemm/sparse_gradient.hpp"
#include "adr/gemm/sparse_tiles.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/sparse_kernels.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Members that one call of a kernel adds up.
inline constexpr index_t k_member_run = 256;

/// Loads what the channels of a strip have of the output gradient onto the plane of a tile.
/// Requires: zeros where the plane is padding or the strip has no channel.
template <class T>
void load_gradient_plane(const PixelView<const T>& d_output, const SparseTiles& tiles,
                         const SparseTile& tile, index_t strip, T* plane) noexcept {
  const index_t first = strip * tiles.strip();
  const index_t channels = strip_cols(tiles, d_output.channels, strip);
  tiles.for_each_run(tile, [&](index_t row, index_t place, index_t rows) {
    for_each_image_run(
        d_output, row, rows, [&](index_t image, index_t pixel, index_t count, index_t at) {
          const T* from = d_output.at(image, pixel, first);
          T* to = plane + (place + at) * tiles.strip();
          if (d_output.channel_stride == 1) {
            for (index_t i = 0; i < count; ++i) {
              simd::copy(from + i * d_output.pixel_stride, to + i * tiles.strip(), channels);
            }
          } else {
            simd::transpose(from, d_output.channel_stride, channels, count, to, tiles.strip());
          }
        });
  });
}

/// Adds up a plane around the members of some clusters: row t of the sums, offsets x strip, gets
/// what the members of cluster t meet. starts: of the first cluster. ones: k_member_run times 1.
template <class T>
void add_member_sums(const SparseTiles& tiles, const std::int32_t* places,
                     const std::int32_t* starts, index_t clusters, const T* ones, const T* plane,
                     T* sums) noexcept {
  const VectorMap& map = tiles.map();
  const index_t strip = tiles.strip();
  const index_t plane_row = map.dilation_y * tiles.plane_width() * strip;
  const index_t sum_row = map.offset_cols * strip;
  for_each_weight_block(tiles, [&](index_t row, index_t row_count, index_t col, index_t col_count) {
    const auto kernel = simd::weight_kernel<T>(row_count, col_count, tiles.registers());
    const index_t offset = row * map.offset_cols + col;
    const T* from = plane + tiles.displacement(offset) * strip;
    T* to = sums + offset * strip;
    for (index_t t = 0; t < clusters; ++t, to += map.offsets() * strip) {
      const index_t last = starts[t + 1];
      for (index_t first = starts[t]; first < last; first += k_member_run) {
        kernel({places + first, ones, std::min(k_member_run, last - first)}, from, plane_row, to,
               sum_row);
      }
    }
  });
}

/// Adds the rows of a plane that vectors meet to the sums of the vectors' clusters. Requires: one
/// offset, vectors of a row that follow each other. Shapes: sums clusters x strip.
template <class T, class Id>
void add_row_sums(const VectorPhase& phase, const SparseTiles& tiles, const SparseTile& tile,
                  const Id* ids, const T* plane, T* sums) noexcept {
  const index_t width = tiles.map().out_width;
  for (index_t row = 0; row < tile.images * tile.rows; ++row) {
    const index_t vector =
        phase.vector(tile.first_image + row / tile.rows, tile.first_row + row % tile.rows, 0);
    simd::keyed_add(
        MatrixView<const T>(plane + tiles.place(row * width) * tiles.strip(), width, tiles.strip()),
        ids + vector, sums, tiles.strip());
  }
}

}  // namespace detail
ADR_NAMESPACE_END
