// Which of many things are equal, by hashes that propose and comparisons that decide: the parts
// that tiles and rows share.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

namespace detail {

/// Slots of a table that is at most half full.
inline index_t table_slots(index_t count) noexcept {
  index_t slots = 16;
  while (slots < 2 * count) slots *= 2;
  return slots;
}

/// Finds for each of the hashes the first that is the same, in a table that `slots` is memory for;
/// skips(i): i is not looked up and keeps what first[i] was.
template <class Skip>
void find_first(const std::uint64_t* hashes, index_t count, index_t* slots, index_t slot_count,
                index_t* first, const Skip& skips) noexcept {
  const auto mask = static_cast<std::uint64_t>(slot_count - 1);
  std::fill_n(slots, slot_count, index_t{-1});
  for (index_t i = 0; i < count; ++i) {
    if (skips(i)) continue;
    std::uint64_t slot = hashes[i] & mask;
    while (slots[slot] >= 0 && hashes[slots[slot]] != hashes[i]) slot = (slot + 1) & mask;
    if (slots[slot] < 0) slots[slot] = i;
    first[i] = slots[slot];
  }
}

/// Things that a sample holds at most.
inline constexpr index_t k_most_sampled = 96;

/// Pairs that may be equal.
class SampledPairs {
 public:
  void add(index_t one, index_t other) noexcept {
    pairs_[static_cast<std::size_t>(count_++)] = {one, other};
  }
  [[nodiscard]] index_t count() const noexcept { return count_; }
  /// The share of a few of them that is.
  template <class Same>
  [[nodiscard]] double confirmed(const Same& same) const noexcept {
    constexpr index_t k_most_compared = 8;
    const index_t compared = std::min(count_, k_most_compared);
    index_t equal = 0;
    for (index_t i = 0; i < compared; ++i) {
      const auto& pair = pairs_[static_cast<std::size_t>(i * count_ / compared)];
      equal += same(pair[0], pair[1]) ? 1 : 0;
    }
    return compared > 0 ? static_cast<double>(equal) / static_cast<double>(compared) : 0.0;
  }

 private:
  std::array<std::array<index_t, 2>, static_cast<std::size_t>(k_most_sampled)> pairs_;
  index_t count_ = 0;
};

}  // namespace detail

/// Estimates the share of things that repeat others; 0 where it seems to be below `worth`.
///
/// Math: the larger of two shares, that of the sampled things which look like their neighbour and
/// that of those which look like an earlier one of the sample; if that is more than `worth`, times
/// the share of 8 such pairs that are equal. sampled(i): the thing at place i < count of the
/// sample, each at most once; neighbour(thing): another one, or -1; glance(thing): a hash of a
/// small part of it; same(a, b): whether two are equal. Repetitions that neither finds (things far
/// apart, each met a few times) go unnoticed. At most k_most_sampled are looked at. Memory: 4 KB of
/// stack.
template <class Sampled, class Neighbour, class Glance, class Same>
double estimate_repeats(index_t count, double worth, const Sampled& sampled,
                        const Neighbour& neighbour, const Glance& glance,
                        const Same& same) noexcept {
  constexpr auto k_most = static_cast<std::size_t>(detail::k_most_sampled);
  std::array<std::uint64_t, k_most> seen;
  std::array<std::int16_t, 2 * k_most> slots;
  slots.fill(-1);
  detail::SampledPairs neighbours;
  detail::SampledPairs repeats;
  for (index_t i = 0; i < count; ++i) {
    const index_t thing = sampled(i);
    const std::uint64_t hash = glance(thing);
    seen[static_cast<std::size_t>(i)] = hash;
    std::size_t slot = static_cast<std::size_t>(hash % slots.size());
    while (slots[slot] >= 0 && seen[static_cast<std::size_t>(slots[slot])] != hash) {
      slot = (slot + 1) % slots.size();
    }
    if (slots[slot] >= 0) {
      repeats.add(thing, sampled(slots[slot]));
    } else {
      slots[slot] = static_cast<std::int16_t>(i);
    }
    const index_t other = neighbour(thing);
    if (other >= 0 && glance(other) == hash) neighbours.add(thing, other);
  }
  const detail::SampledPairs& more = neighbours.count() > repeats.count() ? neighbours : repeats;
  const double share =
      count > 0 ? static_cast<double>(more.count()) / static_cast<double>(count) : 0.0;
  return share > worth ? share * more.confirmed(same) : 0.0;
}

}  // namespace exact
ADR_NAMESPACE_END
