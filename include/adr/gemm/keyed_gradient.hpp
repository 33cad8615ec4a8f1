// The weight gradient from clusters of shared neuron vectors: the output gradient is summed per
// cluster and kernel offset, and only the sums are multiplied.
//
// A cluster knows its members, and a member knows the outputs that meet it (keyed_tiles.hpp). So
// the sums of one cluster for all kernel offsets grow in registers while its members are walked
// through, and neither is the output gradient scattered nor the input unfolded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "adr/cluster/clustering.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/keyed_books.hpp"
#include "adr/gemm/keyed_sums.hpp"
#include "adr/gemm/keyed_tiles.hpp"
#include "adr/gemm/sparse_gradient.hpp"
#include "adr/gemm/sparse_tiles.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The scratch of keyed gradients, for one phase.
template <class T>
struct KeyedScratch {
  std::int32_t* places;  ///< books x vectors of the phase
  std::int32_t* starts;  ///< tiles x starts of a tile
  T* planes;             ///< per thread
  T* sums;               ///< per thread most_rows x sum_row
  T* values;             ///< per thread most_rows x most_elements
  T* ones;
  T* partials;  ///< parts x strips x partial_rows x sum_row
};

/// Calls take(pointer, count) for all arrays, in order.
template <class T, class Books, class Take>
void for_each_scratch(const KeyedPlan<T, Books>& plan, index_t books, int threads,
                      KeyedScratch<T>& scratch, const Take& take) {
  const SparseTiles& tiles = plan.tiles();
  const index_t lists = plan.lists() ? 1 : 0;
  take(scratch.places, checked_product("members", lists, books, tiles.map().rows()));
  take(scratch.starts, checked_product("lists of members", lists, tiles.count(), plan.starts()));
  take(scratch.planes, checked_product("planes", threads, plane_elements(tiles)));
  take(scratch.sums,
       checked_product("sums of clusters", threads, plan.most_rows(), plan.sum_row()));
  take(scratch.values,
       checked_product("clusters", threads, plan.most_rows(), plan.most_elements()));
  take(scratch.ones, k_member_run);
  take(scratch.partials, checked_product("partial sums", plan.parts(), tiles.strips(),
                                         plan.partial_rows(), plan.sum_row()));
}

/// The gradient with respect to the weights of the kernel offsets that one phase of vectors meets.
/// Call list, sum, store.
template <class T, class Books>
class KeyedPhase {
 public:
  KeyedPhase(const Books& books, const VectorPhase& phase, index_t channels, Context& context)
      : books_(books),
        phase_(phase),
        plan_(books, phase, channels),
        tiles_(plan_.tiles()),
        context_(context) {
    for_each_scratch(plan_, books.count(), context.threads(), scratch_,
                     [&](auto*& pointer, index_t count) {
                       using Element = std::remove_reference_t<decltype(*pointer)>;
                       pointer = context.workspace().template take<Element>(count);
                     });
  }

  /// Sorts the vectors of every tile by cluster.
  void list() const {
    if (!plan_.lists()) return;
    parallel_for(tiles_.count() * books_.count(), context_.threads(), [&](index_t task, int) {
      const index_t t = task / books_.count();
      const index_t b = task % books_.count();
      list_members(phase_, tiles_, tiles_.tile(t), books_.ids(b), books_.ids_below(b),
                   places(b, tiles_.tile(t)), starts(b, t));
    });
  }

  /// Adds up the output gradient per cluster and multiplies.
  void sum(const PixelView<const T>& d_output, const DenseGemm<T>& gemm,
           ThreadStageTimes& times) const {
    std::fill_n(scratch_.ones, k_member_run, T(1));
    const index_t tasks = plan_.groups() * tiles_.strips() * plan_.parts();
    parallel_for(tasks, context_.threads(), [&](index_t task, int thread) {
      StageClock clock(times.of(thread));
      const index_t part = task % plan_.parts();
      const index_t strip = task / plan_.parts() % tiles_.strips();
      const BookGroup group = plan_.group(task / plan_.parts() / tiles_.strips());
      const IndexRange range = partition(tiles_.count(), plan_.parts(), part);
      T* plane = scratch_.planes + thread * plane_elements(tiles_);
      T* sums = scratch_.sums + thread * plan_.most_rows() * plan_.sum_row();
      T* to = partial(part, strip, group);
      std::fill_n(to, group.elements() * plan_.sum_row(), T(0));
      std::fill_n(plane, plane_elements(tiles_), T(0));
      // More than one turn is for groups of one book, whose tile is the whole batch.
      for (index_t first = 0; first < group.most_ids; first += plan_.most_rows()) {
        std::fill_n(sums, std::min(group.ids - first, plan_.most_rows()) * plan_.sum_row(), T(0));
        for (index_t t = range.first; t < range.last; ++t) {
          const SparseTile tile = tiles_.tile(t);
          if (tiles_.bands() > 1) std::fill_n(plane, plane_elements(tiles_), T(0));
          if (first == 0) load_gradient_plane(d_output, tiles_, tile, strip, plane);
          T* next = sums;
          for (index_t b = group.first; b < group.last; ++b) {
            const index_t count = std::min(plan_.most_rows(), books_.ids_below(b) - first);
            if (plan_.lists()) {
              add_member_sums(tiles_, places(b, tile), starts(b, t) + first, count, scratch_.ones,
                              plane, next);
            } else {
              add_row_sums(phase_, tiles_, tile, books_.ids(b), plane, next);
            }
            next += count * plan_.sum_row();
          }
        }
        clock.finish(Stage::gradient_sums);
        multiply(group, first, sums, thread, gemm, to);
        clock.finish(Stage::weight_gradient);
      }
    });
  }

