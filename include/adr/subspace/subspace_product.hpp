// Products in the leading principal coordinates of neuron vectors: when the coordinates are
// learned, measured and learned anew, whatever multiplies them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"
#include "adr/subspace/convolved_coordinates.hpp"
#include "adr/subspace/fitted_subspace.hpp"
#include "adr/subspace/refit_policy.hpp"
#include "adr/subspace/unfolded_coordinates.hpp"
#include "adr/subspace/weight_metric.hpp"

ADR_NAMESPACE_BEGIN

/// The product of neuron vectors with one weight matrix in a subspace that persists from batch to
/// batch. Coordinates: what encodes a batch and multiplies it, UnfoldedCoordinates or
/// ConvolvedCoordinates. Memory: that of the coordinates, one copy of the weights. Thread-safety:
/// none. Source: this library.
template <class Domain, class Coordinates>
class SubspaceProduct final : public ReusingProduct<Domain> {
 public:
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;

  SubspaceProduct(const ProductShape& shape, const Plan& plan)
      : vectors_(shape.input),
        refit_(plan.refit_interval),
        subspace_({vectors_.length,
                   {std::min(plan.kept_coordinates, vectors_.length), plan.subspace_error},
                   plan.seed,
                   Coordinates::k_origin}),
        coordinates_(shape, plan) {}

  [[nodiscard]] bool fitted() const noexcept { return subspace_.fitted(); }
  [[nodiscard]] const FittedSubspace& subspace() const noexcept { return subspace_; }
  [[nodiscard]] const Coordinates& coordinates() const noexcept { return coordinates_; }

  bool forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, const PassTools<T>& tools) override {
    const auto vectors = input.vectors(vectors_.kind);
    map_ = vectors.map();
    const bool too_few = map_.vectors() < vectors_.length;
    if (!fitted() && (too_few || !learns_)) return false;
    StageClock clock(tools.times);
    const index_t* columns = vectors_.columns.data();
    if (metric_.pack(weights, columns, tools.context, frozen_)) coordinates_.weights_changed();
    const bool keeps = frozen_ || (too_few && fitted());
    if (refit_.begin_pass(fitted(), keeps) && !fit(vectors, weights, tools)) return false;
    clock.finish(Stage::fit);
    SampledEnergy energy;
    if (!measure(vectors, tools, energy, clock)) return false;
    if (!keeps && refit_.has_drifted(energy.relative_error(), subspace_.fit_error())) {
      if (!fit(vectors, weights, tools)) return false;
      clock.finish(Stage::fit);
      if (!measure(vectors, tools, energy, clock)) return false;
    }
    coordinates_.follow_weights(subspace_, metric_, tools, clock);
    if (!coordinates_.multiply(vectors, subspace_, bias, output.pixels(), tools, clock)) {
      return false;
    }
    note(energy, tools.report);
    return true;
  }

  /// The weight gradient alone.
  void backward(const BackwardOperands<Domain>& operands, const PassTools<T>& tools) override {
    ADR_ASSERT(operands.d_input == nullptr, "a subspace has no input gradient of its own");
    StageClock clock(tools.times);
    coordinates_.weight_gradient(operands.input.vectors(vectors_.kind), subspace_,
                                 vectors_.columns.data(), operands.d_output.pixels(),
                                 operands.d_weights, tools, clock);
    tools.report.weight_gradient.multiply_adds_done = weight_gradient_multiply_adds();
  }
  [[nodiscard]] double weight_gradient_multiply_adds() const override {
    return coordinates_.weight_gradient_multiply_adds(map_, subspace_.axes());
  }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map,
                                                    int thread_count) const override {
    return fitted() ? coordinates_.forward_workspace_bytes(map, subspace_, thread_count) : 0;
  }
  [[nodiscard]] std::size_t backward_workspace_bytes(const VectorMap& map, bool with_weights,
                                                     bool /*with_input*/,
                                                     int thread_count) const override {
    if (!fitted() || !with_weights) return 0;
    return coordinates_.weight_gradient_workspace_bytes(map, subspace_, thread_count);
  }

  [[nodiscard]] bool can_freeze() const noexcept override { return fitted(); }
  void freeze() override {
    detail::require(fitted(), "freeze: no subspace has been fitted yet; run a forward pass first");
    frozen_ = true;
    metric_.look_again();
  }
  [[nodiscard]] bool frozen() const noexcept override { return frozen_; }
  void set_learning(bool learns) override {
    learns_ = learns;
    if (learns) frozen_ = false;
    if (!learns && fitted()) freeze();
  }
  void clear() noexcept override { refit_.demand(); }
  void resize(const ProductShape& shape) override {
    vectors_ = shape.input;
    coordinates_.resize(shape, subspace_);
  }

  void exchange(StateArchive& archive) override {
    subspace_.exchange(archive);
    refit_.exchange(archive);
    if (fitted()) coordinates_.exchange(archive, subspace_);
    bool frozen = frozen_;
    archive("frozen", frozen);
    archive.require(!frozen || fitted(), "frozen must be 0 where nothing was learned, got 1");
    if (archive.is_reading() && frozen) freeze();
  }

 private:
  template <class Vectors>
  bool fit(const Vectors& vectors, const GemmFactor<T>& weights, const PassTools<T>& tools) {
    metric_.measure(weights, vectors_.columns.data(), vectors_.length, tools.context);
    if (!subspace_.fit(vectors, metric_.gram())) return false;
    refit_.note_fit();
    ++tools.report.fits;
    coordinates_.axes_changed(vectors, weights, subspace_, metric_, tools.context);
    return true;
  }

  /// Encodes, where that is done before products, and measures a sample. Returns whether all is
  /// finite.
  template <class Vectors>
  bool measure(const Vectors& vectors, const PassTools<T>& tools, SampledEnergy& energy,
               StageClock& clock) {
    if (!coordinates_.encode(vectors, subspace_, tools.context, clock)) return false;
    energy = subspace_.measure(vectors);
    if (energy.is_finite()) refit_.note_error(energy.relative_error(), subspace_.fit_error());
    clock.finish(Stage::measure);
    return energy.is_finite();
  }

  void note(const SampledEnergy& energy, Report& report) const {
    // No vectors are clustered: every one keeps its own product.
    report.neuron_vectors = static_cast<double>(map_.vectors());
    report.clusters = report.neuron_vectors;
    report.total_energy = energy.total;
    report.within_cluster_energy = energy.within_clusters;
    report.remaining_ratio_per_slice.push_back(1.0);
    report.forward.multiply_adds_done = coordinates_.forward_multiply_adds(map_, subspace_.axes());
  }

  VectorShape vectors_;
  VectorMap map_;
  RefitPolicy refit_;
  FittedSubspace subspace_;
  WeightMetric<T> metric_;
  Coordinates coordinates_;
  bool learns_ = true;
  bool frozen_ = false;
};

template <class Domain>
std::unique_ptr<ReusingProduct<Domain>> make_subspace_product(const ProductShape& shape,
                                                              const Plan& plan) {
  using T = typename Domain::Element;
  if constexpr (Domain::k_images && std::is_same_v<T, float>) {
    if (convolves_coordinates<Domain>(shape)) {
      return std::make_unique<SubspaceProduct<Domain, ConvolvedCoordinates>>(shape, plan);
    }
  }
  return std::make_unique<SubspaceProduct<Domain, UnfoldedCoordinates<T>>>(shape, plan);
}

ADR_NAMESPACE_END
