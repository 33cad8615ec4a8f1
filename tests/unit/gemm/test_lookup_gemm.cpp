// Products looked up in tables against the unfolded product of the decoded vectors, and bit for bit
// against the formula of their tables.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/decoders.hpp"
#include "support/guarded_buffer.hpp"
#include "support/lookup_cases.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::NeuronVectorKind;
using adr::ProductTables;
using adr::TableEntry;
using adr::reference::Matrix;
using adr_test::conv_lookup;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::looked_up;
using adr_test::lookup_fault;
using adr_test::LookupCase;
using adr_test::matrix_lookup;
using adr_test::values_off_the_formula;

constexpr TableEntry k_entries[] = {TableEntry::int16, TableEntry::uint8};

ConvGeometry geometry(Layout layout, index_t in, index_t size, index_t out) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = in;
  g.out_channels = out;
  g.in_height = size;
  g.in_width = size + 1;
  g.set_kernel(3);
  g.set_padding(1);
  return g;
}

std::vector<ConvGeometry> geometries(Layout layout) {
  std::vector<ConvGeometry> all;
  all.push_back(geometry(layout, 6, 9, 19));  // blocks of pixels cross images
  all.push_back(geometry(layout, 4, 17, 3));  // images of more than a block
  ConvGeometry g = geometry(layout, 5, 9, 16);
  g.set_stride(2);
  g.set_padding(0);
  all.push_back(g);
  g = geometry(layout, 6, 8, 34);
  g.set_dilation(2);
  g.set_padding(2);
  g.groups = 2;
  all.push_back(g);
  g = geometry(layout, 4, 7, 5);
  g.kernel_height = 5;
  g.kernel_width = 2;
  g.stride_height = 3;
  g.pad_top = 4;
  g.pad_left = 3;
  g.pad_right = 0;
  g.dilation_width = 3;
  all.push_back(g);
  g = geometry(layout, 7, 5, 1);
  g.set_kernel(1);
  g.set_padding(0);
  all.push_back(g);
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("lookup_forward is the product of the decoded vectors", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const ConvGeometry& g : geometries(layout)) {
      for (const NeuronVectorKind kind :
           {NeuronVectorKind::patch, NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
        const index_t entries = data.between(0, 1) == 0 ? 16 : 64;
        INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind) << ", " << entries);
        LookupCase<T> c = conv_lookup<T>(g, kind, 2, entries, data);
        for (const TableEntry entry : k_entries) {
          INFO((entry == TableEntry::int16 ? "int16" : "uint8"));
          const ProductTables tables = c.tables(entry);
          const Matrix y = looked_up(c, tables, layout);
          CHECK(lookup_fault(c, tables, y) == "");
          CHECK(values_off_the_formula(c, tables, y) == 0);
        }
        CHECK(c.weights.damage() == "");
      }
    }
  }
}

