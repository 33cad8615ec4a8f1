// What clusters of shared neuron vectors have in common, be they entries of codebooks or slices of
// a clustering, and how sums per cluster are cut into tasks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "adr/cluster/clustering.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/keyed_tiles.hpp"
#include "adr/gemm/sparse_tiles.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/sparse_kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The codebooks of a decoder: what keyed gradients read of them.
template <class T>
class KeyedCodebooks {
 public:
  KeyedCodebooks(const Decoder& decoder, const VectorCodes* codes) noexcept
      : decoder_(decoder), codes_(codes) {}

  [[nodiscard]] index_t length() const noexcept { return decoder_.length; }
  [[nodiscard]] index_t count() const noexcept { return decoder_.book_count(); }
  [[nodiscard]] index_t first_element(index_t b) const noexcept { return book(b).first_element; }
  [[nodiscard]] index_t elements(index_t b) const noexcept { return book(b).length; }
  /// Ids are below this.
  [[nodiscard]] index_t ids_below(index_t /*b*/) const noexcept { return decoder_.entry_count; }
  /// Ids from here on are padding.
  [[nodiscard]] index_t clusters(index_t /*b*/) const noexcept {
    return decoder_.cluster_entries();
  }
  [[nodiscard]] const std::uint8_t* ids(index_t b) const noexcept { return codes_->plane(b); }

  /// What vectors of clusters [first, first + count) are taken for, less what other books add: the
  /// mean goes with the first book of its elements. Shapes: scratch count x elements(b).
  [[nodiscard]] MatrixView<const T> values(index_t b, index_t first, index_t count,
                                           T* scratch) const noexcept {
    const bool carries_mean = b == 0 || book(b - 1).first_element != book(b).first_element;
    const MatrixView<const float> entries =
        book(b).matrix(decoder_.entry_count).middle_rows(first, count);
    const float* mean = decoder_.mean.data() + book(b).first_element;
    for (index_t t = 0; t < count; ++t) {
      const float* entry = entries.row(t);
      T* to = scratch + t * entries.cols;
      for (index_t e = 0; e < entries.cols; ++e) {
        to[e] = static_cast<T>(entry[e]) + (carries_mean ? static_cast<T>(mean[e]) : T(0));
      }
    }
    return {scratch, count, entries.cols};
  }

 private:
  [[nodiscard]] const DecodingBook& book(index_t b) const noexcept {
    return decoder_.books[static_cast<std::size_t>(b)];
  }

  const Decoder& decoder_;
  const VectorCodes* codes_;
};

/// The slices of a clustering, likewise.
template <class T>
class KeyedSlices {
 public:
  explicit KeyedSlices(const Clustering<T>& clustering) noexcept : clustering_(clustering) {}

  [[nodiscard]] index_t length() const noexcept { return clustering_.columns; }
  [[nodiscard]] index_t count() const noexcept {
    return static_cast<index_t>(clustering_.slices.size());
  }
  [[nodiscard]] index_t first_element(index_t s) const noexcept { return slice(s).first_column; }
  [[nodiscard]] index_t elements(index_t s) const noexcept { return slice(s).length; }
  [[nodiscard]] index_t ids_below(index_t s) const noexcept { return slice(s).cluster_count; }
  [[nodiscard]] index_t clusters(index_t s) const noexcept { return slice(s).cluster_count; }
  [[nodiscard]] const std::int32_t* ids(index_t s) const noexcept { return slice(s).ids.data(); }
  [[nodiscard]] MatrixView<const T> values(index_t s, index_t first, index_t count,
                                           T* /*scratch*/) const noexcept {
    return slice(s).centroid_matrix().middle_rows(first, count);
  }

 private:
  [[nodiscard]] const SliceClusters<T>& slice(index_t s) const noexcept {
    return clustering_.slices[static_cast<std::size_t>(s)];
  }

  const Clustering<T>& clustering_;
};

/// Books that are summed together, so that they share the planes of output gradients.
struct BookGroup {
  index_t first = 0;
  index_t last = 0;
  index_t first_element = 0;  ///< the elements of vectors that some of the books stand for
  index_t last_element = 0;
  index_t ids = 0;  ///< of all books
  index_t most_ids = 0;
  index_t most_elements = 0;
  index_t first_row = 0;  ///< elements of the groups before it
  [[nodiscard]] index_t size() const noexcept { return last - first; }
  [[nodiscard]] index_t elements() const noexcept { return last_element - first_element; }
};

