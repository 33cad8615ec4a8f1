// What one product has learned and counted, for one setting: made anew with every setting, and what
// a state file keeps.
#pragma once

#include <memory>

#include "adr/adapt/plan.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/gradients/product_gradients.hpp"
#include "adr/nn/output_error_meter.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"

ADR_NAMESPACE_BEGIN

/// The parts that a product works with. Thread-safety: none. Source: this library.
template <class Domain>
struct ProductState {
  std::unique_ptr<ReusingProduct<Domain>> method;  ///< null: the setting is exact
  ProductGradients<Domain> gradients;
  OutputErrorMeter meter;

  /// Nothing is learned yet. Errors: std::invalid_argument when the plan does not fit the shape.
  ProductState(const ProductShape& shape, const Plan& plan, MakeProduct<Domain> make)
      : method(make(shape, plan)), gradients(plan) {}

  /// Takes over what does not depend on the setting.
  void continue_from(const ProductState& other) noexcept {
    gradients.continue_from(other.gradients);
    meter = other.meter;
  }

  /// Forgets what earlier batches left behind; a subspace is fitted anew in the next pass.
  void clear() noexcept {
    if (method) method->clear();
    gradients.clear();
  }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return !method || method->can_freeze(); }
  [[nodiscard]] bool frozen() const noexcept { return method && method->frozen(); }

  /// Writes everything that passes to come depend on, besides shape, setting and operands, or reads
  /// it. The clusters of the last forward pass are left out. Requires: to read, a state that has
  /// learned nothing, which an error leaves unusable. Errors: those of the archive.
  void exchange(StateArchive& archive) {
    meter.exchange(archive);
    if (method) method->exchange(archive);
    gradients.exchange(archive);
  }
};

ADR_NAMESPACE_END
