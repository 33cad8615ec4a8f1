// Packed weights and integer product tables against products in double precision.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "adr/gemm/product_tables.hpp"
#include "adr/reference/products.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/decoders.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::AlignedBuffer;
using adr::Context;
using adr::Decoder;
using adr::DecodingBook;
using adr::index_t;
using adr::ProductTables;
using adr::TableEntry;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::GuardedBuffer;

/// Weights in the order of pack_weights.
AlignedBuffer<float> random_weights(index_t outputs, index_t offsets, index_t length, Data& data) {
  AlignedBuffer<float> packed(outputs * offsets * length);
  for (index_t i = 0; i < packed.size(); ++i) packed[i] = data.normal<float>();
  return packed;
}

/// Tables built by any number of threads, in a workspace of just the stated size.
ProductTables tables_of(const Decoder& decoder, const AlignedBuffer<float>& packed, index_t outputs,
                        index_t offsets, TableEntry entry, int threads = 1) {
  ProductTables tables;
  Context context(threads);
  const std::size_t bytes = ProductTables::build_workspace_bytes(decoder, offsets, threads);
  context.workspace().reserve(bytes);
  tables.build(decoder, packed, outputs, offsets, entry, adr::DenseGemm<float>(), context);
  CHECK(context.workspace().peak_bytes() == bytes);
  return tables;
}

/// Entry t of the table of output m and group g.
int integer(const ProductTables& tables, index_t m, index_t g, index_t t) {
  const index_t at = (m * tables.groups() + g) * tables.entries() + t;
  return tables.entry() == TableEntry::int16 ? tables.int16_tables()[at]
                                             : tables.uint8_tables()[at];
}

/// The product that it stands for: what entry t adds to the output, in the padding less the mean.
double product(const Decoder& decoder, const AlignedBuffer<float>& packed, index_t offsets,
               index_t m, index_t g, index_t t) {
  const index_t b = g % decoder.book_count();
  const DecodingBook& book = decoder.books[static_cast<std::size_t>(b)];
  const float* weights = packed.data() + (m * offsets + g / decoder.book_count()) * decoder.length +
                         book.first_element;
  const bool pads = decoder.reserves_padding && t == decoder.entry_count - 1;
  const bool first_of_group =
      b == 0 || decoder.books[static_cast<std::size_t>(b - 1)].first_element != book.first_element;
  double total = 0;
  for (index_t e = 0; e < book.length; ++e) {
    const float value = !pads            ? book.entries[t * book.stride + e]
                        : first_of_group ? -decoder.mean[book.first_element + e]
                                         : 0.0F;
    total += static_cast<double>(weights[e]) * static_cast<double>(value);
  }
  return total;
}

struct Sizes {
  index_t length;
  index_t group_length;
  index_t books_per_group;
  index_t offsets;
};

constexpr Sizes k_sizes[] = {
    {16, 16, 4, 1},  // residual: all books decode all elements
    {13, 5, 2, 9},   // groups of elements, the last one shorter
    {3, 1, 1, 25},
    {70, 70, 12, 25},  // 300 groups: two chunks
};

}  // namespace

TEMPLATE_TEST_CASE("pack_weights puts weights in the order of vectors", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_rows = 18;
  constexpr index_t k_outputs = 7;
  std::vector<index_t> columns;
  for (index_t k = 0; k < k_rows; ++k) columns.push_back(k * 5 % k_rows);
  for (const bool transposed : {false, true}) {
    INFO("transposed " << transposed);
    GuardedBuffer<T> weights(transposed ? k_outputs : k_rows, transposed ? k_rows : k_outputs, 21);
    data.fill_normal(weights.view());
    AlignedBuffer<float> packed;
    Context context(2);
    adr::pack_weights(adr::GemmFactor<T>{weights.view(), transposed}, columns.data(), context,
                      packed);
    REQUIRE(packed.size() == k_rows * k_outputs);
    for (index_t m = 0; m < k_outputs; ++m) {
      for (index_t k = 0; k < k_rows; ++k) {
        const index_t column = columns[static_cast<std::size_t>(k)];
        const T expected = transposed ? weights(m, column) : weights(column, m);
        CHECK(packed[m * k_rows + k] == static_cast<float>(expected));
      }
    }
  }
}

TEST_CASE("weights_gram is the sum of W W^T over the offsets") {
  Data data;
  INFO(data);
  constexpr index_t k_length = 11;
  constexpr index_t k_rows = 9 * 14;
  const AlignedBuffer<float> packed = random_weights(14, 9, k_length, data);
  AlignedBuffer<float> gram;
  adr::weights_gram(packed, k_length, adr::DenseGemm<float>(), gram);
  REQUIRE(gram.size() == k_length * k_length);
  adr_test::Comparison comparison;
  for (index_t i = 0; i < k_length; ++i) {
    for (index_t j = 0; j < k_length; ++j) {
      double sum = 0;
      double magnitude = 0;
      for (index_t r = 0; r < k_rows; ++r) {
        const double term = static_cast<double>(packed[r * k_length + i]) *
                            static_cast<double>(packed[r * k_length + j]);
        sum += term;
        magnitude += std::abs(term);
      }
      comparison.expect(static_cast<double>(gram[i * k_length + j]), sum,
                        adr_test::sum_tolerance<float>(k_rows, magnitude));
    }
  }
  CHECK(comparison.fault() == "");
}

