// What a layer can make of itself, so that nothing that it never needs is compiled.
#pragma once

#include <memory>
#include <vector>

#include "adr/adapt/layer_policy.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/adapt/tuner.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/nn/products.hpp"
#include "adr/product/reusing_product.hpp"

ADR_NAMESPACE_BEGIN

/// Makes what chooses the settings of a layer. A template of the domain, so that a program can
/// compile it once.
template <class Domain>
std::unique_ptr<LayerPolicy> make_tuner(const Plan& base, const SchedulerOptions& options) {
  return std::make_unique<Tuner>(base, options);
}

/// The products and the tuner that a layer may need.
template <class Domain>
struct LayerParts {
  MakeProduct<Domain> product;
  bool (*takes)(Method method);  ///< whether `product` makes that method
  /// Null: settings are given by hand.
  std::unique_ptr<LayerPolicy> (*tuner)(const Plan& base, const SchedulerOptions& options);

  /// Throws std::invalid_argument for a plan of another method.
  void require_taken(const Plan& plan) const {
    detail::require(
        takes(plan.method),
        "a layer made for one setting takes no other: make it with Options, got method ",
        to_string(plan.method));
  }
  /// Those of the plans whose products can be made.
  [[nodiscard]] std::vector<Plan> taken(const std::vector<Plan>& plans) const {
    std::vector<Plan> some;
    for (const Plan& plan : plans) {
      if (takes(plan.method)) some.push_back(plan);
    }
    return some;
  }

  /// Of a layer that takes any Options.
  static LayerParts all() noexcept {
    return {&make_product<Domain>, [](Method) { return true; }, &make_tuner<Domain>};
  }
  /// Of a layer with a setting of that type alone.
  template <class Chosen>
  static LayerParts of() noexcept {
    return {&detail::make_product_of<Domain, Chosen>,
            [](Method method) {
              return method == Method::exact ||
                     method == detail::ProductOf<Domain, Chosen>::k_method;
            },
            nullptr};
  }
};

ADR_NAMESPACE_END
