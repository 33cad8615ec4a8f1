// Packing the lanes of AVX-512 registers: what non_zeros.hpp needs of a register.
#pragma once

#include <cstdint>

#include "adr/core/types.hpp"

#if defined(__AVX512BW__) && defined(__AVX512VL__) && !defined(ADR_NO_SIMD)

#include <immintrin.h>

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

template <class T>
struct Lanes;  // non_zeros.hpp

template <>
struct Lanes<float> {
  static constexpr index_t size = 16;
  static __mmask16 first(index_t count) noexcept {
    return static_cast<__mmask16>(count >= size ? 0xffffu : (1u << count) - 1u);
  }
  static __m512 load(const float* from, index_t count) noexcept {
    return _mm512_maskz_loadu_ps(first(count), from);
  }
  static __m512i numbers_from(std::int32_t number) noexcept {
    return _mm512_add_epi32(
        _mm512_set1_epi32(number),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  }
  static std::uint32_t non_zero(__m512 x) noexcept {
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  }
  static index_t count(std::uint32_t lanes) noexcept { return _mm_popcnt_u32(lanes); }
  static void pack(std::uint32_t lanes, __m512 x, float* to) noexcept {
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps(static_cast<__mmask16>(lanes), x));
  }
  static void pack(std::uint32_t lanes, __m512i x, std::int32_t* to) noexcept {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(static_cast<__mmask16>(lanes), x));
  }
};

template <>
struct Lanes<double> {
  static constexpr index_t size = 8;
  static __mmask8 first(index_t count) noexcept {
    return static_cast<__mmask8>(count >= size ? 0xffu : (1u << count) - 1u);
  }
  static __m512d load(const double* from, index_t count) noexcept {
    return _mm512_maskz_loadu_pd(first(count), from);
  }
  static __m256i numbers_from(std::int32_t number) noexcept {
    return _mm256_add_epi32(_mm256_set1_epi32(number), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static std::uint32_t non_zero(__m512d x) noexcept {
    return _mm512_cmp_pd_mask(x, _mm512_setzero_pd(), _CMP_NEQ_UQ);
  }
  static index_t count(std::uint32_t lanes) noexcept { return _mm_popcnt_u32(lanes); }
  static void pack(std::uint32_t lanes, __m512d x, double* to) noexcept {
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd(static_cast<__mmask8>(lanes), x));
  }
  static void pack(std::uint32_t lanes, __m256i x, std::int32_t* to) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_maskz_compress_epi32(static_cast<__mmask8>(lanes), x));
  }
};

}  // namespace detail
}  // namespace simd
ADR_NAMESPACE_END

#endif