TEST_CASE("ProductTables holds products rounded to half a step") {
  Data data;
  INFO(data);
  constexpr index_t k_outputs = 11;  // more than one block of outputs
  for (const TableEntry entry : {TableEntry::int16, TableEntry::uint8}) {
    for (const index_t entries : {16, 64, 128, 256}) {
      for (const bool padding : {false, true}) {
        for (const Sizes& s : k_sizes) {
          INFO((entry == TableEntry::int16 ? "int16, " : "uint8, ")
               << entries << " entries, padding " << padding << ", length " << s.length);
          const Decoder decoder = adr_test::random_decoder(
              s.length, s.group_length, s.books_per_group, entries, padding, data);
          const auto packed = random_weights(k_outputs, s.offsets, s.length, data);
          const ProductTables tables = tables_of(decoder, packed, k_outputs, s.offsets, entry, 2);
          REQUIRE(tables.groups() == s.offsets * decoder.book_count());
          REQUIRE(tables.outputs() == k_outputs);
          REQUIRE(tables.entries() == entries);
          double worst = 0;      // error of a product, in steps
          double worst_pad = 0;  // the same of what stands for padding
          int lowest = 0;
          int highest = 0;
          double largest_sum = 0;
          for (index_t m = 0; m < k_outputs; ++m) {
            for (index_t c = 0; c < tables.chunks(); ++c) {
              const auto scale = static_cast<double>(tables.scale(m, c));
              REQUIRE(scale > 0);
              const index_t first = c * ProductTables::k_chunk_groups;
              const index_t last = std::min(first + ProductTables::k_chunk_groups, tables.groups());
              double sum = 0;
              for (index_t g = first; g < last; ++g) {
                const auto exact = [&](index_t t) {
                  return product(decoder, packed, s.offsets, m, g, t) / scale;
                };
                // The zero of a table of bytes is the least of its products.
                double origin = 0;
                int largest = 0;
                if (entry == TableEntry::uint8) {
                  origin = exact(0);
                  for (index_t t = 1; t < entries; ++t) origin = std::min(origin, exact(t));
                }
                for (index_t t = 0; t < entries; ++t) {
                  const int value = integer(tables, m, g, t);
                  const double error = std::abs(value + origin - exact(t));
                  double& largest_error = t < decoder.cluster_entries() ? worst : worst_pad;
                  largest_error = std::max(largest_error, error);
                  lowest = std::min(lowest, value);
                  highest = std::max(highest, value);
                  largest = std::max(largest, std::abs(value));
                }
                sum += largest;
              }
              largest_sum = std::max(largest_sum, sum);
            }
          }
          // Beyond the half step: the float that is rounded has 8 bits behind the point.
          CHECK(worst > 0.4);
          CHECK(worst <= 0.5 + 0.02);
          CHECK(worst_pad <= (padding ? 1.02 : 0.0));
          if (entry == TableEntry::uint8) {
            CHECK(lowest == 0);
            CHECK(highest >= ProductTables::k_most_uint8 - 1);
            CHECK(highest <= ProductTables::k_most_uint8);
          } else {
            CHECK(largest_sum > 32000);
            CHECK(largest_sum <= 32767);
          }
        }
      }
    }
  }
}

TEST_CASE("the padding entries of ProductTables cancel against their base") {
  Data data;
  INFO(data);
  for (const TableEntry entry : {TableEntry::int16, TableEntry::uint8}) {
    for (const Sizes& s : k_sizes) {
      const Decoder decoder =
          adr_test::random_decoder(s.length, s.group_length, s.books_per_group, 64, true, data);
      const auto packed = random_weights(3, s.offsets, s.length, data);
      const ProductTables tables = tables_of(decoder, packed, 3, s.offsets, entry);
      for (index_t m = 0; m < 3; ++m) {
        CHECK(tables.offset(m) == 0);
        for (index_t c = 0; c < tables.chunks(); ++c) {
          std::int32_t sum = tables.base(m, c);
          double exact = 0;
          const index_t first = c * ProductTables::k_chunk_groups;
          for (index_t g = first;
               g < std::min(first + ProductTables::k_chunk_groups, tables.groups()); ++g) {
            sum += integer(tables, m, g, 63);
            exact += product(decoder, packed, s.offsets, m, g, 63);
          }
          CHECK(sum == 0);
          // Their rounding is carried from group to group, and so is no more than that of one.
          if (entry == TableEntry::int16) {
            const double base = static_cast<double>(tables.base(m, c));
            CHECK(std::abs(base + exact / static_cast<double>(tables.scale(m, c))) < 0.6);
          }
        }
      }
    }
  }
}

