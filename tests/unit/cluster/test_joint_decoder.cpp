// Decoding entries fitted together: single sweeps by their formula, and repeated ones against least
// squares.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "adr/cluster/joint_decoder.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/decoders.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::Decoder;
using adr::DecodingBook;
using adr::index_t;
using adr::MatrixView;
using adr_test::Data;
using adr_test::GuardedBuffer;

double energy(const MatrixView<const float>& m) {
  double total = 0;
  for (index_t i = 0; i < m.rows; ++i) {
    for (index_t e = 0; e < m.cols; ++e) {
      total += static_cast<double>(m(i, e)) * static_cast<double>(m(i, e));
    }
  }
  return total;
}

std::vector<std::uint8_t> random_ids(index_t rows, index_t entries, Data& data) {
  std::vector<std::uint8_t> ids;
  for (index_t i = 0; i < rows; ++i) {
    ids.push_back(static_cast<std::uint8_t>(data.between(0, entries - 1)));
  }
  return ids;
}

}  // namespace

TEST_CASE("subtract_decoded takes the entries of a book off") {
  Data data;
  INFO(data);
  for (const index_t length : {1, 5, 16, 23}) {
    const Decoder decoder = adr_test::random_decoder(length, length, 1, 9, false, data);
    const DecodingBook& book = decoder.books[0];
    GuardedBuffer<float> residuals(40, length, length + 4);
    data.fill_normal(residuals.view());
    std::vector<float> before;
    for (index_t i = 0; i < 40; ++i) {
      before.insert(before.end(), &residuals(i, 0), &residuals(i, 0) + length);
    }
    const auto ids = random_ids(40, 9, data);
    adr::subtract_decoded(book, ids.data(), residuals.view());
    index_t wrong = 0;
    for (index_t i = 0; i < 40; ++i) {
      for (index_t e = 0; e < length; ++e) {
        const float entry = book.entries[ids[static_cast<std::size_t>(i)] * book.stride + e];
        if (residuals(i, e) != before[static_cast<std::size_t>(i * length + e)] - entry) ++wrong;
      }
    }
    CHECK(wrong == 0);
    CHECK(residuals.damage() == "");
  }
}

TEST_CASE("sweep_book moves entries by the mean residual of their members") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 300;
  for (const index_t length : {1, 7, 16, 33}) {
    for (const float inertia : {0.0F, 8.0F}) {
      INFO(length << " elements, inertia " << inertia);
      Decoder decoder = adr_test::random_decoder(length, length, 1, 12, false, data);
      DecodingBook& book = decoder.books[0];
      const std::vector<float> old(book.entries.data(), book.entries.data() + book.entries.size());
      GuardedBuffer<float> residuals(k_rows, length, book.stride);
      data.fill_normal(residuals.view());
      const std::vector<float> before(residuals.data(),
                                      residuals.data() + (k_rows - 1) * book.stride + length);
      const auto ids = random_ids(k_rows, 11, data);  // entry 11 has no members
      GuardedBuffer<float> scratch(12, book.stride, book.stride);
      adr::sweep_book(book, 12, ids.data(), inertia, residuals.view(), scratch.data());
      double worst = 0;
      for (index_t t = 0; t < 12; ++t) {
        for (index_t e = 0; e < length; ++e) {
          double sum = 0;
          double count = 0;
          for (index_t i = 0; i < k_rows; ++i) {
            if (ids[static_cast<std::size_t>(i)] != t) continue;
            sum += static_cast<double>(before[static_cast<std::size_t>(i * book.stride + e)]);
            ++count;
          }
          const double delta = count > 0 ? sum / (count + static_cast<double>(inertia)) : 0;
          const index_t at = t * book.stride + e;
          worst = std::max(worst, std::abs(static_cast<double>(book.entries[at]) - delta -
                                           static_cast<double>(old[static_cast<std::size_t>(at)])));
          for (index_t i = 0; i < k_rows; ++i) {
            if (ids[static_cast<std::size_t>(i)] != t) continue;
            const double expected =
                static_cast<double>(before[static_cast<std::size_t>(i * book.stride + e)]) - delta;
            worst = std::max(worst, std::abs(static_cast<double>(residuals(i, e)) - expected));
          }
        }
      }
      CHECK(worst < 1e-5);
      CHECK(residuals.damage() + scratch.damage() == "");
    }
  }
}

TEST_CASE("sweeps never raise the error, and end at the least squares") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 400;
  constexpr index_t k_length = 5;
  constexpr index_t k_entries = 6;
  constexpr index_t k_books = 3;
  // Vectors that are sums of entries but for noise: least squares leaves no more than the noise.
  const Decoder truth =
      adr_test::random_decoder(k_length, k_length, k_books, k_entries, false, data);
  Decoder decoder = adr_test::random_decoder(k_length, k_length, k_books, k_entries, false, data);
  std::vector<std::vector<std::uint8_t>> ids;
  for (index_t b = 0; b < k_books; ++b) ids.push_back(random_ids(k_rows, k_entries, data));
  GuardedBuffer<float> residuals(k_rows, k_length, k_length);
  data.fill_normal(residuals.view());
  for (index_t i = 0; i < k_rows; ++i) {
    for (index_t e = 0; e < k_length; ++e) residuals(i, e) *= 0.01F;
  }
  const double noise = energy(residuals.view());
  for (std::size_t b = 0; b < k_books; ++b) {
    for (index_t i = 0; i < k_rows; ++i) {
      const index_t id = ids[b][static_cast<std::size_t>(i)];
      for (index_t e = 0; e < k_length; ++e) {
        residuals(i, e) += truth.books[b].entries[id * truth.books[b].stride + e];
      }
    }
    adr::subtract_decoded(decoder.books[b], ids[b].data(), residuals.view());
  }
  std::vector<float> scratch(static_cast<std::size_t>(k_entries * decoder.books[0].stride));
  double before = energy(residuals.view());
  REQUIRE(before > 1000 * noise);
  for (int sweep = 0; sweep < 60; ++sweep) {
    for (std::size_t b = 0; b < k_books; ++b) {
      adr::sweep_book(decoder.books[b], k_entries, ids[b].data(), 0.0F, residuals.view(),
                      scratch.data());
      const double now = energy(residuals.view());
      CHECK(now <= before * (1 + 1e-5));
      before = now;
    }
  }
  CHECK(before < noise);
}

TEST_CASE("inertia holds rare entries near where they were") {
  DecodingBook book;
  book.length = 1;
  book.stride = adr::simd::padded(1);
  book.entries.assign(2 * book.stride, 0.0F);
  GuardedBuffer<float> residuals(101, 1, 1);
  std::fill_n(residuals.data(), 101, 1.0F);
  std::vector<std::uint8_t> ids(101, 0);
  ids[100] = 1;
  std::vector<float> scratch(static_cast<std::size_t>(2 * book.stride));
  adr::sweep_book(book, 2, ids.data(), 9.0F, residuals.view(), scratch.data());
  CHECK(std::abs(static_cast<double>(book.entries[0]) - 100.0 / 109) < 1e-6);
  CHECK(std::abs(static_cast<double>(book.entries[book.stride]) - 0.1) < 1e-7);
}
