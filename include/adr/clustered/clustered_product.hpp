// Clusters with a radius: rows that lie within a radius of another one share its product.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/clustered/kept_representatives.hpp"
#include "adr/clustered/representative_gemm.hpp"
#include "adr/clustered/representative_gradient.hpp"
#include "adr/clustered/row_clusters.hpp"
#include "adr/clustered/search_costs.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/random.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
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
/// Images are unfolded block by block, and clusters do not reach beyond a block of them. Memory:
/// that of RowClusters, until the next forward pass. Thread-safety: none. Source: this library,
/// after Ning et al., ICDE 2019.
template <class Domain>
class ClusteredProduct final : public ReusingProduct<Domain> {
 public:
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;

  /// look: whether a sample decides if clusters are looked for.
  ClusteredProduct(const ProductShape& shape, const Plan& plan,
                   exact::Look look = exact::Look::sampled)
      : shape_(shape),
        look_(look),
        seed_(plan.seed),
        rows_(shape.columns, shape.outputs,
              {plan.vector_length, plan.hash_count, plan.radius, plan.seed,
               plan.cluster_reuse ? plan.cluster_cache_limit : 0}) {}

  bool forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, const PassTools<T>& tools) override {
    has_clusters_ = false;
    const auto rows = input.rows();
    const index_t count = rows.rows();
    if (count == 0 || count > std::numeric_limits<std::int32_t>::max()) return false;
    rows_.prepare();
    in_place_ = rows.in_place();
    const bool exact_copies = output.rows().in_place() && !tools.gemm.is_users_own();
    costs_ = SearchCosts::of<T>(shape_, count, rows_.slice_count(), in_place_, exact_copies);
    StageClock clock(tools.times);
    Context& context = tools.context;
    if (!in_place_) context.workspace().reserve(unfolded_bytes(count, context.threads()));
    const Workspace::Frame frame(context.workspace());
    const index_t most = block_rows(count);
    T* unfolded = context.workspace().template take<T>(in_place_ ? 0 : most * shape_.columns);
    const bool sampled = look_ == exact::Look::sampled;
    if (sampled && !promises(rows, unfolded, context)) return false;
    clock.finish(Stage::measure);
    rows_.begin(count);
    if (rows_.keeps()) version_ = fingerprint(weights);
    // Nothing is written before the one block of rows in place is clustered.
    const double worth = sampled && in_place_ ? costs_.break_even() : 0;
    Totals totals;
    for (index_t first = 0; first < count; first += most) {
      const MatrixView<const T> x =
          block(rows, first, std::min(most, count - first), unfolded, context);
      clock.finish(Stage::unfold);
      if (in_place_) context.workspace().reserve(rows_.workspace_bytes(count));
      if (!rows_.cluster(x, first, worth, context)) return false;
      clock.finish(Stage::cluster);
      multiply(x, first, weights, bias, output.rows(), tools, clock, totals);
    }
    rows_.end();
    has_clusters_ = true;
    note(weights, totals, tools.report);
    return true;
  }

  /// The weight gradient alone.
  void backward(const BackwardOperands<Domain>& operands, const PassTools<T>& tools) override {
    ADR_ASSERT(operands.d_input == nullptr, "clusters with a radius have no input gradient");
    StageClock clock(tools.times);
    representative_weight_gradient(operands.input.rows(), rows_.clustering(),
                                   operands.d_output_rows, operands.d_weights, tools.gemm,
                                   tools.context);
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
    return std::max({rows_.sample_bytes(count), rows_.workspace_bytes(count),
                     product_bytes(count, rows_.most_clusters(), thread_count)});
  }
  [[nodiscard]] std::size_t backward_workspace_bytes(const VectorMap& /*map*/, bool with_weights,
                                                     bool /*with_input*/,
                                                     int thread_count) const override {
    return with_weights ? representative_gradient_workspace_bytes(rows_.clustering(),
                                                                  shape_.outputs, thread_count)
                        : 0;
  }

  void set_learning(bool learns) override { learns_ = learns; }
  /// The kept representatives.
  void clear() noexcept override {
    for (index_t s = 0; s < rows_.slice_count(); ++s) rows_.kept(s).clear();
  }
  void resize(const ProductShape& shape) override { shape_ = shape; }
  void exchange(StateArchive& archive) override {
    if (!rows_.keeps()) return;
    for (index_t s = 0; s < rows_.slice_count(); ++s) rows_.kept(s).exchange(archive);
  }

  void swap_clusters(Clustering<T>& clustering, bool& has_clusters) noexcept override {
    rows_.swap(clustering);
    std::swap(has_clusters_, has_clusters);
  }
  [[nodiscard]] const Clustering<T>* clusters() const noexcept override {
    return has_clusters_ ? &rows_.clustering() : nullptr;
  }

 private:
  /// What adds up over the blocks of a pass.
  struct Totals {
    double output_energy = 0;
    index_t non_finite = 0;
    index_t reused = 0;        ///< products of earlier batches
    double multiply_adds = 0;  ///< of representatives
  };

  /// Rows that are clustered together: all of a matrix; of images what stays in a cache.
  [[nodiscard]] index_t block_rows(index_t count) const noexcept {
    return Domain::k_images ? std::min(count, detail::dense_block_rows(shape_.columns)) : count;
  }
  [[nodiscard]] std::size_t product_bytes(index_t rows, index_t table, int threads) const {
    return scratch_bytes<detail::RepresentativeScratch<T>>(rows, table, rows_.longest_slice(),
                                                           shape_.outputs, rows_.keeps(), threads);
  }
  /// Of a pass whose rows do not lie in place.
  [[nodiscard]] std::size_t unfolded_bytes(index_t count, int threads) const {
    const index_t most = block_rows(count);
    WorkspaceSize unfolded;
    unfolded.template take<T>(checked_product("unfolded rows", most, shape_.columns));
    return unfolded.bytes() + std::max({rows_.sample_bytes(most), rows_.workspace_bytes(most),
                                        product_bytes(most, most, threads)});
  }

  /// Whether a sample of the rows promises more than the search costs: rows here and there, of
  /// images some neighbours, since clusters do not reach far there.
  template <class Rows>
  bool promises(const Rows& rows, T* unfolded, Context& context) {
    constexpr double k_sampled_part = 0.01;
    constexpr index_t k_neighbours = Domain::k_images ? 16 : 1;
    constexpr index_t k_fewest = 16;
    const index_t all = rows.rows();
    const auto affordable = static_cast<index_t>(std::min<double>(
        k_sampled_part * costs_.pass / costs_.sampled, RowClusters<T>::k_most_sampled));
    const index_t count = std::min(affordable, block_rows(all));
    if (costs_.break_even() >= 1 || count < k_fewest) return false;
    std::array<index_t, static_cast<std::size_t>(RowClusters<T>::k_most_sampled)> list;
    const index_t runs = blocks_of(count, k_neighbours);
    Random random(seed_);
    for (index_t run = 0; run < runs; ++run) {
      const IndexRange range = partition(count, runs, run);
      const IndexRange part = partition(all, runs, run);
      const index_t first = part.first + random.below(part.size() - range.size() + 1);
      for (index_t i = range.first; i < range.last; ++i) {
        list[static_cast<std::size_t>(i)] = first + i - range.first;
      }
      if (in_place_) continue;
      T* copy = unfolded + range.first * shape_.columns;
      rows.load(first, 0, MatrixView<T>(copy, range.size(), shape_.columns));
    }
    if (in_place_) context.workspace().reserve(rows_.sample_bytes(all));
    const MatrixView<const T> x = in_place_ ? rows.view(0, all, nullptr)
                                            : MatrixView<const T>(unfolded, count, shape_.columns);
    return costs_.pays(rows_.sampled_share(x, in_place_ ? list.data() : nullptr, count,
                                           Domain::k_images ? count : all, context));
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

  /// Computes a block of the output.
  template <class Rows>
  void multiply(const MatrixView<const T>& x, index_t first, const GemmFactor<T>& weights,
                const VectorView<const T>& bias, const Rows& output, const PassTools<T>& tools,
                StageClock& clock, Totals& totals) {
    Context& context = tools.context;
    const int threads = context.threads();
    const index_t table_rows = in_place_ ? rows_.most_clusters() : block_rows(x.rows);
    if (in_place_) context.workspace().reserve(product_bytes(x.rows, table_rows, threads));
    const Workspace::Frame frame(context.workspace());
    const detail::RepresentativeScratch<T> scratch(context.workspace(), x.rows, table_rows,
                                                   rows_.longest_slice(), shape_.outputs,
                                                   rows_.keeps(), threads);
    const index_t slices = rows_.slice_count();
    for (index_t s = 0; s < slices; ++s) {
      SliceClusters<T>& slice = rows_.slice(s);
      const std::int32_t first_id = rows_.first_id(s);
      const index_t count = slice.cluster_count - first_id;
      const index_t computed =
          multiply_slice(x, first, s, count, weights, tools.gemm, scratch, threads);
      totals.reused += count - computed;
      totals.multiply_adds += static_cast<double>(computed) * static_cast<double>(slice.length) *
                              static_cast<double>(shape_.outputs);
      for (index_t c = 0; c < count; ++c) {
        if (rows_.sources(s)[c] < 0) continue;  // no vector of this batch
        const auto norm = static_cast<double>(scratch.norms[c]);
        slice.total_energy += std::isfinite(norm) ? norm : 0.0;
        totals.non_finite += std::isfinite(norm) ? 0 : 1;
      }
      clock.finish(Stage::centroid_product);
      totals.output_energy +=
          scatter_products<T>(slice.ids.data() + first, first_id, first, x.rows,
                              MatrixView<const T>(scratch.table, count, shape_.outputs),
                              {s == 0, s == slices - 1}, bias, output, scratch, threads);
      clock.finish(Stage::gather);
    }
  }

  /// Fills the table of a slice; returns how many products were computed, and not kept before.
  index_t multiply_slice(const MatrixView<const T>& x, index_t first, index_t s, index_t count,
                         const GemmFactor<T>& weights, const DenseGemm<T>& gemm,
                         const detail::RepresentativeScratch<T>& scratch, int threads) {
    const SliceClusters<T>& slice = rows_.slice(s);
    const MatrixView<const T> columns = RowClusters<T>::columns_of(x, slice);
    KeptRepresentatives<T>& kept = rows_.kept(s);
    const index_t* sources = rows_.sources(s);
    const MatrixView<const T> kept_vectors = kept.vectors();
    const auto vector = [&](index_t c) {
      return sources[c] < 0 ? kept_vectors.row(-1 - sources[c]) : columns.row(sources[c] - first);
    };
    const auto of_slice = weights.middle_rows(slice.first_column, slice.length);
    if (!rows_.keeps()) {
      multiply_representatives(vector, nullptr, count, of_slice, gemm, scratch, threads);
      return count;
    }
    const index_t outputs = shape_.outputs;
    computed_.clear();
    for (index_t c = 0; c < count; ++c) {
      const T* known = sources[c] < 0 ? kept.product(-1 - sources[c], version_) : nullptr;
      if (known != nullptr) {
        std::copy_n(known, outputs, scratch.table + c * outputs);
      } else {
        computed_.resize(computed_.size() + 1);
        computed_[computed_.size() - 1] = c;
      }
    }
    multiply_representatives(vector, computed_.data(), computed_.size(), of_slice, gemm, scratch,
                             threads);
    for (index_t i = 0; i < computed_.size(); ++i) {
      const index_t c = computed_[i];
      const T* product = scratch.table + c * outputs;
      if (sources[c] < 0) {
        kept.set_product(-1 - sources[c], version_, product);
      } else if (learns_) {
        kept.keep(columns.row(sources[c] - first), scratch.norms[c], version_, product);
      }
    }
    return computed_.size();
  }

  void note(const GemmFactor<T>& weights, const Totals& totals, Report& report) const {
    const auto rows = static_cast<double>(rows_.clustering().rows);
    double within = 0;
    for (const SliceClusters<T>& slice : rows_.clustering().slices) {
      report.clusters += static_cast<double>(slice.cluster_count);
      report.total_energy += slice.total_energy;
      within += slice.within_cluster_energy;
      report.remaining_ratio_per_slice.push_back(static_cast<double>(slice.cluster_count) / rows);
    }
    report.within_cluster_energy += within;
    report.neuron_vectors = rows * static_cast<double>(rows_.slice_count());
    report.non_finite_vectors = static_cast<double>(totals.non_finite);
    report.known_vectors = static_cast<double>(rows_.known_vectors());
    report.reused_products = static_cast<double>(totals.reused);
    report.bounded_error_energy = within * detail::squared_norm(weights.matrix);
    report.output_energy = totals.output_energy;
    report.forward.multiply_adds_done =
        rows * static_cast<double>(shape_.columns) + additions() + totals.multiply_adds;
  }

  /// Of products to results, or of output gradients.
  [[nodiscard]] double additions() const noexcept {
    return static_cast<double>(rows_.clustering().rows) * static_cast<double>(rows_.slice_count()) *
           static_cast<double>(shape_.outputs);
  }
  [[nodiscard]] double representative_multiply_adds() const noexcept {
    double elements = 0;
    for (const SliceClusters<T>& slice : rows_.clustering().slices) {
      elements += static_cast<double>(slice.cluster_count) * static_cast<double>(slice.length);
    }
    return elements * static_cast<double>(shape_.outputs);
  }

  ProductShape shape_;
  exact::Look look_;
  std::uint64_t seed_;
  RowClusters<T> rows_;
  SearchCosts costs_;
  AlignedBuffer<index_t> computed_;  ///< clusters whose products are
  std::uint64_t version_ = 0;        ///< of the weights
  bool learns_ = true;
  bool has_clusters_ = false;
  bool in_place_ = true;
};

ADR_NAMESPACE_END
