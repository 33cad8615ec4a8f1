// Products in the leading principal coordinates of neuron vectors: what is not the pixels of a
// convolution of one group in floats.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/cluster/clustering.hpp"
#include "adr/cluster/subspace.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/subspace_gemm.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/refit_policy.hpp"
#include "adr/nn/weight_metric.hpp"

ADR_NAMESPACE_BEGIN

/// The product of neuron vectors with one weight matrix in a subspace that persists from batch to
/// batch. Memory: the coordinates of a batch, the rotated weights, one copy of the weights.
/// Thread-safety: none. Source: this library.
template <class T>
class SubspaceProduct {
 public:
  SubspaceProduct(const VectorShape& vectors, index_t outputs, const Plan& config)
      : outputs_(outputs),
        offsets_(vectors.offsets),
        refit_(config.refit_interval),
        subspace_({vectors.length,
                   {std::min(config.kept_coordinates, vectors.length), config.subspace_error},
                   config.seed}) {}

  /// No more fitting: the subspace stays as it is. Requires: a fitted subspace.
  void freeze() {
    detail::require(subspace_.fitted(),
                    "freeze: no subspace has been fitted yet; run a forward pass first");
    frozen_ = true;
    metric_.look_again();
  }
  void unfreeze() noexcept { frozen_ = false; }
  [[nodiscard]] bool frozen() const noexcept { return frozen_; }
  [[nodiscard]] bool fitted() const noexcept { return subspace_.fitted(); }
  /// The next forward pass fits anew, unless frozen.
  void clear() noexcept { refit_.demand(); }
  /// How often the last pass fitted, whatever it returned.
  [[nodiscard]] int fits_of_pass() const noexcept { return refit_.fits_of_pass(); }
  /// Writes what passes to come depend on, or reads it; see ProductState.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    FittedSubspace::exchange(archive, self.subspace_);
    RefitPolicy::exchange(archive, self.refit_);
  }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map, int thread_count) const {
    if (!subspace_.fitted()) return 0;
    return std::max(subspace_.project_workspace_bytes(thread_count),
                    subspace_forward_workspace_bytes(map, subspace_.basis().coordinates, outputs_,
                                                     thread_count));
  }

  /// Computes the output. Returns false, and writes nothing, where the input is not finite.
  template <class Vectors>
  bool forward(const Vectors& vectors, const GemmFactor<T>& weights, const index_t* columns,
               const VectorView<const T>& bias, const PixelView<T>& output,
               const DenseGemm<T>& gemm, Context& context, Report& stats, StageTimes* times) {
    StageClock clock(times);
    if (metric_.pack(weights, columns, context, frozen_)) rotated_version_ = k_no_version;
    const bool too_few = vectors.map().vectors() < subspace_.shape().length;
    if (refit_.begin_pass(subspace_.fitted(), frozen_ || (too_few && fitted())) &&
        !fit(vectors, weights, columns, context)) {
      return false;
    }
    clock.finish(Stage::fit);
    SampledEnergy energy;
    if (!project(vectors, context, energy, clock)) return false;
    if (!frozen_ && !too_few &&
        refit_.has_drifted(energy.relative_error(), subspace_.fit_error())) {
      if (!fit(vectors, weights, columns, context)) return false;
      clock.finish(Stage::fit);
      if (!project(vectors, context, energy, clock)) return false;
    }
    if (rotated_version_ != subspace_.version()) {
      rotate_weights(subspace_.basis(), metric_.packed(), float_gemm(gemm), context, rotated_);
      rotated_version_ = subspace_.version();
      clock.finish(Stage::rotate_weights);
    }
    context.workspace().reserve(forward_workspace_bytes(vectors.map(), context.threads()));
    subspace_forward(coordinates_, vectors.map(), rotated_, bias, output, float_gemm(gemm),
                     context);
    clock.finish(Stage::subspace_product);
    note(vectors.map(), energy, stats);
    return true;
  }

  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                            int thread_count) const {
    return subspace_weight_gradient_workspace_bytes(map, subspace_.basis(), outputs_, thread_count);
  }
  void weight_gradient(const VectorMap& map, const index_t* columns,
                       const PixelView<const T>& d_output, const GemmResult<T>& d_weights,
                       const DenseGemm<T>& gemm, Context& context, StageTimes* times) const {
    StageClock clock(times);
    subspace_weight_gradient(coordinates_, subspace_.basis(), map, columns, d_output, d_weights,
                             float_gemm(gemm), context);
    clock.finish(Stage::weight_gradient);
  }
  [[nodiscard]] double weight_gradient_multiply_adds(index_t rows) const noexcept {
    return products(static_cast<double>(rows + subspace_.basis().length));
  }

 private:
  static constexpr std::uint64_t k_no_version = ~std::uint64_t{0};

  /// Coordinates are floats whatever the element type: the user's product serves floats only.
  static const DenseGemm<float>& float_gemm(const DenseGemm<T>& gemm) {
    if constexpr (std::is_same_v<T, float>) {
      return gemm;
    } else {
      static const DenseGemm<float> eigen;
      return eigen;
    }
  }

  template <class Vectors>
  bool fit(const Vectors& vectors, const GemmFactor<T>& weights, const index_t* columns,
           Context& context) {
    metric_.measure(weights, columns, subspace_.shape().length, context);
    if (!subspace_.fit(vectors, metric_.gram())) return false;
    refit_.note_fit();
    return true;
  }

  template <class Vectors>
  bool project(const Vectors& vectors, Context& context, SampledEnergy& energy, StageClock& clock) {
    coordinates_.resize(vectors.map().vectors(), subspace_.basis().coordinates);
    context.workspace().reserve(subspace_.project_workspace_bytes(context.threads()));
    const bool finite = subspace_.project(vectors, coordinates_, context);
    clock.finish(Stage::encode);
    if (!finite) return false;
    energy = subspace_.measure(vectors);
    if (!energy.is_finite()) return false;
    refit_.note_error(energy.relative_error(), subspace_.fit_error());
    clock.finish(Stage::measure);
    return true;
  }

  /// Multiply-adds of that many rows of unfolded coordinates with the rotated weights.
  [[nodiscard]] double products(double rows) const noexcept {
    return rows * static_cast<double>(offsets_ * subspace_.basis().coordinates * outputs_);
  }

  void note(const VectorMap& map, const SampledEnergy& energy, Report& stats) const {
    // No vectors are clustered: every one keeps its own product.
    stats.neuron_vectors = static_cast<double>(map.vectors());
    stats.clusters = stats.neuron_vectors;
    stats.total_energy = energy.total;
    stats.within_cluster_energy = energy.within_clusters;
    stats.remaining_ratio_per_slice.push_back(1.0);
    stats.forward.multiply_adds_done =
        products(static_cast<double>(map.rows())) +
        static_cast<double>(map.vectors()) *
            static_cast<double>(subspace_.basis().length * subspace_.kept());
  }

  index_t outputs_;
  index_t offsets_;
  RefitPolicy refit_;
  FittedSubspace subspace_;
  WeightMetric<T> metric_;
  SubspaceCoordinates coordinates_;
  AlignedBuffer<float> rotated_;
  bool frozen_ = false;
  std::uint64_t rotated_version_ = k_no_version;
};

ADR_NAMESPACE_END
