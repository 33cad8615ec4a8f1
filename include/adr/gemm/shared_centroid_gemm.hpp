// Products through the clusters of shared neuron vectors: every vector is clustered once, however
// many kernel offsets and outputs read it.
//
// Each pair of a slice of the vectors and a kernel offset has a table of product rows; what an
// output adds up is one row per pair. Pairs are taken in groups whose tables fit a budget, blocks
// of outputs are the tasks, every sum has a fixed order, and the bits do not depend on the number
// of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/cluster/clustering.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/centroid_gemm.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The centroids of a table that one task multiplies.
inline constexpr index_t k_table_task_rows = 512;

/// The ids of a block of outputs for one pair; not a power of two, because all pairs are read in
/// step.
inline constexpr index_t k_spread_stride = k_gather_block_rows + 16;

/// The pairs (slice, kernel offset) of shared neuron vectors, slice by slice: pair p is offset
/// p % offsets of slice p / offsets.
template <class T>
class TablePairs {
 public:
  TablePairs(const Clustering<T>& clustering, const VectorMap& map, index_t outputs) noexcept
      : clustering_(clustering),
        offsets_(map.offsets()),
        stride_(simd::padded(outputs)),
        zero_rows_(map.has_padding() ? 1 : 0) {}

  [[nodiscard]] index_t count() const noexcept {
    return static_cast<index_t>(clustering_.slices.size()) * offsets_;
  }
  [[nodiscard]] const SliceClusters<T>& slice(index_t pair) const noexcept {
    return clustering_.slices[static_cast<std::size_t>(pair / offsets_)];
  }
  [[nodiscard]] index_t offset(index_t pair) const noexcept { return pair % offsets_; }
  [[nodiscard]] index_t stride() const noexcept { return stride_; }
  /// How many rows of zeros, for padding, follow the products of a table: 0 or 1.
  [[nodiscard]] index_t zero_rows() const noexcept { return zero_rows_; }
  [[nodiscard]] index_t elements(index_t pair) const noexcept {
    return (slice(pair).cluster_count + zero_rows_) * stride_;
  }

  /// The pairs from `first` on whose tables are made together: what fits the budget, at least one.
  [[nodiscard]] IndexRange group(index_t first) const noexcept {
    constexpr index_t k_most = k_table_budget_bytes / static_cast<index_t>(sizeof(T));
    IndexRange pairs{first, first};
    for (index_t total = 0; pairs.last < count(); ++pairs.last) {
      total += elements(pairs.last);
      if (pairs.last > first && total > k_most) break;
    }
    return pairs;
  }

 private:
  const Clustering<T>& clustering_;
  index_t offsets_;
  index_t stride_;
  index_t zero_rows_;
};

/// What the largest group needs.
struct PairSizes {
  index_t most_pairs = 0;
  index_t table_elements = 0;
  index_t longest_slice = 0;

  template <class T>
  explicit PairSizes(const TablePairs<T>& pairs) noexcept {
    for (index_t first = 0; first < pairs.count();) {
      const IndexRange group = pairs.group(first);
      index_t elements = 0;
      for (index_t p = group.first; p < group.last; ++p) {
        elements += pairs.elements(p);
        longest_slice = std::max(longest_slice, pairs.slice(p).length);
      }
      table_elements = std::max(table_elements, elements);
      most_pairs = std::max(most_pairs, group.size());
      first = group.last;
    }
  }
};

/// The rows of the weights with the given numbers, in place where they follow each other, else
/// copied in the order of the factor. Shapes: packed count x weights.cols().
template <class T>
GemmFactor<T> weight_rows(const GemmFactor<T>& weights, const index_t* rows, index_t count,
                          T* packed) noexcept {
  const bool in_order = std::adjacent_find(rows, rows + count, [](index_t a, index_t b) {
                          return b != a + 1;
                        }) == rows + count;
  if (in_order) return weights.middle_rows(rows[0], count);
  const MatrixView<const T>& from = weights.matrix;
  if (!weights.transposed) {
    for (index_t e = 0; e < count; ++e) {
      std::copy_n(from.row(rows[e]), from.cols, packed + e * from.cols);
    }
    return {MatrixView<const T>(packed, count, from.cols), false};
  }
  for (index_t m = 0; m < from.rows; ++m) {
    for (index_t e = 0; e < count; ++e) packed[m * count + e] = from(m, rows[e]);
  }
  return {MatrixView<const T>(packed, from.rows, count), true};
}

