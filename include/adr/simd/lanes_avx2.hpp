// Packing the lanes of AVX2 registers: what non_zeros.hpp needs of a register.
// The instruction set has no packing: a table says for each mask of lanes which ones move where.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/types.hpp"

#if defined(__AVX2__) && !(defined(__AVX512BW__) && defined(__AVX512VL__)) && !defined(ADR_NO_SIMD)

#include <immintrin.h>

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

/// Byte i of entry m is the number of the i-th lane whose bit is set in m.
constexpr std::array<std::uint64_t, 256> packed_lane_numbers() noexcept {
  std::array<std::uint64_t, 256> all{};
  for (std::size_t mask = 0; mask < all.size(); ++mask) {
    std::uint64_t numbers = 0;
    int place = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1u) != 0) numbers |= std::uint64_t{lane} << (8 * place++);
    }
    all[mask] = numbers;
  }
  return all;
}
inline constexpr std::array<std::uint64_t, 256> k_packed_lane_numbers = packed_lane_numbers();

template <class T>
struct Lanes;  // non_zeros.hpp

template <>
struct Lanes<float> {
  static constexpr index_t size = 8;
  static __m256i first(index_t count) noexcept {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<std::int32_t>(count)), numbers_from(0));
  }
  static __m256 load(const float* from, index_t count) noexcept {
    return count >= size ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, first(count));
  }
  static __m256i numbers_from(std::int32_t number) noexcept {
    return _mm256_add_epi32(_mm256_set1_epi32(number), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static std::uint32_t non_zero(__m256 x) noexcept {
    return static_cast<std::uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NEQ_UQ)));
  }
  static index_t count(std::uint32_t lanes) noexcept { return _mm_popcnt_u32(lanes); }
  static void pack(std::uint32_t lanes, __m256 x, float* to) noexcept {
    _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(x, order(lanes)));
  }
  static void pack(std::uint32_t lanes, __m256i x, std::int32_t* to) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_permutevar8x32_epi32(x, order(lanes)));
  }

 private:
  static __m256i order(std::uint32_t lanes) noexcept {
    return _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&k_packed_lane_numbers[lanes])));
  }
};

}  // namespace detail
}  // namespace simd
ADR_NAMESPACE_END

#endif
