// The fitted hash: its grid, its signatures against a plain loop in double precision, and the
// clusters that it makes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "adr/cluster/cluster_rows.hpp"
#include "adr/cluster/principal_hash.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/state_fields.hpp"
#include "adr/core/state_file.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"
#include "support/samples.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::index_t;
using adr::MatrixView;
using adr::PrincipalHash;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::refusal;

const MatrixView<const float> k_no_gram;

template <class T>
GuardedBuffer<T> widened(const MatrixView<const float>& x) {
  GuardedBuffer<T> result(x.rows, x.cols, x.cols + 3, adr_test::Start::misaligned);
  for (index_t i = 0; i < x.rows; ++i) {
    for (index_t e = 0; e < x.cols; ++e) result(i, e) = static_cast<T>(x(i, e));
  }
  return result;
}

template <class T>
double projection(const PrincipalHash<T>& hash, index_t slice, int d, const T* v) {
  double total = 0;
  for (index_t l = 0; l < hash.slice_length(slice); ++l) {
    total += static_cast<double>(hash.direction(slice, d, l)) * static_cast<double>(v[l]);
  }
  return total;
}

/// How many signatures of a slice differ from those of a plain loop; vectors whose projections lie
/// at a threshold, as far as T can tell, count on neither side.
template <class T>
index_t wrong_signatures(const PrincipalHash<T>& hash, index_t slice,
                         const MatrixView<const T>& vectors, index_t& compared) {
  std::vector<std::uint64_t> found(static_cast<std::size_t>(vectors.rows) + 1, 77);
  CHECK(hash.signatures(slice, vectors, found.data()));
  CHECK(found.back() == 77);
  index_t wrong = 0;
  for (index_t i = 0; i < vectors.rows; ++i) {
    std::uint64_t expected = 0;
    bool clear = true;
    for (int d = 0; d < hash.direction_count(slice); ++d) {
      const double value = projection(hash, slice, d, vectors.row(i));
      std::uint64_t cell = 0;
      for (index_t t = 0; t < hash.thresholds(slice, d).size; ++t) {
        const auto threshold = static_cast<double>(hash.thresholds(slice, d)[t]);
        cell += value > threshold ? 1 : 0;
        clear = clear && std::abs(value - threshold) > 1e-5;
      }
      expected = (expected << static_cast<unsigned>(hash.direction_bits(slice, d))) | cell;
    }
    if (!clear) continue;
    ++compared;
    if (found[static_cast<std::size_t>(i)] != expected) ++wrong;
  }
  return wrong;
}

/// By how much the cells lower the squared distances of the projections from their mean.
template <class T>
double gain(const PrincipalHash<T>& hash, const MatrixView<const T>& x) {
  double total = 0;
  for (int d = 0; d < hash.direction_count(0); ++d) {
    const auto thresholds = hash.thresholds(0, d);
    std::vector<double> sums(static_cast<std::size_t>(thresholds.size) + 1);
    std::vector<double> counts(sums.size());
    double sum = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      const double value = projection(hash, 0, d, x.row(i));
      std::size_t cell = 0;
      for (index_t t = 0; t < thresholds.size; ++t) {
        cell += value > static_cast<double>(thresholds[t]) ? 1 : 0;
      }
      sums[cell] += value;
      counts[cell] += 1;
      sum += value;
    }
    for (std::size_t c = 0; c < sums.size(); ++c) {
      if (counts[c] > 0) total += sums[c] * sums[c] / counts[c];
    }
    total -= sum * sum / static_cast<double>(x.rows);
  }
  return total;
}

template <class T>
adr::Clustering<T> clusters(const PrincipalHash<T>& hash, const MatrixView<const T>& x,
                            int threads = 1) {
  adr::Context context(threads);
  context.workspace().reserve(adr::RowClusterer<T>::workspace_bytes(hash, threads));
  adr::Clustering<T> result;
  adr::RowClusterer<T>().cluster(adr::MatrixRows<const T>(x), hash, context, result);
  return result;
}

}  // namespace

TEST_CASE("PrincipalHash refuses what it cannot be made of") {
  const auto made = [](index_t columns, index_t group_length, int bits) {
    return refusal([&] { PrincipalHash<float>(columns, group_length, bits); });
  };
  CHECK(made(1, 0, 1) == "(no error)");
  CHECK(made(10, 10, 16) == "(no error)");
  CHECK(made(0, 0, 4) == "PrincipalHash: columns must be at least 1, got 0");
  CHECK(made(10, 11, 4) ==
        "PrincipalHash: group_length must be between 0 and the number of columns (10), got 11");
  CHECK(made(10, -1, 4) ==
        "PrincipalHash: group_length must be between 0 and the number of columns (10), got -1");
  CHECK(made(10, 5, 0) == "PrincipalHash: bits must be between 1 and 16, got 0");
  CHECK(made(10, 5, 17) == "PrincipalHash: bits must be between 1 and 16, got 17");
}