/// Writes to[n], the id of the vector that output pixel first_row + n meets at offset o, and
/// padding_id where it meets none, for n < count.
inline void spread_ids(const VectorMap& map, const std::int32_t* ids, index_t o, index_t first_row,
                       index_t count, std::int32_t padding_id, std::int32_t* to) noexcept {
  const index_t i = o / map.offset_cols;
  const index_t j = o % map.offset_cols;
  const IndexRange rows = map.inside_rows(i);
  const IndexRange cols = map.inside_cols(j);
  index_t ox = first_row % map.out_width;
  index_t oy = first_row / map.out_width % map.out_height;
  ids += first_row / map.out_size() * map.grid_size();
  for (index_t done = 0; done < count;) {
    const index_t run = std::min(count - done, map.out_width - ox);
    const bool inside = oy >= rows.first && oy < rows.last;
    const index_t first = inside ? std::clamp(cols.first, ox, ox + run) : ox + run;
    const index_t last = inside ? std::clamp(cols.last, first, ox + run) : ox + run;
    to = std::fill_n(to, first - ox, padding_id);
    if (first < last) {
      const std::int32_t* from = ids + map.grid_y(oy, i) * map.grid_width + map.grid_x(first, j);
      for (index_t n = 0; n < last - first; ++n) to[n] = from[n * map.step_x];
    }
    to = std::fill_n(to + (last - first), ox + run - last, padding_id);
    done += run;
    ox = 0;
    if (++oy == map.out_height) {
      oy = 0;
      ids += map.grid_size();
    }
  }
}

/// Makes the tables of the pairs of a group: products, and the row of zeros where there is one.
/// Shapes: tables[i] of pair group.first + i; packed most elements of a slice's weights per thread.
template <class T>
void make_pair_tables(const TablePairs<T>& pairs, const IndexRange& group, T* const* tables,
                      const index_t* columns, index_t vector_length, const GemmFactor<T>& weights,
                      T* packed, index_t packed_elements, const DenseGemm<T>& gemm,
                      Context& context) {
  const index_t outputs = weights.cols();
  index_t most_clusters = 1;
  for (index_t p = group.first; p < group.last; ++p) {
    most_clusters = std::max(most_clusters, pairs.slice(p).cluster_count);
  }
  const index_t parts = (most_clusters + k_table_task_rows - 1) / k_table_task_rows;
  parallel_for(group.size() * parts, context.threads(), [&](index_t task, int thread) {
    const index_t p = group.first + task / parts;
    const SliceClusters<T>& slice = pairs.slice(p);
    const index_t first = task % parts * k_table_task_rows;
    T* table = tables[task / parts];
    if (first == 0) {
      std::fill_n(table + slice.cluster_count * pairs.stride(), pairs.zero_rows() * pairs.stride(),
                  T(0));
    }
    const index_t count = std::min(k_table_task_rows, slice.cluster_count - first);
    if (count <= 0) return;
    gemm(as_is(slice.centroid_matrix().middle_rows(first, count)),
         weight_rows(weights, columns + pairs.offset(p) * vector_length + slice.first_column,
                     slice.length, packed + thread * packed_elements),
         Update::replace,
         MatrixView<T>(table + first * pairs.stride(), count, outputs, pairs.stride()));
  });
}

/// Adds table rows to output pixels of one image, [pixel, pixel + count), or replaces them by the
/// bias and the rows; at: the place of the first one in the ids. tile: count x stride elements.
template <class T>
void gather_pixels(const T* const* tables, const std::int32_t* const* ids, index_t pair_count,
                   index_t stride, index_t at, bool replace, const VectorView<const T>& bias,
                   const PixelView<T>& output, index_t image, index_t pixel, index_t count,
                   T* tile) noexcept {
  const index_t outputs = output.channels;
  T* target = output.at(image, pixel, 0);
  const bool in_place = output.channel_stride == 1 || outputs == 1;
  const MatrixView<T> y = in_place ? MatrixView<T>(target, count, outputs, output.pixel_stride)
                                   : MatrixView<T>(tile, count, outputs, stride);
  if (replace && !bias.empty()) {
    for (index_t n = 0; n < count; ++n) std::copy_n(bias.data, outputs, y.row(n));
  } else if (replace || !in_place) {
    for (index_t n = 0; n < count; ++n) std::fill_n(y.row(n), outputs, T(0));
  }
  simd::gather_add<T>(tables, ids, pair_count, stride, at, y);
  if (in_place) return;
  if (replace) {
    simd::transpose(tile, stride, count, outputs, target, output.channel_stride);
  } else {
    simd::transpose_add(tile, stride, count, outputs, target, output.channel_stride);
  }
}

}  // namespace detail

