// The inner loop of principal coordinates. It works on tiles of k_projection_tile vectors stored
// element-major, so that a register holds the same element of neighbouring vectors and the elements
// of axes are broadcast.
#pragma once

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Vectors per tile: a multiple of every register's lane count.
inline constexpr index_t k_projection_tile = 64;

namespace detail {

/// How many registers of neighbouring vectors and how many coordinates are worked on at once:
/// their product is the number of accumulators, which has to fit the register file.
template <class B>
struct ProjectionBlock {
  static constexpr index_t vectors = B::size >= 16 ? 4 : 2;
  static constexpr index_t coordinates = B::size >= 16 ? 6 : 4;
};

template <int Coordinates, int Vectors, class B>
void project_block(const float* x, index_t elements, const float* axes, index_t axes_stride,
                   float* z) noexcept {
  B total[Coordinates][Vectors];
  for (int d = 0; d < Coordinates; ++d) {
    for (int v = 0; v < Vectors; ++v)
      total[d][v] = B::load(z + d * k_projection_tile + v * B::size);
  }
  for (index_t e = 0; e < elements; ++e) {
    B element[Vectors];
    for (int v = 0; v < Vectors; ++v) element[v] = B::load(x + e * k_projection_tile + v * B::size);
    for (int d = 0; d < Coordinates; ++d) {
      const B axis = B::broadcast(axes[e * axes_stride + d]);
      for (int v = 0; v < Vectors; ++v) {
        total[d][v] = multiply_add(axis, element[v], total[d][v]);
      }
    }
  }
  for (int d = 0; d < Coordinates; ++d) {
    for (int v = 0; v < Vectors; ++v) total[d][v].store(z + d * k_projection_tile + v * B::size);
  }
}

template <int Coordinates, class B>
void project_coordinates(const float* x, index_t elements, const float* axes, index_t axes_stride,
                         float* z) noexcept {
  constexpr int k_vectors = static_cast<int>(ProjectionBlock<B>::vectors);
  for (index_t v = 0; v < k_projection_tile; v += k_vectors * B::size) {
    project_block<Coordinates, k_vectors, B>(x + v, elements, axes, axes_stride, z + v);
  }
}

}  // namespace detail

/// Adds the coordinates of a tile of vectors on several axes.
/// Math: z[d, i] += sum over e of axes[e, d] * x[e, i]. Shapes: x elements x k_projection_tile,
/// axes elements x axes_stride, z coordinates x k_projection_tile. Sums are taken in the order of
/// e. Cost: elements * coordinates * k_projection_tile multiply-adds. Thread-safety: reentrant.
template <class B = Batch<float>>
void project(const float* x, index_t elements, const float* axes, index_t axes_stride,
             index_t coordinates, float* z) noexcept {
  constexpr int k_block = static_cast<int>(detail::ProjectionBlock<B>::coordinates);
  index_t d = 0;
  for (; d + k_block <= coordinates; d += k_block) {
    detail::project_coordinates<k_block, B>(x, elements, axes + d, axes_stride,
                                            z + d * k_projection_tile);
  }
  for (; d + 2 <= coordinates; d += 2) {
    detail::project_coordinates<2, B>(x, elements, axes + d, axes_stride,
                                      z + d * k_projection_tile);
  }
  for (; d < coordinates; ++d) {
    detail::project_coordinates<1, B>(x, elements, axes + d, axes_stride,
                                      z + d * k_projection_tile);
  }
}

}  // namespace simd
ADR_NAMESPACE_END
