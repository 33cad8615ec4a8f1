// Transposes of matrices in register tiles: what turns channels-last pixels into one row per
// channel and back.
//
// A tile of n x n numbers in n registers is transposed in log2(n) rounds. A round zips register i
// with register i + n / 2 into registers 2 i and 2 i + 1. It thereby rotates the bits of an
// element's place (row, column) by one to the left, and after log2(n) rounds row and column have
// changed places.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

#if !defined(ADR_NO_SIMD)
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#endif

ADR_NAMESPACE_BEGIN
namespace simd {

/// The form of a transpose without registers: tiles of one number.
struct PlainLanes {
  static constexpr index_t size = 1;
};

#if defined(ADR_NO_SIMD) || !(defined(__SSE2__) || defined(__ARM_NEON))

using FloatLanes = PlainLanes;

#elif defined(__AVX512F__)

/// A register of floats that can be zipped: the first halves of two registers, element by element
/// in turn, and their second halves.
struct FloatLanes {
  static constexpr index_t size = 16;
  static constexpr bool has_parts = true;  ///< whether the first `count` lanes can go alone
  __m512 value;

  static FloatLanes load(const float* from) noexcept { return {_mm512_loadu_ps(from)}; }
  static FloatLanes load_part(const float* from, index_t count) noexcept {
    return {_mm512_maskz_loadu_ps(part(count), from)};
  }
  static FloatLanes zero() noexcept { return {_mm512_setzero_ps()}; }
  void store(float* to) const noexcept { _mm512_storeu_ps(to, value); }
  void store_part(float* to, index_t count) const noexcept {
    _mm512_mask_storeu_ps(to, part(count), value);
  }
  friend FloatLanes operator+(FloatLanes a, FloatLanes b) noexcept {
    return {_mm512_add_ps(a.value, b.value)};
  }
  static void zip(FloatLanes a, FloatLanes b, FloatLanes& first, FloatLanes& second) noexcept {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    first.value = _mm512_permutex2var_ps(a.value, low, b.value);
    second.value = _mm512_permutex2var_ps(a.value, high, b.value);
  }

 private:
  static __mmask16 part(index_t count) noexcept {
    return static_cast<__mmask16>((1u << static_cast<unsigned>(count)) - 1u);
  }
};

#elif defined(__AVX__)

/// A register of floats that can be zipped: the first halves of two registers, element by element
/// in turn, and their second halves.
struct FloatLanes {
  static constexpr index_t size = 8;
  static constexpr bool has_parts = false;  ///< whether the first `count` lanes can go alone
  __m256 value;

  static FloatLanes load(const float* from) noexcept { return {_mm256_loadu_ps(from)}; }
  void store(float* to) const noexcept { _mm256_storeu_ps(to, value); }
  friend FloatLanes operator+(FloatLanes a, FloatLanes b) noexcept {
    return {_mm256_add_ps(a.value, b.value)};
  }
  static void zip(FloatLanes a, FloatLanes b, FloatLanes& first, FloatLanes& second) noexcept {
    const __m256 low = _mm256_unpacklo_ps(a.value, b.value);
    const __m256 high = _mm256_unpackhi_ps(a.value, b.value);
    first.value = _mm256_permute2f128_ps(low, high, 0x20);
    second.value = _mm256_permute2f128_ps(low, high, 0x31);
  }
};

#elif defined(__SSE2__)

/// A register of floats that can be zipped: the first halves of two registers, element by element
/// in turn, and their second halves.
struct FloatLanes {
  static constexpr index_t size = 4;
  static constexpr bool has_parts = false;  ///< whether the first `count` lanes can go alone
  __m128 value;

  static FloatLanes load(const float* from) noexcept { return {_mm_loadu_ps(from)}; }
  void store(float* to) const noexcept { _mm_storeu_ps(to, value); }
  friend FloatLanes operator+(FloatLanes a, FloatLanes b) noexcept {
    return {_mm_add_ps(a.value, b.value)};
  }
  static void zip(FloatLanes a, FloatLanes b, FloatLanes& first, FloatLanes& second) noexcept {
    first.value = _mm_unpacklo_ps(a.value, b.value);
    second.value = _mm_unpackhi_ps(a.value, b.value);
  }
};

#else

/// A register of floats that can be zipped: the first halves of two registers, element by element
/// in turn, and their second halves.
struct FloatLanes {
  static constexpr index_t size = 4;
  static constexpr bool has_parts = false;  ///< whether the first `count` lanes can go alone
  float32x4_t value;

