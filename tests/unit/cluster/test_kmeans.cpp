// k-means over tiles of coordinates: assignment, movement and reseeding one by one, and what the
// whole fit is good for.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "adr/cluster/kmeans.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

namespace {

using adr::CoordinateTiles;
using adr::EncodingBook;
using adr::index_t;
using adr::Random;
using adr_test::Data;

constexpr index_t k_tile = adr::simd::k_encode_tile;

/// Tiles in which vector i has coordinate value(i, d); the last tile repeats the first vectors.
template <class Value>
CoordinateTiles tiles_of(index_t vectors, index_t coordinates, const Value& value) {
  CoordinateTiles tiles(vectors, coordinates);
  for (index_t i = 0; i < tiles.count; ++i) {
    for (index_t d = 0; d < coordinates; ++d) {
      tiles.tile(i / k_tile)[d * k_tile + i % k_tile] = value(i % vectors, d);
    }
  }
  return tiles;
}

CoordinateTiles random_tiles(index_t vectors, index_t coordinates, Data& data) {
  const std::vector<float> values = data.normals<float>(vectors * coordinates);
  return tiles_of(vectors, coordinates, [&](index_t i, index_t d) {
    return values[static_cast<std::size_t>(i * coordinates + d)];
  });
}

double squared_distance(const CoordinateTiles& tiles, index_t i, const EncodingBook& book,
                        index_t t) {
  double total = 0;
  for (index_t l = 0; l < book.coordinates; ++l) {
    const double difference = static_cast<double>(tiles.at(i, book.first_coordinate + l)) +
                              static_cast<double>(book.negated_entries[t * book.coordinates + l]);
    total += difference * difference;
  }
  return total;
}

double error(const CoordinateTiles& tiles, const EncodingBook& book,
             const std::vector<std::uint8_t>& ids) {
  double total = 0;
  for (index_t i = 0; i < tiles.count; ++i) {
    total += squared_distance(tiles, i, book, ids[static_cast<std::size_t>(i)]);
  }
  return total;
}

struct Fit {
  EncodingBook book;
  std::vector<std::uint8_t> ids;
};
Fit fit(const CoordinateTiles& tiles, index_t first, index_t coordinates, index_t entries,
        std::uint64_t seed) {
  Random random(seed);
  Fit result;
  result.ids.resize(static_cast<std::size_t>(tiles.count));
  result.book = adr::fit_codebook(tiles, first, coordinates, entries, random, result.ids.data());
  return result;
}

}  // namespace

TEST_CASE("an encoding book keeps its entries negated, and half their squared norms") {
  EncodingBook book;
  book.coordinates = 2;
  book.negated_entries.assign(4, 0.0F);
  book.half_norms.assign(2, 0.0F);
  const float entry[] = {3, -4};
  book.set_entry(1, entry);
  CHECK(book.entries() == 2);
  CHECK(book.negated_entries[2] == -3);
  CHECK(book.negated_entries[3] == 4);
  CHECK(book.half_norms[1] == 12.5F);
  CHECK(book.half_norms[0] == 0);
}

TEST_CASE("tiles hold whole registers of vectors and find each of them") {
  for (const index_t vectors : {1, 63, 64, 65, 200}) {
    const CoordinateTiles tiles =
        tiles_of(vectors, 3, [](index_t i, index_t d) { return static_cast<float>(10 * i + d); });
    CHECK(tiles.count % k_tile == 0);
    CHECK(tiles.count - vectors >= 0);
    CHECK(tiles.count - vectors < k_tile);
    for (index_t i = 0; i < tiles.count; ++i) {
      CHECK(tiles.at(i, 2) == static_cast<float>(10 * (i % vectors) + 2));
    }
  }
}

TEST_CASE("fit_codebook leaves every vector with its nearest entry, entries near their means") {
  Data data;
  INFO(data);
  const CoordinateTiles tiles = random_tiles(1000, 5, data);
  for (const index_t entries : {1, 2, 16, 63, 256}) {
    INFO(entries << " entries");
    const Fit f = fit(tiles, 1, 3, entries, 7);
    REQUIRE(f.book.entries() == entries);
    CHECK(f.book.first_coordinate == 1);
    index_t farther = 0;
    std::vector<double> sums(static_cast<std::size_t>(3 * entries), 0.0);
    std::vector<double> counts(static_cast<std::size_t>(entries), 0.0);
    for (index_t i = 0; i < tiles.count; ++i) {
      const index_t id = f.ids[static_cast<std::size_t>(i)];
      REQUIRE(id < entries);
      const double own = squared_distance(tiles, i, f.book, id);
      for (index_t t = 0; t < entries; ++t) {
        if (squared_distance(tiles, i, f.book, t) < own - 1e-4) ++farther;
      }
      counts[static_cast<std::size_t>(id)] += 1;
      for (index_t l = 0; l < 3; ++l) {
        sums[static_cast<std::size_t>(3 * id + l)] += static_cast<double>(tiles.at(i, 1 + l));
      }
    }
    CHECK(farther == 0);
    // What is left to gain by moving every entry to its mean is little after the last iteration.
    double gain = 0;
    for (index_t t = 0; t < entries; ++t) {
      const double count = counts[static_cast<std::size_t>(t)];
      for (index_t l = 0; l < 3 && count > 0; ++l) {
        const double lack = sums[static_cast<std::size_t>(3 * t + l)] / count +
                            static_cast<double>(f.book.negated_entries[3 * t + l]);
        gain += count * lack * lack;
      }
    }
    CHECK(gain < 0.05 * error(tiles, f.book, f.ids));
  }
}

