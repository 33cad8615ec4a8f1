#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/simd/lookup.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

namespace simd = adr::simd;
using adr::index_t;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

/// A template parameter as a value.
template <int N>
using Constant = std::integral_constant<int, N>;

template <class Use>
void for_all_entries(const Use& use) {
  use(Constant<16>{});
  use(Constant<64>{});
  use(Constant<128>{});
  use(Constant<256>{});
}

/// Calls use(form) for every form that is compiled here; the scalar one comes first.
template <class Use>
void for_all_forms(const Use& use) {
  {
    INFO("scalar");
    use(simd::ScalarLookup{});
  }
#if !defined(ADR_NO_SIMD)
#if defined(__AVX2__)
  {
    INFO("AVX2");
    use(simd::Avx2Lookup{});
  }
#endif
#if defined(__AVX512BW__)
  {
    INFO("AVX-512");
    use(simd::Avx512Lookup{});
  }
#if defined(__AVX512VBMI__)
  {
    INFO("AVX-512 with permutations of bytes");
    use(simd::Avx512VbmiLookup{});
  }
#endif
#endif
#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
  {
    INFO("64-bit Arm");
    use(simd::NeonLookup{});
  }
#endif
#endif
}

/// Sums of 16 bits, two in each element of a guarded buffer.
template <class Sum>
class GuardedSums {
 public:
  GuardedSums(index_t rows, index_t cols)
      : stride_(cols + 6), pairs_(rows, cols / 2, stride_ / 2, Start::misaligned) {}
  Sum* data() { return reinterpret_cast<Sum*>(pairs_.data()); }
  [[nodiscard]] index_t stride() const { return stride_; }
  [[nodiscard]] Sum at(index_t r, index_t i) const {
    const std::uint32_t pair = pairs_(r, i / 2);
    Sum halves[2];
    std::memcpy(halves, &pair, sizeof(pair));
    return halves[i % 2];
  }
  [[nodiscard]] std::string damage() const { return pairs_.damage(); }

 private:
  index_t stride_;
  GuardedBuffer<std::uint32_t> pairs_;
};

/// Tables and ids of one call, in memory that ends where they end.
template <class Entry>
struct Case {
  simd::LookupShape shape;
  index_t entries;
  std::vector<Entry> tables;
  adr::AlignedBuffer<std::uint8_t> ids;
  std::vector<std::uint16_t> expected;

  Case(index_t outputs, index_t groups, index_t count, index_t entries_)
      : shape{outputs, groups, count, groups * entries_ + 8, count + 64, count + 6},
        entries(entries_),
        tables(static_cast<std::size_t>((outputs - 1) * shape.table_stride + groups * entries)),
        ids((groups - 1) * shape.id_stride + count) {}

