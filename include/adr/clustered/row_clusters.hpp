// The clusters of the rows of an input, block by block and slice by slice, and whether a sample of
// them promises any.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "adr/clustered/coordinate_signs.hpp"
#include "adr/clustered/radius_clusters.hpp"
#include "adr/clustered/search_costs.hpp"
#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/product/clustering.hpp"

ADR_NAMESPACE_BEGIN

/// How vectors are cut and compared.
struct ClusterRule {
  index_t vector_length;  ///< of a slice; 0: all columns
  int hash_count;         ///< elements whose signs propose
  double radius;          ///< that a comparison decides by
  std::uint64_t seed;     ///< of the elements
};

/// Clusters rows within a radius, slice by slice, into a Clustering without centroids:
/// first_members stand for their clusters. Memory: 20 bytes a row and slice. Thread-safety: none.
template <class T>
class RowClusters {
 public:
  RowClusters(index_t columns, const ClusterRule& rule) : rule_(rule) {
    columns_ = columns;
    length_ = rule.vector_length > 0 ? std::min(rule.vector_length, columns) : columns;
    const index_t count = blocks_of(columns, length_);
    signs_.reserve(static_cast<std::size_t>(count));
    for (index_t s = 0; s < count; ++s) {
      signs_.emplace_back(std::min(length_, columns - s * length_), rule.hash_count,
                          rule.seed + static_cast<std::uint64_t>(s));
    }
    block_ids_.assign(count, 0);
  }

  /// Makes the slices, which another pass may have taken along; before anything else of a pass.
  void prepare() {
    if (!clustering_.slices.empty()) return;
    clustering_.columns = columns_;
    clustering_.slices.resize(signs_.size());
    for (index_t s = 0; s < slice_count(); ++s) {
      slice(s).first_column = s * length_;
      slice(s).length = std::min(length_, columns_ - slice(s).first_column);
    }
  }

  [[nodiscard]] const Clustering<T>& clustering() const noexcept { return clustering_; }
  [[nodiscard]] index_t slice_count() const noexcept { return static_cast<index_t>(signs_.size()); }
  [[nodiscard]] index_t longest_slice() const noexcept { return length_; }
  [[nodiscard]] SliceClusters<T>& slice(index_t s) noexcept {
    return clustering_.slices[static_cast<std::size_t>(s)];
  }
  /// The first cluster of the latest block, of a slice.
  [[nodiscard]] std::int32_t first_id(index_t s) const noexcept { return block_ids_[s]; }
  /// Clusters of the slice that has the most.
  [[nodiscard]] index_t most_clusters() const noexcept {
    index_t most = 0;
    for (const SliceClusters<T>& some : clustering_.slices)
      most = std::max(most, some.cluster_count);
    return most;
  }
  static MatrixView<const T> columns_of(const MatrixView<const T>& x,
                                        const SliceClusters<T>& slice) noexcept {
    return x.block(0, slice.first_column, x.rows, slice.length);
  }

  /// Exchanges the clusters for those of another pass.
  void swap(Clustering<T>& other) noexcept { std::swap(clustering_, other); }

  /// Rows of a sample, at most.
  static constexpr index_t k_most_sampled = 1024;
  /// Bytes of scratch of `sampled_share` and `cluster`.
  [[nodiscard]] static std::size_t sample_bytes() {
    return RadiusClusters<T>::workspace_bytes(k_most_sampled);
  }
  [[nodiscard]] static std::size_t workspace_bytes(index_t rows) {
    return RadiusClusters<T>::workspace_bytes(rows);
  }

  /// Estimates which share of `all` rows takes the product of another one, from some of them: those
  /// that a list names, or all of x.
  double sampled_share(const MatrixView<const T>& x, const index_t* list, index_t count,
                       index_t all, Context& context) {
    double share = 0;
    for (index_t s = 0; s < slice_count(); ++s) {
      const ListedVectors<T> vectors = {columns_of(x, slice(s)), count, list};
      signs(s).set_centres(
          count, [&](index_t i) { return vectors[i]; }, rule_.radius);
      RadiusClusters<T> search(vectors, signs(s), context);
      if (search.signature_count() == count) continue;
      search.join(RadiusRule<T>(rule_.radius, slice(s).length));
      index_t joined = 0;
      for (index_t i = 0; i < count; ++i) joined += search.representative()[i] != i ? 1 : 0;
      share += estimated_share(all, count, joined) * static_cast<double>(slice(s).length) /
               static_cast<double>(columns_);
    }
    return share;
  }

  /// Begins a pass over that many rows.
  void begin(index_t count) {
    clustering_.rows = count;
    for (SliceClusters<T>& some : clustering_.slices) {
      some.cluster_count = 0;
      some.ids.resize(count);
      some.counts.resize(count);
      some.first_members.resize(count);
      some.total_energy = some.within_cluster_energy = 0;
    }
  }

  /// Clusters a block of rows of which x is the first. Returns false, with nothing clustered, where
  /// fewer than that share of the rows of a single slice can take another one's product.
  bool cluster(const MatrixView<const T>& x, index_t first, double worth, Context& context) {
    for (index_t s = 0; s < slice_count(); ++s) {
      const ListedVectors<T> vectors = {columns_of(x, slice(s)), x.rows};
      signs(s).set_centres(
          x.rows, [&](index_t i) { return vectors[i]; }, rule_.radius);
      RadiusClusters<T> search(vectors, signs(s), context);
      const auto repeated = static_cast<double>(x.rows - search.signature_count());
      if (slice_count() == 1 && repeated < worth * static_cast<double>(x.rows)) return false;
      search.join(RadiusRule<T>(rule_.radius, slice(s).length));
      block_ids_[s] = static_cast<std::int32_t>(slice(s).cluster_count);
      number(search, x.rows, first, slice(s));
    }
    return true;
  }

  /// Ends the pass.
  void end() noexcept {
    for (SliceClusters<T>& some : clustering_.slices) {
      some.counts.resize(some.cluster_count);
      some.first_members.resize(some.cluster_count);
    }
  }

 private:
  [[nodiscard]] CoordinateSigns<T>& signs(index_t s) noexcept {
    return signs_[static_cast<std::size_t>(s)];
  }

  /// Numbers the clusters of a block of rows, after those of the blocks before.
  static void number(const RadiusClusters<T>& search, index_t count, index_t first,
                     SliceClusters<T>& slice) noexcept {
    for (index_t i = 0; i < count; ++i) {
      const std::int32_t representative = search.representative()[i];
      std::int32_t& id = slice.ids[first + i];
      if (representative == i) {
        id = static_cast<std::int32_t>(slice.cluster_count++);
        slice.first_members[id] = first + i;
        slice.counts[id] = 1;
        continue;
      }
      id = slice.ids[first + representative];
      ++slice.counts[id];
      const auto norm = static_cast<double>(search.norms()[i]);
      if (!std::isfinite(norm)) continue;
      slice.total_energy += norm;
      slice.within_cluster_energy += static_cast<double>(search.distances()[i]);
    }
  }

  ClusterRule rule_;
  index_t columns_ = 0;
  index_t length_ = 0;
  std::vector<CoordinateSigns<T>> signs_;
  Clustering<T> clustering_;
  AlignedBuffer<std::int32_t> block_ids_;
};

ADR_NAMESPACE_END
