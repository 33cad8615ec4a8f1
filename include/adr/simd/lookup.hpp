// Sums of table entries that ids name, with the tables held in registers: a look-up is one lane of
// a permutation instead of a load.
//
// Tables of one output are `groups` tables of 16, 64, 128 or 256 entries, one behind the other; for
// each pixel a row of ids per group names the entry. The loops stand here once; what a register of
// an instruction set does stands in lookup_<instruction set>.hpp. All forms give the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/lookup_avx2.hpp"
#include "adr/simd/lookup_avx512.hpp"
#include "adr/simd/lookup_neon.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Pixels are looked up in multiples of this many.
inline constexpr index_t k_lookup_pixels = 64;

/// Whether tables of so many entries can be looked up.
constexpr bool is_lookup_size(index_t entries) noexcept {
  return entries == 16 || entries == 64 || entries == 128 || entries == 256;
}

/// Whether lookup_uint8 can add so many entries before it widens them.
constexpr bool is_lookup_fold(index_t fold) noexcept { return fold == 1 || fold == 2 || fold == 4; }

/// Sizes and strides, in elements, of a block of sums: outputs x count of them.
struct LookupShape {
  index_t outputs = 0;
  index_t groups = 0;
  index_t count = 0;         ///< pixels, a multiple of k_lookup_pixels
  index_t table_stride = 0;  ///< from the tables of an output to the next's: >= groups * Entries
  index_t id_stride = 0;     ///< from the ids of a group to the next's: >= count
  index_t sum_stride = 0;    ///< from the sums of an output to the next's: >= count
};

/// One look-up at a time: the only form where no other is compiled, and the yardstick of tests.
struct ScalarLookup {
  /// A load finds one of any number of entries.
  static constexpr index_t k_entries_at_once = 256;
};

/// The fastest form that the translation unit is compiled for.
#if defined(ADR_NO_SIMD)
using DefaultLookup = ScalarLookup;
#elif defined(__AVX512BW__) && defined(__AVX512VBMI__)
using DefaultLookup = Avx512VbmiLookup;
#elif defined(__AVX512BW__)
using DefaultLookup = Avx512Lookup;
#elif defined(__AVX2__)
using DefaultLookup = Avx2Lookup;
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
using DefaultLookup = NeonLookup;
#else
using DefaultLookup = ScalarLookup;
#endif

/// Whether lookup_uint8 with Fold >= 2 is at least as fast as lookup_int16 in a form: a register
/// holds twice as many bytes as entries of 16 bits. One look-up at a time costs the same for both.
template <class Isa = DefaultLookup>
inline constexpr bool k_uint8_lookup_is_faster = !std::is_same_v<Isa, ScalarLookup>;

