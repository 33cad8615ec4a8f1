// k-means over a sample of coordinates: the entries of one codebook.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/encode_kernels.hpp"

ADR_NAMESPACE_BEGIN

/// A sample of coordinates in tiles of simd::k_encode_tile vectors, element-major within a tile:
/// what the encoding kernels read. The last tile is filled up by repeating the sample.
struct CoordinateTiles {
  index_t count = 0;        ///< vectors, a multiple of simd::k_encode_tile
  index_t coordinates = 0;  ///< per vector
  AlignedBuffer<float> elements;

  CoordinateTiles(index_t vectors, index_t coordinate_count)
      : count((vectors + simd::k_encode_tile - 1) / simd::k_encode_tile * simd::k_encode_tile),
        coordinates(coordinate_count),
        elements(checked_product("coordinates", count, coordinate_count)) {}

  [[nodiscard]] index_t tiles() const noexcept { return count / simd::k_encode_tile; }
  [[nodiscard]] float* tile(index_t t) noexcept {
    return elements.data() + t * coordinates * simd::k_encode_tile;
  }
  [[nodiscard]] const float* tile(index_t t) const noexcept {
    return elements.data() + t * coordinates * simd::k_encode_tile;
  }
  /// Coordinate d of vector i.
  [[nodiscard]] float at(index_t i, index_t d) const noexcept {
    return tile(i / simd::k_encode_tile)[d * simd::k_encode_tile + i % simd::k_encode_tile];
  }
};

/// The encoding side of one codebook: entries in the coordinates
/// [first_coordinate, first_coordinate + coordinates).
struct EncodingBook {
  index_t first_coordinate = 0;
  index_t coordinates = 0;
  AlignedBuffer<float> negated_entries;  ///< [entries x coordinates]
  AlignedBuffer<float> half_norms;       ///< [entries]

  [[nodiscard]] index_t entries() const noexcept { return half_norms.size(); }
  /// Squares are exact in double: the norm has the same bits wherever this is compiled, which a
  /// saved codebook relies on.
  void set_entry(index_t t, const float* entry) noexcept {
    double norm = 0;
    for (index_t l = 0; l < coordinates; ++l) {
      negated_entries[t * coordinates + l] = -entry[l];
      norm += double{entry[l]} * double{entry[l]};
    }
    half_norms[t] = static_cast<float>(0.5 * norm);
  }
};

namespace detail {

/// Chooses the first entries far from each other: each is a vector of the sample, drawn with a
/// probability proportional to its squared distance from the entries before (k-means++).
inline void seed_entries(const CoordinateTiles& sample, EncodingBook& book, Random& random) {
  constexpr index_t k_most_candidates = 2048;
  const index_t candidates = std::min(sample.count, k_most_candidates);
  const index_t length = book.coordinates;
  std::vector<float> points(static_cast<std::size_t>(candidates * length));
  for (index_t c = 0; c < candidates; ++c) {
    for (index_t l = 0; l < length; ++l) {
      points[static_cast<std::size_t>(c * length + l)] =
          sample.at(c * sample.count / candidates, book.first_coordinate + l);
    }
  }
  std::vector<float> squared(static_cast<std::size_t>(candidates),
                             std::numeric_limits<float>::max());
  index_t chosen = random.below(candidates);
  for (index_t t = 0; t < book.entries(); ++t) {
    const float* entry = points.data() + chosen * length;
    book.set_entry(t, entry);
    double total = 0;
    for (index_t c = 0; c < candidates; ++c) {
      float distance = 0;
      for (index_t l = 0; l < length; ++l) {
        const float difference = points[static_cast<std::size_t>(c * length + l)] - entry[l];
        distance += difference * difference;
      }
      float& least = squared[static_cast<std::size_t>(c)];
      least = std::min(least, distance);
      total += double{least};
    }
    double rest = random.uniform() * total;
    chosen = 0;
    while (chosen + 1 < candidates && rest >= double{squared[static_cast<std::size_t>(chosen)]}) {
      rest -= double{squared[static_cast<std::size_t>(chosen++)]};
    }
  }
}

}  // namespace detail

