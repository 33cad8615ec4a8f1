// A hash of vectors that alike ones share: the signs of a few of their elements.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/parallel.hpp"
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
    const index_t runs = blocks_of(most, k_run);
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

  /// Puts the centres between what sampled rows have there, row(i) for i < rows: near the mean, in
  /// the middle of the gap in which that lies. The largest and smallest values are left out, and
  /// what is not finite, so that a few outliers move no centre. An element that differs by no more
  /// than vectors within the radius do is no bit at all: it would tell like from like. Cost: at
  /// most 32 rows.
  template <class Row>
  void set_centres(index_t rows, const Row& row, double radius) noexcept {
    constexpr index_t k_left_out = 16;  // one of so many, at either end
    constexpr double k_spread = 4;      // of a sample, in standard deviations
    const index_t samples = std::min(rows, k_samples);
    double squares = 0;
    index_t values_left = 0;
    const auto for_each = [&](const auto& use) {
      for (index_t bit = 0; bit < bits(); ++bit) {
        std::array<T, static_cast<std::size_t>(k_samples)> values;
        index_t count = 0;
        for (index_t i = 0; i < samples; ++i) {
          const T value = row(i * rows / samples)[places_[bit]];
          if (std::isfinite(value)) values[static_cast<std::size_t>(count++)] = value;
        }
        std::sort(values.begin(), values.begin() + count);
        const index_t left_out = count / k_left_out;
        use(bit, values.data() + left_out, count - 2 * left_out);
      }
    };
    for_each([&](index_t, const T* values, index_t count) {
      for (index_t i = 0; i < count; ++i) squares += static_cast<double>(values[i]) * values[i];
      values_left += count;
    });
    const double noise =
        k_spread * radius *
        std::sqrt(squares / static_cast<double>(std::max<index_t>(values_left, 1)));
    for_each([&](index_t bit, const T* values, index_t count) {
      centres_[bit] = std::numeric_limits<T>::max();
      if (count == 0) return;
      const double first = static_cast<double>(values[0]);
      if (!(static_cast<double>(values[count - 1]) - first > noise)) return;
      double total = 0;
      for (index_t i = 0; i < count; ++i) total += static_cast<double>(values[i]) - first;
      const auto mean = static_cast<T>(first + total / static_cast<double>(count));
      const T* above = std::upper_bound(values, values + count - 1, mean);
      centres_[bit] = above == values ? mean : above[-1] + (above[0] - above[-1]) / 2;
    });
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
  static constexpr index_t k_samples = 32;

  AlignedBuffer<index_t> places_;
  AlignedBuffer<T> centres_;
};

ADR_NAMESPACE_END
