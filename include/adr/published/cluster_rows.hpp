// Clusters the rows of an input slice by slice: hash, number, count, sum, average.
//
// One pass over the input in blocks that stay in the first-level cache; the input is read through
// load(), so an unfolded convolution input is never stored. Slices are independent tasks and every
// slice is walked in the order of its rows, so the result does not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/product/clustering.hpp"
#include "adr/published/sign_hash.hpp"
#include "adr/published/signature_map.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Clusters rows by the signatures of a hash: SignHash, or what reads like it
/// (columns(), slice_count(), first_column(), slice_length(), hash_count(), signatures(); slice 0
/// is the longest). Holds the maps that it needs from batch to batch, so that it stops allocating
/// once it has seen the largest batch. Thread-safety: none.
template <class T>
class RowClusterer {
 public:
  /// Bytes of scratch that `cluster` takes from the context's workspace.
  template <class Hash>
  static std::size_t workspace_bytes(const Hash& hash, int thread_count) {
    return scratch_bytes<Scratch>(hash, thread_count);
  }

  /// Clusters all rows of the input.
  ///
  /// Math: per slice, rows with equal signatures form a cluster; centroid = mean of the members;
  /// within_cluster_energy = sum ||v||^2 - sum count ||centroid||^2. Neuron vectors that hold a NaN
  /// or an infinity, or whose projection overflows, form a cluster of their own, so that they
  /// cannot spoil others; its centroid is not finite. A vector of a norm some thousand times that
  /// of the others of its slice is a cluster by itself, for the same reason: it would be all that
  /// is left of a mean. Neither counts in the energies. Shapes: input any rows x hash.columns(); at
  /// most 2^31 - 1 rows. Errors: std::invalid_argument for other shapes; std::bad_alloc while
  /// buffers grow. Cost: that of the hash (SignHash: N K H multiply-adds) and 2 N K for sums and
  /// energies. Source: ICDE 2019.
  template <class Input, class Hash>
  void cluster(const Input& input, const Hash& hash, Context& context, Clustering<T>& result,
               StageTimes* times = nullptr) {
    detail::require(input.cols() == hash.columns(), "cluster: the input must have ", hash.columns(),
                    " columns, got ", input.cols());
    detail::require(input.rows() <= std::numeric_limits<std::int32_t>::max(),
                    "cluster: the input must have at most ",
                    std::numeric_limits<std::int32_t>::max(), " rows, got ", input.rows());
    result.rows = 0;
    result.columns = hash.columns();
    result.slices.resize(static_cast<std::size_t>(hash.slice_count()));
    const int thread_count = context.threads();
    states_.resize(static_cast<std::size_t>(thread_count));
    ThreadStageTimes thread_times(times, thread_count);

    const Workspace::Frame frame(context.workspace());
    const Scratch scratch(context.workspace(), hash, thread_count);
    parallel_for(hash.slice_count(), thread_count, [&](index_t s, int thread) {
      cluster_slice(input, hash, s, scratch.blocks + thread * scratch.block_elements,
                    scratch.signatures + thread * k_block_rows,
                    states_[static_cast<std::size_t>(thread)],
                    result.slices[static_cast<std::size_t>(s)], thread_times.of(thread));
    });
    // Only now do the slices belong together: a failed allocation must not leave a mixture behind.
    result.rows = input.rows();
  }

 private:
  static constexpr index_t k_block_rows = 128;
  static constexpr std::int32_t k_carry_members = 256;

  struct Scratch {
    index_t block_elements;
    T* blocks;                  ///< of rows, one of every thread
    std::uint64_t* signatures;  ///< of such a block

    template <class Memory, class Hash>
    Scratch(Memory& memory, const Hash& hash, int threads)
        : block_elements(k_block_rows * simd::padded(hash.slice_length(0))),
          blocks(memory.template take<T>(threads * block_elements)),
          signatures(memory.template take<std::uint64_t>(threads * k_block_rows)) {}
  };

