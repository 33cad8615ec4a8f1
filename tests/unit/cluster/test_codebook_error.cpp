// How good codebooks are, and how well they know: the error of the fit, its fall with books and
// entries, the meter that refine is, refinement of moved data, and the metric of the output.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "adr/cluster/codebook.hpp"
#include "adr/reference/products.hpp"
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
using adr::index_t;
using adr::MatrixVectors;
using adr::MatrixView;
using adr::SampledEnergy;
using adr::VectorCodes;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::encoded;
using adr_test::GuardedBuffer;
using adr_test::ShownBooks;
using adr_test::true_error;

const MatrixView<const float> k_no_gram;

double energy(const Matrix& m) {
  double total = 0;
  for (const double element : m.elements) total += element * element;
  return total;
}

}  // namespace

TEST_CASE("fit_error is the error of the decoded sample") {
  Data data;
  INFO(data);
  // All of these are in the sample; 1003 is no multiple of a run or a tile.
  const auto x = adr_test::correlated_rows(1003, 10, 6, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  for (const CodebookShape& shape : adr_test::book_shapes(10)) {
    INFO(ShownBooks{shape});
    Codebook book(shape);
    REQUIRE(book.fit(vectors, k_no_gram));
    const double error = true_error(book, vectors, encoded(book, vectors));
    CHECK(error > 0.01);
    CHECK(std::abs(book.fit_error() - error) < 1e-3 * error);
  }
}

TEST_CASE("the error falls with the entries and with the books") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(4000, 16, 12, 0.1, data);
  const MatrixVectors<const float> vectors(x.view());
  for (const bool residual : {false, true}) {
    double before = 1;
    for (const index_t entries : {2, 8, 32, 128}) {
      INFO(entries << " entries, residual " << residual);
      CodebookShape shape = adr_test::book_shape(16, 2, entries);
      shape.residual = residual;
      Codebook book(shape);
      REQUIRE(book.fit(vectors, k_no_gram));
      CHECK(book.fit_error() < 0.9 * before);
      before = book.fit_error();
    }
    before = 1;
    for (const index_t books : {1, 2, 4, 8}) {
      INFO(books << " books, residual " << residual);
      CodebookShape shape = adr_test::book_shape(16, books, 32);
      shape.residual = residual;
      Codebook book(shape);
      REQUIRE(book.fit(vectors, k_no_gram));
      CHECK(book.fit_error() < 0.9 * before);
      before = book.fit_error();
    }
  }
}

TEST_CASE("entries that are fitted together decode better than each by itself") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(3000, 16, 10, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  for (const bool residual : {false, true}) {
    INFO("residual " << residual);
    CodebookShape shape = adr_test::book_shape(16, 2, 64);
    shape.residual = residual;
    Codebook book(shape);
    REQUIRE(book.fit(vectors, k_no_gram));
    const VectorCodes codes = encoded(book, vectors);
    const adr::EncodingGroup& group = book.groups()[0];
    adr::Decoder carried_back;
    carried_back.length = 16;
    carried_back.entry_count = 64;
    carried_back.mean.resize(16);
    std::copy_n(book.decoder().mean.data(), 16, carried_back.mean.data());
    for (const adr::EncodingBook& encoding : group.books) {
      carried_back.books.push_back(adr::detail::carried_back(group, encoding, 64));
    }
    Matrix difference = adr_test::decoded(carried_back, codes);
    for (index_t i = 0; i < difference.rows; ++i) {
      for (index_t e = 0; e < 16; ++e) difference(i, e) -= static_cast<double>(x(i, e));
    }
    const double error = std::sqrt(energy(difference) / energy(Matrix(x.view())));
    CHECK(book.fit_error() < 0.998 * error);
    CHECK(book.fit_error() > 0.5 * error);
  }
}

TEST_CASE("vectors that were not fitted have nearly the error of those that were") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(8000, 12, 6, 0.2, data);
  const MatrixVectors<const float> first(x.view().middle_rows(0, 6000));
  const MatrixVectors<const float> second(x.view().middle_rows(6000, 2000));
  Codebook book(adr_test::book_shape(12, 4, 64));
  REQUIRE(book.fit(first, k_no_gram));
  const double error = true_error(book, second, encoded(book, second));
  CHECK(error > 0.9 * book.fit_error());
  CHECK(error < 1.25 * book.fit_error());
}

