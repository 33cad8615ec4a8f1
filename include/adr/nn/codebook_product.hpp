// Products looked up in tables: codebooks that persist from batch to batch, and what is made of
// them and one weight matrix.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/cluster/clustering.hpp"
#include "adr/cluster/codebook.hpp"
#include "adr/cluster/codebook_state.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/keyed_gradient.hpp"
#include "adr/gemm/lookup_gemm.hpp"
#include "adr/gemm/product_tables.hpp"
#include "adr/gemm/shared_ids.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/refit_policy.hpp"
#include "adr/nn/weight_metric.hpp"
#include "adr/simd/lookup.hpp"

ADR_NAMESPACE_BEGIN

/// The product of neuron vectors with one weight matrix through codebooks and look-ups.
///
/// A forward pass encodes the batch, lets a small sample of it refine the entries and measure the
/// error, makes the tables if weights or entries have changed, and looks the products up. Memory:
/// a byte per vector and codebook, the tables, one copy of the weights. Thread-safety: none.
/// Source: this library.
template <class T>
class CodebookProduct {
 public:
  CodebookProduct(const VectorShape& vectors, index_t outputs, const ReuseConfig& config)
      : offsets_(vectors.offsets),
        outputs_(outputs),
        table_type_(config.table_type),
        refit_(config.refit_interval),
        codebook_(shape_of(vectors, config)) {}

  [[nodiscard]] const Codebook& codebook() const noexcept { return codebook_; }
  [[nodiscard]] const VectorCodes& codes() const noexcept { return codes_; }
  [[nodiscard]] const ProductTables& tables() const noexcept { return tables_; }

  /// No more fitting and refining: codebooks stay as they are. Requires: fitted codebooks.
  void freeze() {
    detail::require(codebook_.fitted(),
                    "freeze: there are no codebooks yet; run a forward pass or load some first");
    frozen_ = true;
  }
  void unfreeze() noexcept { frozen_ = false; }
  [[nodiscard]] bool frozen() const noexcept { return frozen_; }
  [[nodiscard]] bool fitted() const noexcept { return codebook_.fitted(); }

  /// The next forward pass fits anew, unless frozen.
  void clear() noexcept { refit_.demand(); }
  /// How often the last pass fitted, whatever it returned.
  [[nodiscard]] int fits_of_pass() const noexcept { return refit_.fits_of_pass(); }