  /// Adds up the partial weight gradients and writes them where they belong.
  void store(const index_t* columns, const GemmResult<T>& d_weights) const {
    constexpr index_t k_block = 16;
    const index_t blocks = (books_.length() + k_block - 1) / k_block;
    parallel_for(tiles_.strips() * blocks, context_.threads(), [&](index_t task, int) {
      const index_t strip = task / blocks;
      const index_t first = task % blocks * k_block;
      const index_t last = std::min(books_.length(), first + k_block);
      for (index_t e = first; e < last; ++e) store_element(strip, e, columns, d_weights);
    });
  }

 private:
  [[nodiscard]] std::int32_t* places(index_t b, const SparseTile& tile) const noexcept {
    const VectorMap& map = tiles_.map();
    return scratch_.places + b * map.rows() + tile.first_image * map.out_size() +
           tile.first_row * map.out_width;
  }
  [[nodiscard]] std::int32_t* starts(index_t b, index_t t) const noexcept {
    std::int32_t* starts = scratch_.starts + t * plan_.starts();
    for (index_t before = 0; before < b; ++before) starts += books_.ids_below(before) + 1;
    return starts;
  }
  [[nodiscard]] T* partial(index_t part, index_t strip, const BookGroup& group) const noexcept {
    const index_t row = (part * tiles_.strips() + strip) * plan_.partial_rows() + group.first_row;
    return scratch_.partials + row * plan_.sum_row();
  }

  /// Adds the products of the clusters from `first` on with their sums to a partial gradient.
  void multiply(const BookGroup& group, index_t first, const T* sums, int thread,
                const DenseGemm<T>& gemm, T* to) const {
    const index_t cols = plan_.sum_row();
    T* scratch = scratch_.values + thread * plan_.most_rows() * plan_.most_elements();
    for (index_t b = group.first; b < group.last; ++b) {
      const index_t ids = std::min(plan_.most_rows(), books_.ids_below(b) - first);
      const index_t count = std::min(ids, books_.clusters(b) - first);
      if (count > 0) {
        gemm(transposed(books_.values(b, first, count, scratch)),
             as_is(MatrixView<const T>(sums, count, cols)), Update::accumulate,
             MatrixView<T>(to + (books_.first_element(b) - group.first_element) * cols,
                           books_.elements(b), cols));
      }
      sums += ids * cols;
    }
  }

  void store_element(index_t strip, index_t e, const index_t* columns,
                     const GemmResult<T>& d_weights) const noexcept {
    T* sum = nullptr;
    for (index_t g = 0; g < plan_.groups(); ++g) {
      const BookGroup group = plan_.group(g);
      if (e < group.first_element || e >= group.last_element) continue;
      for (index_t part = 0; part < plan_.parts(); ++part) {
        T* more = partial(part, strip, group) + (e - group.first_element) * plan_.sum_row();
        if (sum == nullptr) {
          sum = more;
        } else {
          simd::add(more, sum, plan_.sum_row());
        }
      }
    }
    const index_t first = strip * tiles_.strip();
    const index_t channels = strip_cols(tiles_, d_weights.cols(), strip);
    for (index_t o = 0; o < tiles_.map().offsets(); ++o) {
      const index_t column = columns[phase_.offset(o) * books_.length() + e];
      const T* from = sum + o * tiles_.strip();
      if (d_weights.transposed) {
        for (index_t m = 0; m < channels; ++m) d_weights.matrix(first + m, column) = from[m];
      } else {
        std::copy_n(from, channels, d_weights.matrix.row(column) + first);
      }
    }
  }

  const Books& books_;
  const VectorPhase& phase_;
  KeyedPlan<T, Books> plan_;
  const SparseTiles& tiles_;
  Context& context_;
  KeyedScratch<T> scratch_;
};