  static FloatLanes load(const float* from) noexcept { return {vld1q_f32(from)}; }
  void store(float* to) const noexcept { vst1q_f32(to, value); }
  friend FloatLanes operator+(FloatLanes a, FloatLanes b) noexcept {
    return {vaddq_f32(a.value, b.value)};
  }
  static void zip(FloatLanes a, FloatLanes b, FloatLanes& first, FloatLanes& second) noexcept {
    const float32x4x2_t both = vzipq_f32(a.value, b.value);
    first.value = both.val[0];
    second.value = both.val[1];
  }
};

#endif

namespace detail {

/// What becomes of the elements of a transpose.
enum class TransposeTo { replace, add };

template <TransposeTo To, class T, class U>
void transpose_plain(const T* from, index_t from_stride, index_t rows, index_t cols, U* to,
                     index_t to_stride) noexcept {
  // Blocks of rows, so that what is written stays in the first-level cache until lines are full.
  constexpr index_t k_block = 16;
  for (index_t first = 0; first < rows; first += k_block) {
    const index_t last = std::min(rows, first + k_block);
    for (index_t j = 0; j < cols; ++j) {
      for (index_t i = first; i < last; ++i) {
        const U value = static_cast<U>(from[i * from_stride + j]);
        U& place = to[j * to_stride + i];
        place = To == TransposeTo::add ? place + value : value;
      }
    }
  }
}

/// `Rounds` rounds of zips. The tile stays in registers, because every index is a constant and
/// nothing is a call.
template <int Rounds, class L, std::size_t... I>
[[gnu::always_inline]] inline void zip_rounds(L (&tile)[sizeof...(I) * 2],
                                              std::index_sequence<I...> halves) noexcept {
  if constexpr (Rounds > 0) {
    constexpr std::size_t k_half = sizeof...(I);
    L zipped[2 * k_half];
    (L::zip(tile[I], tile[I + k_half], zipped[2 * I], zipped[2 * I + 1]), ...);
    zip_rounds<Rounds - 1>(zipped, halves);
    ((tile[2 * I] = zipped[2 * I], tile[2 * I + 1] = zipped[2 * I + 1]), ...);
  }
}

/// Transposes one tile; Whole: of L::size x L::size elements, else of fewer.
template <TransposeTo To, bool Whole, class L, std::size_t... I>
void transpose_tile(const float* from, index_t from_stride, index_t rows, index_t cols, float* to,
                    index_t to_stride, std::index_sequence<I...> /*lanes*/) noexcept {
  constexpr int k_rounds = L::size == 16 ? 4 : L::size == 8 ? 3 : 2;
  constexpr auto k_halves = std::make_index_sequence<sizeof...(I) / 2>();
  L tile[sizeof...(I)];
  const auto load = [&](index_t i) {
    if constexpr (Whole) {
      return L::load(from + i * from_stride);
    } else {
      return i < rows ? L::load_part(from + i * from_stride, cols) : L::zero();
    }
  };
  ((tile[I] = load(static_cast<index_t>(I))), ...);
  zip_rounds<k_rounds>(tile, k_halves);
  const auto store = [&](index_t j, L value) {
    float* place = to + j * to_stride;
    if constexpr (Whole) {
      if constexpr (To == TransposeTo::add) value = value + L::load(place);
      value.store(place);
    } else if (j < cols) {
      if constexpr (To == TransposeTo::add) value = value + L::load_part(place, rows);
      value.store_part(place, rows);
    }
  };
  (store(static_cast<index_t>(I), tile[I]), ...);
}

template <TransposeTo To, class L, class T, class U>
void transpose_in_tiles(const T* from, index_t from_stride, index_t rows, index_t cols, U* to,
                        index_t to_stride) noexcept {
  if constexpr (L::size == 1 || !std::is_same_v<T, float> || !std::is_same_v<U, float>) {
    transpose_plain<To>(from, from_stride, rows, cols, to, to_stride);
  } else {
    constexpr auto k_lanes = std::make_index_sequence<static_cast<std::size_t>(L::size)>();
    for (index_t i = 0; i < rows; i += L::size) {
      for (index_t j = 0; j < cols; j += L::size) {
        const T* source = from + i * from_stride + j;
        U* target = to + j * to_stride + i;
        const index_t height = std::min(L::size, rows - i);
        const index_t width = std::min(L::size, cols - j);
        if (height == L::size && width == L::size) {
          transpose_tile<To, true, L>(source, from_stride, height, width, target, to_stride,
                                      k_lanes);
        } else if constexpr (L::has_parts) {
          transpose_tile<To, false, L>(source, from_stride, height, width, target, to_stride,
                                       k_lanes);
        } else {
          transpose_plain<To>(source, from_stride, height, width, target, to_stride);
        }
      }
    }
  }
}

}  // namespace detail

/// Transposes: to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < cols, converted
/// to U.
///
/// Strides in elements; rows of `from` may overlap (from_stride below cols), as neighbouring
/// windows of one line do. Only elements of the two matrices are touched. Requires: from and to do
/// not overlap. float to float goes through register tiles, other types one by one.
template <class T, class U, class L = FloatLanes>
void transpose(const T* from, index_t from_stride, index_t rows, index_t cols, U* to,
               index_t to_stride) noexcept {
  detail::transpose_in_tiles<detail::TransposeTo::replace, L>(from, from_stride, rows, cols, to,
                                                              to_stride);
}

/// Adds the transpose: to[j * to_stride + i] += from[i * from_stride + j]. Otherwise as transpose.
template <class T, class U, class L = FloatLanes>
void transpose_add(const T* from, index_t from_stride, index_t rows, index_t cols, U* to,
                   index_t to_stride) noexcept {
  detail::transpose_in_tiles<detail::TransposeTo::add, L>(from, from_stride, rows, cols, to,
                                                          to_stride);
}

/// Reads the cache lines of from[0] ... from[count - 1] in the order of memory, so that transposes
/// that jump from row to row find them near. Loads, because prefetches do not set the hardware on
/// the track.
template <class T>
void bring_near(const T* from, index_t count) noexcept {
  constexpr index_t k_line = std::max<index_t>(64 / static_cast<index_t>(sizeof(T)), 1);
  const volatile T* element = from;
  for (index_t i = 0; i < count; i += k_line) static_cast<void>(element[i]);
}

}  // namespace simd
ADR_NAMESPACE_END
