// Lists of non-zeros in groups, one set of groups per tile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The non-zeros of one tile: those of group g are numbers starts[g] to starts[g + 1].
template <class Index, class T>
struct SparseList {
  Index* starts;
  Index* indices;
  T* values;
};

/// The non-zeros of all tiles in one order. Memory: a number and a value for each.
template <class T>
class SparseEntries {
 public:
  using List = SparseList<std::int32_t, T>;
  using ConstList = SparseList<const std::int32_t, const T>;

  /// Makes room and forgets what was there. Errors: std::bad_alloc.
  void resize(index_t tiles, index_t most_groups, index_t entries) {
    start_stride_ = most_groups + 1;
    for (auto* numbers : {&starts_, &indices_}) numbers->clear();
    starts_.resize(tiles * start_stride_);
    indices_.resize(entries);
    values_.clear();
    values_.resize(entries);
  }

  /// The list of a tile whose entries begin at the given place.
  [[nodiscard]] List list(index_t tile, index_t first_entry) noexcept {
    return {starts_.data() + tile * start_stride_, indices_.data() + first_entry,
            values_.data() + first_entry};
  }
  [[nodiscard]] ConstList list(index_t tile, index_t first_entry) const noexcept {
    return {starts_.data() + tile * start_stride_, indices_.data() + first_entry,
            values_.data() + first_entry};
  }

 private:
  index_t start_stride_ = 1;
  AlignedBuffer<std::int32_t> starts_;
  AlignedBuffer<std::int32_t> indices_;
  AlignedBuffer<T> values_;
};

/// Writes a list in its other order: groups become indices, in order, and indices groups.
/// Cost: two passes over the entries.
template <class T>
void regroup(const SparseList<std::int32_t, T>& from, index_t from_groups,
             const SparseList<std::int32_t, T>& to, index_t to_groups) noexcept {
  // next[g], in the place of starts[g + 1], is where the next entry of group g goes; when all are
  // there it is where those of group g + 1 start.
  std::int32_t* next = to.starts + 1;
  std::fill_n(to.starts, to_groups + 1, 0);
  for (std::int32_t k = 0; k < from.starts[from_groups]; ++k) ++next[from.indices[k]];
  std::int32_t total = 0;
  for (index_t g = 0; g < to_groups; ++g) {
    const std::int32_t size = next[g];
    next[g] = total;
    total += size;
  }
  for (index_t group = 0; group < from_groups; ++group) {
    const std::int32_t last = from.starts[group + 1];
    for (std::int32_t k = from.starts[group]; k < last; ++k) {
      const std::int32_t place = next[from.indices[k]]++;
      to.indices[place] = static_cast<std::int32_t>(group);
      to.values[place] = from.values[k];
    }
  }
}

ADR_NAMESPACE_END
