// Hashes of many short vectors by their bits, as fast as they can be read: sums of words times
// keys, in whatever registers there are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Words that are hashed at once: those of a register. (Compilers make poor code of more.)
#if defined(__AVX512F__)
inline constexpr index_t k_hash_words = 16;
#elif defined(__AVX2__)
inline constexpr index_t k_hash_words = 8;
#else
inline constexpr index_t k_hash_words = 4;
#endif
using HashWords [[gnu::vector_size(k_hash_words * 4)]] = std::uint32_t;

/// A well mixed word for every 64-bit word, different for different ones.
inline std::uint64_t mixed_bits(std::uint64_t value) noexcept {
  value = (value ^ (value >> 32)) * 0x9fb21c651e98df25u;
  value = (value ^ (value >> 29)) * 0xd6e8feb86659fd93u;
  return value ^ (value >> 32);
}

/// Fills 2 * count keys: odd, so that words which differ in one place alone never collide.
inline void fill_hash_keys(std::uint32_t* keys, index_t count) noexcept {
  for (index_t i = 0; i < count; ++i) {
    const std::uint64_t key = mixed_bits(static_cast<std::uint64_t>(i) + 1);
    keys[i] = static_cast<std::uint32_t>(key) | 1U;
    keys[count + i] = static_cast<std::uint32_t>(key >> 32) | 1U;
  }
}

/// The hash of the two sums of a vector's words; 0 for both sums, as all words 0 have, is no
/// exception.
inline std::uint64_t hash_of_sums(std::uint32_t first, std::uint32_t second) noexcept {
  return mixed_bits(static_cast<std::uint64_t>(second) << 32 | first);
}

/// Two sums of words times keys, lane by lane. High bits of a word reach low bits of the sums too:
/// small whole numbers have no others.
struct WordSums {
  HashWords first = {};
  HashWords second = {};

  /// Adds words times their keys (a vector), or one key of each row (a number).
  template <class Key>
  [[gnu::always_inline]] void add(const HashWords& words, const Key& first_key,
                                  const Key& second_key) noexcept {
    const HashWords spread = words ^ (words >> 16);
    first += spread * first_key;
    second += spread * second_key;
  }
};

namespace detail {

[[gnu::always_inline]] inline void load_words(const void* from, HashWords& words) noexcept {
  std::memcpy(&words, from, sizeof(words));
}

}  // namespace detail

/// The hash of `count` words side by side.
///
/// Math: mix(sum of s(w_i) key_i, sum of s(w_i) key'_i) modulo 2^32, s(w) = w ^ w >> 16. keys:
/// fill_hash_keys for
/// `places` >= count words, a multiple of k_hash_words. Vectors that differ collide with a
/// chance of about 2^-60, but by design a foe finds some: hash to propose, compare to decide.
/// Thread-safety: reentrant. Source: multilinear hashing (Carter and Wegman 1979).
inline std::uint64_t hash_words(const void* words, index_t count, const std::uint32_t* keys,
                                index_t places) noexcept {
  const auto* bytes = static_cast<const unsigned char*>(words);
  WordSums sums;
  HashWords some;
  HashWords first_keys;
  HashWords second_keys;
  for (index_t i = 0; i < count; i += k_hash_words) {
    if (count - i >= k_hash_words) {
      detail::load_words(bytes + i * 4, some);
    } else {
      some = HashWords{};
      std::memcpy(&some, bytes + i * 4, static_cast<std::size_t>(count - i) * 4);
    }
    detail::load_words(keys + i, first_keys);
    detail::load_words(keys + places + i, second_keys);
    sums.add(some, first_keys, second_keys);
  }
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  for (int lane = 0; lane < k_hash_words; ++lane) {
    first += sums.first[lane];
    second += sums.second[lane];
  }
  return hash_of_sums(first, second);
}

/// Vectors that hash_columns takes at most.
inline constexpr index_t k_hash_columns = 1024;

/// The hashes of neighbouring vectors whose words of one place lie side by side: word i of vector v
/// is words[i * stride + v].
///
/// Equal to hash_words of each. differs[v]: whether vector v differs from the one at v - 1; for
/// vector 0 that is words[i * stride - 1], which is read if reads_before, else 1. Requires: at most
/// k_hash_columns vectors. Cost: one read, in the order of memory. Memory: 12 KB of stack.
inline void hash_columns(const float* words, index_t stride, index_t count, index_t vectors,
                         bool reads_before, const std::uint32_t* keys, index_t places,
                         std::uint64_t* hashes, unsigned char* differs) noexcept {
  constexpr auto k_size = static_cast<std::size_t>(k_hash_columns);
  alignas(64) std::uint32_t first[k_size];
  alignas(64) std::uint32_t second[k_size];
  alignas(64) std::uint32_t other[k_size];
  const index_t padded = (vectors + k_hash_words - 1) / k_hash_words * k_hash_words;
  std::fill_n(first, padded, 0U);
  std::fill_n(second, padded, 0U);
  std::fill_n(other, padded, 0U);
  for (index_t i = 0; i < count; ++i, words += stride) {
    const std::uint32_t first_key = keys[i];
    const std::uint32_t second_key = keys[places + i];
    const auto add_one = [&](index_t v, bool compares) {
      std::uint32_t word = 0;
      std::uint32_t before = 0;
      std::memcpy(&word, words + v, sizeof(word));
      if (compares) std::memcpy(&before, words + v - 1, sizeof(before));
      other[v] |= word ^ before;
      word ^= word >> 16;
      first[v] += word * first_key;
      second[v] += word * second_key;
    };
    index_t v = 0;
    if (!reads_before) add_one(v++, false);
    for (; v + k_hash_words <= vectors; v += k_hash_words) {
      HashWords some;
      HashWords before;
      HashWords difference;
      WordSums sums;
      detail::load_words(words + v, some);
      detail::load_words(words + v - 1, before);
      detail::load_words(first + v, sums.first);
      detail::load_words(second + v, sums.second);
      detail::load_words(other + v, difference);
      sums.add(some, first_key, second_key);
      difference |= some ^ before;
      std::memcpy(first + v, &sums.first, sizeof(HashWords));
      std::memcpy(second + v, &sums.second, sizeof(HashWords));
      std::memcpy(other + v, &difference, sizeof(HashWords));
    }
    for (; v < vectors; ++v) add_one(v, true);
  }
  for (index_t v = 0; v < vectors; ++v) {
    hashes[v] = hash_of_sums(first[v], second[v]);
    differs[v] = other[v] != 0 ? 1 : 0;
  }
  if (!reads_before) differs[0] = 1;
}

}  // namespace simd
ADR_NAMESPACE_END
