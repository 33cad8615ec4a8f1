// Tables looked up with the byte shuffle of AVX2: what lookup.hpp needs of a register.
//
// The shuffle chooses among 16 bytes and gives 0 where the top bit of an index byte is set. So a
// table is cut into parts of 16 entries, and for each part the ids are turned into indices whose
// top bit is set unless the id names an entry of that part: ids minus the part's first entry,
// plus 0x70 with saturation. What all parts give is then or-ed. Several outputs share the indices.
#pragma once

#include <cstdint>

#include "adr/core/types.hpp"

#if defined(__AVX2__) && !defined(ADR_NO_SIMD)

#include <immintrin.h>

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

inline __m256i load_256(const void* from) noexcept {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

/// Has a value computed here: else the compiler puts off sums until what they need no longer fits
/// the registers.
inline __m256i in_register(__m256i value) noexcept {
  asm volatile("" : "+x"(value));  // NOLINT
  return value;
}

/// 16 bytes, twice.
inline __m256i load_twice(const void* from) noexcept {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}

/// Stores the 32 sums that are unpacked from bytes within halves of registers.
inline void store_unpacked(__m256i low, __m256i high, void* to) noexcept {
  __m256i* registers = static_cast<__m256i*>(to);
  _mm256_storeu_si256(registers, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256(registers + 1, _mm256_permute2x128_si256(low, high, 0x31));
}

/// The indices of 32 pixels for each part of a table.
template <int Entries>
struct ShuffleIndex256 {
  static constexpr int k_parts = Entries / 16;
  __m256i part[k_parts];

  static ShuffleIndex256 load(const std::uint8_t* ids) noexcept {
    ShuffleIndex256 index;
    index.part[0] = load_256(ids);
    if constexpr (k_parts > 1) {
      const __m256i ids_of_all = index.part[0];
#pragma GCC unroll 16
      for (int i = 0; i < k_parts; ++i) {
        const __m256i from_first =
            _mm256_sub_epi8(ids_of_all, _mm256_set1_epi8(static_cast<char>(16 * i)));
        index.part[i] = _mm256_adds_epu8(from_first, _mm256_set1_epi8(0x70));
      }
    }
    return index;
  }
};

/// Tables of 8-bit entries. A table stays in memory: its parts are loaded as they are used.
template <int Entries>
struct ByteLookup256 {
  using Entry = std::uint8_t;
  using Sum = std::uint16_t;
  using Table = const Entry*;
  using Index = ShuffleIndex256<Entries>;
  using Partial = __m256i;
  static constexpr index_t k_pixels = 32;
  static constexpr index_t k_outputs = 1;
  static constexpr int k_tables = 4;
  static constexpr int k_units = 1;

  /// Sums of the even pixels are raw - 256 odd: `raw` adds pairs of bytes as they are, and wraps.
  struct Total {
    __m256i raw;
    __m256i odd;
  };

  static Table load_table(const Entry* entries, index_t /*stride*/) noexcept { return entries; }
  static Index load_index(const std::uint8_t* ids) noexcept { return Index::load(ids); }
  static Partial find(Table table, const Index& index) noexcept {
    __m256i found = _mm256_shuffle_epi8(load_twice(table), index.part[0]);
#pragma GCC unroll 16
    for (int i = 1; i < Index::k_parts; ++i) {
      found = in_register(
          _mm256_or_si256(found, _mm256_shuffle_epi8(load_twice(table + 16 * i), index.part[i])));
    }
    return found;
  }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept {
    return in_register(_mm256_add_epi8(a, b));
  }
  static Total zero() noexcept { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Total add(const Total& total, const Partial& bytes) noexcept {
    return {in_register(_mm256_add_epi16(total.raw, bytes)),
            in_register(_mm256_add_epi16(total.odd, _mm256_srli_epi16(bytes, 8)))};
  }
  static void store(const Total& total, Sum* sums, index_t /*stride*/) noexcept {
    const __m256i even = _mm256_sub_epi16(total.raw, _mm256_slli_epi16(total.odd, 8));
    store_unpacked(_mm256_unpacklo_epi16(even, total.odd), _mm256_unpackhi_epi16(even, total.odd),
                   sums);
  }
};

/// Tables of 16-bit entries, taken apart into their low and their high bytes.
template <int Entries>
struct WordLookup256 {
  using Entry = std::int16_t;
  using Sum = std::int16_t;
  using Index = ShuffleIndex256<Entries>;
  static constexpr index_t k_pixels = 32;
  static constexpr index_t k_outputs = 1;
  static constexpr int k_tables = 1;
  static constexpr int k_units = 4;

  struct Table {
    __m256i low[Index::k_parts];
    __m256i high[Index::k_parts];
  };
  /// Pixels 0 to 7 and 16 to 23, and pixels 8 to 15 and 24 to 31.
  struct Partial {
    __m256i first;
    __m256i second;
  };
  using Total = Partial;

  static Table load_table(const Entry* entries, index_t /*stride*/) noexcept {
    Table table;
#pragma GCC unroll 16
    for (int i = 0; i < Index::k_parts; ++i) {
      const __m256i words = load_256(entries + 16 * i);
      const __m256i low = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
      const __m256i high = _mm256_srli_epi16(words, 8);
      const __m256i bytes = _mm256_packus_epi16(low, high);
      table.low[i] = _mm256_permute4x64_epi64(bytes, 0x88);
      table.high[i] = _mm256_permute4x64_epi64(bytes, 0xdd);
    }
    return table;
  }
  static Index load_index(const std::uint8_t* ids) noexcept { return Index::load(ids); }
  static Partial find(const Table& table, const Index& index) noexcept {
    __m256i low = _mm256_shuffle_epi8(table.low[0], index.part[0]);
    __m256i high = _mm256_shuffle_epi8(table.high[0], index.part[0]);
#pragma GCC unroll 16
    for (int i = 1; i < Index::k_parts; ++i) {
      low = _mm256_or_si256(low, _mm256_shuffle_epi8(table.low[i], index.part[i]));
      high = _mm256_or_si256(high, _mm256_shuffle_epi8(table.high[i], index.part[i]));
    }
    return {_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
  }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept {
    return {_mm256_add_epi16(a.first, b.first), _mm256_add_epi16(a.second, b.second)};
  }
  static Total zero() noexcept { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Total add(const Total& total, const Partial& partial) noexcept {
    return add_entries(total, partial);
  }
  static void store(const Total& total, Sum* sums, index_t /*stride*/) noexcept {
    store_unpacked(total.first, total.second, sums);
  }
};

}  // namespace detail

/// AVX2.
struct Avx2Lookup {
  /// Entries of a table that one instruction chooses among; more take as many steps.
  static constexpr index_t k_entries_at_once = 16;
  template <int Entries>
  using Int16 = detail::WordLookup256<Entries>;
  template <int Entries>
  using Uint8 = detail::ByteLookup256<Entries>;
};

}  // namespace simd
ADR_NAMESPACE_END

#endif
