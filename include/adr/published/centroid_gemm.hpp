// The published products: one per cluster, reused by all its members.
//
// Forward, the rows of a slice's table C_s W_s are gathered and added up per input row; backward,
// the output gradient is summed per cluster before anything is multiplied. Slices and blocks of
// rows are the tasks, every sum has a fixed order, and the bits do not depend on the number of
// threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/product/clustering.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

inline constexpr index_t k_gather_block_rows = 256;

/// Tables of product rows are made for as many slices at a time as fit this many bytes (at least
/// one slice), which bounds the workspace; more slices at a time mean fewer passes over the output.
inline constexpr index_t k_table_budget_bytes = index_t{4} << 20;

template <class T>
index_t table_elements(const SliceClusters<T>& slice, index_t outputs) noexcept {
  return slice.cluster_count * simd::padded(outputs);
}

/// Slices [first, last) whose tables are made together, and the elements of those tables.
struct SliceGroup {
  index_t first;
  index_t last;
  index_t elements;
};
template <class T>
SliceGroup slice_group(const Clustering<T>& clustering, index_t first, index_t outputs) noexcept {
  const auto count = static_cast<index_t>(clustering.slices.size());
  SliceGroup group{first, first, 0};
  while (group.last < count) {
    const index_t more =
        table_elements(clustering.slices[static_cast<std::size_t>(group.last)], outputs);
    const bool fits =
        (group.elements + more) * static_cast<index_t>(sizeof(T)) <= k_table_budget_bytes;
    if (group.last > first && !fits) break;
    group.elements += more;
    ++group.last;
  }
  return group;
}

template <class T>
index_t largest_group_elements(const Clustering<T>& clustering, index_t outputs) noexcept {
  index_t largest = 0;
  for (index_t first = 0; first < static_cast<index_t>(clustering.slices.size());) {
    const SliceGroup group = slice_group(clustering, first, outputs);
    largest = std::max(largest, group.elements);
    first = group.last;
  }
  return largest;
}

/// What the backward pass has to hold: the sums of one slice per thread, and the means of all
/// slices.
struct BackwardSizes {
  index_t most_clusters = 0;
  index_t mean_elements = 0;
  index_t longest_slice = 0;

  template <class T>
  explicit BackwardSizes(const Clustering<T>& clustering) noexcept {
    for (const auto& slice : clustering.slices) {
      most_clusters = std::max(most_clusters, slice.cluster_count);
      mean_elements += slice.cluster_count * slice.centroid_stride;
      longest_slice = std::max(longest_slice, slice.length);
    }
  }
};

template <class T>
struct CentroidForwardScratch {
  T* table_data;             ///< of a group of slices
  T** tables;                ///< of every slice of a group
  const std::int32_t** ids;  ///< of every slice of a group
  T* results;                ///< a block of rows of every thread

  template <class Memory>
  CentroidForwardScratch(Memory& memory, const Clustering<T>& clustering, index_t outputs,
                         int threads)
      : table_data(memory.template take<T>(largest_group_elements(clustering, outputs))),
        tables(memory.template take<T*>(static_cast<index_t>(clustering.slices.size()))),
        ids(memory.template take<const std::int32_t*>(
            static_cast<index_t>(clustering.slices.size()))),
        results(memory.template take<T>(threads * k_gather_block_rows * outputs)) {}
};

template <class T>
struct CentroidBackwardScratch {
  BackwardSizes sizes;
  index_t sums_elements;
  index_t block_elements;
  T* sums;       ///< of the slice that a thread works on
  T* mean_data;  ///< null, as what follows, without an input gradient
  T** means;     ///< of every slice
  T* blocks;     ///< of rows of one slice, one of every thread

  template <class Memory>
  CentroidBackwardScratch(Memory& memory, const Clustering<T>& clustering, index_t outputs,
                          bool with_input_gradient, int threads)
      : sizes(clustering),
        sums_elements(sizes.most_clusters * simd::padded(outputs)),
        block_elements(k_gather_block_rows * sizes.longest_slice),
        sums(memory.template take<T>(threads * sums_elements)),
        mean_data(with_input_gradient ? memory.template take<T>(sizes.mean_elements) : nullptr),
        means(with_input_gradient
                  ? memory.template take<T*>(static_cast<index_t>(clustering.slices.size()))
                  : nullptr),
        blocks(with_input_gradient ? memory.template take<T>(threads * block_elements) : nullptr) {}
};

}  // namespace detail