TEST_CASE("refine measures the error") {
  Data data;
  INFO(data);
  for (const index_t count : {100, 1000, 20000}) {
    const auto x = adr_test::correlated_rows(count, 10, 6, 0.2, data);
    const MatrixVectors<const float> vectors(x.view());
    for (const CodebookShape& shape : adr_test::book_shapes(10)) {
      INFO(count << " vectors, " << ShownBooks{shape});
      Codebook book(shape);
      REQUIRE(book.fit(vectors, k_no_gram));
      const VectorCodes codes = encoded(book, vectors);
      const double error = true_error(book, vectors, codes);
      const SampledEnergy measured = book.refine(vectors, codes, false);
      // Up to 1024 vectors all are measured.
      const double tolerance = count <= 1024 ? 1e-3 : 0.1;
      CHECK(std::abs(measured.relative_error() - error) < tolerance * error + 1e-6);
      const double total = energy(Matrix(x.view()));
      CHECK(std::abs(measured.total - total) < tolerance * total);
      // With update it measures the same, before it moves anything.
      CHECK(book.refine(vectors, codes, true).within_clusters == measured.within_clusters);
    }
  }
}

TEST_CASE("refine measures images of many pixels in a pattern as a whole") {
  Data data;
  INFO(data);
  // A quarter of the columns is far larger: evenly spaced runs would see nothing else.
  adr::ConvGeometry g;
  g.in_channels = 6;
  g.in_height = g.in_width = 64;
  g.set_kernel(1);
  adr_test::GuardedImages<float> images(g, 8, 0);
  data.fill_normal(images.elements());
  for (index_t i = 0; i < 8; ++i) {
    for (index_t p = 0; p < 6 * 64 * 64; ++p) {
      if (p % 64 < 16) images.elements()(i, p) = 20 + 0.1F * images.elements()(i, p);
    }
  }
  const adr::NeuronVectors<const float> vectors(g, images.view(), 0, adr::NeuronVectorKind::pixel);
  Codebook book(adr_test::book_shape(6, 3, 16));
  REQUIRE(book.fit(vectors, k_no_gram));
  const VectorCodes codes = encoded(book, vectors);
  const double error = true_error(book, vectors, codes);
  CHECK(std::abs(book.refine(vectors, codes, false).relative_error() - error) < 0.3 * error);
}

TEST_CASE("refine moves the entries after data that have moved") {
  Data data;
  INFO(data);
  constexpr index_t k_batch = 1000;
  constexpr index_t k_batches = 15;
  auto x = adr_test::correlated_rows((k_batches + 1) * k_batch, 10, 6, 0.2, data);
  const auto batch = [&](index_t i) {
    return MatrixVectors<const float>(x.view().middle_rows(i * k_batch, k_batch));
  };
  const auto shift = [&](float by) {
    for (index_t i = 0; i < x.view().rows; ++i) {
      for (index_t e = 0; e < 10; ++e) x(i, e) += by;
    }
  };
  for (const CodebookShape& shape : adr_test::book_shapes(10)) {
    INFO(ShownBooks{shape});
    Codebook book(shape);
    REQUIRE(book.fit(MatrixVectors<const float>(x.view()), k_no_gram));
    shift(1);
    const auto last_batch = batch(k_batches);
    const double moved = true_error(book, last_batch, encoded(book, last_batch));
    for (index_t i = 0; i < k_batches; ++i) {
      book.refine(batch(i), encoded(book, batch(i)), true);
    }
    const double refined = true_error(book, last_batch, encoded(book, last_batch));
    CHECK(refined < 0.95 * moved);
    shift(-1);
  }
}

