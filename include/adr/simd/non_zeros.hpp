// Finding, listing and rounding the numbers of an array that are not zero. Intrinsics appear here
// because no register type of batch.hpp packs lanes; the plain form exists for every target.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

#if !defined(ADR_NO_SIMD) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define ADR_PACKS_LANES 1
#else
#define ADR_PACKS_LANES 0
#endif

ADR_NAMESPACE_BEGIN
namespace simd {

/// What is listed may be followed by this many elements of anything: lists have that much room
/// behind them.
inline constexpr index_t k_list_slack = 16;

namespace detail {

/// The plain form: one element at a time, without branches.
template <class T>
struct PlainPacker {
  static index_t count(const T* x, index_t count) noexcept {
    std::int32_t found = 0;
    index_t total = 0;
    for (index_t first = 0; first < count; first += 4096, total += found, found = 0) {
      const index_t last = std::min(count, first + 4096);
      for (index_t i = first; i < last; ++i) found += x[i] != T(0) ? 1 : 0;
    }
    return total;
  }
  static index_t list(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
    constexpr index_t k_stretch = 16;
    index_t listed = 0;
    for (index_t first = 0; first < count; first += k_stretch) {
      const index_t last = std::min(count, first + k_stretch);
      int any = 0;
      for (index_t i = first; i < last; ++i) any |= x[i] != T(0) ? 1 : 0;
      if (any == 0) continue;
      for (index_t i = first; i < last; ++i) {
        indices[listed] = static_cast<std::int32_t>(i);
        values[listed] = x[i];
        listed += x[i] != T(0) ? 1 : 0;
      }
    }
    return listed;
  }
  static index_t pack(index_t count, std::int32_t* indices, T* values) noexcept {
    index_t listed = 0;
    for (index_t i = 0; i < count; ++i) {
      const T value = values[i];
      indices[listed] = indices[i];
      values[listed] = value;
      listed += value != T(0) ? 1 : 0;
    }
    return listed;
  }
};

#if ADR_PACKS_LANES

template <class T>
struct Lanes;

/// Packing to a register and storing all of it is much faster than packing to memory.
template <>
struct Lanes<float> {
  static constexpr index_t size = 16;
  static std::uint32_t first(index_t count) noexcept {
    return count >= size ? 0xffffu : (1u << count) - 1u;
  }
  static __m512 load(std::uint32_t lanes, const float* from) noexcept {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), from);
  }
  static __m512i load(std::uint32_t lanes, const std::int32_t* from) noexcept {
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(lanes), from);
  }
  static __m512i numbers_from(std::int32_t number) noexcept {
    return _mm512_add_epi32(
        _mm512_set1_epi32(number),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  }
  static std::uint32_t non_zero(__m512 x) noexcept {
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  }
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
  static std::uint32_t first(index_t count) noexcept {
    return count >= size ? 0xffu : (1u << count) - 1u;
  }
  static __m512d load(std::uint32_t lanes, const double* from) noexcept {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(lanes), from);
  }
  static __m256i load(std::uint32_t lanes, const std::int32_t* from) noexcept {
    return _mm256_maskz_loadu_epi32(static_cast<__mmask8>(lanes), from);
  }
  static __m256i numbers_from(std::int32_t number) noexcept {
    return _mm256_add_epi32(_mm256_set1_epi32(number), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static std::uint32_t non_zero(__m512d x) noexcept {
    return _mm512_cmp_pd_mask(x, _mm512_setzero_pd(), _CMP_NEQ_UQ);
  }
  static void pack(std::uint32_t lanes, __m512d x, double* to) noexcept {
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd(static_cast<__mmask8>(lanes), x));
  }
  static void pack(std::uint32_t lanes, __m256i x, std::int32_t* to) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_maskz_compress_epi32(static_cast<__mmask8>(lanes), x));
  }
};

