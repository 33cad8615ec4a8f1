// A hash of vectors that alike ones share: the signs of a few of their elements.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/word_sums.hpp"

ADR_NAMESPACE_BEGIN

/// Signatures of vectors of one length: bit h is 1 where element c_h is above its centre.
///
/// Elements are drawn once, by the seed, eight neighbours at a time, so that a signature reads few
/// cache lines of a long vector. Planes across an element cost nothing to project on; alike vectors
/// agree in all bits unless an element lies within their difference of its centre. A signature
/// proposes and decides nothing. Thread-safety: reentrant once centred. Source: bit sampling (Indyk
/// and Motwani 1998) with a centre.
template <class T>
class CoordinateSigns {
 public:
  /// Of at most `count` elements, 1 to 64, of vectors of `length`.
  CoordinateSigns(index_t length, int count, std::uint64_t seed) {
    const index_t most = std::min<index_t>(length, count);
    const index_t runs = (most + k_run - 1) / k_run;
    places_.resize(most);
    centres_.assign(most, T(0));
    Random random(seed);
    index_t bit = 0;
    for (index_t run = 0; run < runs; ++run) {
      const index_t first = run * length / runs;
      const index_t room = (run + 1) * length / runs - first;
      const index_t taken = std::min({k_run, room, most - bit});
      index_t start = first + random.below(room - taken + 1);
      // Runs that begin at multiples of their length lie in one line.
      if (start / k_run * k_run >= first) start = start / k_run * k_run;
      for (index_t i = 0; i < taken; ++i) places_[bit++] = start + i;
    }
    // Where short runs left bits over, the signature is that much shorter.
    places_.resize(bit);
    centres_.resize(bit);
  }

  [[nodiscard]] index_t bits() const noexcept { return places_.size(); }

  /// Puts the centres to the means of what sampled rows have there, row(i) for i < rows; the
  /// largest and smallest values are left out, and what is not finite, so that a few outliers move
  /// no centre. Cost: at most 32 rows.
  template <class Row>
  void set_centres(index_t rows, const Row& row) noexcept {
    constexpr index_t k_most = 32;
    constexpr index_t k_left_out = 16;  // one of so many, at either end
    const index_t samples = std::min(rows, k_most);
    for (index_t bit = 0; bit < bits(); ++bit) {
      std::array<T, static_cast<std::size_t>(k_most)> values;
      index_t count = 0;
      for (index_t i = 0; i < samples; ++i) {
        const T value = row(i * rows / samples)[places_[bit]];
        if (std::isfinite(value)) values[static_cast<std::size_t>(count++)] = value;
      }
      std::sort(values.begin(), values.begin() + count);
      const index_t left_out = count / k_left_out;
      T total = T(0);
      for (index_t i = left_out; i < count - left_out; ++i) {
        total += values[static_cast<std::size_t>(i)] / static_cast<T>(count - 2 * left_out);
      }
      centres_[bit] = total;
    }
  }

  /// The signature of a vector, mixed, so that any bits of it select a slot of a table. Vectors
  /// with a sampled element that is not finite have one of their own, by their number.
  [[nodiscard]] std::uint64_t operator()(const T* vector, index_t number) const noexcept {
    std::uint64_t signature = 0;
    T poison = T(0);
    for (index_t bit = 0; bit < bits(); ++bit) {
      const T value = vector[places_[bit]];
      signature |= static_cast<std::uint64_t>(value > centres_[bit]) << bit;
      poison += value * T(0);
    }
    if (poison != T(0)) signature = simd::mixed_bits(~static_cast<std::uint64_t>(number));
    return simd::mixed_bits(signature + 1);
  }

  /// Fetches what the signature of a vector reads.
  void prefetch(const T* vector) const noexcept {
    for (index_t bit = 0; bit < bits(); bit += k_run) __builtin_prefetch(vector + places_[bit]);
  }

 private:
  static constexpr index_t k_run = 8;

  AlignedBuffer<index_t> places_;
  AlignedBuffer<T> centres_;
};

ADR_NAMESPACE_END
