// Codebooks over images and matrices: what encoding chooses, what it depends on, and what it does
// with vectors that are not finite, equal or few.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "adr/cluster/codebook.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/codebook_cases.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/samples.hpp"

namespace {

using adr::Codebook;
using adr::CodebookShape;
using adr::ConvGeometry;
using adr::EncodingBook;
using adr::EncodingGroup;
using adr::index_t;
using adr::Layout;
using adr::MatrixVectors;
using adr::MatrixView;
using adr::NeuronVectorKind;
using adr::NeuronVectors;
using adr::VectorCodes;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::encoded;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;
using adr_test::ShownBooks;

const MatrixView<const float> k_no_gram;

bool same_ids(const VectorCodes& a, const VectorCodes& b) {
  bool same = a.books == b.books && a.vectors == b.vectors;
  for (index_t p = 0; same && p < a.books; ++p) {
    same = std::equal(a.plane(p), a.plane(p) + a.vectors, b.plane(p));
  }
  return same;
}

bool same_entries(const Codebook& a, const Codebook& b) {
  bool same = a.decoder().book_count() == b.decoder().book_count();
  for (std::size_t p = 0; same && p < a.decoder().books.size(); ++p) {
    const auto& x = a.decoder().books[p].entries;
    const auto& y = b.decoder().books[p].entries;
    same = x.size() == y.size() && std::equal(x.data(), x.data() + x.size(), y.data());
  }
  return same;
}

/// How many ids name an entry that another one is nearer than, by more than float rounds, by the
/// definition of Codebook.
index_t farther_ids(const Codebook& book, const Matrix& x, const VectorCodes& codes) {
  index_t farther = 0;
  index_t first_book = 0;
  for (const EncodingGroup& group : book.groups()) {
    const adr::PrincipalAxes& axes = group.axes;
    for (index_t v = 0; v < x.rows; ++v) {
      std::vector<double> z(static_cast<std::size_t>(axes.kept), 0.0);
      double size = 0;
      for (index_t d = 0; d < axes.kept; ++d) {
        for (index_t e = 0; e < axes.length; ++e) {
          const double axis = static_cast<double>(axes.encode[e * axes.encode_stride + d]);
          const double mean = static_cast<double>(axes.mean[e]);
          z[static_cast<std::size_t>(d)] += (x(v, group.first_element + e) - mean) * axis;
          size += std::abs(x(v, group.first_element + e) * axis) + std::abs(mean * axis);
        }
      }
      for (index_t b = 0; b < group.book_count(); ++b) {
        const EncodingBook& entries = group.books[static_cast<std::size_t>(b)];
        const auto distance = [&](index_t t) {
          double total = 0;
          for (index_t l = 0; l < entries.coordinates; ++l) {
            const double difference =
                z[static_cast<std::size_t>(entries.first_coordinate + l)] +
                static_cast<double>(entries.negated_entries[t * entries.coordinates + l]);
            total += difference * difference;
          }
          return total;
        };
        const index_t id = codes.plane(first_book + b)[v];
        if (id >= entries.entries()) return x.rows;
        double nearest = distance(0);
        for (index_t t = 1; t < entries.entries(); ++t) nearest = std::min(nearest, distance(t));
        if (distance(id) > nearest + 1e-5 * (1 + size * size)) ++farther;
        if (!book.shape().residual) continue;
        for (index_t l = 0; l < entries.coordinates; ++l) {
          z[static_cast<std::size_t>(l)] +=
              static_cast<double>(entries.negated_entries[id * entries.coordinates + l]);
        }
      }
    }
    first_book += group.book_count();
  }
  return farther;
}

ConvGeometry geometry(Layout layout) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = 10;
  g.in_height = 9;
  g.in_width = 7;
  g.set_kernel(3);
  g.set_padding(1);
  return g;
}

}  // namespace

TEST_CASE("encode chooses the nearest entries") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(700, 10, 6, 0.2, data);  // no multiple of a tile
  const MatrixVectors<const float> vectors(x.view());
  for (const CodebookShape& shape : adr_test::book_shapes(10)) {
    INFO(ShownBooks{shape});
    Codebook book(shape);
    REQUIRE(book.fit(vectors, k_no_gram));
    const VectorCodes codes = encoded(book, vectors);
    CHECK(farther_ids(book, Matrix(x.view()), codes) == 0);
    CHECK(x.damage() == "");
  }
}