TEST_CASE("lookup_forward takes every number of entries, bit for bit") {
  Data data;
  INFO(data);
  for (const index_t entries : {16, 64, 128, 256}) {
    for (const bool padding : {false, true}) {
      for (const TableEntry entry : k_entries) {
        INFO(entries << " entries, padding " << padding << ", "
                     << (entry == TableEntry::int16 ? "int16" : "uint8"));
        ConvGeometry g = geometry(Layout::nchw, 6, 8, 21);
        if (!padding) g.set_padding(0);
        LookupCase<float> c = conv_lookup<float>(g, NeuronVectorKind::pixel, 3, entries, data);
        REQUIRE(c.decoder.reserves_padding == padding);
        const ProductTables tables = c.tables(entry);
        const Matrix y = looked_up(c, tables, Layout::nchw);
        CHECK(values_off_the_formula(c, tables, y) == 0);
        CHECK(lookup_fault(c, tables, y) == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("lookup_forward into the rows of a matrix", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t outputs : {1, 16, 37}) {
    for (const bool reserved : {false, true}) {
      INFO(outputs << " outputs, padding reserved " << reserved);
      LookupCase<T> c = matrix_lookup<T>(
          700, adr_test::random_decoder(12, 12, 3, 64, reserved, data), outputs, data);
      for (const TableEntry entry : k_entries) {
        const ProductTables tables = c.tables(entry);
        GuardedBuffer<T> y(700, outputs, outputs + 5, adr_test::Start::misaligned);
        c.look_up(tables, c.bias_view(), adr::pixel_view(y.view()), 2);
        CHECK(y.damage() == "");
        CHECK(lookup_fault(c, tables, Matrix(y.view())) == "");
        CHECK(values_off_the_formula(c, tables, Matrix(y.view())) == 0);
      }
    }
  }
}

TEST_CASE("lookup_forward writes outputs that no cache holds the same, in cache lines or not") {
  Data data;
  constexpr index_t k_outputs = 64;
  const index_t rows =
      adr::detail::k_streamed_bytes / (k_outputs * static_cast<index_t>(sizeof(float))) + 200;
  LookupCase<float> c = matrix_lookup<float>(
      rows, adr_test::random_decoder(2, 2, 1, 16, false, data), k_outputs, data);
  const ProductTables tables = c.tables(TableEntry::uint8);
  GuardedBuffer<float> lines(rows, k_outputs, k_outputs);
  GuardedBuffer<float> no_lines(rows, k_outputs, k_outputs + 1, adr_test::Start::misaligned);
  c.look_up(tables, c.bias_view(), adr::pixel_view(lines.view()), 2);
  c.look_up(tables, c.bias_view(), adr::pixel_view(no_lines.view()), 2);
  bool same = true;
  for (index_t n = 0; n < rows; ++n) {
    same = same &&
           std::equal(lines.view().row(n), lines.view().row(n) + k_outputs, no_lines.view().row(n));
  }
  CHECK(same);
  CHECK(lines.damage() == "");
}

TEST_CASE("lookup_forward adds up chunks of 256 groups") {
  Data data;
  INFO(data);
  for (const index_t books : {255, 256, 257, 520}) {
    INFO(books << " books");
    LookupCase<float> c =
        matrix_lookup<float>(300, adr_test::random_decoder(books, 1, 1, 16, false, data), 18, data);
    for (const TableEntry entry : k_entries) {
      const ProductTables tables = c.tables(entry);
      REQUIRE(tables.chunks() == (books + 255) / 256);
      for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
        const Matrix y = looked_up(c, tables, layout);
        CHECK(lookup_fault(c, tables, y) == "");
        CHECK(values_off_the_formula(c, tables, y) == 0);
      }
    }
  }
  // Chunks that end within an offset, and padding.
  ConvGeometry g = geometry(Layout::nchw, 20, 9, 5);
  g.set_kernel(7);
  g.set_padding(3);
  LookupCase<float> c = conv_lookup<float>(g, NeuronVectorKind::pixel, 1, 64, data);
  for (const TableEntry entry : k_entries) {
    const ProductTables tables = c.tables(entry);
    REQUIRE(tables.chunks() == 2);
    const Matrix y = looked_up(c, tables, Layout::nchw);
    CHECK(lookup_fault(c, tables, y) == "");
    CHECK(values_off_the_formula(c, tables, y) == 0);
  }
}

TEMPLATE_TEST_CASE("outputs of lookup_forward that see nothing but padding are the bias", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t channels : {6, 40}) {  // 40: 20 books, two chunks at 25 offsets
      ConvGeometry g = geometry(layout, channels, 6, 20);
      g.set_kernel(5);
      g.set_padding(7);
      LookupCase<T> c = conv_lookup<T>(g, NeuronVectorKind::pixel, 2, 64, data);
      for (const TableEntry entry : k_entries) {
        const ProductTables tables = c.tables(entry);
        for (const bool with_bias : {false, true}) {
          const Matrix y = looked_up(c, tables, layout, with_bias);
          index_t seen = 0;
          index_t exact = 0;
          for (index_t n = 0; n < y.rows; ++n) {
            const index_t oy = n / c.map.out_width % c.map.out_height;
            const index_t ox = n % c.map.out_width;
            if (oy >= 3 && oy < 3 + 10 && ox >= 3 && ox < 3 + 11) continue;
            for (index_t m = 0; m < y.cols; ++m) {
              const double bias = static_cast<double>(c.bias[static_cast<std::size_t>(m)]);
              ++seen;
              if (y(n, m) == (with_bias ? bias : 0.0)) ++exact;
            }
          }
          CHECK(seen > 1000);
          CHECK(exact == seen);
        }
      }
    }
  }
}

TEST_CASE("lookup_forward of a constant image knows the padding from the image") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    LookupCase<float> c =
        conv_lookup<float>(geometry(layout, 6, 9, 8), NeuronVectorKind::pixel, 1, 64, data);
    // All vectors are the mean.
    for (auto& book : c.decoder.books) {
      std::fill_n(book.entries.data() + 5 * book.stride, book.stride, 0.0F);
    }
    for (index_t b = 0; b < c.codes.books; ++b) {
      std::fill_n(c.codes.plane(b), c.codes.vectors, std::uint8_t{5});
    }
    for (const TableEntry entry : k_entries) {
      const ProductTables tables = c.tables(entry);
      const Matrix y = looked_up(c, tables, layout);
      CHECK(lookup_fault(c, tables, y) == "");
      CHECK(y(0, 0) != y(11, 0));   // a corner and a pixel inside
      CHECK(y(11, 0) == y(12, 0));  // two pixels inside
    }
  }
}