  /// What a thread needs while it works on a slice.
  struct ThreadState {
    SignatureMap map;
    AlignedBuffer<std::int32_t> clusters;  // [signatures of the map]
    AlignedBuffer<T> carried;  // [clusters x centroid_stride], sums of k_carry_members rows each
  };

  template <class Input, class Hash>
  static void cluster_slice(const Input& input, const Hash& hash, index_t s, T* block_data,
                            std::uint64_t* signatures, ThreadState& state, SliceClusters<T>& slice,
                            StageTimes* times) {
    const index_t rows = input.rows();
    const index_t length = hash.slice_length(s);
    const index_t stride = simd::padded(length);
    slice.first_column = hash.first_column(s);
    slice.length = length;
    slice.centroid_stride = stride;
    slice.cluster_count = 0;
    slice.non_finite_cluster = -1;
    slice.total_energy = 0;
    slice.ids.resize(rows);
    slice.counts.clear();
    slice.signatures.clear();
    slice.is_apart.clear();
    slice.centroids.clear();
    state.map.reset(hash.hash_count());
    state.clusters.clear();
    // load() writes the columns of the slice only; the padding stays zero from here on.
    std::fill(block_data, block_data + k_block_rows * stride, T(0));

    StageClock clock(times);
    const double limit = largest_usual_energy(input, slice, block_data, stride);
    for (index_t first = 0; first < rows; first += k_block_rows) {
      const MatrixView<T> block(block_data, std::min(k_block_rows, rows - first), length, stride);
      input.load(first, slice.first_column, block);
      clock.finish(Stage::unfold);
      const bool finite = hash.signatures(s, block, signatures);
      clock.finish(Stage::hash);
      std::int32_t* ids = slice.ids.data() + first;
      const double energy = finite ? squared_norm(block.data, block.rows * stride) : 0;
      if (finite && energy <= limit) {
        for (index_t i = 0; i < block.rows; ++i) ids[i] = number(state, signatures[i], slice);
        slice.total_energy += energy;
      } else {
        for (index_t i = 0; i < block.rows; ++i) {
          ids[i] = number_carefully(hash, s, block, i, signatures[i], limit, state, slice);
        }
      }
      add_members(block, ids, slice, state.carried);
      clock.finish(Stage::cluster);
    }
    finish_centroids(slice, state.carried);
    clock.finish(Stage::cluster);
  }

  /// True when every projection of the row is finite.
  template <class Hash>
  static bool row_is_finite(const Hash& hash, index_t s, const MatrixView<T>& block,
                            index_t i) noexcept {
    std::uint64_t unused;
    return hash.signatures(s, block.middle_rows(i, 1), &unused);
  }

  /// ||v||^2 that no usual vector of the slice exceeds: far above the median of a sample.
  template <class Input>
  static double largest_usual_energy(const Input& input, const SliceClusters<T>& slice, T* memory,
                                     index_t stride) {
    constexpr double k_far = 1e7;
    constexpr index_t k_most_samples = 64;
    const index_t samples = std::clamp<index_t>(input.rows() / 32, 1, k_most_samples);
    if (input.rows() == 0) return 0;
    double energies[k_most_samples];
    index_t count = 0;
    for (index_t i = 0; i < samples; ++i) {
      input.load((2 * i + 1) * input.rows() / (2 * samples), slice.first_column,
                 MatrixView<T>(memory, 1, slice.length, stride));
      const double energy = squared_norm(memory, stride);
      if (energy > 0 && std::isfinite(energy)) energies[count++] = energy;
    }
    if (count == 0) return std::numeric_limits<double>::infinity();
    std::nth_element(energies, energies + count / 2, energies + count);
    return k_far * energies[count / 2];
  }

  static std::int32_t number(ThreadState& state, std::uint64_t signature, SliceClusters<T>& slice) {
    const std::int32_t known = state.map.size();
    const std::int32_t place = state.map.find_or_insert(signature);
    if (place == known) {
      state.clusters.resize(index_t{known} + 1);
      state.clusters[place] = open_cluster(slice, signature, false);
    }
    return state.clusters[place];
  }

