// Vectors share a representative within a radius: by the definition in double precision, whatever
// signatures propose.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "adr/clustered/coordinate_signs.hpp"
#include "adr/clustered/radius_clusters.hpp"
#include "adr/core/context.hpp"
#include "adr/simd/squared_distance.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"

using adr::Context;
using adr::CoordinateSigns;
using adr::index_t;
using adr::MatrixView;
using adr::RadiusClusters;
using adr::RadiusRule;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

namespace {

struct Energies {
  double distance;
  double norm;
};

template <class T>
Energies energies(const T* x, const T* r, index_t count) {
  Energies sums{0, 0};
  for (index_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(r[i]);
    sums.distance += difference * difference;
    sums.norm += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return sums;
}

template <class T>
bool within(const T* x, const T* r, index_t count, double radius) {
  const Energies sums = energies(x, r, count);
  return std::sqrt(sums.distance) <= radius * std::sqrt(sums.norm);
}

template <class T>
std::vector<std::int32_t> representatives(const MatrixView<const T>& x, double radius, int bits,
                                          int threads = 1) {
  Context context(threads);
  context.workspace().reserve(RadiusClusters<T>::workspace_bytes(x.rows));
  CoordinateSigns<T> signs(x.cols, bits, 3);
  signs.set_centres(
      x.rows, [&](index_t i) { return x.row(i); }, radius);
  RadiusClusters<T> clusters({x, x.rows}, signs, context);
  clusters.join(RadiusRule<T>(radius, x.cols));
  return {clusters.representative(), clusters.representative() + x.rows};
}

/// Whether everybody is where the rule allows, and nobody alone who could have joined the first of
/// the vectors with the same signature.
template <class T>
bool obeys(const MatrixView<const T>& x, double radius, int bits) {
  const auto found = representatives(x, radius, bits);
  CoordinateSigns<T> signs(x.cols, bits, 3);
  signs.set_centres(
      x.rows, [&](index_t i) { return x.row(i); }, radius);
  bool all = true;
  for (index_t i = 0; i < x.rows; ++i) {
    const index_t r = found[static_cast<std::size_t>(i)];
    all = all && r >= 0 && r <= i && found[static_cast<std::size_t>(r)] == r;
    if (r != i) {
      all = all && within(x.row(i), x.row(r), x.cols, radius);
      continue;
    }
    index_t first = 0;
    while (signs(x.row(first), first) != signs(x.row(i), i)) ++first;
    all = all && (first == i || !within(x.row(i), x.row(first), x.cols, 0.99 * radius));
  }
  return all;
}

template <class T>
index_t distinct(const std::vector<std::int32_t>& found) {
  index_t count = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    count += found[i] == static_cast<std::int32_t>(i) ? 1 : 0;
  }
  return count;
}

/// The columns whose signs are taken.
template <class T>
std::vector<bool> signed_columns(index_t columns, int bits) {
  const CoordinateSigns<T> signs(columns, bits, 3);
  std::vector<T> ones(static_cast<std::size_t>(columns), T(1));
  const auto plain = signs(ones.data(), 0);
  std::vector<bool> read;
  for (T& element : ones) {
    element = T(-1);
    read.push_back(signs(ones.data(), 0) != plain);
    element = T(1);
  }
  return read;
}

/// Makes row i of x a copy of row j with noise of that norm, relative to the row's.
template <class T>
void copy_with_noise(const MatrixView<T>& x, index_t i, index_t j, double relative, Data& data) {
  std::vector<double> noise(static_cast<std::size_t>(x.cols));
  double size = 0;
  for (double& element : noise) {
    element = data.normal<double>();
    size += element * element;
  }
  const double norm = std::sqrt(energies(x.row(j), x.row(j), x.cols).norm);
  for (index_t k = 0; k < x.cols; ++k) {
    x(i, k) = static_cast<T>(static_cast<double>(x(j, k)) + relative * norm / std::sqrt(size) *
                                                                noise[static_cast<std::size_t>(k)]);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Squared distances are those of double precision, or above what was asked for",
                   "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t count : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 127, 128, 129, 300}) {
    const auto x = data.normals<T>(count);
    const auto y = data.normals<T>(count);
    const Energies expected = energies(x.data(), y.data(), count);
    const auto whole = adr::simd::squared_distance(x.data(), y.data(), count,
                                                   std::numeric_limits<T>::infinity(), y.data());
    CHECK(whole.distance == Approx(expected.distance).epsilon(1e-5));
    CHECK(whole.norm == Approx(expected.norm).epsilon(1e-5));
    const T* none = nullptr;
    const T half = static_cast<T>(expected.distance / 2);
    CHECK(adr::simd::squared_distance(x.data(), y.data(), count, half, none).distance > half);
  }
}

TEMPLATE_TEST_CASE("Clusters obey their radius", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t columns : {1, 3, 8, 33, 100, 400}) {
    for (const int bits : {1, 8, 32, 64}) {
      GuardedBuffer<T> buffer(150, columns, columns + 3, Start::misaligned);
      const MatrixView<T> x = buffer.view();
      data.fill_normal(x);
      for (index_t i = 20; i < x.rows; ++i) {
        if (i % 4 != 0) copy_with_noise(x, i, i % 17, data.between(0, 30) * 1e-3, data);
      }
      INFO(columns << " columns, " << bits << " bits");
      CHECK(obeys<T>(x, 0.01, bits));
      CHECK(obeys<T>(x, 0, bits));
      CHECK(obeys<T>(x, 0.5, bits));
    }
  }
}