/// The phases run one after the other, so the largest one's scratch is enough.
template <class T, class Books>
std::size_t keyed_workspace_bytes(const Books& books, const VectorMap& map, index_t channels,
                                  int thread_count) {
  std::size_t most = 0;
  for (index_t p = 0; p < VectorPhase::count(map); ++p) {
    const VectorPhase phase(map, p);
    const KeyedPlan<T, Books> plan(books, phase, channels);
    KeyedScratch<T> scratch;
    WorkspaceSize size;
    for_each_scratch(plan, books.count(), thread_count, scratch,
                     [&](auto*& pointer, index_t count) {
                       using Element = std::remove_reference_t<decltype(*pointer)>;
                       size.add<Element>(count);
                     });
    most = std::max(most, size.bytes());
  }
  return most;
}

template <class T, class Books>
void keyed_gradient(const Books& books, const VectorMap& map, const index_t* columns,
                    const PixelView<const T>& d_output, const GemmResult<T>& d_weights,
                    const DenseGemm<T>& gemm, Context& context, StageTimes* times) {
  for (index_t p = 0; p < VectorPhase::count(map); ++p) {
    const VectorPhase phase(map, p);
    const Workspace::Frame frame(context.workspace());
    const KeyedPhase<T, Books> work(books, phase, d_output.channels, context);
    StageClock clock(times);
    work.list();
    clock.finish(Stage::gradient_sums);
    {
      ThreadStageTimes thread_times(times, context.threads());
      work.sum(d_output, gemm, thread_times);
    }
    StageClock store_clock(times);
    work.store(columns, d_weights);
    store_clock.finish(Stage::weight_gradient);
  }
}

}  // namespace detail

/// Bytes of scratch that keyed_weight_gradient takes.
///
/// Memory: 4 bytes per vector and book for lists of members (none where vectors are not shared);
/// per thread up to about 1 MB of sums and a plane of output gradients, padding included: a strip
/// of channels of 16 vectors per cluster, or of the whole batch where the sums of one book exceed 1
/// MB; and partial weight gradients, 4 or fewer per group of books whose sums make up 1 MB. Errors:
/// std::overflow_error, std::invalid_argument (absurd sizes).
template <class T>
std::size_t keyed_weight_gradient_workspace_bytes(const Decoder& decoder, const VectorMap& map,
                                                  index_t channels, int thread_count) {
  return detail::keyed_workspace_bytes<T>(detail::KeyedCodebooks<T>(decoder, nullptr), map,
                                          channels, thread_count);
}
template <class T>
std::size_t keyed_weight_gradient_workspace_bytes(const Clustering<T>& clustering,
                                                  const VectorMap& map, index_t channels,
                                                  int thread_count) {
  return detail::keyed_workspace_bytes<T>(detail::KeyedSlices<T>(clustering), map, channels,
                                          thread_count);
}

/// Computes the gradient with respect to the weights as if every vector were what its codes stand
/// for.
///
/// Math: d_weights[columns[o length + e], m] = sum over n of decoded(v(n, o))[e] d_output[n, m],
/// with v(n, o) the vector that output n meets at kernel offset o; padding gives nothing. By
/// linearity that is, over books b and their entries t, the entries transposed times G_b,o[t, m],
/// the sum of d_output[n, m] over the n with id_b(v(n, o)) = t. Shapes: columns map.offsets() *
/// length, each row of d_weights (K x M) once; overwritten; d_output map.rows() x M. Requires: at
/// least one book and output channel, every element in some book, codes of map.vectors() vectors,
/// scratch reserved, matching shapes (callers check). Cost: books * offsets * vectors * M additions
/// and as many multiply-adds as the products of all entries with all weights, four times that where
/// M fills one strip. Determinism: the same bits for any number of threads. Thread-safety: as
/// Context. Source: ICDE 2019 for sums per cluster; sharing across offsets is this library's.
template <class T>
void keyed_weight_gradient(const Decoder& decoder, const VectorCodes& codes, const VectorMap& map,
                           const index_t* columns, const PixelView<const T>& d_output,
                           const GemmResult<T>& d_weights, const DenseGemm<T>& gemm,
                           Context& context, StageTimes* times = nullptr) {
  detail::keyed_gradient(detail::KeyedCodebooks<T>(decoder, &codes), map, columns, d_output,
                         d_weights, gemm, context, times);
}

/// The same with the centroids of a clustering of map.vectors() vectors of `length` elements, any
/// number of clusters. Requires: at least one slice.
template <class T>
void keyed_weight_gradient(const Clustering<T>& clustering, const VectorMap& map,
                           const index_t* columns, const PixelView<const T>& d_output,
                           const GemmResult<T>& d_weights, const DenseGemm<T>& gemm,
                           Context& context, StageTimes* times = nullptr) {
  detail::keyed_gradient(detail::KeyedSlices<T>(clustering), map, columns, d_output, d_weights,
                         gemm, context, times);
}

ADR_NAMESPACE_END
