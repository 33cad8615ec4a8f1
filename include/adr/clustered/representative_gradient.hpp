// The weight gradient from clusters: the output gradient is summed per cluster before anything is
// multiplied.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "adr/product/clustering.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

template <class T>
struct RepresentativeGradientScratch {
  index_t most_clusters = 0;
  index_t longest = 0;
  index_t gathered;
  T* sums;  ///< of one slice
  T* rows;  ///< representatives side by side, of every thread

  template <class Memory>
  RepresentativeGradientScratch(Memory& memory, const Clustering<T>& clustering, index_t outputs,
                                int threads) {
    for (const SliceClusters<T>& slice : clustering.slices) {
      most_clusters = std::max(most_clusters, slice.cluster_count);
      longest = std::max(longest, slice.length);
    }
    gathered = gathered_rows(std::max<index_t>(longest, 1));
    sums = memory.template take<T>(checked_product("sums", most_clusters, outputs));
    rows = memory.template take<T>(checked_product("representatives", threads, gathered, longest));
  }
};

}  // namespace detail

/// Bytes of scratch that representative_weight_gradient takes.
template <class T>
std::size_t representative_gradient_workspace_bytes(const Clustering<T>& clustering,
                                                    index_t outputs, int threads) {
  return scratch_bytes<detail::RepresentativeGradientScratch<T>>(clustering, outputs, threads);
}

/// Computes the gradient with respect to the weights with every row taken for its representative.
///
/// Math: d_weights_s = R_s^T D_s, R_s the representatives of slice s, rows of the input, D_s[c,:]
/// the sum of d_output over the members of cluster c. Shapes: input N x K, d_output N x M,
/// d_weights K x M. Requires: matching shapes, scratch reserved. Cost: N M additions per slice and
/// r_c N K M multiply-adds. Determinism: results do not depend on the number of threads.
template <class T, class Input>
void representative_weight_gradient(const Input& input, const Clustering<T>& clustering,
                                    const MatrixView<const T>& d_output,
                                    const GemmResult<T>& d_weights, const DenseGemm<T>& gemm,
                                    Context& context) {
  constexpr index_t k_strip = 64;  // columns of the output gradient that are summed by one task
  const index_t outputs = d_output.cols;
  const Workspace::Frame frame(context.workspace());
  const detail::RepresentativeGradientScratch<T> scratch(context.workspace(), clustering, outputs,
                                                         context.threads());
  for (const SliceClusters<T>& slice : clustering.slices) {
    const MatrixView<T> sums(scratch.sums, slice.cluster_count, outputs);
    const index_t strips = blocks_of(outputs, k_strip);
    parallel_for(strips, context.threads(), [&](index_t strip, int) {
      const IndexRange range = partition(outputs, strips, strip);
      const MatrixView<T> some = sums.block(0, range.first, sums.rows, range.size());
      for (index_t c = 0; c < some.rows; ++c) std::fill_n(some.row(c), some.cols, T(0));
      simd::keyed_add<T>(d_output.block(0, range.first, d_output.rows, range.size()),
                         slice.ids.data(), some.data, some.row_stride);
    });
    const index_t parts = detail::most_column_parts(slice.length);
    parallel_for(parts, context.threads(), [&](index_t part, int thread) {
      const IndexRange cols = partition(slice.length, parts, part);
      const GemmResult<T> result =
          d_weights.middle_rows(slice.first_column + cols.first, cols.size());
      if (slice.cluster_count == 0) detail::set_zero(result.matrix);
      for (index_t first = 0; first < slice.cluster_count; first += scratch.gathered) {
        const index_t count = std::min(scratch.gathered, slice.cluster_count - first);
        const MatrixView<T> rows(scratch.rows + thread * scratch.gathered * scratch.longest, count,
                                 cols.size());
        for (index_t i = 0; i < count; ++i) {
          input.load(slice.first_members[first + i], slice.first_column + cols.first,
                     rows.middle_rows(i, 1));
        }
        gemm(transposed(rows), as_is(sums.middle_rows(first, count)),
             first == 0 ? Update::replace : Update::accumulate, result);
      }
    });
  }
}

ADR_NAMESPACE_END