TEST_CASE("PrincipalHash refuses samples and metrics of other shapes, and stays as it was") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(100, 6, 3, 0.2, data);
  PrincipalHash<float> hash(6, 0, 4);
  hash.fit(x.view(), k_no_gram);
  const int directions = hash.direction_count(0);
  const float component = hash.direction(0, 0, 2);
  CHECK(refusal([&] { hash.fit(x.view().block(0, 0, 100, 5), k_no_gram); }) ==
        "PrincipalHash: the sample must have at least 1 row and 6 columns, got 100 x 5");
  CHECK(refusal([&] { hash.fit(x.view().middle_rows(0, 0), k_no_gram); }) ==
        "PrincipalHash: the sample must have at least 1 row and 6 columns, got 0 x 6");
  CHECK(refusal([&] { hash.fit(x.view(), x.view().block(0, 0, 6, 5)); }) ==
        "PrincipalHash: the gram matrix must be 6 x 6, got 6 x 5");
  CHECK(hash.direction_count(0) == directions);
  CHECK(hash.direction(0, 0, 2) == component);
}

TEST_CASE("PrincipalHash cuts columns into slices") {
  const PrincipalHash<float> whole(10, 0, 3);
  CHECK(whole.slice_count() == 1);
  CHECK(whole.slice_length(0) == 10);
  const PrincipalHash<float> parts(10, 4, 3);
  REQUIRE(parts.slice_count() == 3);
  CHECK(parts.columns() == 10);
  CHECK(parts.hash_count() == 3);
  CHECK(parts.first_column(2) == 8);
  CHECK(parts.slice_length(1) == 4);
  CHECK(parts.slice_length(2) == 2);
}

TEMPLATE_TEST_CASE("signatures number the cells of the grid", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t length : {1, 2, 5, 16, 17, 40}) {
    for (const int bits : {1, 4, 9, 16}) {
      INFO(length << " elements, " << bits << " bits");
      const auto sample = adr_test::correlated_rows(800, length, 4, 0.3, data);
      PrincipalHash<T> hash(length, std::min<index_t>(length, 16), bits);
      hash.fit(sample.view().middle_rows(0, 400), k_no_gram);
      // Others than those of the fit, which would lie at the thresholds of fine grids.
      const auto x = widened<T>(sample.view().middle_rows(400, 400));
      index_t compared = 0;
      for (index_t s = 0; s < hash.slice_count(); ++s) {
        int dealt = 0;
        for (int d = 0; d < hash.direction_count(s); ++d) {
          const auto thresholds = hash.thresholds(s, d);
          REQUIRE(thresholds.size == (index_t{1} << hash.direction_bits(s, d)) - 1);
          CHECK(std::is_sorted(thresholds.data, thresholds.data + thresholds.size));
          CHECK(hash.direction_bits(s, d) >= 1);
          dealt += hash.direction_bits(s, d);
        }
        CHECK(dealt >= 1);
        CHECK(dealt <= bits);
        // All rows, and each number of rows around the blocks of the kernel.
        const auto columns = x.view().block(0, hash.first_column(s), 400, hash.slice_length(s));
        CHECK(wrong_signatures<T>(hash, s, columns, compared) == 0);
        for (const index_t rows : {0, 1, 7, 8, 9, 17}) {
          CHECK(wrong_signatures<T>(hash, s, columns.middle_rows(3, rows), compared) == 0);
        }
      }
      CHECK(compared > 250);
      CHECK(x.damage() == "");
    }
  }
}

TEST_CASE("more bits never give a larger error") {
  Data data;
  INFO(data);
  const auto x = adr_test::correlated_rows(1500, 10, 6, 0.2, data);
  double gained = 0;
  double energy = std::numeric_limits<double>::max();
  for (int bits = 1; bits <= 12; ++bits) {
    INFO(bits << " bits");
    PrincipalHash<float> hash(10, 0, bits);
    hash.fit(x.view(), k_no_gram);
    const double now = gain<float>(hash, x.view());
    CHECK(now > 1.0001 * gained);
    gained = now;
    const double within = clusters<float>(hash, x.view()).slices[0].within_cluster_energy;
    CHECK(within < energy);
    energy = within;
  }
}