/// Finds the entry of every vector of the sample. Returns the index of the vector that is farthest
/// from its entry. Shapes: ids [sample.count].
inline index_t assign_entries(const CoordinateTiles& sample, const EncodingBook& book,
                              std::uint8_t* ids) {
  float distances[simd::k_encode_tile];
  float largest = -1;
  index_t farthest = 0;
  for (index_t t = 0; t < sample.tiles(); ++t) {
    const float* z = sample.tile(t) + book.first_coordinate * simd::k_encode_tile;
    std::uint8_t* tile_ids = ids + t * simd::k_encode_tile;
    simd::nearest_entries(z, book.coordinates, book.negated_entries.data(), book.half_norms.data(),
                          book.entries(), tile_ids, distances);
    for (index_t i = 0; i < simd::k_encode_tile; ++i) {
      float norm = 0;
      for (index_t l = 0; l < book.coordinates; ++l) {
        norm += z[l * simd::k_encode_tile + i] * z[l * simd::k_encode_tile + i];
      }
      const float squared = 2 * distances[i] + norm;
      if (squared > largest) {
        largest = squared;
        farthest = t * simd::k_encode_tile + i;
      }
    }
  }
  return farthest;
}

/// Moves every entry towards the mean of its members: by all of the way with inertia 0, else by
/// count / (count + inertia) of it. Returns the number of an entry without members, or -1.
inline index_t move_entries(const CoordinateTiles& sample, const std::uint8_t* ids, float inertia,
                            EncodingBook& book) {
  const index_t length = book.coordinates;
  std::vector<double> sums(static_cast<std::size_t>(book.entries() * length), 0.0);
  std::vector<index_t> counts(static_cast<std::size_t>(book.entries()), 0);
  for (index_t t = 0; t < sample.tiles(); ++t) {
    const float* z = sample.tile(t) + book.first_coordinate * simd::k_encode_tile;
    for (index_t i = 0; i < simd::k_encode_tile; ++i) {
      const index_t id = ids[t * simd::k_encode_tile + i];
      ++counts[static_cast<std::size_t>(id)];
      for (index_t l = 0; l < length; ++l) {
        sums[static_cast<std::size_t>(id * length + l)] += double{z[l * simd::k_encode_tile + i]};
      }
    }
  }
  index_t empty = -1;
  std::vector<float> entry(static_cast<std::size_t>(length));
  for (index_t e = 0; e < book.entries(); ++e) {
    const auto count = static_cast<double>(counts[static_cast<std::size_t>(e)]);
    if (count == 0) {
      empty = e;
      continue;
    }
    for (index_t l = 0; l < length; ++l) {
      const double old = -double{book.negated_entries[e * length + l]};
      const double mean = sums[static_cast<std::size_t>(e * length + l)] / count;
      entry[static_cast<std::size_t>(l)] =
          static_cast<float>(old + (mean - old) * count / (count + double{inertia}));
    }
    book.set_entry(e, entry.data());
  }
  return empty;
}

/// Gives an entry without members the position of a vector.
inline void reseed_entry(const CoordinateTiles& sample, index_t vector, index_t entry_number,
                         EncodingBook& book) {
  std::vector<float> entry;
  for (index_t l = 0; l < book.coordinates; ++l) {
    entry.push_back(sample.at(vector, book.first_coordinate + l));
  }
  book.set_entry(entry_number, entry.data());
}

/// Fits a codebook of `entries` entries to some coordinates of a sample.
///
/// Math: Lloyd's iteration from k-means++ seeds; an entry that loses its members is put on the
/// vector that is farthest from its own entry. ids returns the entry of every vector. Requires:
/// finite coordinates, 1 <= entries <= 256. Cost: iterations * sample * entries * coordinates.
/// Determinism: by seed. Thread-safety: reentrant. Source: Lloyd 1982; Arthur and Vassilvitskii
/// 2007.
inline EncodingBook fit_codebook(const CoordinateTiles& sample, index_t first_coordinate,
                                 index_t coordinates, index_t entries, Random& random,
                                 std::uint8_t* ids) {
  constexpr int k_iterations = 8;
  EncodingBook book;
  book.first_coordinate = first_coordinate;
  book.coordinates = coordinates;
  book.negated_entries.assign(entries * coordinates, 0.0F);
  book.half_norms.assign(entries, 0.0F);
  detail::seed_entries(sample, book, random);
  for (int i = 0; i < k_iterations; ++i) {
    const index_t farthest = assign_entries(sample, book, ids);
    const index_t empty = move_entries(sample, ids, 0.0F, book);
    if (empty >= 0) reseed_entry(sample, farthest, empty, book);
  }
  assign_entries(sample, book, ids);
  return book;
}

ADR_NAMESPACE_END
