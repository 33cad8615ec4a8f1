// Products gathered from wide tables: neuron vectors clustered by a grid along their principal
// axes, for cluster counts beyond what codebooks hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/cluster/cluster_rows.hpp"
#include "adr/cluster/clustering.hpp"
#include "adr/cluster/principal_hash.hpp"
#include "adr/cluster/vector_sample.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/keyed_gradient.hpp"
#include "adr/gemm/shared_centroid_gemm.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/refit_policy.hpp"
#include "adr/nn/weight_metric.hpp"

ADR_NAMESPACE_BEGIN

/// The product of neuron vectors with one weight matrix through the centroids of a fitted grid.
///
/// The grid persists from batch to batch; centroids are those of the batch. Memory: see Clustering.
/// Thread-safety: none. Source: ICDE 2019 with fitted planes instead of random ones; this library.
template <class T>
class PrincipalProduct {
 public:
  PrincipalProduct(const VectorShape& vectors, index_t outputs, const ReuseConfig& config)
      : outputs_(outputs),
        offsets_(vectors.offsets),
        seed_(config.seed),
        refit_(config.refit_interval),
        hash_(vectors.length, config.group_length, config.hash_count) {}

  [[nodiscard]] const Clustering<T>& clustering() const noexcept { return clustering_; }
  [[nodiscard]] const PrincipalHash<T>& hash() const noexcept { return hash_; }

  /// See CodebookProduct, here and below.
  void freeze() {
    detail::require(fitted_, "freeze: no grid has been fitted yet; run a forward pass first");
    frozen_ = true;
  }
  void unfreeze() noexcept { frozen_ = false; }
  [[nodiscard]] bool frozen() const noexcept { return frozen_; }
  [[nodiscard]] bool fitted() const noexcept { return fitted_; }
  void clear() noexcept { refit_.demand(); }
  [[nodiscard]] int fits_of_pass() const noexcept { return refit_.fits_of_pass(); }
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    archive.flag("fitted", self.fitted_);
    if (self.fitted_) PrincipalHash<T>::exchange(archive, self.hash_);
    RefitPolicy::exchange(archive, self.refit_);
  }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map, int thread_count) const {
    return std::max(
        RowClusterer<T>::workspace_bytes(hash_, thread_count),
        shared_centroid_forward_workspace_bytes(clustering_, map, outputs_, thread_count));
  }

  /// Computes the output. Returns false, and writes nothing, where the input is not finite.
  template <class Vectors>
  bool forward(const Vectors& vectors, const GemmFactor<T>& weights, const index_t* columns,
               const VectorView<const T>& bias, const PixelView<T>& output,
               const DenseGemm<T>& gemm, Context& context, ReuseStats& stats, StageTimes* times) {
    StageClock clock(times);
    if (refit_.begin_pass(fitted_, frozen_) && !fit(vectors, weights, columns, context)) {
      return false;
    }
    clock.finish(Stage::fit);
    context.workspace().reserve(RowClusterer<T>::workspace_bytes(hash_, context.threads()));
    clusterer_.cluster(vectors, hash_, context, clustering_, times);
    if (clustering_.non_finite_vectors() > 0) return false;
    context.workspace().reserve(forward_workspace_bytes(vectors.map(), context.threads()));
    shared_centroid_forward(clustering_, vectors.map(), columns, weights, bias, output, gemm,
                            context, times);
    note(vectors.map(), stats);
    return true;
  }

  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                            int thread_count) const {
    return keyed_weight_gradient_workspace_bytes<T>(clustering_, map, outputs_, thread_count);
  }
  void weight_gradient(const VectorMap& map, const index_t* columns,
                       const PixelView<const T>& d_output, const GemmResult<T>& d_weights,
                       const DenseGemm<T>& gemm, Context& context, StageTimes* times) const {
    keyed_weight_gradient<T>(clustering_, map, columns, d_output, d_weights, gemm, context, times);
  }
  [[nodiscard]] double weight_gradient_multiply_adds(index_t rows) const noexcept {
    return additions(rows) + centroid_multiply_adds();
  }

 private:
  static constexpr index_t k_fit_sample = 8192;

  template <class Vectors>
  bool fit(const Vectors& vectors, const GemmFactor<T>& weights, const index_t* columns,
           Context& context) {
    AlignedBuffer<float> sample;
    const index_t rows = load_finite_sample(vectors, k_fit_sample, seed_, sample);
    if (rows == 0) return false;
    metric_.measure(weights, columns, hash_.columns(), context);
    const MatrixView<const float> x(sample.data(), rows, hash_.columns(),
                                    simd::padded(hash_.columns()));
    if (!hash_.fit(x, metric_.gram())) return false;
    fitted_ = true;
    refit_.note_fit();
    return true;
  }

  [[nodiscard]] double additions(index_t rows) const noexcept {
    return static_cast<double>(rows) *
           static_cast<double>(static_cast<index_t>(clustering_.slices.size()) * offsets_ *
                               outputs_);
  }
  [[nodiscard]] double centroid_multiply_adds() const noexcept {
    double elements = 0;
    for (const SliceClusters<T>& slice : clustering_.slices) {
      elements += static_cast<double>(slice.cluster_count) * static_cast<double>(slice.length);
    }
    return elements * static_cast<double>(offsets_ * outputs_);
  }

  void note(const VectorMap& map, ReuseStats& stats) const {
    const auto vectors = static_cast<double>(map.vectors());
    stats.neuron_vectors = vectors * static_cast<double>(clustering_.slices.size());
    for (const SliceClusters<T>& slice : clustering_.slices) {
      stats.clusters += static_cast<double>(slice.cluster_count);
      stats.total_energy += slice.total_energy;
      stats.within_cluster_energy += slice.within_cluster_energy;
      stats.remaining_ratio_per_slice.push_back(
          vectors > 0 ? static_cast<double>(slice.cluster_count) / vectors : 0.0);
    }
    stats.forward.multiply_adds_done =
        vectors * static_cast<double>(hash_.columns() * (hash_.hash_count() + 1)) +
        centroid_multiply_adds() + additions(map.rows());
  }

  index_t outputs_;
  index_t offsets_;
  std::uint64_t seed_;
  RefitPolicy refit_;
  PrincipalHash<T> hash_;
  WeightMetric<T> metric_;
  RowClusterer<T> clusterer_;
  Clustering<T> clustering_;
  bool fitted_ = false;
  bool frozen_ = false;
};

ADR_NAMESPACE_END
