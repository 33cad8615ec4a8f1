// The inner loops of encoding neuron vectors: principal coordinates, and the nearest entry of a
// codebook. Both work on tiles of k_encode_tile vectors stored element-major, so that a register
// holds the same element of neighbouring vectors and every entry of a codebook is broadcast.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Vectors per tile: a multiple of every register's lane count.
inline constexpr index_t k_encode_tile = 64;

namespace detail {

/// How many registers of neighbouring vectors and how many coordinates are worked on at once:
/// their product is the number of accumulators, which has to fit the register file.
template <class B>
struct EncodeBlock {
  static constexpr index_t vectors = B::size >= 16 ? 4 : 2;
  static constexpr index_t coordinates = B::size >= 16 ? 6 : 4;
};

template <int Coordinates, int Vectors, class B>
void project_block(const float* x, index_t elements, const float* axes, index_t axes_stride,
                   float* z) noexcept {
  B total[Coordinates][Vectors];
  for (int d = 0; d < Coordinates; ++d) {
    for (int v = 0; v < Vectors; ++v) total[d][v] = B::load(z + d * k_encode_tile + v * B::size);
  }
  for (index_t e = 0; e < elements; ++e) {
    B element[Vectors];
    for (int v = 0; v < Vectors; ++v) element[v] = B::load(x + e * k_encode_tile + v * B::size);
    for (int d = 0; d < Coordinates; ++d) {
      const B axis = B::broadcast(axes[e * axes_stride + d]);
      for (int v = 0; v < Vectors; ++v) {
        total[d][v] = multiply_add(axis, element[v], total[d][v]);
      }
    }
  }
  for (int d = 0; d < Coordinates; ++d) {
    for (int v = 0; v < Vectors; ++v) total[d][v].store(z + d * k_encode_tile + v * B::size);
  }
}

template <int Coordinates, class B>
void project_coordinates(const float* x, index_t elements, const float* axes, index_t axes_stride,
                         float* z) noexcept {
  constexpr int k_vectors = static_cast<int>(EncodeBlock<B>::vectors);
  for (index_t v = 0; v < k_encode_tile; v += k_vectors * B::size) {
    project_block<Coordinates, k_vectors, B>(x + v, elements, axes, axes_stride, z + v);
  }
}

}  // namespace detail

/// Adds the coordinates of a tile of vectors on several axes.
/// Math: z[d, i] += sum over e of axes[e, d] * x[e, i]. Shapes: x elements x k_encode_tile, axes
/// elements x axes_stride, z coordinates x k_encode_tile. Sums are taken in the order of e.
/// Cost: elements * coordinates * k_encode_tile multiply-adds. Thread-safety: reentrant.
template <class B = Batch<float>>
void project(const float* x, index_t elements, const float* axes, index_t axes_stride,
             index_t coordinates, float* z) noexcept {
  constexpr int k_block = static_cast<int>(detail::EncodeBlock<B>::coordinates);
  index_t d = 0;
  for (; d + k_block <= coordinates; d += k_block) {
    detail::project_coordinates<k_block, B>(x, elements, axes + d, axes_stride,
                                            z + d * k_encode_tile);
  }
  for (; d + 2 <= coordinates; d += 2) {
    detail::project_coordinates<2, B>(x, elements, axes + d, axes_stride, z + d * k_encode_tile);
  }
  for (; d < coordinates; ++d) {
    detail::project_coordinates<1, B>(x, elements, axes + d, axes_stride, z + d * k_encode_tile);
  }
}

namespace detail {

/// Coordinates is the number of coordinates where the compiler may know it, else 0.
template <int Coordinates, class B>
bool nearest_entries(const float* z, index_t coordinates, const float* negated_entries,
                     const float* half_norms, index_t entries, float* nearest,
                     float* distances) noexcept {
  constexpr int k_vectors = static_cast<int>(EncodeBlock<B>::vectors);
  constexpr int k_held = Coordinates > 0 ? Coordinates : 1;
  const index_t length = Coordinates > 0 ? Coordinates : coordinates;
  B poison = B::broadcast(0.0F);
  for (index_t first = 0; first < k_encode_tile; first += k_vectors * B::size) {
    B held[k_held][k_vectors];
    for (int l = 0; l < Coordinates; ++l) {
      for (int v = 0; v < k_vectors; ++v) {
        held[l][v] = B::load(z + l * k_encode_tile + first + v * B::size);
      }
    }
    B best[k_vectors];
    B number[k_vectors];
    for (int v = 0; v < k_vectors; ++v) {
      best[v] = B::broadcast(std::numeric_limits<float>::infinity());
      number[v] = B::broadcast(0.0F);
    }
    for (index_t t = 0; t < entries; ++t) {
      B distance[k_vectors];
      for (B& d : distance) d = B::broadcast(half_norms[t]);
      for (index_t l = 0; l < length; ++l) {
        const B entry = B::broadcast(negated_entries[t * length + l]);
        for (int v = 0; v < k_vectors; ++v) {
          const B value = Coordinates > 0 ? held[Coordinates > 0 ? l : 0][v]
                                          : B::load(z + l * k_encode_tile + first + v * B::size);
          distance[v] = multiply_add(entry, value, distance[v]);
        }
      }
      const B t_number = B::broadcast(static_cast<float>(t));
      for (int v = 0; v < k_vectors; ++v) {
        number[v] = select_less(distance[v], best[v], t_number, number[v]);
        best[v] = select_less(distance[v], best[v], distance[v], best[v]);
      }
    }
    for (int v = 0; v < k_vectors; ++v) {
      number[v].store(nearest + first + v * B::size);
      best[v].store(distances + first + v * B::size);
      poison = multiply_add(best[v], B::broadcast(0.0F), poison);
    }
  }
  return sum(poison) == 0.0F;
}

}  // namespace detail

/// Finds the nearest entry of a codebook for every vector of a tile.
///
/// Math: nearest[i] = the least t that minimises half_norms[t] - entry_t . z_i, which is half the
/// squared distance less half the squared norm of z_i; that minimum goes to distances[i]. Returns
/// false when some distance is not finite, as it is for vectors that are not. Shapes: z coordinates
/// x k_encode_tile; negated_entries entries x coordinates, dense; nearest and distances
/// k_encode_tile. Cost: entries * (coordinates + 2) operations per vector. Thread-safety:
/// reentrant.
template <class B = Batch<float>>
bool nearest_entries(const float* z, index_t coordinates, const float* negated_entries,
                     const float* half_norms, index_t entries, std::uint8_t* nearest,
                     float* distances) noexcept {
  float numbers[k_encode_tile];
  bool finite = true;
  const auto run = [&](auto count) {
    finite = detail::nearest_entries<decltype(count)::value, B>(
        z, coordinates, negated_entries, half_norms, entries, numbers, distances);
  };
  switch (coordinates) {
    case 1:
      run(std::integral_constant<int, 1>());
      break;
    case 2:
      run(std::integral_constant<int, 2>());
      break;
    case 3:
      run(std::integral_constant<int, 3>());
      break;
    case 4:
      run(std::integral_constant<int, 4>());
      break;
    default:
      run(std::integral_constant<int, 0>());
  }
  for (index_t i = 0; i < k_encode_tile; ++i) {
    nearest[i] = static_cast<std::uint8_t>(static_cast<int>(numbers[i]));
  }
  return finite;
}

}  // namespace simd
ADR_NAMESPACE_END