/// The same with whole registers.
template <class T>
struct LanePacker {
  using L = Lanes<T>;
  static index_t count(const T* x, index_t count) noexcept {
    index_t total = 0;
    for (index_t i = 0; i < count; i += L::size) {
      total += _mm_popcnt_u32(L::non_zero(L::load(L::first(count - i), x + i)));
    }
    return total;
  }
  static index_t list(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
    index_t listed = 0;
    for (index_t i = 0; i < count; i += L::size) {
      const auto value = L::load(L::first(count - i), x + i);
      const std::uint32_t keep = L::non_zero(value);
      L::pack(keep, value, values + listed);
      L::pack(keep, L::numbers_from(static_cast<std::int32_t>(i)), indices + listed);
      listed += _mm_popcnt_u32(keep);
    }
    return listed;
  }
  static index_t pack(index_t count, std::int32_t* indices, T* values) noexcept {
    index_t listed = 0;
    for (index_t i = 0; i < count; i += L::size) {
      const std::uint32_t lanes = L::first(count - i);
      const auto value = L::load(lanes, values + i);
      const auto index = L::load(lanes, indices + i);
      const std::uint32_t keep = L::non_zero(value);
      L::pack(keep, value, values + listed);
      L::pack(keep, index, indices + listed);
      listed += _mm_popcnt_u32(keep);
    }
    return listed;
  }
};

template <class T>
using Packer = LanePacker<T>;

#else

template <class T>
using Packer = PlainPacker<T>;

#endif

/// 64 well mixed bits of a number: the finalizer of splitmix64 (Steele, Lea and Flood, 2014).
inline std::uint64_t mixed_bits(std::uint64_t number) noexcept {
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
  number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
  return number ^ (number >> 31);
}

}  // namespace detail

/// Returns how many of x[0] ... x[count - 1] are not zero; NaN is not. Cost: one pass.
template <class T, class Packer = detail::Packer<T>>
index_t count_non_zeros(const T* x, index_t count) noexcept {
  return Packer::count(x, count);
}

/// Lists the x[i] that are not zero, and their i, in order; returns how many there are. Room:
/// k_list_slack elements more than are listed. Requires: count < 2^31. Cost: one pass.
template <class T, class Packer = detail::Packer<T>>
index_t list_non_zeros(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
  return Packer::list(x, count, indices, values);
}

/// Removes from a list what has become zero; returns how many stay. Room: as list_non_zeros.
template <class T, class Packer = detail::Packer<T>>
index_t pack_non_zeros(index_t count, std::int32_t* indices, T* values) noexcept {
  return Packer::pack(count, indices, values);
}

/// The element numbers of a list whose i-th entry stands for element first + indices[i] * stride.
struct ElementNumbers {
  std::uint64_t first;
  std::uint64_t stride;
};

/// Rounds every value of a list to one of its two neighbouring multiples of the unit, at random and
/// without bias.
///
/// Math: v becomes sign(v) unit floor(|v| / unit + u), u uniform in [0, 1) and a function of the
/// seed and the element's number alone, so E[v] stays, up to the precision of T. Values of 2^22
/// units and more, infinities and NaN stay. Requires: unit > 0, unit and 1 / unit finite. Cost: two
/// 64-bit multiplications and a handful of operations per value.
template <class T>
void round_at_random(T* values, const std::int32_t* indices, index_t count, T unit,
                     std::uint64_t seed, const ElementNumbers& numbers) noexcept {
  constexpr int k_bits = std::is_same_v<T, float> ? 24 : 31;
  constexpr T k_step = T(1) / static_cast<T>(std::uint64_t{1} << k_bits);
  constexpr T k_largest = T(1 << 22);
  const T per_unit = T(1) / unit;
  const std::uint64_t key = detail::mixed_bits(seed + 0x9e3779b97f4a7c15u);
  for (index_t i = 0; i < count; ++i) {
    const std::uint64_t element =
        numbers.first + static_cast<std::uint64_t>(indices[i]) * numbers.stride;
    const auto bits = static_cast<std::int32_t>(
        detail::mixed_bits(key + element * 0x9e3779b97f4a7c15u) >> (64 - k_bits));
    const T value = values[i];
    const T units = std::abs(value) * per_unit;
    const bool rounds = units < k_largest;
    // Not a floor: that would be a call where the instruction set has none.
    const auto whole =
        static_cast<std::int32_t>((rounds ? units : T(0)) + static_cast<T>(bits) * k_step);
    values[i] = rounds ? std::copysign(unit * static_cast<T>(whole), value) : value;
  }
}

}  // namespace simd
ADR_NAMESPACE_END
