// Tables looked up with the permutations of AVX-512: what lookup.hpp needs of a register.
//
// A permutation of 16-bit lanes reads only the low bits of an index lane. So 64 id bytes are, as
// they lie in memory, 32 indices of the even pixels, and shifted down by a byte 32 indices of the
// odd ones: nothing is widened, and sums of even and odd pixels are interleaved once at the end.
#pragma once

#include <cstdint>
#include <type_traits>

#include "adr/core/types.hpp"

#if defined(__AVX512BW__) && !defined(ADR_NO_SIMD)

#include <immintrin.h>

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

/// Has a value computed here and kept in a register. Else the compiler loads a table anew for each
/// use, at one load a cycle, and puts off sums until what they need no longer fits the registers.
inline __m512i in_register(__m512i value) noexcept {
  asm volatile("" : "+v"(value));  // NOLINT
  return value;
}

inline __m512i load_512(const void* from) noexcept { return in_register(_mm512_loadu_si512(from)); }

/// Stores 64 sums, given those of the even and of the odd pixels.
inline void store_interleaved(__m512i even, __m512i odd, void* to) noexcept {
  const __m512i low = _mm512_unpacklo_epi16(even, odd);
  const __m512i high = _mm512_unpackhi_epi16(even, odd);
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  char* bytes = static_cast<char*>(to);
  _mm512_storeu_si512(bytes, _mm512_permutex2var_epi64(low, first, high));
  _mm512_storeu_si512(bytes + 64, _mm512_permutex2var_epi64(low, second, high));
}

/// A table of 16-bit entries and the ids of 64 pixels that choose from it.
template <int Entries>
struct WordTable512 {
  static constexpr int k_registers = Entries <= 32 ? 1 : Entries / 32;
  __m512i part[k_registers];

  /// The ids of the even or of the odd pixels in the low bytes of 32 lanes.
  struct Index {
    __m512i lanes;
    __mmask32 bit_6;
    __mmask32 bit_7;
  };
  struct Indices {
    Index even;
    Index odd;
  };

  static Indices load_indices(const std::uint8_t* ids) noexcept {
    const __m512i all = load_512(ids);
    return {index(all), index(_mm512_srli_epi16(all, 8))};
  }

  [[nodiscard]] __m512i at(const Index& i) const noexcept {
    if constexpr (Entries == 16) {
      return _mm512_permutexvar_epi16(i.lanes, part[0]);
    } else if constexpr (Entries == 64) {
      return pair<0>(i);
    } else if constexpr (Entries == 128) {
      return _mm512_mask_blend_epi16(i.bit_6, pair<0>(i), pair<2>(i));
    } else {
      return _mm512_mask_blend_epi16(i.bit_7,
                                     _mm512_mask_blend_epi16(i.bit_6, pair<0>(i), pair<2>(i)),
                                     _mm512_mask_blend_epi16(i.bit_6, pair<4>(i), pair<6>(i)));
    }
  }

 private:
  static Index index(__m512i lanes) noexcept {
    return {lanes, Entries >= 128 ? bit_mask(lanes, 0x40) : __mmask32{0},
            Entries == 256 ? bit_mask(lanes, 0x80) : __mmask32{0}};
  }
  static __mmask32 bit_mask(__m512i lanes, short bit) noexcept {
    return _mm512_test_epi16_mask(lanes, _mm512_set1_epi16(bit));
  }
  template <int First>
  [[nodiscard]] __m512i pair(const Index& i) const noexcept {
    return _mm512_permutex2var_epi16(part[First], i.lanes, part[First + 1]);
  }
};

/// Tables of 16-bit entries, sums of 16 bits.
template <int Entries>
struct WordLookup512 {
  using Entry = std::int16_t;
  using Sum = std::int16_t;
  using Table = WordTable512<Entries>;
  using Index = typename Table::Indices;
  static constexpr index_t k_pixels = 64;
  static constexpr index_t k_outputs = 1;
  static constexpr int k_tables = 2;
  static constexpr int k_units = 4;

  struct Partial {
    __m512i even;
    __m512i odd;
  };
  using Total = Partial;

  static Table load_table(const Entry* entries, index_t /*stride*/) noexcept {
    Table table;
    if constexpr (Entries == 16) {
      table.part[0] =
          _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(entries)));
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < Table::k_registers; ++i) table.part[i] = load_512(entries + 32 * i);
    }
    return table;
  }
  static Index load_index(const std::uint8_t* ids) noexcept { return Table::load_indices(ids); }
  static Partial find(const Table& table, const Index& index) noexcept {
    return {table.at(index.even), table.at(index.odd)};
  }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept {
    return {in_register(_mm512_add_epi16(a.even, b.even)),
            in_register(_mm512_add_epi16(a.odd, b.odd))};
  }
  static Total zero() noexcept { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
  static Total add(const Total& total, const Partial& partial) noexcept {
    return add_entries(total, partial);
  }
  static void store(const Total& total, Sum* sums, index_t /*stride*/) noexcept {
    store_interleaved(total.even, total.odd, sums);
  }
};

/// Sums of 16 bits of the low and of the high bytes of 16-bit lanes, without a mask: `raw` adds the
/// lanes as they are and wraps, `high` adds their high bytes, and raw - 256 high = low.
struct ByteSums512 {
  __m512i raw;
  __m512i high;