TEST_CASE("codebooks have the books, entries and elements of their shape") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(300, 10, 6, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  for (const CodebookShape& shape : adr_test::book_shapes(10)) {
    INFO(ShownBooks{shape});
    Codebook book(shape);
    CHECK_FALSE(book.fitted());
    REQUIRE(book.fit(vectors, k_no_gram));
    CHECK(book.fitted());
    CHECK(book.decoder().entry_count == shape.entries);
    CHECK(book.decoder().length == 10);
    CHECK(book.decoder().reserves_padding == shape.reserves_padding);
    const index_t group_length = shape.group_length > 0 ? shape.group_length : 10;
    index_t first_element = 0;
    std::size_t b = 0;
    for (const EncodingGroup& group : book.groups()) {
      const index_t length = std::min(group_length, 10 - first_element);
      CHECK(group.first_element == first_element);
      CHECK(group.axes.length == length);
      REQUIRE(group.book_count() == std::min(shape.books, length));
      index_t coordinates = 0;
      for (const EncodingBook& encoding : group.books) {
        CHECK(encoding.entries() == shape.entries - (shape.reserves_padding ? 1 : 0));
        CHECK(encoding.first_coordinate == (shape.residual ? 0 : coordinates));
        coordinates += encoding.coordinates;
        CHECK(encoding.coordinates > 0);
        const adr::DecodingBook& decoding = book.decoder().books[b++];
        CHECK(decoding.first_element == first_element);
        CHECK(decoding.length == length);
        CHECK(decoding.entries.size() == shape.entries * decoding.stride);
      }
      CHECK(coordinates == (shape.residual ? group.book_count() : 1) * group.axes.kept);
      if (shape.kept_coordinates > 0) {
        CHECK(group.axes.kept == std::min(shape.kept_coordinates, length));
      }
      first_element += length;
    }
    CHECK(first_element == 10);
    CHECK(b == book.decoder().books.size());
  }
}

TEST_CASE("codebooks encode patches, pixels and strips of images") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = geometry(layout);
    GuardedImages<float> images(g, 5, 3);
    data.fill_normal(images.elements());
    for (const NeuronVectorKind kind :
         {NeuronVectorKind::patch, NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
      INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind));
      const NeuronVectors<const float> vectors(g, images.view(), 0, kind);
      CodebookShape shape = adr_test::book_shape(vectors.length(), 4, 64);
      shape.reserves_padding = vectors.map().has_padding();
      Codebook book(shape);
      REQUIRE(book.fit(vectors, k_no_gram));
      const VectorCodes codes = encoded(book, vectors);
      CHECK(farther_ids(book, adr_test::all_vectors(vectors), codes) == 0);
      CHECK(adr_test::true_error(book, vectors, codes) < 0.9);
      CHECK(images.damage() == "");
    }
  }
}

TEST_CASE("codebooks and ids depend on the seed and the vectors alone") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(2000, 12, 6, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  CodebookShape shape = adr_test::book_shape(12, 3, 64);
  Codebook book(shape);
  Codebook again(shape);
  shape.seed = 2;
  Codebook other(shape);
  for (Codebook* each : {&book, &again, &other}) REQUIRE(each->fit(vectors, k_no_gram));
  CHECK(same_entries(book, again));
  CHECK(book.fit_error() == again.fit_error());
  CHECK_FALSE(same_entries(book, other));
  REQUIRE(again.fit(vectors, k_no_gram));  // from whatever state
  CHECK(same_entries(book, again));
  const VectorCodes codes = encoded(book, vectors);
  for (const int threads : {2, 3, 8}) {
    INFO(threads << " threads");
    CHECK(same_ids(codes, encoded(book, vectors, threads)));
  }
}