  /// Writes what passes to come depend on, or reads it; see ProductState.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    if constexpr (Archive::k_reads) {
      read_codebook(archive.reader(), self.codebook_);
    } else {
      write_codebook(archive.writer(), self.codebook_);
    }
    RefitPolicy::exchange(archive, self.refit_);
    WeightMetric<T>::exchange(archive, self.metric_);
    archive.flag("tables are uint8", self.tables_are_uint8_);
    // Tables themselves follow from the rest, once their type has been decided on.
    bool decided = self.table_version_ == self.codebook_.version();
    archive.flag("table type is decided", decided);
    if constexpr (Archive::k_reads) {
      self.table_version_ = decided ? self.codebook_.version() : k_no_version;
    }
  }

  /// Bytes of scratch that a forward pass takes at most.
  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& /*map*/,
                                                    int thread_count) const {
    if (!codebook_.fitted()) return 0;
    const Decoder& decoder = codebook_.decoder();
    return std::max(
        {codebook_.encode_workspace_bytes(thread_count),
         ProductTables::build_workspace_bytes(decoder, offsets_, thread_count),
         lookup_forward_workspace_bytes<T>(offsets_ * decoder.book_count(), thread_count)});
  }

  /// Computes the output. Returns false, and writes nothing, where clusters cannot stand for the
  /// input because it is not finite. Shapes: vectors of the shape given, weights K x M. Errors:
  /// std::bad_alloc.
  template <class Vectors>
  bool forward(const Vectors& vectors, const GemmFactor<T>& weights, const index_t* columns,
               const VectorView<const T>& bias, const PixelView<T>& output,
               const DenseGemm<T>& /*gemm*/, Context& context, ReuseStats& stats,
               StageTimes* times) {
    StageClock clock(times);
    if (metric_.pack(weights, columns, context)) table_version_ = k_no_version;
    const bool due = refit_.begin_pass(codebook_.fitted(), frozen_);
    if (due && !fit(vectors, weights, columns, context)) return false;
    clock.finish(Stage::fit);
    SampledEnergy energy;
    if (!encode(vectors, context, energy, clock)) return false;
    if (!frozen_ && refit_.has_drifted(energy.relative_error(), codebook_.fit_error())) {
      if (!fit(vectors, weights, columns, context)) return false;
      clock.finish(Stage::fit);
      if (!encode(vectors, context, energy, clock)) return false;
    }
    make_tables(energy.relative_error(), context);
    clock.finish(Stage::tables);
    context.workspace().reserve(
        lookup_forward_workspace_bytes<T>(tables_.groups(), context.threads()));
    lookup_forward(codes_, shared_ids_, tables_, bias, output, context);
    clock.finish(Stage::lookup);
    note(vectors.map(), energy, stats);
    return true;
  }

  /// Bytes of scratch that weight_gradient takes.
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                            int thread_count) const {
    return keyed_weight_gradient_workspace_bytes<T>(codebook_.decoder(), map, outputs_,
                                                    thread_count);
  }
  /// Computes the gradient with respect to the weights as if the input were what the codes of the
  /// last forward pass decode to. Requires: scratch reserved.
  void weight_gradient(const VectorMap& map, const index_t* columns,
                       const PixelView<const T>& d_output, const GemmResult<T>& d_weights,
                       const DenseGemm<T>& gemm, Context& context, StageTimes* times) const {
    keyed_weight_gradient<T>(codebook_.decoder(), codes_, map, columns, d_output, d_weights, gemm,
                             context, times);
  }
  [[nodiscard]] double weight_gradient_multiply_adds(index_t rows) const noexcept {
    const Decoder& decoder = codebook_.decoder();
    const auto sums =
        static_cast<double>(rows) * static_cast<double>(offsets_ * decoder.book_count() * outputs_);
    return sums + table_multiply_adds();
  }

 private:
  static constexpr std::uint64_t k_no_version = ~std::uint64_t{0};

  static CodebookShape shape_of(const VectorShape& vectors, const ReuseConfig& config) {
    CodebookShape shape;
    shape.length = vectors.length;
    shape.group_length = config.group_length;
    shape.books = config.codebooks;
    shape.entries = config.codebook_size;
    shape.residual = config.quantizer == Quantizer::residual;
    shape.kept_coordinates = config.kept_coordinates;
    shape.reserves_padding = vectors.has_padding;
    shape.seed = config.seed;
    return shape;
  }

  template <class Vectors>
  bool fit(const Vectors& vectors, const GemmFactor<T>& weights, const index_t* columns,
           Context& context) {
    metric_.measure(weights, columns, codebook_.shape().length, context);
    if (!codebook_.fit(vectors, metric_.gram())) return false;
    refit_.note_fit();
    choose_tables();
    return true;
  }

  /// Smaller tables first; make_tables sees whether they are good enough.
  void choose_tables() noexcept {
    tables_are_uint8_ = table_type_ == TableType::uint8 ||
                        (table_type_ == TableType::automatic && simd::k_uint8_lookup_is_faster<>);
  }

  template <class Vectors>
  bool encode(const Vectors& vectors, Context& context, SampledEnergy& energy, StageClock& clock) {
    const VectorMap& map = vectors.map();
    const Decoder& decoder = codebook_.decoder();
    codes_.resize(map.vectors(), decoder.book_count(), SharedIds::margin(map));
    shared_ids_.prepare(map, decoder.padding_id());
    context.workspace().reserve(codebook_.encode_workspace_bytes(context.threads()));
    const bool finite = codebook_.encode(vectors, codes_, context);
    clock.finish(Stage::encode);
    if (!finite) return false;
    energy = codebook_.refine(vectors, codes_, !frozen_);
    if (!energy.is_finite()) return false;
    refit_.note_error(energy.relative_error(), codebook_.fit_error());
    clock.finish(Stage::refine);
    return true;
  }

  /// Makes the tables unless they are those of these entries and weights. With TableType::automatic
  /// they are of 8 bits as long as rounding adds little to the error of the clusters: up to an
  /// eighth, for which more books of 8 bits would take less time than as many of 16.
  void make_tables(double cluster_error, Context& context) {
    constexpr double k_small_share = 0.5;
    const bool decided = table_version_ == codebook_.version();
    if (decided && tables_.groups() > 0) return;
    build(context);
    const bool automatic = table_type_ == TableType::automatic;
    if (!decided && automatic && tables_are_uint8_ &&
        tables_.rounding_error() > k_small_share * cluster_error) {
      tables_are_uint8_ = false;
      build(context);
    }
    table_version_ = codebook_.version();
  }
  void build(Context& context) {
    const Decoder& decoder = codebook_.decoder();
    context.workspace().reserve(
        ProductTables::build_workspace_bytes(decoder, offsets_, context.threads()));
    tables_.build(decoder, metric_.packed(), outputs_, offsets_,
                  tables_are_uint8_ ? TableEntry::uint8 : TableEntry::int16, DenseGemm<float>(),
                  context);
  }

  [[nodiscard]] double table_multiply_adds() const noexcept {
    double elements = 0;
    for (const DecodingBook& book : codebook_.decoder().books) {
      elements += static_cast<double>(book.length);
    }
    return elements * static_cast<double>(codebook_.decoder().entry_count * offsets_ * outputs_);
  }

  void note(const VectorMap& map, const SampledEnergy& energy, ReuseStats& stats) const {
    const Decoder& decoder = codebook_.decoder();
    const auto vectors = static_cast<double>(map.vectors());
    const auto books = static_cast<double>(decoder.book_count());
    const auto clusters = static_cast<double>(decoder.cluster_entries());
    stats.neuron_vectors = vectors * books;
    stats.clusters = books * clusters;
    stats.total_energy = energy.total;
    stats.within_cluster_energy = energy.within_clusters;
    stats.remaining_ratio_per_slice.assign(decoder.books.size(),
                                           vectors > 0 ? clusters / vectors : 0.0);
    stats.table_rounding_error = tables_.rounding_error();
    double encoding = 0;
    for (const EncodingGroup& group : codebook_.groups()) {
      encoding += static_cast<double>(group.axes.length * group.axes.kept);
      for (const EncodingBook& book : group.books) {
        encoding += static_cast<double>(book.entries() * book.coordinates);
      }
    }
    stats.forward.multiply_adds_done =
        vectors * encoding + table_multiply_adds() +
        static_cast<double>(map.rows()) * static_cast<double>(tables_.groups() * outputs_);
  }

  index_t offsets_;
  index_t outputs_;
  TableType table_type_;
  RefitPolicy refit_;
  Codebook codebook_;
  VectorCodes codes_;
  SharedIds shared_ids_;
  WeightMetric<T> metric_;
  ProductTables tables_;
  bool tables_are_uint8_ = false;
  bool frozen_ = false;
  std::uint64_t table_version_ = k_no_version;
};

ADR_NAMESPACE_END