  /// Every id of a table is named, in an order of its own for each group.
  void fill_ids(Data& data) {
    for (index_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::uint8_t>(255);
    for (index_t g = 0; g < shape.groups; ++g) {
      for (index_t i = 0; i < shape.count; ++i) {
        ids[g * shape.id_stride + i] = static_cast<std::uint8_t>(
            g % 2 == 0 ? data.between(0, entries - 1) : (i * 7 + g) % entries);
      }
    }
  }

  /// Keeps sums[r][i] as the documentation says it, modulo 2^16.
  void expect() {
    expected.clear();
    for (index_t r = 0; r < shape.outputs; ++r) {
      for (index_t i = 0; i < shape.count; ++i) {
        std::int64_t sum = 0;
        for (index_t g = 0; g < shape.groups; ++g) {
          const index_t id = ids[g * shape.id_stride + i];
          sum += tables[static_cast<std::size_t>(r * shape.table_stride + g * entries + id)];
        }
        expected.push_back(static_cast<std::uint16_t>(sum));
      }
    }
  }

  template <class Sum>
  [[nodiscard]] index_t wrong_sums(const GuardedSums<Sum>& sums) const {
    index_t wrong = 0;
    for (index_t r = 0; r < shape.outputs; ++r) {
      for (index_t i = 0; i < shape.count; ++i) {
        const auto at = static_cast<std::size_t>(r * shape.count + i);
        if (static_cast<std::uint16_t>(sums.at(r, i)) != expected[at]) ++wrong;
      }
    }
    return wrong;
  }
};

/// Calls use(outputs, groups, count) for sizes around the blocks of every form.
template <class Use>
void for_all_sizes(const Use& use) {
  for (const index_t outputs : {1, 2, 3, 5}) {
    for (const index_t groups : {1, 2, 3, 4, 5, 7, 64}) {
      for (const index_t count : {64, 128, 192, 256, 320}) {
        INFO(outputs << " outputs, " << groups << " groups, " << count << " pixels");
        use(outputs, groups, count);
      }
    }
  }
}

template <int Entries, class Isa>
void check_int16(const Case<std::int16_t>& c) {
  GuardedSums<std::int16_t> sums(c.shape.outputs, c.shape.count);
  simd::lookup_int16<Entries, Isa>(c.shape, c.tables.data(), c.ids.data(), sums.data());
  CHECK(c.wrong_sums(sums) == 0);
  CHECK(sums.damage() == "");
}

template <int Entries, int Fold, class Isa>
void check_uint8(const Case<std::uint8_t>& c) {
  INFO(Fold << " entries at a time");
  GuardedSums<std::uint16_t> sums(c.shape.outputs, c.shape.count);
  simd::lookup_uint8<Entries, Fold, Isa>(c.shape, c.tables.data(), c.ids.data(), sums.data());
  CHECK(c.wrong_sums(sums) == 0);
  CHECK(sums.damage() == "");
}

TEST_CASE("lookup_int16 sums the entries that ids name") {
  Data data;
  INFO(data);
  for_all_entries([&](auto entries) {
    constexpr int k_entries = decltype(entries)::value;
    INFO(k_entries << " entries");
    for_all_sizes([&](index_t outputs, index_t groups, index_t count) {
      Case<std::int16_t> c(outputs, groups, count, k_entries);
      c.fill_ids(data);
      // The sums wrap.
      for (std::int16_t& entry : c.tables) {
        entry = static_cast<std::int16_t>(data.between(-32768, 32767));
      }
      c.expect();
      for_all_forms([&](auto form) { check_int16<k_entries, decltype(form)>(c); });
    });
  });
}

TEST_CASE("lookup_int16 takes extreme entries") {
  Data data;
  INFO(data);
  const std::int16_t extremes[] = {std::numeric_limits<std::int16_t>::min(),
                                   std::numeric_limits<std::int16_t>::max(),
                                   -1,
                                   0,
                                   255,
                                   256};
  for_all_entries([&](auto entries) {
    constexpr int k_entries = decltype(entries)::value;
    INFO(k_entries << " entries");
    Case<std::int16_t> c(3, 1, 320, k_entries);
    c.fill_ids(data);
    for (std::int16_t& entry : c.tables) entry = extremes[data.between(0, 5)];
    c.expect();
    for_all_forms([&](auto form) { check_int16<k_entries, decltype(form)>(c); });
  });
}

/// Checks a case with entries up to `largest`, the largest that `Fold` allows, and all of them
/// that.
template <int Entries, int Fold>
void check_uint8_case(Data& data, Case<std::uint8_t>& c) {
  constexpr index_t k_largest = 255 / Fold;
  for (const index_t smallest : {index_t{0}, k_largest}) {
    for (std::uint8_t& entry : c.tables) {
      entry = static_cast<std::uint8_t>(data.between(smallest, k_largest));
    }
    c.expect();
    for_all_forms([&](auto form) { check_uint8<Entries, Fold, decltype(form)>(c); });
  }
}

TEST_CASE("lookup_uint8 sums the entries that ids name") {
  Data data;
  INFO(data);
  for_all_entries([&](auto entries) {
    constexpr int k_entries = decltype(entries)::value;
    INFO(k_entries << " entries");
    for_all_sizes([&](index_t outputs, index_t groups, index_t count) {
      Case<std::uint8_t> c(outputs, groups, count, k_entries);
      c.fill_ids(data);
      check_uint8_case<k_entries, 1>(data, c);
      check_uint8_case<k_entries, 2>(data, c);
      check_uint8_case<k_entries, 4>(data, c);
    });
  });
}

TEST_CASE("lookup_uint8 sums up to the largest number of 16 bits") {
  Data data;
  INFO(data);
  for_all_entries([&](auto entries) {
    constexpr int k_entries = decltype(entries)::value;
    INFO(k_entries << " entries");
    // 257 * 255 = 65535.
    Case<std::uint8_t> c(2, 257, 128, k_entries);
    c.fill_ids(data);
    for (std::uint8_t& entry : c.tables) entry = 255;
    c.expect();
    CHECK(c.expected[0] == 65535);
    for_all_forms([&](auto form) { check_uint8<k_entries, 1, decltype(form)>(c); });
  });
}

TEST_CASE("look-ups without outputs or pixels write nothing, and without groups zeros") {
  const std::vector<std::int16_t> tables(64, 1);
  adr::AlignedBuffer<std::uint8_t> ids;
  ids.assign(64, 0);
  for_all_forms([&](auto form) {
    using Isa = decltype(form);
    GuardedSums<std::int16_t> sums(1, 64);
    std::vector<std::int16_t> before;
    for (index_t i = 0; i < 64; ++i) before.push_back(sums.at(0, i));
    simd::lookup_int16<64, Isa>({0, 1, 64, 64, 64, 64}, tables.data(), ids.data(), sums.data());
    simd::lookup_int16<64, Isa>({1, 1, 0, 64, 64, 64}, tables.data(), ids.data(), sums.data());
    std::vector<std::int16_t> after;
    for (index_t i = 0; i < 64; ++i) after.push_back(sums.at(0, i));
    CHECK(after == before);
    simd::lookup_int16<64, Isa>({1, 0, 64, 64, 64, 64}, tables.data(), ids.data(), sums.data());
    for (index_t i = 0; i < 64; ++i) CHECK(sums.at(0, i) == 0);
    CHECK(sums.damage() == "");
  });
}

TEST_CASE("the number of entries may be known at run time only") {
  Data data;
  INFO(data);
  for (const index_t entries : {16, 64, 128, 256}) {
    INFO(entries << " entries");
    REQUIRE(simd::is_lookup_size(entries));
    Case<std::int16_t> words(3, 5, 128, entries);
    words.fill_ids(data);
    for (std::int16_t& entry : words.tables) {
      entry = static_cast<std::int16_t>(data.between(-6000, 6000));
    }
    words.expect();
    GuardedSums<std::int16_t> word_sums(3, 128);
    simd::lookup_int16(entries, words.shape, words.tables.data(), words.ids.data(),
                       word_sums.data());
    CHECK(words.wrong_sums(word_sums) == 0);

    Case<std::uint8_t> bytes(3, 5, 128, entries);
    bytes.fill_ids(data);
    for (std::uint8_t& entry : bytes.tables) {
      entry = static_cast<std::uint8_t>(data.between(0, 127));
    }
    bytes.expect();
    GuardedSums<std::uint16_t> byte_sums(3, 128);
    simd::lookup_uint8<2>(entries, bytes.shape, bytes.tables.data(), bytes.ids.data(),
                          byte_sums.data());
    CHECK(bytes.wrong_sums(byte_sums) == 0);
  }
  for (const index_t entries : {0, 1, 15, 32, 65, 512, -16}) {
    CHECK_FALSE(simd::is_lookup_size(entries));
  }
  for (const index_t fold : {0, 3, 8}) CHECK_FALSE(simd::is_lookup_fold(fold));
}

}  // namespace