namespace detail {

/// The definition: sums[r][i] = sum over g of tables[r][g][ids[g][i]], modulo 2^16. In blocks of
/// pixels, so that a table is in the first-level cache while they read it.
template <int Entries, class Entry, class Sum>
void scalar_lookup(const LookupShape& shape, const Entry* tables, const std::uint8_t* ids,
                   Sum* sums) noexcept {
  constexpr index_t k_pixels = 16;
  for (index_t r = 0; r < shape.outputs; ++r) {
    for (index_t first = 0; first < shape.count; first += k_pixels) {
      const Entry* table = tables + r * shape.table_stride;
      const std::uint8_t* id = ids + first;
      std::uint32_t total[k_pixels] = {};
      for (index_t g = 0; g < shape.groups; ++g) {
#pragma GCC unroll 16
        for (index_t i = 0; i < k_pixels; ++i) total[i] += static_cast<std::uint32_t>(table[id[i]]);
        table += Entries;
        id += shape.id_stride;
      }
      Sum* row = sums + r * shape.sum_stride + first;
#pragma GCC unroll 16
      for (index_t i = 0; i < k_pixels; ++i) row[i] = static_cast<Sum>(total[i]);
    }
  }
}

// The forms of an instruction set offer, as Int16<Entries> and Uint8<Entries>, a Kernel:
//   Entry, Sum               what tables and sums hold
//   k_pixels                 pixels of one Index
//   k_outputs                outputs of one Table: 1, or 2 whose entries lie side by side
//   k_tables, k_units        tables and indices of the largest block that registers hold
//   load_table(entries, second_output)   a Table; the second output's entries lie that far behind
//   load_index(ids)          the Index of k_pixels ids
//   find(table, index)       the Partial of entries that they name
//   add_entries(a, b)        the sum of two Partials, in the precision of entries
//   zero(), add(total, partial), store(total, sums, second_output)   the Total of Partials

/// Adds what `Fold` groups name to the totals of `Tables` tables and `Units` registers of pixels:
/// as entries first, and only then as sums.
template <class Kernel, int Entries, int Fold, int Tables, int Units>
[[gnu::always_inline]] inline void add_groups(
    const LookupShape& shape, index_t second_output, const typename Kernel::Entry* tables,
    const std::uint8_t* ids, typename Kernel::Total (&total)[Tables][Units]) noexcept {
  typename Kernel::Partial found[Tables][Units];
#pragma GCC unroll 4
  for (int f = 0; f < Fold; ++f) {
    typename Kernel::Table table[Tables];
#pragma GCC unroll 4
    for (int t = 0; t < Tables; ++t) {
      table[t] = Kernel::load_table(
          tables + t * Kernel::k_outputs * shape.table_stride + f * Entries, second_output);
    }
#pragma GCC unroll 4
    for (int u = 0; u < Units; ++u) {
      const auto index = Kernel::load_index(ids + f * shape.id_stride + u * Kernel::k_pixels);
#pragma GCC unroll 4
      for (int t = 0; t < Tables; ++t) {
        const auto entries = Kernel::find(table[t], index);
        found[t][u] = f == 0 ? entries : Kernel::add_entries(found[t][u], entries);
        if (f == Fold - 1) total[t][u] = Kernel::add(total[t][u], found[t][u]);
      }
    }
  }
}

/// The sums of `Tables` tables and `Units` registers of pixels, kept in registers over all groups.
template <class Kernel, int Entries, int Fold, int Tables, int Units>
void lookup_block(const LookupShape& shape, bool has_second_output,
                  const typename Kernel::Entry* tables, const std::uint8_t* ids,
                  typename Kernel::Sum* sums) noexcept {
  // Without a second output a kernel of two makes the first one twice, in the same place.
  const index_t second_output = has_second_output ? shape.table_stride : 0;
  typename Kernel::Total total[Tables][Units];
#pragma GCC unroll 4
  for (int t = 0; t < Tables; ++t) {
#pragma GCC unroll 4
    for (int u = 0; u < Units; ++u) total[t][u] = Kernel::zero();
  }
  index_t g = 0;
  for (; g + Fold <= shape.groups; g += Fold) {
    add_groups<Kernel, Entries, Fold>(shape, second_output, tables + g * Entries,
                                      ids + g * shape.id_stride, total);
  }
  if constexpr (Fold > 1) {
    for (; g < shape.groups; ++g) {
      add_groups<Kernel, Entries, 1>(shape, second_output, tables + g * Entries,
                                     ids + g * shape.id_stride, total);
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < Tables; ++t) {
#pragma GCC unroll 4
    for (int u = 0; u < Units; ++u) {
      Kernel::store(total[t][u],
                    sums + t * Kernel::k_outputs * shape.sum_stride + u * Kernel::k_pixels,
                    has_second_output ? shape.sum_stride : 0);
    }
  }
}

/// All pixels for `Tables` tables.
template <class Kernel, int Entries, int Fold, int Tables>
void lookup_rows(const LookupShape& shape, bool has_second_output,
                 const typename Kernel::Entry* tables, const std::uint8_t* ids,
                 typename Kernel::Sum* sums) noexcept {
  constexpr index_t k_block = Kernel::k_units * Kernel::k_pixels;
  constexpr int k_fewest_units =
      static_cast<int>(std::min(k_block, k_lookup_pixels) / Kernel::k_pixels);
  index_t i = 0;
  for (; i + k_block <= shape.count; i += k_block) {
    lookup_block<Kernel, Entries, Fold, Tables, Kernel::k_units>(shape, has_second_output, tables,
                                                                 ids + i, sums + i);
  }
  if constexpr (k_fewest_units < Kernel::k_units) {
    for (; i < shape.count; i += k_lookup_pixels) {
      lookup_block<Kernel, Entries, Fold, Tables, k_fewest_units>(shape, has_second_output, tables,
                                                                  ids + i, sums + i);
    }
  }
}

template <class Kernel, int Entries, int Fold>
void lookup_all(const LookupShape& shape, const typename Kernel::Entry* tables,
                const std::uint8_t* ids, typename Kernel::Sum* sums) noexcept {
  constexpr index_t k_per_block = Kernel::k_tables * Kernel::k_outputs;
  index_t r = 0;
  for (; r + k_per_block <= shape.outputs; r += k_per_block) {
    lookup_rows<Kernel, Entries, Fold, Kernel::k_tables>(
        shape, true, tables + r * shape.table_stride, ids, sums + r * shape.sum_stride);
  }
  for (; r < shape.outputs; r += Kernel::k_outputs) {
    lookup_rows<Kernel, Entries, Fold, 1>(shape, r + Kernel::k_outputs <= shape.outputs,
                                          tables + r * shape.table_stride, ids,
                                          sums + r * shape.sum_stride);
  }
}

}  // namespace detail

/// Sums table entries that ids name: sums[r][i] = sum over g < groups of tables[r][g][ids[g][i]]
/// for r < outputs and i < count, modulo 2^16. Shapes: tables outputs x (groups * Entries), ids
/// groups x count and below Entries, sums outputs x count; nothing else is read or written. Rows on
/// a cache-line boundary are fastest. Cost: outputs * groups * count look-ups.
template <int Entries, class Isa = DefaultLookup>
void lookup_int16(const LookupShape& shape, const std::int16_t* tables, const std::uint8_t* ids,
                  std::int16_t* sums) noexcept {
  static_assert(is_lookup_size(Entries));
  if constexpr (std::is_same_v<Isa, ScalarLookup>) {
    detail::scalar_lookup<Entries>(shape, tables, ids, sums);
  } else {
    detail::lookup_all<typename Isa::template Int16<Entries>, Entries, 1>(shape, tables, ids, sums);
  }
}

/// The same with entries of 8 bits and sums of 16. The entries of `Fold` (1, 2 or 4) consecutive
/// groups are added as bytes before they are widened: requires that such sums stay below 256, as
/// they do for entries <= 255 / Fold. The more are folded, the faster.
template <int Entries, int Fold, class Isa = DefaultLookup>
void lookup_uint8(const LookupShape& shape, const std::uint8_t* tables, const std::uint8_t* ids,
                  std::uint16_t* sums) noexcept {
  static_assert(is_lookup_size(Entries));
  static_assert(is_lookup_fold(Fold));
  if constexpr (std::is_same_v<Isa, ScalarLookup>) {
    detail::scalar_lookup<Entries>(shape, tables, ids, sums);
  } else {
    detail::lookup_all<typename Isa::template Uint8<Entries>, Entries, Fold>(shape, tables, ids,
                                                                             sums);
  }
}

/// lookup_int16 for a number of entries that is known at run time; requires
/// is_lookup_size(entries).
template <class Isa = DefaultLookup>
void lookup_int16(index_t entries, const LookupShape& shape, const std::int16_t* tables,
                  const std::uint8_t* ids, std::int16_t* sums) noexcept {
  ADR_ASSERT(is_lookup_size(entries), "tables have 16, 64, 128 or 256 entries");
  switch (entries) {
    case 16:
      return lookup_int16<16, Isa>(shape, tables, ids, sums);
    case 64:
      return lookup_int16<64, Isa>(shape, tables, ids, sums);
    case 128:
      return lookup_int16<128, Isa>(shape, tables, ids, sums);
    default:
      return lookup_int16<256, Isa>(shape, tables, ids, sums);
  }
}

/// lookup_uint8 for a number of entries that is known at run time; requires
/// is_lookup_size(entries).
template <int Fold, class Isa = DefaultLookup>
void lookup_uint8(index_t entries, const LookupShape& shape, const std::uint8_t* tables,
                  const std::uint8_t* ids, std::uint16_t* sums) noexcept {
  ADR_ASSERT(is_lookup_size(entries), "tables have 16, 64, 128 or 256 entries");
  switch (entries) {
    case 16:
      return lookup_uint8<16, Fold, Isa>(shape, tables, ids, sums);
    case 64:
      return lookup_uint8<64, Fold, Isa>(shape, tables, ids, sums);
    case 128:
      return lookup_uint8<128, Fold, Isa>(shape, tables, ids, sums);
    default:
      return lookup_uint8<256, Fold, Isa>(shape, tables, ids, sums);
  }
}

}  // namespace simd
ADR_NAMESPACE_END
