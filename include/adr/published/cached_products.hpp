// The product table of a slice with cluster reuse: rows that the cache may give are copied, the
// rest is multiplied and stored.
#pragma once

#include <algorithm>

#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/product/clustering.hpp"
#include "adr/published/cluster_cache.hpp"

ADR_NAMESPACE_BEGIN

/// Fills table = C_s W_s, clusters x M, and returns how many rows came from the cache.
/// Requires: the slice was recalled from this cache. Cost: one multiplication per run of clusters
/// without a usable row. Thread-safety: reentrant for different slices. Source: this library.
template <class T>
index_t cached_products(const SliceClusters<T>& slice, index_t slice_index,
                        const GemmFactor<T>& weights, const DenseGemm<T>& gemm,
                        ClusterCache<T>& cache, const MatrixView<T>& table) {
  const GemmFactor<T> slice_weights = weights.middle_rows(slice.first_column, slice.length);
  index_t reused = 0;
  for (index_t c = 0; c < slice.cluster_count;) {
    if (const T* row = cache.fresh_product(slice_index, c)) {
      std::copy_n(row, table.cols, table.row(c));
      ++reused;
      ++c;
      continue;
    }
    index_t last = c + 1;
    while (last < slice.cluster_count && cache.fresh_product(slice_index, last) == nullptr) ++last;
    gemm(as_is(slice.centroid_matrix().middle_rows(c, last - c)), slice_weights, Update::replace,
         table.middle_rows(c, last - c));
    for (; c < last; ++c) cache.store_product(slice_index, c, table.row(c));
  }
  return reused;
}

ADR_NAMESPACE_END