TEMPLATE_TEST_CASE("Vectors at the edge of the radius never pass it", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr double k_radius = 0.03;
  GuardedBuffer<T> buffer(400, 200, 200, Start::aligned);
  const MatrixView<T> x = buffer.view();
  data.fill_normal(x);
  // Within rounding of the edge, on both sides of it, and a little inside.
  for (index_t i = 1; i < x.rows; ++i) {
    const double edge = 1 + data.between(-20, 20) * 1e-7;
    copy_with_noise(x, i, 0, k_radius * (i % 2 == 0 ? edge : 0.99), data);
  }
  // One element decides the signature, so that all or nearly all are proposed.
  const auto found = representatives<T>(x, k_radius, 1);
  index_t joined = 0;
  for (index_t i = 0; i < x.rows; ++i) {
    const index_t r = found[static_cast<std::size_t>(i)];
    joined += r != i ? 1 : 0;
    CHECK(within(x.row(i), x.row(r), x.cols, k_radius));
  }
  CHECK(joined > 150);
  CHECK(obeys<T>(x, k_radius, 1));
}

TEMPLATE_TEST_CASE("Signatures that collide decide nothing", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  GuardedBuffer<T> buffer(300, 40, 40, Start::aligned);
  const MatrixView<T> x = buffer.view();
  data.fill_normal(x);
  CHECK(obeys<T>(x, 0.1, 1));
  CHECK(distinct<T>(representatives<T>(x, 0.1, 1)) == x.rows);
  // A constant block shares one signature and one representative.
  for (index_t i = 100; i < 250; ++i) std::fill_n(x.row(i), x.cols, T(0.25));
  CHECK(obeys<T>(x, 0.1, 32));
  CHECK(distinct<T>(representatives<T>(x, 0.1, 32)) == x.rows - 149);
  // Many near-duplicates of a few vectors in one bucket.
  for (index_t i = 3; i < x.rows; ++i) copy_with_noise(x, i, i % 3, 1e-3, data);
  CHECK(obeys<T>(x, 0.01, 1));
  CHECK(distinct<T>(representatives<T>(x, 0.01, 1)) <= 6);
}

TEMPLATE_TEST_CASE("Vectors that differ only where no sign is taken are told apart", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr int k_bits = 32;
  GuardedBuffer<T> buffer(200, 90, 90, Start::aligned);
  const MatrixView<T> x = buffer.view();
  data.fill_normal(x);
  const std::vector<bool> read = signed_columns<T>(x.cols, k_bits);
  REQUIRE(std::count(read.begin(), read.end(), true) == k_bits);
  for (index_t i = 1; i < x.rows; ++i) {
    for (index_t k = 0; k < x.cols; ++k) {
      if (read[static_cast<std::size_t>(k)]) x(i, k) = x(0, k);
    }
  }
  CHECK(distinct<T>(representatives<T>(x, 0.1, k_bits)) == x.rows);
  // Followers of a few of them are found in the crowd: the first of all, at least.
  for (index_t i = 100; i < x.rows; ++i) copy_with_noise(x, i, i % 3, 1e-3, data);
  CHECK(obeys<T>(x, 0.01, k_bits));
  CHECK(distinct<T>(representatives<T>(x, 0.01, k_bits)) < x.rows - 30);
}

