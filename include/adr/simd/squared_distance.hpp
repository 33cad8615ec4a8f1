// How far two vectors are from each other, given up as soon as it is too far.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// What a comparison of two vectors has found.
template <class T>
struct SquaredDistance {
  T distance;  ///< ||x - y||^2, or a part of it that is above what was asked for
  T norm;      ///< ||x||^2, of as many elements
};

/// Lanes times chains that sum up a squared distance: every one of them adds a count / terms part.
template <class T, class B = Batch<T>>
inline constexpr index_t k_distance_terms = 2 * B::size;

/// Returns ||x - y||^2 and ||x||^2 of `count` elements; a distance above `most` is given up.
/// `next`: a vector of as many elements that is fetched meanwhile, or null. A NaN in either vector
/// makes the distance NaN, unless it is given up before. Cost: one read of each; that of the first
/// few elements where vectors differ much.
template <class T, class B = Batch<T>>
SquaredDistance<T> squared_distance(const T* x, const T* y, index_t count, T most,
                                    const T* next) noexcept {
  constexpr index_t k_step = 2 * B::size;
  constexpr index_t k_block = k_step > 128 ? k_step : 128 / k_step * k_step;
  constexpr index_t k_line = 64 / static_cast<index_t>(sizeof(T));
  B distance[2] = {B::broadcast(T(0)), B::broadcast(T(0))};
  B norm[2] = {distance[0], distance[0]};
  index_t i = 0;
  while (i + k_step <= count) {
    const index_t end = std::min(i + k_block, count);
    if (next != nullptr) {
      for (index_t line = i; line < end; line += k_line) __builtin_prefetch(next + line);
    }
    for (; i + k_step <= end; i += k_step) {
      for (index_t c = 0; c < 2; ++c) {
        const B a = B::load(x + i + c * B::size);
        const B difference = a - B::load(y + i + c * B::size);
        distance[c] = multiply_add(difference, difference, distance[c]);
        norm[c] = multiply_add(a, a, norm[c]);
      }
    }
    const T so_far = sum(distance[0] + distance[1]);
    if (so_far > most) return {so_far, sum(norm[0] + norm[1])};
  }
  SquaredDistance<T> result = {sum(distance[0] + distance[1]), sum(norm[0] + norm[1])};
  for (; i < count; ++i) {
    const T difference = x[i] - y[i];
    result.distance += difference * difference;
    result.norm += x[i] * x[i];
  }
  return result;
}

}  // namespace simd
ADR_NAMESPACE_END
