// Projections and nearest entries, in registers and one number at a time, against plain loops in
// double precision.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "adr/simd/encode_kernels.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::index_t;
using adr_test::Data;
using adr_test::GuardedBuffer;
namespace simd = adr::simd;

constexpr index_t k_tile = simd::k_encode_tile;

/// A codebook and a tile of vectors.
struct Tile {
  index_t coordinates;
  index_t entries;
  GuardedBuffer<float> z;        // coordinates x k_tile
  GuardedBuffer<float> negated;  // entries x coordinates
  GuardedBuffer<float> half_norms;
  std::vector<std::uint8_t> ids = std::vector<std::uint8_t>(k_tile, 0);
  std::vector<float> distances = std::vector<float>(k_tile, 0.0F);

  Tile(index_t coordinates_, index_t entries_, Data& data)
      : coordinates(coordinates_),
        entries(entries_),
        z(coordinates_, k_tile, k_tile, adr_test::Start::misaligned),
        negated(entries_, coordinates_, coordinates_, adr_test::Start::misaligned),
        half_norms(entries_) {
    data.fill_normal(z.view());
    data.fill_normal(negated.view());
    for (index_t t = 0; t < entries; ++t) set_half_norm(t);
  }
  void set_half_norm(index_t t) {
    float norm = 0;
    for (index_t l = 0; l < coordinates; ++l) norm += negated(t, l) * negated(t, l);
    half_norms(0, t) = 0.5F * norm;
  }

  template <class B>
  bool find() {
    return simd::nearest_entries<B>(z.data(), coordinates, negated.data(), half_norms.data(),
                                    entries, ids.data(), distances.data());
  }
  [[nodiscard]] index_t id(index_t i) const { return ids[static_cast<std::size_t>(i)]; }

