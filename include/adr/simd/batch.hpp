// A register of numbers: the only file that knows xsimd, and the scalar form with the same
// interface.
//
// Kernels are written once against this interface. `Batch<T>` is the widest form the translation
// unit is compiled for; `ScalarBatch<T>` has one lane and exists everywhere: it is the only form
// when ADR_NO_SIMD is defined or xsimd knows no instruction set of the target, and the yardstick of
// tests.
#pragma once

#include <cstdint>
#include <type_traits>

#include "adr/core/types.hpp"

#if !defined(ADR_NO_SIMD) && defined(__SSE2__)
#include <xmmintrin.h>
#endif
#if !defined(ADR_NO_SIMD)
#include <xsimd/xsimd.hpp>
#if defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)
#define ADR_NO_SIMD
#endif
#endif

ADR_NAMESPACE_BEGIN
namespace simd {

/// One number with the interface of a register.
template <class T>
struct ScalarBatch {
  static constexpr index_t size = 1;
  T value;

  static ScalarBatch load(const T* from) noexcept { return {*from}; }
  static ScalarBatch broadcast(T value) noexcept { return {value}; }
  void store(T* to) const noexcept { *to = value; }
  void stream(T* to) const noexcept { store(to); }

  friend ScalarBatch operator+(ScalarBatch a, ScalarBatch b) noexcept {
    return {a.value + b.value};
  }
  friend ScalarBatch operator-(ScalarBatch a, ScalarBatch b) noexcept {
    return {a.value - b.value};
  }
  friend ScalarBatch operator*(ScalarBatch a, ScalarBatch b) noexcept {
    return {a.value * b.value};
  }
  /// a * b + c
  friend ScalarBatch multiply_add(ScalarBatch a, ScalarBatch b, ScalarBatch c) noexcept {
    return {a.value * b.value + c.value};
  }
  /// Bit i is set when lane i of a exceeds lane i of b; never for NaN.
  friend std::uint64_t greater_mask(ScalarBatch a, ScalarBatch b) noexcept {
    return a.value > b.value ? 1 : 0;
  }
  friend T sum(ScalarBatch a) noexcept { return a.value; }
  /// Lane by lane: a < b ? if_less : otherwise; NaN counts as not less.
  friend ScalarBatch select_less(ScalarBatch a, ScalarBatch b, ScalarBatch if_less,
                                 ScalarBatch otherwise) noexcept {
    return a.value < b.value ? if_less : otherwise;
  }
};

#if defined(ADR_NO_SIMD)

template <class T>
using Batch = ScalarBatch<T>;

#else

/// A register of the widest instruction set the translation unit is compiled for.
template <class T>
struct NativeBatch {
  using Register = xsimd::batch<T>;
  static constexpr index_t size = static_cast<index_t>(Register::size);
  Register value;

  static NativeBatch load(const T* from) noexcept { return {Register::load_unaligned(from)}; }
  static NativeBatch broadcast(T value) noexcept { return {Register(value)}; }
  void store(T* to) const noexcept { value.store_unaligned(to); }
  /// Stores floats past the caches. Requires: begins_register(to); finish_streaming at the end.
  void stream(T* to) const noexcept {
#if defined(__SSE2__)
    if constexpr (std::is_same_v<T, float>) {
#if defined(__AVX512F__)
      _mm512_stream_ps(to, value);
#elif defined(__AVX__)
      _mm256_stream_ps(to, value);
#else
      _mm_stream_ps(to, value);
#endif
      return;
    }
#endif
    store(to);
  }

