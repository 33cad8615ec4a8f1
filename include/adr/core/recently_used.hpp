// The last few values that were made, by what they were made for.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// Up to `capacity` values by key; a new one takes the place of the one that was used the longest
/// ago. Key: ==. Both default-constructed, assigned to. Thread-safety: none.
template <class Key, class Value, std::size_t capacity>
class RecentlyUsed {
 public:
  /// The value for a key, from now on the last used one; null if there is none.
  Value* find(const Key& key) {
    const auto end = entries_.begin() + count_;
    const auto found =
        std::find_if(entries_.begin(), end, [&](const auto& entry) { return entry.first == key; });
    if (found == end) return nullptr;
    std::rotate(entries_.begin(), found, found + 1);
    return &entries_.front().second;
  }

  /// Keeps a value for a key that has none, as the last used one.
  Value& insert(const Key& key, Value value) {
    if (count_ < std::ptrdiff_t{capacity}) ++count_;
    const auto last = entries_.begin() + (count_ - 1);
    *last = {key, std::move(value)};
    std::rotate(entries_.begin(), last, last + 1);
    return entries_.front().second;
  }

  /// The last used value; null if there is none.
  [[nodiscard]] const Value* last() const {
    return count_ > 0 ? &entries_.front().second : nullptr;
  }

  /// Calls visit(value) for each, the last used one first.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (std::ptrdiff_t i = 0; i < count_; ++i) visit(entries_[static_cast<std::size_t>(i)].second);
  }

 private:
  std::array<std::pair<Key, Value>, capacity> entries_;
  std::ptrdiff_t count_ = 0;
};

}  // namespace detail

ADR_NAMESPACE_END
