// Cluster reuse (CR): what the library remembers of clusters from batch to batch.
//
// The rule, in full:
//  1. A cluster is known by slice and signature. The first batch that shows it decides its
//  centroid,
//     which stays as it is; later members take it whatever their own mean is.
//  2. The product row of a cluster (centroid times weights) is stored with the version of the
//  weights it
//     was made with. A version is counted up whenever the fingerprint of the weights changes. The
//     row may be used while version - stored version <= max_product_age: with age 0, only for
//     unchanged weights, so results are never stale; with age A, for up to A updates.
//  3. At most `limit` clusters are stored per slice; later ones are computed in every batch.
//  4. Clusters of non-finite vectors are never stored.
// Centroids and ids do not depend on the weights and never go stale; they lose their meaning when
// the hash changes, and then the owner calls `clear`.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/product/clustering.hpp"
#include "adr/published/signature_map.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Centroids and product rows of earlier batches. Memory: per slice up to limit * (L + M) elements.
/// Thread-safety: different slices may be used from different threads. Source: the idea is that of
/// Ning et al., ICDE 2019; the rule of staleness is this library's.
template <class T>
class ClusterCache {
 public:
  /// Remembers at most limit clusters per slice; outputs is M.
  ClusterCache(int signature_bits, index_t outputs, index_t limit, index_t max_product_age)
      : signature_bits_(signature_bits),
        outputs_(outputs),
        limit_(limit),
        max_product_age_(max_product_age) {}

  /// Forgets everything.
  void clear() { slices_.clear(); }

  /// Tells the fingerprint of the weights that the coming products belong to.
  void set_weights(std::uint64_t fingerprint) noexcept {
    if (fingerprint != weights_fingerprint_) ++weights_version_;
    weights_fingerprint_ = fingerprint;
  }

  /// Makes room for that many slices; called before the slices are used from several threads.
  void prepare(index_t slice_count) {
    const auto count = static_cast<std::size_t>(slice_count);
    if (slices_.size() == count) return;
    slices_.clear();
    slices_.resize(count);
    for (auto& slice : slices_) slice.map.reset(signature_bits_);
  }

  /// Gives known clusters of a slice their stored centroid, stores new ones, and corrects the
  /// energy. Returns the number of members of clusters that were known.
  index_t recall(index_t slice_index, SliceClusters<T>& clusters) {
    Slice& slice = slices_[static_cast<std::size_t>(slice_index)];
    slice.slots.resize(clusters.cluster_count);
    index_t known_members = 0;
    for (index_t c = 0; c < clusters.cluster_count; ++c) {
      slice.slots[c] = k_not_stored;
      if (clusters.is_apart[c] != 0) continue;
      T* centroid = clusters.centroids.data() + c * clusters.centroid_stride;
      const std::int32_t known = slice.map.find(clusters.signatures[c]);
      if (known != SignatureMap::k_absent) {
        slice.slots[c] = known;
        known_members += clusters.counts[c];
        const T* stored = slice.centroids.data() + known * clusters.centroid_stride;
        clusters.within_cluster_energy +=
            clusters.counts[c] * squared_distance(stored, centroid, clusters.length);
        std::copy_n(stored, clusters.centroid_stride, centroid);
      } else if (slice.map.size() < limit_ && is_worth_keeping(centroid, clusters.length)) {
        slice.slots[c] = store(slice, clusters.signatures[c], centroid, clusters.centroid_stride);
      }
    }
    return known_members;
  }

  /// The stored product row of cluster c of the batch that was recalled last, or null when there is
  /// none that the rule allows to use.
  [[nodiscard]] const T* fresh_product(index_t slice_index, index_t c) const noexcept {
    const Slice& slice = slices_[static_cast<std::size_t>(slice_index)];
    const std::int32_t slot = slice.slots[c];
    if (slot == k_not_stored) return nullptr;
    const std::int64_t version = slice.product_versions[slot];
    return is_usable(version) ? slice.products.data() + slot * outputs_ : nullptr;
  }

  /// Stores the product row of cluster c, made with the present weights, if the cluster is stored.
  void store_product(index_t slice_index, index_t c, const T* product) noexcept {
    Slice& slice = slices_[static_cast<std::size_t>(slice_index)];
    const std::int32_t slot = slice.slots[c];
    if (slot == k_not_stored) return;
    std::copy_n(product, outputs_, slice.products.data() + slot * outputs_);
    slice.product_versions[slot] = weights_version_;
  }

