// The outcome of clustering, as plain data: which rows are alike, how many, and their centroids.
//
// Every clusterer yields this and every product consumes it, so the two sides know nothing else of
// each other.
#pragma once

#include <cstdint>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The clusters of one slice: columns [first_column, first_column + length) of the unfolded input.
template <class T>
struct SliceClusters {
  index_t first_column = 0;  ///< the first of its columns
  index_t length = 0;        ///< how many columns

  /// Clusters are numbered 0 .. cluster_count - 1 in the order of their first member; none is
  /// empty.
  index_t cluster_count = 0;

  AlignedBuffer<std::int32_t> ids;          ///< [rows] cluster of each row
  AlignedBuffer<std::int32_t> counts;       ///< [cluster_count] members
  AlignedBuffer<std::uint64_t> signatures;  ///< [cluster_count] what the members have in common
  /// [cluster_count] 1: the signature is not what made the cluster. Its vectors are not finite, or
  /// it is one vector that is far from all others.
  AlignedBuffer<std::uint8_t> is_apart;
  AlignedBuffer<T> centroids;  ///< [cluster_count x centroid_stride], padding 0
  /// [cluster_count] the row that stands for the cluster, where there are no centroids.
  AlignedBuffer<index_t> first_members;
  index_t centroid_stride = 0;  ///< from centroid to centroid, in elements

  /// Sum of ||v||^2 over the neuron vectors of clusters that are not apart, and of ||v -
  /// centroid||^2 likewise.
  double total_energy = 0;
  double within_cluster_energy = 0;  ///< the second of the two sums

  /// Neuron vectors that are not finite share one cluster, this one; -1 when there are none.
  std::int32_t non_finite_cluster = -1;

  /// The centroids, cluster_count x length.
  [[nodiscard]] MatrixView<const T> centroid_matrix() const noexcept {
    return {centroids.data(), cluster_count, length, centroid_stride};
  }
};

/// The clusters of all slices of one input.
template <class T>
struct Clustering {
  index_t rows = 0;                      ///< N, of the unfolded input
  index_t columns = 0;                   ///< K, of the unfolded input
  std::vector<SliceClusters<T>> slices;  ///< from the first column to the last

  /// Clusters of all slices.
  [[nodiscard]] index_t total_clusters() const noexcept {
    index_t total = 0;
    for (const auto& slice : slices) total += slice.cluster_count;
    return total;
  }

  /// Neuron vectors that are not finite, in all slices.
  [[nodiscard]] index_t non_finite_vectors() const noexcept {
    index_t total = 0;
    for (const auto& slice : slices) {
      if (slice.non_finite_cluster >= 0) total += slice.counts[slice.non_finite_cluster];
    }
    return total;
  }
};

ADR_NAMESPACE_END