TEST_CASE("refine leaves the reserved entry and entries without members alone") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(500, 8, 4, 0.2, data);
  CodebookShape shape = adr_test::book_shape(8, 2, 64);
  shape.reserves_padding = true;
  Codebook book(shape);
  REQUIRE(book.fit(MatrixVectors<const float>(x.view()), k_no_gram));
  // A batch of one vector.
  const MatrixVectors<const float> one(x.view().middle_rows(3, 1));
  const VectorCodes codes = encoded(book, one);
  std::vector<std::vector<float>> before;
  for (const adr::DecodingBook& decoding : book.decoder().books) {
    before.emplace_back(decoding.entries.data(), decoding.entries.data() + decoding.entries.size());
  }
  book.refine(one, codes, true);
  for (std::size_t b = 0; b < before.size(); ++b) {
    const adr::DecodingBook& decoding = book.decoder().books[b];
    for (index_t t = 0; t < 64; ++t) {
      const bool same = std::equal(decoding.entries.data() + t * decoding.stride,
                                   decoding.entries.data() + (t + 1) * decoding.stride,
                                   before[b].data() + t * decoding.stride);
      CHECK(same == (t != codes.plane(static_cast<index_t>(b))[0]));
    }
  }
}

TEST_CASE("refine of no vectors measures and changes nothing") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(100, 8, 4, 0.2, data);
  Codebook book(adr_test::book_shape(8, 2, 16));
  REQUIRE(book.fit(MatrixVectors<const float>(x.view()), k_no_gram));
  const MatrixVectors<const float> none(x.view().middle_rows(0, 0));
  const SampledEnergy measured = book.refine(none, encoded(book, none), true);
  CHECK(measured.total == 0);
  CHECK(measured.within_clusters == 0);
  CHECK(measured.relative_error() == 0);
}

TEST_CASE("refine does not move entries by vectors that are not finite") {
  Data data;
  INFO(data);
  auto x = adr_test::correlated_rows(100, 8, 4, 0.2, data);
  const MatrixVectors<const float> vectors(x.view());
  Codebook book(adr_test::book_shape(8, 2, 16));
  REQUIRE(book.fit(vectors, k_no_gram));
  x(50, 2) = std::numeric_limits<float>::quiet_NaN();
  const VectorCodes codes = encoded(book, vectors, 1, false);
  book.refine(vectors, codes, true);
  for (const adr::DecodingBook& decoding : book.decoder().books) {
    CHECK(std::all_of(decoding.entries.data(), decoding.entries.data() + decoding.entries.size(),
                      [](float entry) { return std::isfinite(entry); }));
  }
}

TEST_CASE("the metric of the weights lowers the error of the output") {
  Data data;
  INFO(data);
  constexpr index_t k_length = 16;
  constexpr index_t k_outputs = 24;
  const auto x = adr_test::correlated_rows(4000, k_length, k_length, 0.5, data);
  const MatrixVectors<const float> vectors(x.view());
  // Half of the elements hardly count.
  Matrix w(k_length, k_outputs);
  for (index_t e = 0; e < k_length; ++e) {
    for (index_t m = 0; m < k_outputs; ++m)
      w(e, m) = data.normal<double>() * (e % 2 == 0 ? 1 : 0.05);
  }
  const Matrix product = adr::reference::multiply(w, adr::reference::transpose(w));
  GuardedBuffer<float> gram(k_length, k_length, k_length);
  for (index_t i = 0; i < k_length; ++i) {
    for (index_t j = 0; j < k_length; ++j) gram(i, j) = static_cast<float>(product(i, j));
  }
  const auto output_error = [&](const Codebook& book) {
    Matrix difference = adr_test::decoded(book.decoder(), encoded(book, vectors));
    for (index_t i = 0; i < difference.rows; ++i) {
      for (index_t e = 0; e < k_length; ++e) difference(i, e) -= static_cast<double>(x(i, e));
    }
    return std::sqrt(energy(adr::reference::multiply(difference, w)) /
                     energy(adr::reference::multiply(Matrix(x.view()), w)));
  };
  for (const bool residual : {false, true}) {
    for (const index_t group_length : {0, 8}) {
      CodebookShape shape = adr_test::book_shape(k_length, 2, 64);
      shape.residual = residual;
      shape.group_length = group_length;
      INFO(ShownBooks{shape});
      Codebook plain(shape);
      Codebook weighted(shape);
      REQUIRE(plain.fit(vectors, k_no_gram));
      REQUIRE(weighted.fit(vectors, gram.view()));
      CHECK(output_error(weighted) < 0.85 * output_error(plain));
      // What it gains in the output it pays for in the vectors.
      CHECK(weighted.fit_error() > plain.fit_error());
    }
  }
}