/// Multiplies the centroids of a slice by the slice's rows of the weights.
/// Math: table = C_s W_s. Shapes: weights K x M, table clusters x M.
template <class T>
void centroid_product(const SliceClusters<T>& slice, const GemmFactor<T>& weights,
                      const DenseGemm<T>& gemm, const MatrixView<T>& table) {
  gemm(as_is(slice.centroid_matrix()), weights.middle_rows(slice.first_column, slice.length),
       Update::replace, table);
}

/// Bytes of scratch that centroid_forward takes.
template <class T>
std::size_t centroid_forward_workspace_bytes(const Clustering<T>& clustering, index_t outputs,
                                             int thread_count) {
  return scratch_bytes<detail::CentroidForwardScratch<T>>(clustering, outputs, thread_count);
}

/// Computes the output from the clusters alone.
///
/// Math: output[n,:] = bias + sum over s of table_s[id_s(n),:], table_s = C_s W_s.
/// fill_table(slice index, table) writes the table of a slice, clusters x M; it is called once per
/// slice, from several threads: centroid_product for the plain method, a cache for cluster reuse.
/// Shapes: output N x M; bias M or empty. Requires: scratch reserved, matching shapes (callers
/// check). Cost: r_c N K M multiply-adds and N M K/L additions. Source: ICDE 2019.
template <class T, class Output, class FillTable>
void centroid_forward(const Clustering<T>& clustering, const VectorView<const T>& bias,
                      const Output& output, Context& context, const FillTable& fill_table,
                      StageTimes* times = nullptr) {
  const index_t rows = clustering.rows;
  const index_t outputs = output.cols();
  const index_t stride = simd::padded(outputs);
  const auto slice_count = static_cast<index_t>(clustering.slices.size());
  const Workspace::Frame frame(context.workspace());
  const detail::CentroidForwardScratch<T> scratch(context.workspace(), clustering, outputs,
                                                  context.threads());
  const index_t block_rows = detail::k_gather_block_rows;

  StageClock clock(times);
  for (index_t first_slice = 0; first_slice < slice_count;) {
    const detail::SliceGroup group = detail::slice_group(clustering, first_slice, outputs);
    const index_t group_size = group.last - group.first;
    const auto slice = [&](index_t i) -> const SliceClusters<T>& {
      return clustering.slices[static_cast<std::size_t>(group.first + i)];
    };
    T* next_table = scratch.table_data;
    for (index_t i = 0; i < group_size; ++i) {
      scratch.tables[i] = next_table;
      scratch.ids[i] = slice(i).ids.data();
      next_table += detail::table_elements(slice(i), outputs);
    }
    parallel_for(group_size, context.threads(), [&](index_t i, int) {
      fill_table(group.first + i,
                 MatrixView<T>(scratch.tables[i], slice(i).cluster_count, outputs, stride));
    });
    clock.finish(Stage::centroid_product);
    parallel_for(blocks_of(rows, block_rows), context.threads(), [&](index_t b, int t) {
      const index_t first = b * block_rows;
      const bool is_first = group.first == 0;
      const MatrixView<T> y = output.target(first, std::min(block_rows, rows - first),
                                            scratch.results + t * block_rows * outputs,
                                            is_first ? Keep::nothing : Keep::contents);
      for (index_t i = 0; is_first && i < y.rows; ++i) {
        if (bias.empty()) {
          std::fill_n(y.row(i), outputs, T(0));
        } else {
          std::copy_n(bias.data, outputs, y.row(i));
        }
      }
      simd::gather_add<T>(scratch.tables, scratch.ids, group_size, stride, first, y);
      output.store(first, y);
    });
    clock.finish(Stage::gather);
    first_slice = group.last;
  }
}

/// Bytes of scratch that centroid_backward takes.
template <class T>
std::size_t centroid_backward_workspace_bytes(const Clustering<T>& clustering, index_t outputs,
                                              bool with_input_gradient, int thread_count) {
  return scratch_bytes<detail::CentroidBackwardScratch<T>>(clustering, outputs, with_input_gradient,
                                                           thread_count);
}