  /// The number of a row that may not be finite, or far from all others; adds its energy.
  template <class Hash>
  static std::int32_t number_carefully(const Hash& hash, index_t s, const MatrixView<T>& block,
                                       index_t row, std::uint64_t signature, double limit,
                                       ThreadState& state, SliceClusters<T>& slice) {
    if (!row_is_finite(hash, s, block, row)) {
      if (slice.non_finite_cluster < 0) slice.non_finite_cluster = open_cluster(slice, 0, true);
      return slice.non_finite_cluster;
    }
    const double energy = squared_norm(block.row(row), block.row_stride);
    if (energy > limit) return open_cluster(slice, signature, true);
    slice.total_energy += energy;
    return number(state, signature, slice);
  }

  static std::int32_t open_cluster(SliceClusters<T>& slice, std::uint64_t signature,
                                   bool is_apart) {
    const index_t id = slice.cluster_count++;
    slice.is_apart.resize(slice.cluster_count);
    slice.is_apart[id] = is_apart ? 1 : 0;
    slice.counts.resize(slice.cluster_count);
    slice.counts[id] = 0;
    slice.signatures.resize(slice.cluster_count);
    slice.signatures[id] = signature;
    slice.centroids.resize(slice.cluster_count * slice.centroid_stride);
    T* centroid = slice.centroids.data() + id * slice.centroid_stride;
    std::fill(centroid, centroid + slice.centroid_stride, T(0));
    return static_cast<std::int32_t>(id);
  }

  /// Adds the rows of a block to the sums of their clusters. A sum of very many rows would lose the
  /// digits of each further one, so every k_carry_members rows it is carried to a second sum.
  static void add_members(const MatrixView<T>& block, const std::int32_t* ids,
                          SliceClusters<T>& slice, AlignedBuffer<T>& carried) {
    const index_t stride = block.row_stride;
    carried.resize(slice.cluster_count * stride);
    for (index_t i = 0; i < block.rows; ++i) {
      T* sum = slice.centroids.data() + ids[i] * stride;
      simd::add(block.row(i), sum, stride);
      const std::int32_t members = ++slice.counts[ids[i]];
      if (members % k_carry_members != 0) continue;
      T* carry = carried.data() + ids[i] * stride;
      if (members == k_carry_members) {
        std::copy(sum, sum + stride, carry);
      } else {
        simd::add(sum, carry, stride);
      }
      std::fill(sum, sum + stride, T(0));
    }
  }

  /// ||v||^2 of finite elements, also where it is beyond the range of T.
  static double squared_norm(const T* v, index_t count) noexcept {
    const auto fast = static_cast<double>(simd::dot(v, v, count));
    if (std::isfinite(fast)) return fast;
    double total = 0;
    for (index_t i = 0; i < count; ++i)
      total += static_cast<double>(v[i]) * static_cast<double>(v[i]);
    return total;
  }

  static void finish_centroids(SliceClusters<T>& slice, const AlignedBuffer<T>& carried) noexcept {
    const index_t stride = slice.centroid_stride;
    double explained = 0;
    for (index_t c = 0; c < slice.cluster_count; ++c) {
      T* centroid = slice.centroids.data() + c * stride;
      if (slice.counts[c] >= k_carry_members)
        simd::add(carried.data() + c * stride, centroid, stride);
      simd::scale(T(1) / static_cast<T>(slice.counts[c]), centroid, stride);
      if (slice.is_apart[c] != 0) continue;
      explained += static_cast<double>(slice.counts[c]) * squared_norm(centroid, stride);
    }
    // Rounding can carry the difference of two nearly equal sums below zero.
    slice.within_cluster_energy = std::max(0.0, slice.total_energy - explained);
  }

  std::vector<ThreadState> states_;
};

ADR_NAMESPACE_END