/// Bytes of scratch that shared_centroid_forward takes.
template <class T>
std::size_t shared_centroid_forward_workspace_bytes(const Clustering<T>& clustering,
                                                    const VectorMap& map, index_t outputs,
                                                    int thread_count) {
  const detail::TablePairs<T> pairs(clustering, map, outputs);
  const detail::PairSizes sizes(pairs);
  return WorkspaceSize()
      .template add<T>(sizes.table_elements)
      .template add<T*>(sizes.most_pairs)
      .template add<T>(thread_count * sizes.longest_slice * outputs)
      .template add<const std::int32_t*>(thread_count * sizes.most_pairs)
      .template add<std::int32_t>(thread_count * sizes.most_pairs * detail::k_spread_stride)
      .template add<T>(thread_count * detail::k_gather_block_rows * pairs.stride())
      .bytes();
}

/// Computes the output from the clusters of shared neuron vectors alone.
///
/// Math: output[n,:] = bias + sum over slices s and kernel offsets o of
/// table_{s,o}[id_s(v(n, o)),:], table_{s,o} = C_s W_{o,s}, with v(n, o) the vector that output n
/// meets at offset o and W_{o,s} the rows columns[o * length + e] of the weights, e over the slice;
/// padding adds nothing. Shapes: clustering of map.vectors() vectors of clustering.columns = length
/// elements; columns map.offsets() * length; weights K x M; bias M or empty; output map.rows() x M,
/// map.out_size() pixels an image. Requires: at least one slice, scratch reserved, matching shapes
/// (callers check). Cost: clusters * K M multiply-adds (the clusters of a slice count for its part
/// of K), N M additions per slice and offset, one pass over the output per k_table_budget_bytes of
/// tables. Source: ICDE 2019 for the products; sharing across offsets is this library's.
template <class T>
void shared_centroid_forward(const Clustering<T>& clustering, const VectorMap& map,
                             const index_t* columns, const GemmFactor<T>& weights,
                             const VectorView<const T>& bias, const PixelView<T>& output,
                             const DenseGemm<T>& gemm, Context& context,
                             StageTimes* times = nullptr) {
  constexpr index_t k_block = detail::k_gather_block_rows;
  const detail::TablePairs<T> pairs(clustering, map, output.channels);
  const detail::PairSizes sizes(pairs);
  const index_t stride = pairs.stride();
  const index_t packed_elements = sizes.longest_slice * output.channels;
  const int threads = context.threads();
  Workspace& workspace = context.workspace();
  const Workspace::Frame frame(workspace);
  T* table_data = workspace.template take<T>(sizes.table_elements);
  T** tables = workspace.template take<T*>(sizes.most_pairs);
  T* packed = workspace.template take<T>(threads * packed_elements);
  auto** id_rows = workspace.template take<const std::int32_t*>(threads * sizes.most_pairs);
  auto* spread =
      workspace.template take<std::int32_t>(threads * sizes.most_pairs * detail::k_spread_stride);
  T* tiles = workspace.template take<T>(threads * k_block * stride);

  StageClock clock(times);
  for (index_t first_pair = 0; first_pair < pairs.count();) {
    const IndexRange group = pairs.group(first_pair);
    T* next_table = table_data;
    for (index_t i = 0; i < group.size(); ++i) {
      tables[i] = next_table;
      next_table += pairs.elements(group.first + i);
    }
    detail::make_pair_tables(pairs, group, tables, columns, clustering.columns, weights, packed,
                             packed_elements, gemm, context);
    clock.finish(Stage::centroid_product);
    parallel_for((map.rows() + k_block - 1) / k_block, threads, [&](index_t b, int thread) {
      const index_t first = b * k_block;
      const index_t count = std::min(k_block, map.rows() - first);
      auto** ids = id_rows + thread * sizes.most_pairs;
      for (index_t i = 0; i < group.size(); ++i) {
        const SliceClusters<T>& slice = pairs.slice(group.first + i);
        if (map.is_identity()) {
          ids[i] = slice.ids.data() + first;
          continue;
        }
        std::int32_t* own = spread + (thread * sizes.most_pairs + i) * detail::k_spread_stride;
        detail::spread_ids(map, slice.ids.data(), pairs.offset(group.first + i), first, count,
                           static_cast<std::int32_t>(slice.cluster_count), own);
        ids[i] = own;
      }
      for_each_image_run(
          output, first, count, [&](index_t image, index_t pixel, index_t run, index_t at) {
            detail::gather_pixels(tables, ids, group.size(), stride, at, group.first == 0, bias,
                                  output, image, pixel, run, tiles + thread * k_block * stride);
          });
    });
    clock.finish(Stage::gather);
    first_pair = group.last;
  }
}

ADR_NAMESPACE_END