  /// Writes what is remembered of slices of these lengths, length_of(slice), or reads it
  /// (core/state_archive.hpp): signatures, centroids, and the product rows that may still be used.
  /// Requires: to read, an empty cache, which an error leaves unusable. Errors: those of the
  /// archive.
  template <class LengthOf>
  void exchange(StateArchive& archive, index_t slice_count, const LengthOf& length_of) {
    archive("fingerprint of the weights", weights_fingerprint_);
    archive("version of the weights", weights_version_);
    bool in_use = !slices_.empty();
    archive("clusters are stored", in_use);
    if (!in_use) return;
    if (archive.is_reading()) prepare(slice_count);
    for (index_t s = 0; s < slice_count; ++s) {
      exchange_slice(archive, slices_[static_cast<std::size_t>(s)], length_of(s));
    }
  }

  /// How many clusters are stored, in all slices.
  [[nodiscard]] index_t stored_clusters() const noexcept {
    index_t total = 0;
    for (const auto& slice : slices_) total += slice.map.size();
    return total;
  }

 private:
  /// A centroid of huge elements, whose sum was beyond the range of T, would spoil later batches.
  static bool is_worth_keeping(const T* centroid, index_t length) noexcept {
    return std::isfinite(simd::dot(centroid, centroid, length));
  }

  static constexpr std::int32_t k_not_stored = -1;
  static constexpr std::int64_t k_no_product = -1;
  static constexpr index_t k_most_slots = std::numeric_limits<std::int32_t>::max();

  struct Slice {
    SignatureMap map;                              // signature -> slot
    AlignedBuffer<T> centroids;                    // [slots x centroid_stride]
    AlignedBuffer<T> products;                     // [slots x outputs]
    AlignedBuffer<std::int64_t> product_versions;  // [slots]
    AlignedBuffer<std::int32_t> slots;             // [clusters of the last batch]
  };

  [[nodiscard]] bool is_usable(std::int64_t version) const noexcept {
    return version != k_no_product && weights_version_ - version <= max_product_age_;
  }

  void exchange_slice(StateArchive& archive, Slice& slice, index_t length) const {
    index_t count = slice.map.size();
    archive.count("stored clusters", count, 0, std::min<index_t>(limit_, k_most_slots));
    exchange_signatures(archive, slice.map, count);
    archive.rows("stored centroids", slice.centroids, count, length, simd::padded(length));
    if (archive.is_reading()) {
      slice.product_versions.resize(count);
      slice.products.resize(checked_product("stored products", count, outputs_));
    }
    for (index_t slot = 0; slot < count; ++slot) {
      // 0 stands for a row that is not there or can never be used again.
      const std::int64_t version = archive.is_reading() ? 0 : slice.product_versions[slot];
      index_t stored = !archive.is_reading() && is_usable(version) ? version + 1 : 0;
      archive.count("version of a product", stored, 0, weights_version_ + 1);
      if (archive.is_reading()) slice.product_versions[slot] = stored - 1;
      if (stored > 0) {
        archive.row("stored product", slice.products.data() + slot * outputs_, outputs_);
      }
    }
  }
  void exchange_signatures(StateArchive& archive, SignatureMap& map, index_t count) const {
    AlignedBuffer<std::uint64_t> signatures;
    if (!archive.is_reading()) {
      signatures.resize(count);
      map.for_each(
          [&](std::uint64_t signature, std::int32_t slot) { signatures[slot] = signature; });
    }
    archive.numbers("signatures", signatures, count);
    if (!archive.is_reading()) return;
    for (index_t slot = 0; slot < count; ++slot) {
      const bool fits = signature_bits_ >= 64 || signatures[slot] >> signature_bits_ == 0;
      archive.require(fits, "signatures must have ", signature_bits_, " bits");
      archive.require(map.find_or_insert(signatures[slot]) == slot,
                      "signatures must differ from each other");
    }
  }

  std::int32_t store(Slice& slice, std::uint64_t signature, const T* centroid, index_t stride) {
    const std::int32_t slot = slice.map.find_or_insert(signature);
    const index_t count = index_t{slot} + 1;
    slice.centroids.resize(count * stride);
    slice.products.resize(count * outputs_);
    slice.product_versions.resize(count);
    std::copy_n(centroid, stride, slice.centroids.data() + slot * stride);
    slice.product_versions[slot] = k_no_product;
    return slot;
  }

  // For members with mean m, sum ||v - c||^2 = sum ||v - m||^2 + count ||m - c||^2.
  static double squared_distance(const T* a, const T* b, index_t count) noexcept {
    double total = 0;
    for (index_t i = 0; i < count; ++i) {
      const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      total += difference * difference;
    }
    return total;
  }

  int signature_bits_;
  index_t outputs_;
  index_t limit_;
  index_t max_product_age_;
  std::uint64_t weights_fingerprint_ = 0;
  std::int64_t weights_version_ = 0;
  std::vector<Slice> slices_;
};

ADR_NAMESPACE_END
