// Tables looked up with the table instructions of 64-bit Arm: what lookup.hpp needs of a register.
//
// One instruction chooses among 64 bytes and gives 0, or keeps what was there, where an index is
// 64 or more. Longer tables are parts of 64 entries, whose indices are the ids minus the part's
// first entry. Loads that take pairs of bytes apart split tables of 16-bit entries for free.
#pragma once

#include <cstdint>

#include "adr/core/types.hpp"

#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN) && \
    !defined(ADR_NO_SIMD)

#include <arm_neon.h>

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

/// The indices of 16 pixels for each part of a table.
template <int Entries>
struct TableIndexNeon {
  static constexpr int k_parts = Entries <= 64 ? 1 : Entries / 64;
  uint8x16_t part[k_parts];

  static TableIndexNeon load(const std::uint8_t* ids) noexcept {
    TableIndexNeon index;
    index.part[0] = vld1q_u8(ids);
#pragma GCC unroll 16
    for (int i = 1; i < k_parts; ++i) {
      index.part[i] = vsubq_u8(index.part[0], vdupq_n_u8(static_cast<std::uint8_t>(64 * i)));
    }
    return index;
  }
};

/// A table of bytes.
template <int Entries>
struct ByteTableNeon {
  using Index = TableIndexNeon<Entries>;
  uint8x16x4_t part[Index::k_parts];

  [[nodiscard]] uint8x16_t at(const Index& index) const noexcept {
    if constexpr (Entries == 16) {
      return vqtbl1q_u8(part[0].val[0], index.part[0]);
    } else {
      uint8x16_t found = vqtbl4q_u8(part[0], index.part[0]);
#pragma GCC unroll 16
      for (int i = 1; i < Index::k_parts; ++i) {
        found = vqtbx4q_u8(found, part[i], index.part[i]);
      }
      return found;
    }
  }
};

/// Sums of 16 pixels.
template <class Register>
struct SumsNeon {
  Register first;
  Register second;
};

/// Tables of 8-bit entries.
template <int Entries>
struct ByteLookupNeon {
  using Entry = std::uint8_t;
  using Sum = std::uint16_t;
  using Table = ByteTableNeon<Entries>;
  using Index = TableIndexNeon<Entries>;
  using Partial = uint8x16_t;
  using Total = SumsNeon<uint16x8_t>;
  static constexpr index_t k_pixels = 16;
  static constexpr index_t k_outputs = 1;
  static constexpr int k_tables = Entries <= 64 ? 2 : 1;
  static constexpr int k_units = Entries <= 64 ? 2 : 4;

  static Table load_table(const Entry* entries, index_t /*stride*/) noexcept {
    Table table;
#pragma GCC unroll 16
    for (int i = 0; i < Entries / 16; ++i)
      table.part[i / 4].val[i % 4] = vld1q_u8(entries + 16 * i);
    return table;
  }
  static Index load_index(const std::uint8_t* ids) noexcept { return Index::load(ids); }
  static Partial find(const Table& table, const Index& index) noexcept { return table.at(index); }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept { return vaddq_u8(a, b); }
  static Total zero() noexcept { return {vdupq_n_u16(0), vdupq_n_u16(0)}; }
  static Total add(const Total& total, const Partial& bytes) noexcept {
    return {vaddw_u8(total.first, vget_low_u8(bytes)), vaddw_high_u8(total.second, bytes)};
  }
  static void store(const Total& total, Sum* sums, index_t /*stride*/) noexcept {
    vst1q_u16(sums, total.first);
    vst1q_u16(sums + 8, total.second);
  }
};

/// Tables of 16-bit entries, taken apart into their low and their high bytes.
template <int Entries>
struct WordLookupNeon {
  using Entry = std::int16_t;
  using Sum = std::int16_t;
  using Index = TableIndexNeon<Entries>;
  using Partial = SumsNeon<int16x8_t>;
  using Total = Partial;
  static constexpr index_t k_pixels = 16;
  static constexpr index_t k_outputs = 1;
  static constexpr int k_tables = 1;
  static constexpr int k_units = 4;

  struct Table {
    ByteTableNeon<Entries> low;
    ByteTableNeon<Entries> high;
  };

  static Table load_table(const Entry* entries, index_t /*stride*/) noexcept {
    Table table;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(entries);
#pragma GCC unroll 16
    for (int i = 0; i < Entries / 16; ++i) {
      const uint8x16x2_t halves = vld2q_u8(bytes + 32 * i);
      table.low.part[i / 4].val[i % 4] = halves.val[0];
      table.high.part[i / 4].val[i % 4] = halves.val[1];
    }
    return table;
  }
  static Index load_index(const std::uint8_t* ids) noexcept { return Index::load(ids); }
  static Partial find(const Table& table, const Index& index) noexcept {
    const uint8x16_t low = table.low.at(index);
    const uint8x16_t high = table.high.at(index);
    return {vreinterpretq_s16_u8(vzip1q_u8(low, high)), vreinterpretq_s16_u8(vzip2q_u8(low, high))};
  }
  static Partial add_entries(const Partial& a, const Partial& b) noexcept {
    return {vaddq_s16(a.first, b.first), vaddq_s16(a.second, b.second)};
  }
  static Total zero() noexcept { return {vdupq_n_s16(0), vdupq_n_s16(0)}; }
  static Total add(const Total& total, const Partial& partial) noexcept {
    return add_entries(total, partial);
  }
  static void store(const Total& total, Sum* sums, index_t /*stride*/) noexcept {
    vst1q_s16(sums, total.first);
    vst1q_s16(sums + 8, total.second);
  }
};

}  // namespace detail

/// 64-bit Arm.
struct NeonLookup {
  /// Entries of a table that one instruction chooses among; more take as many steps.
  static constexpr index_t k_entries_at_once = 64;
  template <int Entries>
  using Int16 = detail::WordLookupNeon<Entries>;
  template <int Entries>
  using Uint8 = detail::ByteLookupNeon<Entries>;
};

}  // namespace simd
ADR_NAMESPACE_END

#endif
