// The clusters of the rows of an input, block by block and slice by slice, and whether a sample of
// them promises any.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "adr/clustered/coordinate_signs.hpp"
#include "adr/clustered/kept_representatives.hpp"
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
  index_t kept;           ///< representatives of earlier batches, per slice; 0: none
};

/// Clusters rows within a radius, slice by slice, into a Clustering without centroids:
/// first_members stand for their clusters. Memory: 20 bytes a row and slice. Thread-safety: none.
template <class T>
class RowClusters {
 public:
  /// outputs: of the products that are kept.
  RowClusters(index_t columns, index_t outputs, const ClusterRule& rule) : rule_(rule) {
    columns_ = columns;
    length_ = rule.vector_length > 0 ? std::min(rule.vector_length, columns) : columns;
    const index_t count = blocks_of(columns, length_);
    signs_.reserve(static_cast<std::size_t>(count));
    for (index_t s = 0; s < count; ++s) {
      signs_.emplace_back(std::min(length_, columns - s * length_), rule.hash_count,
                          rule.seed + static_cast<std::uint64_t>(s));
      kept_.emplace_back(std::min(length_, columns - s * length_), outputs, rule.kept);
    }
    sources_.resize(keeps() ? signs_.size() : 0);
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
  /// Whether representatives of earlier batches are kept.
  [[nodiscard]] bool keeps() const noexcept { return rule_.kept > 0; }
  [[nodiscard]] KeptRepresentatives<T>& kept(index_t s) noexcept {
    return kept_[static_cast<std::size_t>(s)];
  }
  /// Where the representatives of the clusters of the latest block are, of a slice: rows of the
  /// input, or -1 - the number of a kept one.
  [[nodiscard]] const index_t* sources(index_t s) const noexcept {
    const auto of = static_cast<std::size_t>(s);
    return keeps() ? sources_[of].data()
                   : clustering_.slices[of].first_members.data() + block_ids_[s];
  }
  /// Vectors of the pass that kept ones stand for.
  [[nodiscard]] index_t known_vectors() const noexcept { return known_; }

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
  [[nodiscard]] std::size_t sample_bytes(index_t rows) const {
    return RadiusClusters<T>::workspace_bytes(std::min(rows, k_most_sampled) + rule_.kept);
  }
  [[nodiscard]] std::size_t workspace_bytes(index_t rows) const {
    return RadiusClusters<T>::workspace_bytes(rows + rule_.kept);
  }

  /// Estimates which share of `all` rows takes the product of another one, from some of them: those
  /// that a list names, or all of x.
  SampledShare sampled_share(const MatrixView<const T>& x, const index_t* list, index_t count,
                             index_t all, Context& context) {
    SampledShare share;
    for (index_t s = 0; s < slice_count(); ++s) {
      const ListedVectors<T> vectors = {columns_of(x, slice(s)), count, list, kept(s).vectors()};
      signs(s).set_centres(
          count, [&](index_t i) { return vectors.row(i); }, rule_.radius);
      RadiusClusters<T> search(vectors, signs(s), context);
      if (search.signature_count() == vectors.count()) continue;
      search.join(RadiusRule<T>(rule_.radius, slice(s).length));
      const SampledShare of_slice = share_of(search, vectors, all);
      const double part = static_cast<double>(slice(s).length) / static_cast<double>(columns_);
      share.all += part * of_slice.all;
      share.equal += part * of_slice.equal;
    }
    return share;
  }

  /// Begins a pass over that many rows.
  void begin(index_t count) {
    clustering_.rows = count;
    known_ = 0;
    for (SliceClusters<T>& some : clustering_.slices) {
      some.cluster_count = 0;
      some.ids.resize(count);
      some.counts.resize(count);
      some.first_members.resize(count);
      some.total_energy = some.within_cluster_energy = 0;
    }
  }

  /// Clusters a block of rows of which x is the first. Returns false, with nothing clustered, where
  /// fewer than that share of the rows of a single slice takes another one's product.
  bool cluster(const MatrixView<const T>& x, index_t first, double worth, Context& context) {
    for (index_t s = 0; s < slice_count(); ++s) {
      const ListedVectors<T> vectors = {columns_of(x, slice(s)), x.rows, nullptr,
                                        kept(s).vectors()};
      signs(s).set_centres(
          x.rows, [&](index_t i) { return vectors.row(i); }, rule_.radius);
      RadiusClusters<T> search(vectors, signs(s), context);
      const double wanted = slice_count() == 1 ? worth * static_cast<double>(x.rows) : 0;
      if (static_cast<double>(vectors.count() - search.signature_count()) < wanted) return false;
      if (!search.join(RadiusRule<T>(rule_.radius, slice(s).length), wanted)) return false;
      block_ids_[s] = static_cast<std::int32_t>(slice(s).cluster_count);
      number(search, s, x.rows, first);
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
  /// What kept vectors stand for is known; the rest is estimated.
  static SampledShare share_of(const RadiusClusters<T>& search, const ListedVectors<T>& vectors,
                               index_t all) noexcept {
    std::array<std::int32_t, static_cast<std::size_t>(k_most_sampled)> members{};
    const index_t kept_count = vectors.kept.rows;
    index_t known = 0;
    index_t joined = 0;
    index_t equal = 0;
    for (index_t i = 0; i < vectors.row_count; ++i) {
      const index_t representative = search.representative()[kept_count + i];
      if (representative != kept_count + i) {
        ++joined;
        equal += search.distances()[kept_count + i] == T(0) ? 1 : 0;
      }
      if (representative < kept_count) {
        ++known;
      } else {
        ++members[static_cast<std::size_t>(representative - kept_count)];
      }
    }
    SampledClusters found;
    for (const std::int32_t count : members) {
      found.once += count == 1 ? 1 : 0;
      found.twice += count == 2 ? 1 : 0;
      found.more += count > 2 ? 1 : 0;
    }
    const auto sampled = static_cast<double>(vectors.row_count);
    const double known_share = static_cast<double>(known) / sampled;
    const double share =
        known_share + (1 - known_share) * estimated_share(all, vectors.row_count - known, found);
    return {share,
            joined > 0 ? share * static_cast<double>(equal) / static_cast<double>(joined) : 0};
  }

  [[nodiscard]] CoordinateSigns<T>& signs(index_t s) noexcept {
    return signs_[static_cast<std::size_t>(s)];
  }

  /// Numbers the clusters of a block of rows, after those of the blocks before.
  void number(const RadiusClusters<T>& search, index_t s, index_t count, index_t first) {
    SliceClusters<T>& some = slice(s);
    const index_t kept_count = kept(s).count();
    id_of_kept_.assign(kept_count, -1);
    index_t* sources = nullptr;
    if (keeps()) {
      sources_[static_cast<std::size_t>(s)].resize(count);
      sources = sources_[static_cast<std::size_t>(s)].data();
    }
    const auto begin_cluster = [&](index_t row, index_t source) {
      const auto id = static_cast<std::int32_t>(some.cluster_count++);
      some.first_members[id] = row;
      some.counts[id] = 0;
      if (sources != nullptr) sources[id - block_ids_[s]] = source;
      return id;
    };
    for (index_t i = 0; i < count; ++i) {
      const index_t vector = kept_count + i;
      const index_t representative = search.representative()[vector];
      std::int32_t& id = some.ids[first + i];
      if (representative == vector) {
        id = begin_cluster(first + i, first + i);
        some.counts[id] = 1;
        continue;
      }
      if (representative < kept_count) {
        std::int32_t& known = id_of_kept_[representative];
        if (known < 0) known = begin_cluster(first + i, -1 - representative);
        id = known;
        ++known_;
      } else {
        id = some.ids[first + representative - kept_count];
      }
      ++some.counts[id];
      const auto norm = static_cast<double>(search.norms()[vector]);
      if (!std::isfinite(norm)) continue;
      some.total_energy += norm;
      some.within_cluster_energy += static_cast<double>(search.distances()[vector]);
    }
  }

  ClusterRule rule_;
  index_t columns_ = 0;
  index_t length_ = 0;
  std::vector<CoordinateSigns<T>> signs_;
  Clustering<T> clustering_;
  AlignedBuffer<std::int32_t> block_ids_;
  std::vector<KeptRepresentatives<T>> kept_;
  std::vector<AlignedBuffer<index_t>> sources_;
  AlignedBuffer<std::int32_t> id_of_kept_;
  index_t known_ = 0;
};

ADR_NAMESPACE_END
