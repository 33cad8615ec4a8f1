// Clusters with a radius: rows that lie within a radius of another one share its product.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/clustered/coordinate_signs.hpp"
#include "adr/clustered/radius_clusters.hpp"
#include "adr/clustered/representative_gemm.hpp"
#include "adr/clustered/representative_gradient.hpp"
#include "adr/clustered/search_costs.hpp"
#include "adr/core/context.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_reuse.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/product/clustering.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"

ADR_NAMESPACE_BEGIN

/// The product of unfolded rows with one weight matrix, computed once for all rows, or slices of
/// rows, within a radius of a representative, and the weight gradient from the same clusters.
///
/// A representative is a row of the batch; what joins nobody is multiplied as it is. Where a sample
/// of the input promises less than a search costs, forward leaves the pass to the exact product.
/// Images are unfolded block by block, and clusters do not reach beyond a block of them. Memory: a
/// 32-bit integer per row and slice, until the next forward pass. Thread-safety: none. Source: this
/// library, after Ning et al., ICDE 2019.
template <class Domain>
class ClusteredProduct final : public ReusingProduct<Domain> {
 public:
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;

  /// look: whether a sample decides if clusters are looked for.
  ClusteredProduct(const ProductShape& shape, const Plan& plan,
                   exact::Look look = exact::Look::sampled)
      : shape_(shape), plan_(plan), look_(look) {
    const index_t length =
        plan.vector_length > 0 ? std::min(plan.vector_length, shape.columns) : shape.columns;
    const index_t count = blocks_of(shape.columns, length);
    clustering_.columns = shape.columns;
    clustering_.slices.resize(static_cast<std::size_t>(count));
    signs_.reserve(static_cast<std::size_t>(count));
    for (index_t s = 0; s < count; ++s) {
      SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
      slice.first_column = s * length;
      slice.length = std::min(length, shape.columns - slice.first_column);
      signs_.emplace_back(slice.length, plan.hash_count, plan.seed + static_cast<std::uint64_t>(s));
    }
  }