TEST_CASE("bits go to the directions in which the data, or the products, differ") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(500, 5, 6);
  data.fill_normal(x.view());
  for (index_t i = 0; i < 500; ++i) {
    x(i, 3) *= 40;
    x(i, 1) *= 5;
  }
  PrincipalHash<float> hash(5, 0, 3);
  hash.fit(x.view(), k_no_gram);
  REQUIRE(hash.direction_count(0) == 1);
  CHECK(hash.direction_bits(0, 0) == 3);
  CHECK(std::abs(hash.direction(0, 0, 3)) > 0.99F);
  PrincipalHash<float> finer(5, 0, 6);
  finer.fit(x.view(), k_no_gram);
  REQUIRE(finer.direction_count(0) == 2);
  CHECK(finer.direction_bits(0, 0) > finer.direction_bits(0, 1));
  CHECK(std::abs(finer.direction(0, 1, 1)) > 0.99F);
  // Weights that only meet element 0.
  GuardedBuffer<float> gram(5, 5, 5);
  std::fill_n(gram.data(), 25, 0.0F);
  gram(0, 0) = 1e6F;
  PrincipalHash<float> weighted(5, 0, 2);
  weighted.fit(x.view(), gram.view());
  REQUIRE(weighted.direction_count(0) == 1);
  CHECK(std::abs(weighted.direction(0, 0, 0)) > 10 * std::abs(weighted.direction(0, 0, 1)));
  CHECK(std::abs(weighted.direction(0, 0, 0)) > 10 * std::abs(weighted.direction(0, 0, 3)));
}

TEST_CASE("constant data, one vector and a hash without a fit give one cell") {
  GuardedBuffer<float> x(50, 7, 8);
  for (index_t i = 0; i < 50; ++i) std::fill_n(&x(i, 0), 7, 0.1F);
  std::vector<std::uint64_t> signatures(50);
  const auto all_zero = [&](const PrincipalHash<float>& hash) {
    std::fill(signatures.begin(), signatures.end(), 9);
    return hash.signatures(0, x.view(), signatures.data()) &&
           std::count(signatures.begin(), signatures.end(), 0) == 50;
  };
  PrincipalHash<float> hash(7, 0, 5);
  CHECK(hash.direction_count(0) == 0);
  CHECK(all_zero(hash));
  hash.fit(x.view(), k_no_gram);
  CHECK(hash.direction_count(0) == 0);
  CHECK(all_zero(hash));
  for (index_t e = 0; e < 7; ++e) x(0, e) = static_cast<float>(e);
  hash.fit(x.view().middle_rows(0, 1), k_no_gram);
  CHECK(hash.direction_count(0) == 0);
  CHECK(all_zero(hash));
  CHECK(clusters<float>(hash, x.view()).slices[0].cluster_count == 1);
}

TEMPLATE_TEST_CASE("signatures report NaN and infinity, and leave other rows alone", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const auto sample = adr_test::correlated_rows(100, 9, 4, 0.2, data);
  for (const bool fitted : {false, true}) {
    PrincipalHash<T> hash(9, 0, 6);
    if (fitted) hash.fit(sample.view(), k_no_gram);
    auto x = widened<T>(sample.view());
    std::vector<std::uint64_t> clean(100);
    CHECK(hash.signatures(0, x.view(), clean.data()));
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
      for (const index_t row : {0, 50, 99}) {  // 99: behind the last whole block
        INFO("fitted " << fitted << ", row " << row << ", " << bad);
        const T before = x(row, 4);
        x(row, 4) = bad;
        std::vector<std::uint64_t> spoiled(100);
        CHECK_FALSE(hash.signatures(0, x.view(), spoiled.data()));
        if (std::isnan(bad)) CHECK(spoiled[static_cast<std::size_t>(row)] == 0);
        spoiled[static_cast<std::size_t>(row)] = clean[static_cast<std::size_t>(row)];
        CHECK(spoiled == clean);
        x(row, 4) = before;
      }
    }
  }
}

