// What one product has learned and counted, for one setting: made anew with every setting, and what
// a state file keeps.
#pragma once

#include <optional>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/output_error_meter.hpp"
#include "adr/nn/product_gradients.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/reuse_product.hpp"
#include "adr/nn/shared_product.hpp"

ADR_NAMESPACE_BEGIN

/// The parts that a product works with. Thread-safety: none. Source: this library.
template <class Domain>
struct ProductState {
  using T = typename Domain::Element;

  ReuseProduct<T> rows;  ///< the published method, and the dense product for the others
  std::optional<SharedProduct<Domain>> shared;  ///< the method over shared neuron vectors
  ProductGradients<Domain> gradients;
  OutputErrorMeter meter;

  /// Nothing is learned yet. Errors: std::invalid_argument when the config does not fit the shape.
  ProductState(const ProductShape& shape, const Plan& config, const DenseGemm<T>& gemm)
      : rows(shape.columns, shape.outputs, by_rows(config)),
        shared(learns(config) ? std::optional<SharedProduct<Domain>>(std::in_place, shape, config)
                              : std::nullopt),
        gradients(config) {
    rows.set_dense_gemm(gemm);
  }

  /// Takes over what does not depend on the setting.
  void continue_from(const ProductState& other) noexcept {
    gradients.set_costs(other.gradients.costs());
    meter = other.meter;
  }

  /// Forgets what earlier batches left behind; a subspace is fitted anew in the next pass.
  void clear() noexcept {
    rows.clear_cache();
    if (shared) shared->clear();
    gradients.clear();
  }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return !shared || shared->fitted(); }
  [[nodiscard]] bool frozen() const noexcept { return shared && shared->frozen(); }

  /// Writes everything that passes to come depend on, besides shape, setting and operands, or reads
  /// it (core/state_fields.hpp). The clusters of the last forward pass are left out. Requires: to
  /// read, a state that has learned nothing, which an error leaves unusable. Errors: those of the
  /// archive.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    OutputErrorMeter::exchange(archive, self.meter);
    ReuseProduct<T>::exchange(archive, self.rows);
    if (self.shared) SharedProduct<Domain>::exchange(archive, *self.shared);
    ProductGradients<Domain>::exchange(archive, self.gradients);
  }

 private:
  static bool learns(const Plan& config) noexcept { return config.method == Method::subspace; }

  /// The setting of the product on rows. What the published method does not have, it is never asked
  /// for.
  static Plan by_rows(Plan config) noexcept {
    if (learns(config)) config.method = Method::dense;
    const bool exact = config.input_gradient == InputGradient::exact ||
                       config.input_gradient == InputGradient::cheapest_exact;
    config.input_gradient = exact ? InputGradient::exact : InputGradient::cluster_mean;
    if (config.weight_gradient == WeightGradient::cheapest_exact) {
      config.weight_gradient = WeightGradient::exact;
    }
    return config;
  }
};

ADR_NAMESPACE_END