/// How the work on one phase is cut: a function of shapes alone.
///
/// A task has a group of books, a strip of channels and a part of the tiles, and multiplies its
/// sums itself: what tasks leave are partial weight gradients, elements of vectors x offsets x
/// strip each. Books with few clusters take tiles that give every cluster some members, so that
/// loading and storing its sums costs little, and planes that fit the second-level cache. Books
/// whose sums are too many to keep take the whole batch as one tile, and some clusters at a time.
template <class T, class Books>
class KeyedPlan {
 public:
  /// Errors: as SparseTiles::of. Requires: channels > 0.
  KeyedPlan(const Books& books, const VectorPhase& phase, index_t channels) : books_(books) {
    using B = simd::Batch<T>;
    constexpr auto k_size = static_cast<index_t>(sizeof(T));
    const VectorMap& map = phase.adjoint();
    const index_t strip = simd::strip_registers<B>(map.offsets(), channels) * B::size;
    sum_row_ = map.offsets() * strip;
    row_budget_ = std::max(k_least_rows, k_sum_bytes / (sum_row_ * k_size));
    index_t most_ids = 0;
    for (BookGroup next = group_from(0, 0); next.size() > 0;
         next = group_from(next.last, partial_rows_)) {
      ++groups_;
      partial_rows_ += next.elements();
      most_rows_ = std::max(most_rows_, std::min(next.ids, row_budget_));
      starts_ += next.ids + next.size();
      most_ids = std::max(most_ids, next.most_ids);
      most_elements_ = std::max(most_elements_, next.most_elements);
    }
    const bool whole = most_ids > row_budget_;
    const index_t plane_bytes =
        whole ? std::numeric_limits<index_t>::max()
              : std::max(SparseTiles::k_plane_bytes, k_members * most_ids * strip * k_size);
    tiles_ = SparseTiles::of<T>(map, channels, plane_bytes);
    lists_ = whole || map.offsets() > 1 || phase.vector_step() > 1;
    const index_t tasks = std::max<index_t>(groups_ * tiles_.strips(), 1);
    parts_ = std::max<index_t>(std::min(k_wanted_tasks / tasks, tiles_.count()), 1);
  }

  [[nodiscard]] const SparseTiles& tiles() const noexcept { return tiles_; }
  /// Elements of the sums of one cluster: offsets x strip.
  [[nodiscard]] index_t sum_row() const noexcept { return sum_row_; }
  /// Clusters whose sums are kept at a time.
  [[nodiscard]] index_t most_rows() const noexcept { return most_rows_; }
  [[nodiscard]] index_t most_elements() const noexcept { return most_elements_; }
  [[nodiscard]] index_t groups() const noexcept { return groups_; }
  [[nodiscard]] index_t parts() const noexcept { return parts_; }
  /// Elements of the vectors, counted once for every group that stands for them.
  [[nodiscard]] index_t partial_rows() const noexcept { return partial_rows_; }
  /// Whether members are listed. What one offset alone meets is added in the order of the vectors:
  /// members far apart would each fetch their lines for a few additions.
  [[nodiscard]] bool lists() const noexcept { return lists_; }
  /// Starts of the lists of one tile, all books.
  [[nodiscard]] index_t starts() const noexcept { return starts_; }

  [[nodiscard]] BookGroup group(index_t g) const noexcept {
    BookGroup group = group_from(0, 0);
    for (; g > 0; --g) group = group_from(group.last, group.first_row + group.elements());
    return group;
  }

 private:
  static constexpr index_t k_sum_bytes = index_t{1} << 20;
  static constexpr index_t k_least_rows = 64;
  static constexpr index_t k_members = 16;
  static constexpr index_t k_wanted_tasks = 4;

  [[nodiscard]] BookGroup group_from(index_t first, index_t first_row) const noexcept {
    BookGroup group;
    group.first = group.last = first;
    group.first_row = first_row;
    for (; group.last < books_.count(); ++group.last) {
      const index_t b = group.last;
      if (b > first && group.ids + books_.ids_below(b) > row_budget_) break;
      const index_t last = books_.first_element(b) + books_.elements(b);
      group.ids += books_.ids_below(b);
      group.most_ids = std::max(group.most_ids, books_.ids_below(b));
      group.most_elements = std::max(group.most_elements, books_.elements(b));
      group.first_element = b == first ? books_.first_element(b)
                                       : std::min(group.first_element, books_.first_element(b));
      group.last_element = std::max(group.last_element, last);
    }
    return group;
  }

  const Books& books_;
  SparseTiles tiles_;
  index_t sum_row_ = 0;
  index_t row_budget_ = 0;
  index_t most_rows_ = 0;
  index_t most_elements_ = 0;
  index_t groups_ = 0;
  index_t parts_ = 1;
  index_t partial_rows_ = 0;
  index_t starts_ = 0;
  bool lists_ = true;
};

}  // namespace detail
ADR_NAMESPACE_END