/// Computes both gradients from the clusters of the forward pass.
///
/// Math, with D_s[c,:] the sum of d_output[n,:] over the members n of cluster c:
///   d_weights_s = C_s^T D_s                              (sums; exact for the clustered input)
///   d_input[n, s] += ((D_s / count) W_s^T)[id_s(n),:]    (means; every member receives the same)
/// Shapes: weights and d_weights K x M (an empty d_weights is not computed), d_output N x M,
/// d_input N x K as rows, or null. Requires: scratch reserved, matching shapes (callers
/// check). Cost: N M K/L additions, then r_c N K M multiply-adds per gradient and N K additions to
/// scatter. Source: ICDE 2019 as in the authors' and TREC's public code.
template <class T, class InputGradient>
void centroid_backward(const Clustering<T>& clustering, const GemmFactor<T>& weights,
                       const MatrixView<const T>& d_output, const GemmResult<T>& d_weights,
                       const InputGradient* d_input, const DenseGemm<T>& gemm, Context& context,
                       StageTimes* times = nullptr) {
  const index_t outputs = d_output.cols;
  const index_t stride = simd::padded(outputs);
  const auto slice_count = static_cast<index_t>(clustering.slices.size());
  const index_t block_rows = detail::k_gather_block_rows;
  const Workspace::Frame frame(context.workspace());
  const detail::CentroidBackwardScratch<T> scratch(context.workspace(), clustering, outputs,
                                                   d_input != nullptr, context.threads());
  T** const means = scratch.means;
  if (d_input != nullptr) {
    T* mean_data = scratch.mean_data;
    for (index_t s = 0; s < slice_count; ++s) {
      const auto& slice = clustering.slices[static_cast<std::size_t>(s)];
      means[s] = mean_data;
      mean_data += slice.cluster_count * slice.centroid_stride;
    }
  }

  ThreadStageTimes thread_times(times, context.threads());
  parallel_for(slice_count, context.threads(), [&](index_t s, int thread) {
    StageClock clock(thread_times.of(thread));
    const SliceClusters<T>& slice = clustering.slices[static_cast<std::size_t>(s)];
    const MatrixView<T> sums(scratch.sums + thread * scratch.sums_elements, slice.cluster_count,
                             outputs, stride);
    std::fill_n(sums.data, slice.cluster_count * stride, T(0));
    simd::keyed_add<T>(d_output, slice.ids.data(), sums.data, stride);
    clock.finish(Stage::gradient_sums);
    if (!d_weights.empty()) {
      gemm(transposed(slice.centroid_matrix()), as_is(sums), Update::replace,
           d_weights.middle_rows(slice.first_column, slice.length));
      clock.finish(Stage::weight_gradient);
    }
    if (d_input != nullptr) {
      for (index_t c = 0; c < slice.cluster_count; ++c) {
        simd::scale(T(1) / static_cast<T>(slice.counts[c]), sums.row(c), outputs);
      }
      gemm(as_is(sums), weights.middle_rows(slice.first_column, slice.length).transpose(),
           Update::replace,
           MatrixView<T>(means[s], slice.cluster_count, slice.length, slice.centroid_stride));
      clock.finish(Stage::input_gradient);
    }
  });

  if (d_input != nullptr) {
    const index_t unit = d_input->independent_rows();
    parallel_for((clustering.rows + unit - 1) / unit, context.threads(), [&](index_t u, int t) {
      StageClock clock(thread_times.of(t));
      const index_t last = std::min(clustering.rows, (u + 1) * unit);
      for (index_t first = u * unit; first < last; first += block_rows) {
        for (index_t s = 0; s < slice_count; ++s) {
          const SliceClusters<T>& slice = clustering.slices[static_cast<std::size_t>(s)];
          const MatrixView<T> block(scratch.blocks + t * scratch.block_elements,
                                    std::min(block_rows, last - first), slice.length);
          for (index_t i = 0; i < block.rows; ++i) {
            std::copy_n(means[s] + slice.ids[first + i] * slice.centroid_stride, slice.length,
                        block.row(i));
          }
          d_input->add(first, slice.first_column, MatrixView<const T>(block));
        }
      }
      clock.finish(Stage::input_gradient);
    });
  }
}

ADR_NAMESPACE_END