TEMPLATE_TEST_CASE("RowClusterer clusters the cells of a PrincipalHash", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const auto sample = adr_test::correlated_rows(600, 11, 4, 0.2, data);
  PrincipalHash<T> hash(11, 4, 7);
  hash.fit(sample.view(), k_no_gram);
  auto x = widened<T>(sample.view());
  x(123, 5) = std::numeric_limits<T>::quiet_NaN();
  const adr::Clustering<T> clustering = clusters<T>(hash, x.view());
  REQUIRE(clustering.slices.size() == 3);
  for (index_t s = 0; s < 3; ++s) {
    const adr::SliceClusters<T>& slice = clustering.slices[static_cast<std::size_t>(s)];
    std::vector<std::uint64_t> signatures(600);
    hash.signatures(s, x.view().block(0, hash.first_column(s), 600, hash.slice_length(s)),
                    signatures.data());
    std::set<std::uint64_t> distinct;
    index_t misplaced = 0;
    for (index_t i = 0; i < 600; ++i) {
      if (s == 1 && i == 123) {
        CHECK(slice.ids[i] == slice.non_finite_cluster);
        continue;
      }
      distinct.insert(signatures[static_cast<std::size_t>(i)]);
      const bool own = slice.signatures[slice.ids[i]] == signatures[static_cast<std::size_t>(i)];
      misplaced += own && slice.ids[i] != slice.non_finite_cluster ? 0 : 1;
    }
    CHECK(misplaced == 0);
    CHECK(slice.cluster_count == static_cast<index_t>(distinct.size()) + (s == 1 ? 1 : 0));
    CHECK(slice.within_cluster_energy < 0.2 * slice.total_energy);
    const adr::Clustering<T> threaded = clusters<T>(hash, x.view(), 3);
    CHECK(std::equal(slice.ids.data(), slice.ids.data() + 600,
                     threaded.slices[static_cast<std::size_t>(s)].ids.data()));
  }
}

TEMPLATE_TEST_CASE("PrincipalHash gives the same signatures when it was saved and loaded", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  const auto sample = adr_test::correlated_rows(400, 23, 4, 0.3, data);
  const auto x = widened<T>(sample.view());
  for (const int bits : {1, 5, 12}) {
    PrincipalHash<T> hash(23, 9, bits);
    hash.fit(sample.view(), k_no_gram);
    adr::StateWriter writer;
    adr::StateSaver saver(writer);
    PrincipalHash<T>::exchange(saver, static_cast<const PrincipalHash<T>&>(hash));
    writer.save(path);
    PrincipalHash<T> loaded(23, 9, bits);
    adr::StateReader reader(path);
    adr::StateLoader loader(reader);
    PrincipalHash<T>::exchange(loader, loaded);
    CHECK_NOTHROW(reader.require_end());
    for (index_t s = 0; s < hash.slice_count(); ++s) {
      const auto columns = x.view().block(0, hash.first_column(s), 400, hash.slice_length(s));
      std::vector<std::uint64_t> expected(400, 1);
      std::vector<std::uint64_t> found(400, 2);
      CHECK(hash.signatures(s, columns, expected.data()));
      CHECK(loaded.signatures(s, columns, found.data()));
      CHECK(found == expected);
      CHECK(std::set<std::uint64_t>(found.begin(), found.end()).size() > 1);
    }
  }
}

TEST_CASE("PrincipalHash refuses grids that cannot be") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  struct Direction {
    std::uint64_t bits;
    std::vector<float> thresholds;
  };
  const auto refused = [&](const std::vector<Direction>& directions) {
    adr::StateWriter writer;
    const std::vector<float> components(2 * directions.size(), 0.5F);
    const auto count = static_cast<index_t>(directions.size());
    writer.put_count(count);
    for (const Direction& d : directions) writer.put_u64(d.bits);
    writer.put_rows("directions", {components.data(), 2, count});
    for (const Direction& d : directions) {
      writer.put_rows("thresholds",
                      {d.thresholds.data(), 1, static_cast<index_t>(d.thresholds.size())});
    }
    writer.save(path);
    return adr_test::message_of<std::runtime_error>([&] {
      adr::StateReader reader(path);
      adr::StateLoader loader(reader);
      PrincipalHash<float> hash(2, 0, 3);
      PrincipalHash<float>::exchange(loader, hash);
      reader.require_end();
    });
  };
  using adr_test::contains;
  CHECK(refused({}) == "(no error)");
  CHECK(refused({{2, {-1, 0, 0}}, {1, {7}}}) == "(no error)");
  CHECK_THAT(refused({{2, {-1, 0, -0.5F}}, {1, {7}}}),
             contains("the thresholds of a direction must not fall"));
  CHECK_THAT(refused({{2, {-1, 0, 1}}, {2, {1, 2, 3}}}),
             contains("bits of a direction must be between 1 and 1, got 2"));
  CHECK_THAT(refused({{0, {}}}), contains("bits of a direction must be between 1 and 3, got 0"));
  CHECK_THAT(refused({{1, {1}}, {1, {1}}, {1, {1}}}),
             contains("directions of a grid must be between 0 and 2, got 3"));
  CHECK_THAT(refused({{2, {1, 2}}}), contains("thresholds needs 1 x 3 elements"));
}