TEST_CASE("ProductTables are the same for any number of threads") {
  Data data;
  INFO(data);
  constexpr index_t k_outputs = 37;
  const Decoder decoder = adr_test::random_decoder(20, 10, 2, 128, true, data);
  const auto packed = random_weights(k_outputs, 9, 20, data);
  for (const TableEntry entry : {TableEntry::int16, TableEntry::uint8}) {
    const ProductTables one = tables_of(decoder, packed, k_outputs, 9, entry, 1);
    const auto bytes = static_cast<std::size_t>(k_outputs * one.groups() * 128) *
                       (entry == TableEntry::int16 ? 2 : 1);
    const auto data_of = [&](const ProductTables& tables) {
      return entry == TableEntry::int16 ? static_cast<const void*>(tables.int16_tables())
                                        : static_cast<const void*>(tables.uint8_tables());
    };
    for (const int threads : {2, 3, 8}) {
      INFO(threads << " threads");
      const ProductTables many = tables_of(decoder, packed, k_outputs, 9, entry, threads);
      CHECK(std::memcmp(data_of(one), data_of(many), bytes) == 0);
      CHECK(one.rounding_error() == many.rounding_error());
      for (index_t m = 0; m < k_outputs; ++m) {
        CHECK(one.scale(m, 0) == many.scale(m, 0));
        CHECK(one.base(m, 0) == many.base(m, 0));
        CHECK(one.offset(m) == many.offset(m));
      }
    }
  }
}

TEST_CASE("ProductTables can be built anew in another form") {
  Data data;
  INFO(data);
  const Decoder decoder = adr_test::random_decoder(8, 8, 2, 64, false, data);
  const auto packed = random_weights(5, 1, 8, data);
  Context context;
  context.workspace().reserve(ProductTables::build_workspace_bytes(decoder, 1, 1));
  ProductTables tables;
  for (const TableEntry entry : {TableEntry::uint8, TableEntry::int16, TableEntry::uint8}) {
    tables.build(decoder, packed, 5, 1, entry, adr::DenseGemm<float>(), context);
    const ProductTables fresh = tables_of(decoder, packed, 5, 1, entry);
    CHECK(tables.entry() == entry);
    CHECK(tables.rounding_error() == fresh.rounding_error());
    for (index_t t = 0; t < 64; ++t) {
      CHECK(integer(tables, 4, 1, t) == integer(fresh, 4, 1, t));
    }
  }
  CHECK(tables.memory_bytes() >= 5 * 2 * 64);
}

TEST_CASE("ProductTables of weights of zero are zero, and so is their rounding error") {
  Data data;
  INFO(data);
  const Decoder decoder = adr_test::random_decoder(8, 4, 1, 16, true, data);
  AlignedBuffer<float> packed;
  packed.assign(3 * 9 * 8, 0.0F);
  for (const TableEntry entry : {TableEntry::int16, TableEntry::uint8}) {
    const ProductTables tables = tables_of(decoder, packed, 3, 9, entry);
    CHECK(tables.rounding_error() == 0);
    for (index_t g = 0; g < tables.groups(); ++g) {
      for (index_t t = 0; t < 16; ++t) CHECK(integer(tables, 1, g, t) == 0);
    }
    CHECK(tables.scale(1, 0) == 0);
    CHECK(tables.base(1, 0) == 0);
  }
}

TEST_CASE("ProductTables mark the outputs whose products are not finite") {
  Data data;
  INFO(data);
  for (const bool padding : {false, true}) {
    const Decoder decoder = adr_test::random_decoder(8, 4, 2, 64, padding, data);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity(), 3e38F}) {
      INFO("padding " << padding << ", a weight of " << bad);
      auto packed = random_weights(3, 9, 8, data);
      const auto clean = tables_of(decoder, packed, 3, 9, TableEntry::uint8);
      packed[(1 * 9 + 4) * 8 + 6] = bad;
      for (const TableEntry entry : {TableEntry::int16, TableEntry::uint8}) {
        const ProductTables tables = tables_of(decoder, packed, 3, 9, entry);
        CHECK(std::isnan(tables.scale(1, 0)));
        CHECK(std::isfinite(tables.scale(0, 0)));
        CHECK(std::isfinite(tables.scale(2, 0)));
        CHECK(std::isfinite(tables.rounding_error()));
        if (entry != TableEntry::uint8) continue;
        for (index_t t = 0; t < 64; ++t) {
          CHECK(integer(tables, 2, 10, t) == integer(clean, 2, 10, t));
        }
      }
    }
  }
}
