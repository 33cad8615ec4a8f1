// A small seeded generator whose numbers are the same on every platform, compiler and instruction
// set.
//
// std::mt19937 is portable but the standard's distributions are not, and std::log may differ in the
// last bit between C libraries. Everything here is integer arithmetic and exact conversions.
// Generator: xoshiro256** seeded through splitmix64 (Blackman and Vigna, 2018).
#pragma once

#include <cstdint>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A seeded source of pseudo-random numbers. Same seed: same numbers, everywhere.
/// Thread-safety: none; one generator per thread of control. Source: Blackman and Vigna, 2018.
class Random {
 public:
  /// Where a sequence stands.
  struct State {
    std::uint64_t words[4];  ///< those of xoshiro256**
  };

  /// The beginning of the sequence of a seed.
  explicit Random(std::uint64_t seed) noexcept {
    for (auto& word : state_.words) word = splitmix(seed);
  }
  /// Goes on from where a sequence stood.
  explicit Random(const State& state) noexcept : state_(state) {}

  /// 64 uniformly random bits.
  std::uint64_t bits() noexcept {
    auto& s = state_.words;
    const std::uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const std::uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
  }

  /// A uniform number in [0, 1), a multiple of 2^-53.
  double uniform() noexcept { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }

  /// A uniform integer in [0, bound). Requires: bound > 0 (asserted). The bias is below bound /
  /// 2^64.
  index_t below(index_t bound) noexcept {
    ADR_ASSERT(bound > 0, "Random::below needs a positive bound");
    return static_cast<index_t>(bits() % static_cast<std::uint64_t>(bound));
  }

  /// An approximately standard normal number: the centred sum of 12 uniforms (mean 0, variance 1,
  /// |x| <= 6, excess kurtosis -0.1). The sum is taken in integers, so no rounding depends on the
  /// platform. Good for random directions and test data, not for tail statistics.
  double normal() noexcept {
    std::int64_t sum = 0;
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t pair = bits();
      sum += static_cast<std::int64_t>(pair >> 32) + static_cast<std::int64_t>(pair & 0xffffffffu);
    }
    return static_cast<double>(sum - 6 * ((std::int64_t{1} << 32) - 1)) * 0x1.0p-32;
  }

  /// Where the sequence stands.
  [[nodiscard]] const State& state() const noexcept { return state_; }

 private:
  static std::uint64_t splitmix(std::uint64_t& seed) noexcept {
    seed += 0x9e3779b97f4a7c15u;
    std::uint64_t mixed = seed;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }
  static std::uint64_t rotate_left(std::uint64_t value, int count) noexcept {
    return (value << count) | (value >> (64 - count));
  }

  State state_{};
};

ADR_NAMESPACE_END