TEST_CASE("the rounding error of lookup_forward is near its estimate") {
  Data data;
  INFO(data);
  for (const TableEntry entry : k_entries) {
    for (const index_t books : {4, 40, 300}) {
      INFO((entry == TableEntry::int16 ? "int16, " : "uint8, ") << books << " books");
      LookupCase<float> c = matrix_lookup<float>(
          2000, adr_test::random_decoder(2 * books, 2, 1, 64, false, data), 24, data);
      const ProductTables tables = c.tables(entry);
      const Matrix y = looked_up(c, tables, Layout::nhwc, false);
      const Matrix expected = c.expected();
      double rounding = 0;
      double variance = 0;
      for (index_t m = 0; m < y.cols; ++m) {
        double mean = 0;
        for (index_t n = 0; n < y.rows; ++n) mean += expected(n, m) / static_cast<double>(y.rows);
        for (index_t n = 0; n < y.rows; ++n) {
          rounding += (y(n, m) - expected(n, m)) * (y(n, m) - expected(n, m));
          variance += (expected(n, m) - mean) * (expected(n, m) - mean);
        }
      }
      const double measured = std::sqrt(rounding / variance);
      CHECK(measured > 0.8 * tables.rounding_error());
      CHECK(measured < 1.25 * tables.rounding_error());
      CHECK(tables.rounding_error() < (entry == TableEntry::int16 ? 0.01 : 0.03));
    }
  }
}

TEST_CASE("lookup_forward carries weights that are not finite to their output alone") {
  Data data;
  INFO(data);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    LookupCase<float> c =
        conv_lookup<float>(geometry(Layout::nchw, 6, 9, 18), NeuronVectorKind::pixel, 2, 64, data);
    c.weights(7, 4) = bad;
    for (const TableEntry entry : k_entries) {
      const Matrix y = looked_up(c, c.tables(entry), Layout::nchw);
      index_t spoiled = 0;
      bool others_are_finite = true;
      for (index_t n = 0; n < y.rows; ++n) {
        for (index_t m = 0; m < y.cols; ++m) {
          if (m == 4) {
            spoiled += std::isnan(y(n, m)) ? 1 : 0;
          } else {
            others_are_finite = others_are_finite && std::isfinite(y(n, m));
          }
        }
      }
      CHECK(spoiled == y.rows);
      CHECK(others_are_finite);
    }
  }
}

TEST_CASE("lookup_forward of no images writes nothing") {
  Data data;
  LookupCase<float> c =
      conv_lookup<float>(geometry(Layout::nhwc, 6, 9, 8), NeuronVectorKind::pixel, 0, 64, data);
  for (const TableEntry entry : k_entries) {
    CHECK(looked_up(c, c.tables(entry), Layout::nhwc).rows == 0);
  }
}