  static ByteSums512 zero() noexcept { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
  [[nodiscard]] ByteSums512 plus(__m512i bytes) const noexcept {
    return {in_register(_mm512_add_epi16(raw, bytes)),
            in_register(_mm512_add_epi16(high, _mm512_srli_epi16(bytes, 8)))};
  }
  [[nodiscard]] __m512i low() const noexcept {
    return _mm512_sub_epi16(raw, _mm512_slli_epi16(high, 8));
  }
};

/// Tables of 8-bit entries, one output at a time: 16 entries by a shuffle within quarters of the
/// register, more by permutations of bytes.
template <int Entries>
struct ByteLookup512 {
  using Entry = std::uint8_t;
  using Sum = std::uint16_t;
  static constexpr index_t k_pixels = 64;
  static constexpr index_t k_outputs = 1;
  static constexpr int k_tables = 2;
  static constexpr int k_units = 4;

  struct Table {
    __m512i part[Entries <= 64 ? 1 : Entries / 64];
  };
  struct Index {
    __m512i lanes;
    __mmask64 bit_7;
  };
  using Partial = __m512i;
  using Total = ByteSums512;

  static Table load_table(const Entry* entries, index_t /*stride*/) noexcept {
    Table table;
    if constexpr (Entries == 16) {
      table.part[0] =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < Entries / 64; ++i) table.part[i] = load_512(entries + 64 * i);
    }
    return table;
  }
  static Index load_index(const std::uint8_t* ids) noexcept {
    const __m512i lanes = load_512(ids);
    return {lanes, Entries == 256 ? _mm512_movepi8_mask(lanes) : __mmask64{0}};
  }
  static Partial find(const Table& table, const Index& index) noexcept {
    if constexpr (Entries == 16) {
      return _mm512_shuffle_epi8(table.part[0], index.lanes);
    } else {
      return permute(table, index);
    }
  }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept {
    return in_register(_mm512_add_epi8(a, b));
  }
  static Total zero() noexcept { return ByteSums512::zero(); }
  static Total add(const Total& total, const Partial& partial) noexcept {
    return total.plus(partial);
  }
  static void store(const Total& total, Sum* sums, index_t /*stride*/) noexcept {
    store_interleaved(total.low(), total.high, sums);
  }

 private:
#if defined(__AVX512VBMI__)
  static Partial permute(const Table& table, const Index& index) noexcept {
    if constexpr (Entries == 64) {
      return _mm512_permutexvar_epi8(index.lanes, table.part[0]);
    } else if constexpr (Entries == 128) {
      return _mm512_permutex2var_epi8(table.part[0], index.lanes, table.part[1]);
    } else {
      return _mm512_mask_blend_epi8(
          index.bit_7, _mm512_permutex2var_epi8(table.part[0], index.lanes, table.part[1]),
          _mm512_permutex2var_epi8(table.part[2], index.lanes, table.part[3]));
    }
  }
#endif
};

/// Tables of 8-bit entries without permutations of bytes: the entries of two outputs side by side
/// are one table of 16-bit entries, which costs no more permutations per looked-up byte.
template <int Entries>
struct PairLookup512 {
  using Entry = std::uint8_t;
  using Sum = std::uint16_t;
  using Table = WordTable512<Entries>;
  using Index = typename Table::Indices;
  static constexpr index_t k_pixels = 64;
  static constexpr index_t k_outputs = 2;
  static constexpr int k_tables = 1;
  static constexpr int k_units = 4;

  using Partial = typename WordLookup512<Entries>::Partial;
  struct Total {
    ByteSums512 even;
    ByteSums512 odd;
  };

  /// The entries of the outputs at `entries` and `entries + stride`.
  static Table load_table(const Entry* entries, index_t stride) noexcept {
    // Unpacking works within quarters of the registers, so the quarters' halves change places
    // first.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    Table table;
#pragma GCC unroll 16
    for (int i = 0; i < Entries / 64; ++i) {
      const __m512i a = _mm512_permutexvar_epi64(order, load_512(entries + 64 * i));
      const __m512i b = _mm512_permutexvar_epi64(order, load_512(entries + stride + 64 * i));
      table.part[2 * i] = _mm512_unpacklo_epi8(a, b);
      table.part[2 * i + 1] = _mm512_unpackhi_epi8(a, b);
    }
    return table;
  }
  static Index load_index(const std::uint8_t* ids) noexcept { return Table::load_indices(ids); }
  static Partial find(const Table& table, const Index& index) noexcept {
    return {table.at(index.even), table.at(index.odd)};
  }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept {
    return {in_register(_mm512_add_epi8(a.even, b.even)),
            in_register(_mm512_add_epi8(a.odd, b.odd))};
  }
  static Total zero() noexcept { return {ByteSums512::zero(), ByteSums512::zero()}; }
  static Total add(const Total& total, const Partial& partial) noexcept {
    return {total.even.plus(partial.even), total.odd.plus(partial.odd)};
  }
  static void store(const Total& total, Sum* sums, index_t stride) noexcept {
    store_interleaved(total.even.low(), total.odd.low(), sums);
    store_interleaved(total.even.high, total.odd.high, sums + stride);
  }
};

}  // namespace detail

/// AVX-512 with permutations of 16-bit lanes (AVX512BW).
struct Avx512Lookup {
  /// Entries of a table that one instruction chooses among; more take as many steps.
  static constexpr index_t k_entries_at_once = 64;
  template <int Entries>
  using Int16 = detail::WordLookup512<Entries>;
  template <int Entries>
  using Uint8 =
      std::conditional_t<Entries == 16, detail::ByteLookup512<16>, detail::PairLookup512<Entries>>;
};

#if defined(__AVX512VBMI__)
/// AVX-512 with permutations of bytes as well (AVX512VBMI).
struct Avx512VbmiLookup {
  /// Entries of a table that one instruction chooses among; more take as many steps.
  static constexpr index_t k_entries_at_once = 64;
  template <int Entries>
  using Int16 = detail::WordLookup512<Entries>;
  template <int Entries>
  using Uint8 = detail::ByteLookup512<Entries>;
};
#endif

}  // namespace simd
ADR_NAMESPACE_END

#endif
