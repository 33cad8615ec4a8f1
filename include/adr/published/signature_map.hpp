// Signatures to dense cluster numbers, in order of first appearance.
//
// Short signatures index a table of 2^H entries; long ones go through open addressing, whose size
// follows the number of clusters and not 2^H.
#pragma once

#include <cstdint>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A growing map from 64-bit signatures to the numbers 0, 1, 2, ...
/// Thread-safety: none. Errors: std::bad_alloc when it grows.
class SignatureMap {
 public:
  static constexpr std::int32_t k_absent = -1;

  /// Empties the map and chooses its form for signatures of the given number of bits. Keeps memory.
  void reset(int bits) {
    direct_ = bits <= k_direct_bits;
    size_ = 0;
    if (direct_) {
      ids_.assign(index_t{1} << bits, k_absent);
    } else {
      if (ids_.size() < k_smallest_table || keys_.size() != ids_.size()) {
        keys_.resize(k_smallest_table);
        ids_.resize(k_smallest_table);
      }
      ids_.assign(ids_.size(), k_absent);
    }
  }

  /// The number of a signature, given the next free one if it is new.
  std::int32_t find_or_insert(std::uint64_t signature) {
    if (direct_) {
      std::int32_t& id = ids_[static_cast<index_t>(signature)];
      if (id == k_absent) id = size_++;
      return id;
    }
    const index_t place = find_place(signature);
    if (ids_[place] != k_absent) return ids_[place];
    return insert(signature, place);
  }

  /// The number of a signature, or k_absent.
  [[nodiscard]] std::int32_t find(std::uint64_t signature) const noexcept {
    return ids_[direct_ ? static_cast<index_t>(signature) : find_place(signature)];
  }

  [[nodiscard]] std::int32_t size() const noexcept { return size_; }

  /// Calls use(signature, number) for all of them, in no particular order.
  template <class Use>
  void for_each(const Use& use) const {
    for (index_t i = 0; i < ids_.size(); ++i) {
      if (ids_[i] != k_absent) use(direct_ ? static_cast<std::uint64_t>(i) : keys_[i], ids_[i]);
    }
  }

 private:
  static constexpr int k_direct_bits = 14;  // 64 kB of numbers: stays in the second-level cache
  static constexpr index_t k_smallest_table = 1024;

  [[nodiscard]] index_t find_place(std::uint64_t signature) const noexcept {
    const index_t mask = ids_.size() - 1;
    // Folded first, because a product's low bits know nothing of its factor's high bits.
    const std::uint64_t folded = signature ^ (signature >> 32);
    index_t place = static_cast<index_t>((folded * 0x9e3779b97f4a7c15u) >> 32) & mask;
    while (ids_[place] != k_absent && keys_[place] != signature) place = (place + 1) & mask;
    return place;
  }

  std::int32_t insert(std::uint64_t signature, index_t place) {
    if (2 * (index_t{size_} + 1) > ids_.size()) {
      grow();
      place = find_place(signature);
    }
    keys_[place] = signature;
    ids_[place] = size_;
    return size_++;
  }

  void grow() {
    AlignedBuffer<std::uint64_t> old_keys = std::move(keys_);
    AlignedBuffer<std::int32_t> old_ids = std::move(ids_);
    keys_ = AlignedBuffer<std::uint64_t>(2 * old_ids.size());
    ids_ = AlignedBuffer<std::int32_t>();
    ids_.assign(2 * old_ids.size(), k_absent);
    for (index_t i = 0; i < old_ids.size(); ++i) {
      if (old_ids[i] == k_absent) continue;
      const index_t place = find_place(old_keys[i]);
      keys_[place] = old_keys[i];
      ids_[place] = old_ids[i];
    }
  }

  bool direct_ = true;
  std::int32_t size_ = 0;
  AlignedBuffer<std::uint64_t> keys_;
  AlignedBuffer<std::int32_t> ids_;
};

ADR_NAMESPACE_END