  friend NativeBatch operator+(NativeBatch a, NativeBatch b) noexcept {
    return {a.value + b.value};
  }
  friend NativeBatch operator-(NativeBatch a, NativeBatch b) noexcept {
    return {a.value - b.value};
  }
  friend NativeBatch operator*(NativeBatch a, NativeBatch b) noexcept {
    return {a.value * b.value};
  }
  /// a * b + c
  friend NativeBatch multiply_add(NativeBatch a, NativeBatch b, NativeBatch c) noexcept {
#if defined(__AVX512F__)
    // xsimd 8 has a product and a sum here, which clang does not fuse, and gcc not at every level.
    if constexpr (std::is_same_v<T, float>) {
      return {_mm512_fmadd_ps(a.value, b.value, c.value)};
    } else if constexpr (std::is_same_v<T, double>) {
      return {_mm512_fmadd_pd(a.value, b.value, c.value)};
    }
#endif
    return {xsimd::fma(a.value, b.value, c.value)};
  }
  /// Bit i is set when lane i of a exceeds lane i of b; never for NaN.
  friend std::uint64_t greater_mask(NativeBatch a, NativeBatch b) noexcept {
    return lane_mask(a.value > b.value);
  }
  [[gnu::always_inline]] friend T sum(NativeBatch a) noexcept {
#if defined(__AVX512F__)
    // In a large program gcc leaves a call where xsimd 8 adds the lanes.
    if constexpr (std::is_same_v<T, float>) {
      return _mm512_reduce_add_ps(a.value);
    } else if constexpr (std::is_same_v<T, double>) {
      return _mm512_reduce_add_pd(a.value);
    }
#endif
#if XSIMD_VERSION_MAJOR >= 9
    return xsimd::reduce_add(a.value);
#else
    return xsimd::hadd(a.value);
#endif
  }
  /// Lane by lane: a < b ? if_less : otherwise; NaN counts as not less.
  friend NativeBatch select_less(NativeBatch a, NativeBatch b, NativeBatch if_less,
                                 NativeBatch otherwise) noexcept {
    return {xsimd::select(a.value < b.value, if_less.value, otherwise.value)};
  }

 private:
  static std::uint64_t lane_mask(const xsimd::batch_bool<T>& lanes) noexcept {
#if XSIMD_VERSION_MAJOR >= 9
    return lanes.mask();
#elif defined(__AVX512F__)
    return static_cast<std::uint64_t>(lanes.data);
#elif defined(__AVX__)
    return lane_mask_avx(lanes.data);
#else
    bool lane[Register::size];
    lanes.store_unaligned(lane);
    std::uint64_t bits = 0;
    for (index_t i = 0; i < size; ++i) bits |= static_cast<std::uint64_t>(lane[i]) << i;
    return bits;
#endif
  }
#if XSIMD_VERSION_MAJOR < 9 && defined(__AVX__)
  static std::uint64_t lane_mask_avx(__m256 lanes) noexcept {
    return static_cast<std::uint64_t>(_mm256_movemask_ps(lanes));
  }
  static std::uint64_t lane_mask_avx(__m256d lanes) noexcept {
    return static_cast<std::uint64_t>(_mm256_movemask_pd(lanes));
  }
#endif
};

template <class T>
using Batch = NativeBatch<T>;

#endif

/// Ends what the calling thread streamed: other threads see it.
inline void finish_streaming() noexcept {
#if !defined(ADR_NO_SIMD) && defined(__SSE2__)
  _mm_sfence();
#endif
}

/// Whether registers can be streamed to such a place.
template <class T>
bool begins_register(const T* place) noexcept {
  constexpr auto k_bytes = static_cast<std::uintptr_t>(Batch<T>::size * index_t{sizeof(T)});
  return reinterpret_cast<std::uintptr_t>(place) % k_bytes == 0;
}

/// The first `count` lanes from memory, zeros above; nothing beyond them is touched.
template <class B, class T>
B load_part(const T* from, index_t count) noexcept {
  if (count >= B::size) return B::load(from);
  T lanes[B::size] = {};
  for (index_t i = 0; i < count; ++i) lanes[i] = from[i];
  return B::load(lanes);
}
/// Stores the first `count` lanes; nothing beyond them is touched.
template <class B, class T>
void store_part(B value, T* to, index_t count) noexcept {
  if (count >= B::size) return value.store(to);
  T lanes[B::size];
  value.store(lanes);
  for (index_t i = 0; i < count; ++i) to[i] = lanes[i];
}

/// Every buffer row that kernels read in whole registers is padded to a multiple of this many
/// elements: a multiple of every register's lane count, so that no layout depends on the
/// instruction set.
inline constexpr index_t k_row_padding = 16;

inline index_t padded(index_t count) noexcept {
  return (count + k_row_padding - 1) / k_row_padding * k_row_padding;
}

}  // namespace simd
ADR_NAMESPACE_END