  bool forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, const PassTools<T>& tools) override {
    has_clusters_ = false;
    const auto rows = input.rows();
    in_place_ = rows.in_place();
    const index_t count = rows.rows();
    if (count == 0 || count > std::numeric_limits<std::int32_t>::max()) return false;
    StageClock clock(tools.times);
    Context& context = tools.context;
    if (!in_place_) context.workspace().reserve(unfolded_bytes(count, context.threads()));
    const Workspace::Frame frame(context.workspace());
    const index_t most = block_rows(count);
    T* unfolded = context.workspace().template take<T>(in_place_ ? 0 : most * shape_.columns);
    costs_ = SearchCosts::of<T>(shape_, count, slice_count(), in_place_);
    if (look_ == exact::Look::sampled && !promises(rows, unfolded, context)) return false;
    clock.finish(Stage::measure);
    begin(count);
    double squares = 0;
    for (index_t first = 0; first < count; first += most) {
      const MatrixView<const T> x =
          block(rows, first, std::min(most, count - first), unfolded, context);
      clock.finish(Stage::unfold);
      if (!cluster(x, first, context)) return false;
      clock.finish(Stage::cluster);
      squares += multiply(x, first, weights, bias, output.rows(), tools, clock);
    }
    finish(weights, squares, tools.report);
    return true;
  }

  /// The weight gradient alone.
  void backward(const BackwardOperands<Domain>& operands, const PassTools<T>& tools) override {
    ADR_ASSERT(operands.d_input == nullptr, "clusters with a radius have no input gradient");
    StageClock clock(tools.times);
    representative_weight_gradient(operands.input.rows(), clustering_, operands.d_output_rows,
                                   operands.d_weights, tools.gemm, tools.context);
    clock.finish(Stage::weight_gradient);
    tools.report.weight_gradient.multiply_adds_done = weight_gradient_multiply_adds();
  }
  [[nodiscard]] double weight_gradient_multiply_adds() const override {
    return additions() + representative_multiply_adds();
  }
  [[nodiscard]] bool reads_gradient_rows() const noexcept override { return true; }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map,
                                                    int thread_count) const override {
    const index_t count = map.rows();
    if (count == 0) return 0;
    if (!in_place_) return unfolded_bytes(count, thread_count);
    return std::max({sample_bytes(count), RadiusClusters<T>::workspace_bytes(count),
                     product_bytes(count, largest_table(), thread_count)});
  }
  [[nodiscard]] std::size_t backward_workspace_bytes(const VectorMap& /*map*/, bool with_weights,
                                                     bool /*with_input*/,
                                                     int thread_count) const override {
    return with_weights
               ? representative_gradient_workspace_bytes(clustering_, shape_.outputs, thread_count)
               : 0;
  }

  void set_learning(bool /*learns*/) override {}
  void clear() noexcept override {}
  void resize(const ProductShape& shape) override { shape_ = shape; }
  void exchange(StateArchive& /*archive*/) override {}

  void swap_clusters(Clustering<T>& clustering, bool& has_clusters) noexcept override {
    if (clustering.slices.empty()) copy_slices(clustering);
    std::swap(clustering_, clustering);
    std::swap(has_clusters_, has_clusters);
  }
  [[nodiscard]] const Clustering<T>* clusters() const noexcept override {
    return has_clusters_ ? &clustering_ : nullptr;
  }

 private:
  static constexpr index_t k_most_sampled = 1024;
  static constexpr index_t k_fewest_sampled = 16;

  [[nodiscard]] index_t slice_count() const noexcept {
    return static_cast<index_t>(clustering_.slices.size());
  }
  [[nodiscard]] index_t longest_slice() const noexcept { return clustering_.slices.front().length; }
  /// Rows that are clustered together: all of a matrix; of images what stays in a cache.
  [[nodiscard]] index_t block_rows(index_t count) const noexcept {
    return Domain::k_images ? std::min(count, detail::dense_block_rows(shape_.columns)) : count;
  }

  [[nodiscard]] std::size_t sample_bytes(index_t count) const {
    return scratch_bytes<SampleScratch>(std::min(count, k_most_sampled)) +
           RadiusClusters<T>::workspace_bytes(std::min(count, k_most_sampled));
  }
  [[nodiscard]] std::size_t product_bytes(index_t rows, index_t table, int threads) const {
    return scratch_bytes<detail::RepresentativeScratch<T>>(rows, table, longest_slice(),
                                                           shape_.outputs, threads);
  }
  /// Of a pass whose rows do not lie in place.
  [[nodiscard]] std::size_t unfolded_bytes(index_t count, int threads) const {
    const index_t most = block_rows(count);
    WorkspaceSize unfolded;
    unfolded.template take<T>(checked_product("unfolded rows", most, shape_.columns));
    return unfolded.bytes() + std::max({sample_bytes(most), RadiusClusters<T>::workspace_bytes(most),
                                        product_bytes(most, most, threads)});
  }

  struct SampleScratch {
    index_t* list;
    template <class Memory>
    SampleScratch(Memory& memory, index_t count) : list(memory.template take<index_t>(count)) {}
  };

  /// Whether a sample of the rows, of some neighbours here and there, promises more than the search
  /// costs.
  template <class Rows>
  bool promises(const Rows& rows, T* unfolded, Context& context) {
    constexpr double k_sampled_part = 0.005;
    constexpr index_t k_neighbours = 16;
    const double worth = costs_.break_even();
    const index_t all = rows.rows();
    const index_t affordable = static_cast<index_t>(
        std::min<double>(k_sampled_part * costs_.pass / costs_.sampled, k_most_sampled));
    const index_t count = std::min({all, affordable, block_rows(all)});
    if (worth >= 1 || count < k_fewest_sampled) return false;
    if (in_place_) context.workspace().reserve(sample_bytes(all));
    const Workspace::Frame frame(context.workspace());
    const SampleScratch scratch(context.workspace(), std::min(block_rows(all), k_most_sampled));
    const index_t runs = blocks_of(count, k_neighbours);
    for (index_t run = 0; run < runs; ++run) {
      const IndexRange range = partition(count, runs, run);
      const index_t first = partition(all, runs, run).first;
      for (index_t i = range.first; i < range.last; ++i) {
        scratch.list[i] = first + i - range.first;
      }
      if (in_place_) continue;
      rows.load(first, 0,
                MatrixView<T>(unfolded + range.first * shape_.columns, range.size(),
                              shape_.columns));
    }
    const MatrixView<const T> x = in_place_ ? rows.view(0, all, nullptr)
                                            : MatrixView<const T>(unfolded, count, shape_.columns);
    double share = 0;
    for (index_t s = 0; s < slice_count(); ++s) {
      const SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
      const ListedVectors<T> vectors = {columns_of(x, slice), count,
                                        in_place_ ? scratch.list : nullptr};
      signs(s).set_centres(count, [&](index_t i) { return vectors[i]; });
      RadiusClusters<T> search(vectors, signs(s), context);
      index_t joined = count - search.signature_count();
      if (joined > 0) {
        search.join(RadiusRule<T>(plan_.radius, slice.length));
        joined = 0;
        for (index_t i = 0; i < count; ++i) joined += search.representative()[i] != i ? 1 : 0;
      }
      share += estimated_share(all, count, joined) / static_cast<double>(slice_count());
    }
    return share > worth;
  }

  [[nodiscard]] CoordinateSigns<T>& signs(index_t s) noexcept {
    return signs_[static_cast<std::size_t>(s)];
  }
  static MatrixView<const T> columns_of(const MatrixView<const T>& x,
                                        const SliceClusters<T>& slice) noexcept {
    return x.block(0, slice.first_column, x.rows, slice.length);
  }

  /// Rows [first, first + count) one after the other.
  template <class Rows>
  MatrixView<const T> block(const Rows& rows, index_t first, index_t count, T* unfolded,
                            Context& context) const {
    if (in_place_) return rows.view(first, count, nullptr);
    constexpr index_t k_at_once = 64;
    const MatrixView<T> copy(unfolded, count, shape_.columns);
    const index_t pieces = blocks_of(count, k_at_once);
    parallel_for(pieces, context.threads(), [&](index_t piece, int) {
      const IndexRange range = partition(count, pieces, piece);
      rows.load(first + range.first, 0, copy.middle_rows(range.first, range.size()));
    });
    return copy;
  }

  void begin(index_t count) {
    clustering_.rows = 0;
    for (SliceClusters<T>& slice : clustering_.slices) {
      slice.cluster_count = 0;
      slice.ids.resize(count);
      slice.counts.resize(count);
      slice.first_members.resize(count);
      slice.total_energy = slice.within_cluster_energy = 0;
    }
    non_finite_ = 0;
  }

  /// Clusters a block of rows. Returns whether that is worth going on: where rows lie in place,
  /// nothing was written yet.
  bool cluster(const MatrixView<const T>& x, index_t first, Context& context) {
    if (in_place_) context.workspace().reserve(RadiusClusters<T>::workspace_bytes(x.rows));
    block_ids_.resize(slice_count());
    for (index_t s = 0; s < slice_count(); ++s) {
      SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
      const ListedVectors<T> vectors = {columns_of(x, slice), x.rows};
      signs(s).set_centres(x.rows, [&](index_t i) { return vectors[i]; });
      RadiusClusters<T> search(vectors, signs(s), context);
      const auto repeated = static_cast<double>(x.rows - search.signature_count());
      if (in_place_ && slice_count() == 1 && look_ == exact::Look::sampled &&
          repeated < costs_.break_even() * static_cast<double>(x.rows)) {
        return false;
      }
      search.join(RadiusRule<T>(plan_.radius, slice.length));
      block_ids_[s] = static_cast<std::int32_t>(slice.cluster_count);
      number(search, x.rows, first, slice);
    }
    return true;
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

  /// Clusters whose products are held at once, of a pass in one block.
  [[nodiscard]] index_t largest_table() const noexcept {
    index_t largest = 0;
    for (const SliceClusters<T>& slice : clustering_.slices) {
      largest = std::max(largest, slice.cluster_count);
    }
    return largest;
  }

  /// Computes a block of the output; returns the sum of its squares before the bias.
  template <class Rows>
  double multiply(const MatrixView<const T>& x, index_t first, const GemmFactor<T>& weights,
                  const VectorView<const T>& bias, const Rows& output, const PassTools<T>& tools,
                  StageClock& clock) {
    Context& context = tools.context;
    const int threads = context.threads();
    const index_t table_rows = in_place_ ? largest_table() : block_rows(x.rows);
    if (in_place_) context.workspace().reserve(product_bytes(x.rows, table_rows, threads));
    const Workspace::Frame frame(context.workspace());
    const detail::RepresentativeScratch<T> scratch(context.workspace(), x.rows, table_rows,
                                                   longest_slice(), shape_.outputs, threads);
    double squares = 0;
    for (index_t s = 0; s < slice_count(); ++s) {
      SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
      const std::int32_t first_id = block_ids_[s];
      const index_t count = slice.cluster_count - first_id;
      multiply_representatives(columns_of(x, slice), first, slice.first_members.data() + first_id,
                               count, weights.middle_rows(slice.first_column, slice.length),
                               tools.gemm, scratch, threads);
      for (index_t c = 0; c < count; ++c) {
        const auto norm = static_cast<double>(scratch.norms[c]);
        if (std::isfinite(norm)) {
          slice.total_energy += norm;
        } else {
          ++non_finite_;
        }
      }
      clock.finish(Stage::centroid_product);
      squares = scatter_products<T>(slice.ids.data() + first, first_id, first, x.rows,
                                 MatrixView<const T>(scratch.table, count, shape_.outputs),
                                 {s == 0, s == slice_count() - 1}, bias, output, scratch, threads);
      clock.finish(Stage::gather);
    }
    return squares;
  }

  void finish(const GemmFactor<T>& weights, double squares, Report& report) {
    clustering_.rows = clustering_.slices.front().ids.size();
    has_clusters_ = true;
    const auto rows = static_cast<double>(clustering_.rows);
    double within = 0;
    for (SliceClusters<T>& slice : clustering_.slices) {
      slice.counts.resize(slice.cluster_count);
      slice.first_members.resize(slice.cluster_count);
      report.clusters += static_cast<double>(slice.cluster_count);
      report.total_energy += slice.total_energy;
      report.within_cluster_energy += slice.within_cluster_energy;
      report.remaining_ratio_per_slice.push_back(static_cast<double>(slice.cluster_count) / rows);
      within += slice.within_cluster_energy;
    }
    report.neuron_vectors = rows * static_cast<double>(slice_count());
    report.non_finite_vectors = static_cast<double>(non_finite_);
    double weight_squares = 0;
    const MatrixView<const T>& w = weights.matrix;
    for (index_t i = 0; i < w.rows; ++i) {
      weight_squares += static_cast<double>(simd::dot(w.row(i), w.row(i), w.cols));
    }
    report.bounded_error_energy = within * weight_squares;
    report.output_energy = squares;
    report.forward.multiply_adds_done = rows * static_cast<double>(shape_.columns) + additions() +
                                        representative_multiply_adds();
  }

  /// Of products to results, or of output gradients.
  [[nodiscard]] double additions() const noexcept {
    return static_cast<double>(clustering_.rows) * static_cast<double>(slice_count()) *
           static_cast<double>(shape_.outputs);
  }
  [[nodiscard]] double representative_multiply_adds() const noexcept {
    double elements = 0;
    for (const SliceClusters<T>& slice : clustering_.slices) {
      elements += static_cast<double>(slice.cluster_count) * static_cast<double>(slice.length);
    }
    return elements * static_cast<double>(shape_.outputs);
  }

  /// Gives a clustering that holds nothing yet the slices of this product.
  void copy_slices(Clustering<T>& clustering) const {
    clustering.columns = clustering_.columns;
    clustering.slices.resize(clustering_.slices.size());
    for (std::size_t s = 0; s < clustering.slices.size(); ++s) {
      clustering.slices[s].first_column = clustering_.slices[s].first_column;
      clustering.slices[s].length = clustering_.slices[s].length;
    }
  }

  ProductShape shape_;
  Plan plan_;
  exact::Look look_;
  std::vector<CoordinateSigns<T>> signs_;
  Clustering<T> clustering_;
  bool has_clusters_ = false;
  bool in_place_ = true;
  SearchCosts costs_;
  AlignedBuffer<std::int32_t> block_ids_;  ///< the first cluster of the block, by slice
  index_t non_finite_ = 0;
};

ADR_NAMESPACE_END