TEST_CASE("the error of fit_codebook falls with the entries") {
  Data data;
  INFO(data);
  const CoordinateTiles tiles = random_tiles(2000, 2, data);
  double before = 1e30;
  for (const index_t entries : {1, 4, 16, 64, 256}) {
    const Fit f = fit(tiles, 0, 2, entries, 3);
    const double now = error(tiles, f.book, f.ids);
    // Twice as fine in each of two directions: a quarter of the error, nearly.
    CHECK(now < 0.45 * before);
    before = now;
  }
}

TEST_CASE("fit_codebook finds clusters that lie apart") {
  Data data;
  INFO(data);
  const std::vector<float> noise = data.normals<float>(640 * 2);
  const CoordinateTiles tiles = tiles_of(640, 2, [&](index_t i, index_t d) {
    const index_t cluster = i % 16;
    return static_cast<float>(d == 0 ? cluster / 4 : cluster % 4) +
           0.01F * noise[static_cast<std::size_t>(2 * i + d)];
  });
  const Fit f = fit(tiles, 0, 2, 16, 5);
  std::set<std::pair<index_t, index_t>> pairs;
  for (index_t i = 0; i < 640; ++i) pairs.insert({i % 16, f.ids[static_cast<std::size_t>(i)]});
  CHECK(pairs.size() == 16);
}

TEST_CASE("fit_codebook of fewer vectors than entries holds them all") {
  Data data;
  INFO(data);
  const CoordinateTiles few = random_tiles(5, 4, data);
  const Fit f = fit(few, 0, 4, 64, 1);
  CHECK(error(few, f.book, f.ids) < 1e-9);
  const CoordinateTiles equal = tiles_of(100, 4, [](index_t, index_t) { return 1.5F; });
  const Fit same = fit(equal, 0, 4, 64, 1);
  CHECK(error(equal, same.book, same.ids) == 0);
  CHECK(std::all_of(same.ids.begin(), same.ids.end(), [](std::uint8_t id) { return id == 0; }));
}

TEST_CASE("fit_codebook gives entries that lose their members to the farthest vectors") {
  // The seeds are looked for among every other vector, and meet five values only.
  const CoordinateTiles tiles = tiles_of(4096, 1, [](index_t i, index_t) {
    const bool rare = i == 1001 || i == 2001 || i == 3001;
    return rare ? static_cast<float>(10 + i / 1000) : static_cast<float>(i / 2 % 5);
  });
  const Fit f = fit(tiles, 0, 1, 8, 2);
  CHECK(error(tiles, f.book, f.ids) < 1e-9);
}

TEST_CASE("fit_codebook depends on its seed alone") {
  Data data;
  INFO(data);
  const CoordinateTiles tiles = random_tiles(500, 3, data);
  const Fit a = fit(tiles, 0, 3, 32, 11);
  const Fit b = fit(tiles, 0, 3, 32, 11);
  const Fit c = fit(tiles, 0, 3, 32, 12);
  CHECK(a.ids == b.ids);
  CHECK(std::equal(a.book.negated_entries.data(), a.book.negated_entries.data() + 96,
                   b.book.negated_entries.data()));
  CHECK(a.ids != c.ids);
}

TEST_CASE("assign_entries names the vector that is farthest from its entry") {
  const CoordinateTiles tiles = tiles_of(
      130, 1, [](index_t i, index_t) { return i == 77 ? 9.0F : static_cast<float>(i % 2); });
  EncodingBook book;
  book.coordinates = 1;
  book.negated_entries.assign(2, 0.0F);
  book.half_norms.assign(2, 0.0F);
  const float one = 1;
  book.set_entry(1, &one);
  std::vector<std::uint8_t> ids(static_cast<std::size_t>(tiles.count));
  CHECK(adr::assign_entries(tiles, book, ids.data()) == 77);
  CHECK(ids[76] == 0);
  CHECK(ids[77] == 1);
  CHECK(ids[79] == 1);
}

TEST_CASE("move_entries moves to the mean, or by what inertia allows, and names an empty entry") {
  // 64 vectors: one half at 2, the other at 6.
  const CoordinateTiles tiles = tiles_of(64, 2, [](index_t i, index_t d) {
    return d == 0 ? -1.0F : i < 32 ? 2.0F : 6.0F;
  });
  std::vector<std::uint8_t> ids(64, 0);
  std::fill(ids.begin() + 32, ids.end(), std::uint8_t{2});
  const auto book = [] {
    EncodingBook b;
    b.first_coordinate = 1;
    b.coordinates = 1;
    b.negated_entries.assign(3, 0.0F);
    b.half_norms.assign(3, 0.0F);
    return b;
  };
  EncodingBook moved = book();
  CHECK(adr::move_entries(tiles, ids.data(), 0.0F, moved) == 1);
  CHECK(moved.negated_entries[0] == -2);
  CHECK(moved.negated_entries[1] == 0);
  CHECK(moved.negated_entries[2] == -6);
  CHECK(moved.half_norms[2] == 18);
  EncodingBook held = book();
  CHECK(adr::move_entries(tiles, ids.data(), 32.0F, held) == 1);
  CHECK(held.negated_entries[0] == -1);
  CHECK(held.negated_entries[2] == -3);
  ids[5] = 1;
  CHECK(adr::move_entries(tiles, ids.data(), 0.0F, moved) == -1);
  adr::reseed_entry(tiles, 40, 1, moved);
  CHECK(moved.negated_entries[1] == -6);
}