TEMPLATE_TEST_CASE("What is not finite, huge, tiny or zero joins its equal alone", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  using Limits = std::numeric_limits<T>;
  constexpr index_t k_columns = 20;
  constexpr T k_huge = Limits::max() / 2;
  constexpr T k_tiny = Limits::min() * 4;
  GuardedBuffer<T> buffer(16, k_columns, k_columns, Start::aligned);
  const MatrixView<T> x = buffer.view();
  const auto fill = [&](index_t row, T value) { std::fill_n(x.row(row), x.cols, value); };
  for (const index_t i : {0, 1}) fill(i, Limits::quiet_NaN());
  for (const index_t i : {2, 3}) fill(i, Limits::infinity());
  for (const index_t i : {4, 5}) fill(i, k_huge);
  fill(6, k_huge / 2);
  for (const index_t i : {7, 8}) fill(i, k_tiny);
  fill(9, k_tiny * 2);
  for (const index_t i : {10, 11}) fill(i, T(0));
  fill(12, -T(0));
  for (const index_t i : {13, 14, 15}) fill(i, T(1));
  x(14, 3) = Limits::quiet_NaN();
  for (const int bits : {1, 32}) {
    INFO(bits << " bits");
    const auto found = representatives<T>(x, 0.1, bits);
    const auto joins = [&](index_t i) {
      const index_t r = found[static_cast<std::size_t>(i)];
      return r == i || std::equal(x.row(i), x.row(i) + x.cols, x.row(r));
    };
    for (index_t i = 0; i < x.rows; ++i) CHECK(joins(i));
    for (const index_t i : {0, 1, 2, 3, 14}) CHECK(found[static_cast<std::size_t>(i)] == i);
  }
}

TEMPLATE_TEST_CASE("An outlier moves no centre", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  GuardedBuffer<T> buffer(200, 64, 64, Start::aligned);
  const MatrixView<T> x = buffer.view();
  data.fill_normal(x);
  for (index_t i = 20; i < x.rows; ++i) copy_with_noise(x, i, i % 20, 1e-4, data);
  const index_t before = distinct<T>(representatives<T>(x, 0.01, 32));
  for (index_t j = 0; j < x.cols; ++j) x(0, j) *= T(1e13);
  CHECK(distinct<T>(representatives<T>(x, 0.01, 32)) <= before + 10);
  std::fill_n(x.row(0), x.cols, std::numeric_limits<T>::quiet_NaN());
  CHECK(distinct<T>(representatives<T>(x, 0.01, 32)) <= before + 10);
}

TEST_CASE("Clusters do not depend on the number of threads") {
  Data data;
  INFO(data);
  GuardedBuffer<float> buffer(1000, 50, 53, Start::aligned);
  const MatrixView<float> x = buffer.view();
  data.fill_normal(x);
  for (index_t i = 100; i < x.rows; ++i) copy_with_noise(x, i, i % 90, 5e-3, data);
  const auto found = representatives<float>(x, 0.01, 8);
  for (const int threads : {2, 3, 7}) {
    CHECK(representatives<float>(x, 0.01, 8, threads) == found);
  }
}

TEST_CASE("A search that promises too little is given up, and no other") {
  constexpr index_t k_rows = 3000;
  constexpr index_t k_columns = 40;
  constexpr double k_radius = 0.01;
  Data data;
  INFO(data);
  GuardedBuffer<float> buffer(k_rows, k_columns, k_columns, Start::aligned);
  const MatrixView<float> x = buffer.view();
  data.fill_normal(x);
  // With 6 bits some 64 signatures, whose vectors are compared.
  const auto is_worth = [&](int bits, double wanted) {
    Context context;
    context.workspace().reserve(RadiusClusters<float>::workspace_bytes(k_rows));
    CoordinateSigns<float> signs(k_columns, bits, 3);
    signs.set_centres(
        k_rows, [&](index_t i) { return x.row(i); }, k_radius);
    RadiusClusters<float> clusters({x, k_rows}, signs, context);
    const bool worth = clusters.join(RadiusRule<float>(k_radius, k_columns), wanted * k_rows);
    if (worth && wanted > 0) {
      const auto whole = representatives<float>(x, k_radius, bits);
      CHECK(std::equal(whole.begin(), whole.end(), clusters.representative()));
    }
    return worth;
  };
  SECTION("where nobody joins") {
    CHECK(is_worth(6, 0));
    CHECK_FALSE(is_worth(6, 0.1));
  }
  SECTION("where some do") {
    for (index_t i = 0; i < k_rows; i += 4) copy_with_noise(x, i, 0, 1e-3, data);
    CHECK_FALSE(is_worth(6, 0.5));
    CHECK(is_worth(6, 0.2));
  }
  SECTION("where all do") {
    for (index_t i = 20; i < k_rows; ++i) copy_with_noise(x, i, i % 20, 1e-3, data);
    CHECK(is_worth(6, 0.8));
  }
  SECTION("where few leaders say nothing") {
    // The first of the only signature has no followers, the second has all others.
    std::fill_n(x.row(0), k_columns, 1.0F);
    for (index_t i = 2; i < k_rows; ++i) std::copy_n(x.row(1), k_columns, x.row(i));
    CHECK(is_worth(6, 0.9));
  }
}