TEST_CASE("encode reports vectors that are not finite and leaves the others' ids alone") {
  Data data;
  INFO(data);
  for (const CodebookShape& shape : adr_test::book_shapes(10)) {
    INFO(ShownBooks{shape});
    auto x = adr_test::correlated_rows(600, 10, 6, 0.2, data);
    const MatrixVectors<const float> vectors(x.view());
    Codebook book(shape);
    REQUIRE(book.fit(vectors, k_no_gram));
    const VectorCodes clean = encoded(book, vectors);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const index_t place : {0, 100, 599}) {
        const float before = x(place, 9);
        x(place, 9) = bad;
        const VectorCodes codes = encoded(book, vectors, 2, false);
        index_t changed = 0;
        index_t invalid = 0;
        for (index_t b = 0; b < codes.books; ++b) {
          for (index_t v = 0; v < 600; ++v) {
            invalid += codes.plane(b)[v] >= book.decoder().cluster_entries() ? 1 : 0;
            changed += v != place && codes.plane(b)[v] != clean.plane(b)[v] ? 1 : 0;
          }
        }
        CHECK(changed == 0);
        CHECK(invalid == 0);
        x(place, 9) = before;
      }
    }
  }
}

TEST_CASE("fit leaves out vectors that are not finite, and refuses where there are no others") {
  Data data;
  INFO(data);
  auto x = adr_test::correlated_rows(400, 8, 4, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  Codebook book(adr_test::book_shape(8, 2, 16));
  for (index_t i = 0; i < 400; i += 3) x(i, i % 8) = std::numeric_limits<float>::quiet_NaN();
  x(7, 0) = std::numeric_limits<float>::infinity();
  REQUIRE(book.fit(vectors, k_no_gram));
  CHECK(book.fit_error() < 0.5);
  for (const adr::DecodingBook& decoding : book.decoder().books) {
    CHECK(std::all_of(decoding.entries.data(), decoding.entries.data() + decoding.entries.size(),
                      [](float entry) { return std::isfinite(entry); }));
  }
  const std::uint64_t version = book.version();
  const double error = book.fit_error();
  for (index_t i = 0; i < 400; ++i) x(i, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_FALSE(book.fit(vectors, k_no_gram));
  CHECK(book.fitted());
  CHECK(book.version() == version);
  CHECK(book.fit_error() == error);
  const MatrixVectors<const float> none(x.view().middle_rows(0, 0));
  CHECK_FALSE(book.fit(none, k_no_gram));
  CHECK(encoded(book, none).vectors == 0);
}

TEST_CASE("codebooks hold few and equal vectors exactly") {
  Data data;
  INFO(data);
  for (CodebookShape shape : adr_test::book_shapes(10)) {
    INFO(ShownBooks{shape});
    shape.kept_coordinates = 10;
    Codebook book(shape);
    // Equal vectors, of which all coordinates are zero.
    GuardedBuffer<float> equal(100, 10, 11);
    for (index_t i = 0; i < 100; ++i) {
      for (index_t e = 0; e < 10; ++e) equal(i, e) = 0.5F * static_cast<float>(e) - 1;
    }
    const MatrixVectors<const float> equal_vectors(equal.view());
    REQUIRE(book.fit(equal_vectors, k_no_gram));
    CHECK(book.fit_error() < 1e-5);
    CHECK(adr_test::true_error(book, equal_vectors, encoded(book, equal_vectors)) < 1e-5);
    // Fewer vectors than entries, and one.
    const auto few = adr_test::correlated_rows(5, 10, 5, 0.3, data);
    for (const index_t count : {1, 5}) {
      const MatrixVectors<const float> vectors(few.view().middle_rows(0, count));
      REQUIRE(book.fit(vectors, k_no_gram));
      CHECK(book.fit_error() < 1e-3);
      CHECK(adr_test::true_error(book, vectors, encoded(book, vectors)) < 1e-3);
    }
  }
}

TEST_CASE("codebooks count what changes their entries") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(300, 8, 4, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  Codebook book(adr_test::book_shape(8, 2, 16));
  std::uint64_t version = book.version();
  const auto changed = [&] { return std::exchange(version, book.version()) != book.version(); };
  REQUIRE(book.fit(vectors, k_no_gram));
  CHECK(changed());
  const VectorCodes codes = encoded(book, vectors);
  CHECK_FALSE(changed());
  book.refine(vectors, codes, false);
  CHECK_FALSE(changed());
  book.refine(vectors, codes, true);
  CHECK(changed());
  book.clear();
  CHECK(changed());
  CHECK_FALSE(book.fitted());
}