  /// Half the squared distance of vector i to entry t less half the squared norm of the vector.
  [[nodiscard]] double distance(index_t i, index_t t) const {
    double total = static_cast<double>(half_norms(0, t));
    for (index_t l = 0; l < coordinates; ++l) {
      total += static_cast<double>(negated(t, l)) * static_cast<double>(z(l, i));
    }
    return total;
  }
  /// How far the sum above may be off in float.
  [[nodiscard]] double tolerance(index_t i, index_t t) const {
    double magnitude = static_cast<double>(half_norms(0, t));
    for (index_t l = 0; l < coordinates; ++l) {
      magnitude += std::abs(static_cast<double>(negated(t, l)) * static_cast<double>(z(l, i)));
    }
    return adr_test::sum_tolerance<float>(coordinates + 1, magnitude);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("project adds the coordinates of a tile", "", simd::Batch<float>,
                   simd::ScalarBatch<float>) {
  Data data;
  INFO(data);
  for (const index_t elements : {0, 1, 2, 7, 64}) {
    for (index_t coordinates = 1; coordinates <= 19; ++coordinates) {
      INFO(elements << " elements, " << coordinates << " coordinates");
      GuardedBuffer<float> x(std::max<index_t>(1, elements), k_tile, k_tile,
                             adr_test::Start::misaligned);
      GuardedBuffer<float> axes(std::max<index_t>(1, elements), coordinates, coordinates + 3);
      GuardedBuffer<float> z(coordinates, k_tile, k_tile, adr_test::Start::misaligned);
      data.fill_normal(x.view());
      data.fill_normal(axes.view());
      data.fill_normal(z.view());
      std::vector<double> before;
      for (index_t d = 0; d < coordinates; ++d) {
        for (index_t i = 0; i < k_tile; ++i) before.push_back(static_cast<double>(z(d, i)));
      }
      simd::project<TestType>(x.data(), elements, axes.data(), coordinates + 3, coordinates,
                              z.data());
      adr_test::Comparison comparison;
      for (index_t d = 0; d < coordinates; ++d) {
        for (index_t i = 0; i < k_tile; ++i) {
          double sum = before[static_cast<std::size_t>(d * k_tile + i)];
          double magnitude = std::abs(sum);
          for (index_t e = 0; e < elements; ++e) {
            const double term = static_cast<double>(axes(e, d)) * static_cast<double>(x(e, i));
            sum += term;
            magnitude += std::abs(term);
          }
          comparison.expect(static_cast<double>(z(d, i)), sum,
                            adr_test::sum_tolerance<float>(elements + 1, magnitude));
        }
      }
      CHECK(comparison.fault() == "");
      CHECK(z.damage() + x.damage() + axes.damage() == "");
    }
  }
}

TEMPLATE_TEST_CASE("nearest_entries finds the nearest entry of every vector", "",
                   simd::Batch<float>, simd::ScalarBatch<float>) {
  Data data;
  INFO(data);
  for (const index_t coordinates : {1, 2, 3, 4, 5, 12}) {
    for (const index_t entries : {1, 2, 15, 63, 256}) {
      INFO(coordinates << " coordinates, " << entries << " entries");
      Tile tile(coordinates, entries, data);
      CHECK(tile.find<TestType>());
      index_t farther = 0;
      index_t wrong_distances = 0;
      for (index_t i = 0; i < k_tile; ++i) {
        REQUIRE(tile.id(i) < entries);
        const double found = tile.distance(i, tile.id(i));
        for (index_t t = 0; t < entries; ++t) {
          const double tolerance = tile.tolerance(i, t) + tile.tolerance(i, tile.id(i));
          if (tile.distance(i, t) < found - tolerance) ++farther;
        }
        const auto distance = static_cast<double>(tile.distances[static_cast<std::size_t>(i)]);
        if (!(std::abs(distance - found) <= tile.tolerance(i, tile.id(i)))) ++wrong_distances;
      }
      CHECK(farther == 0);
      CHECK(wrong_distances == 0);
      CHECK(tile.z.damage() + tile.negated.damage() + tile.half_norms.damage() == "");
    }
  }
}

TEMPLATE_TEST_CASE("nearest_entries takes the first of equal entries", "", simd::Batch<float>,
                   simd::ScalarBatch<float>) {
  Data data;
  INFO(data);
  for (const index_t coordinates : {1, 3, 6}) {
    Tile tile(coordinates, 40, data);
    Tile twice(coordinates, 80, data);
    for (index_t t = 0; t < 80; ++t) {
      for (index_t l = 0; l < coordinates; ++l) twice.negated(t, l) = tile.negated(t % 40, l);
      twice.set_half_norm(t);
    }
    std::copy_n(tile.z.data(), coordinates * k_tile, twice.z.data());
    CHECK(tile.find<TestType>());
    CHECK(twice.find<TestType>());
    CHECK(twice.ids == tile.ids);
  }
}

TEMPLATE_TEST_CASE("nearest_entries reports what is not finite and leaves its neighbours alone", "",
                   simd::Batch<float>, simd::ScalarBatch<float>) {
  Data data;
  INFO(data);
  for (const index_t coordinates : {1, 2, 4, 7}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (const index_t place : {0, 17, 63}) {
        INFO(coordinates << " coordinates, " << bad << " at " << place);
        Tile tile(coordinates, 20, data);
        CHECK(tile.find<TestType>());
        const std::vector<std::uint8_t> clean = tile.ids;
        tile.z(coordinates - 1, place) = bad;
        CHECK_FALSE(tile.find<TestType>());
        CHECK(tile.id(place) < 20);
        tile.ids[static_cast<std::size_t>(place)] = clean[static_cast<std::size_t>(place)];
        CHECK(tile.ids == clean);
      }
    }
  }
}

TEST_CASE("registers and single numbers find the same entries where products are exact") {
  Data data;
  INFO(data);
  for (const index_t coordinates : {1, 2, 3, 4, 9}) {
    Tile tile(coordinates, 100, data);
    data.fill_whole(tile.z.view());
    data.fill_whole(tile.negated.view());
    for (index_t t = 0; t < 100; ++t) tile.set_half_norm(t);
    CHECK(tile.find<simd::Batch<float>>());
    const std::vector<std::uint8_t> ids = tile.ids;
    const std::vector<float> distances = tile.distances;
    CHECK(tile.find<simd::ScalarBatch<float>>());
    CHECK(tile.ids == ids);
    CHECK(tile.distances == distances);
  }
}
