// The methods that a layer can hold: a line for each.
#pragma once

#include <memory>

#include "adr/adapt/plan.hpp"
#include "adr/clustered/clustered_product.hpp"
#include "adr/core/errors.hpp"
#include "adr/options.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"
#include "adr/published/published_product.hpp"
#include "adr/subspace/subspace_product.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// What a setting alone needs compiled; settings without one need nothing but exact products.
template <class Domain, class Chosen>
struct ProductOf {
  static constexpr Method k_method = Method::exact;
  static std::unique_ptr<ReusingProduct<Domain>> make(const ProductShape&, const Plan&) {
    return nullptr;
  }
};
template <class Domain>
struct ProductOf<Domain, Subspace> {
  static constexpr Method k_method = Method::subspace;
  static std::unique_ptr<ReusingProduct<Domain>> make(const ProductShape& shape, const Plan& plan) {
    return make_subspace_product<Domain>(shape, plan);
  }
};
template <class Domain>
struct ProductOf<Domain, Published> {
  static constexpr Method k_method = Method::published;
  static std::unique_ptr<ReusingProduct<Domain>> make(const ProductShape& shape, const Plan& plan) {
    return std::make_unique<PublishedProduct<Domain>>(shape, plan);
  }
};
template <class Domain>
struct ProductOf<Domain, Clustered> {
  static constexpr Method k_method = Method::clustered;
  static std::unique_ptr<ReusingProduct<Domain>> make(const ProductShape& shape, const Plan& plan) {
    return std::make_unique<ClusteredProduct<Domain>>(shape, plan);
  }
};

/// The product of a plan of any of these settings. Errors: std::invalid_argument for another plan.
template <class Domain, class... Chosen>
std::unique_ptr<ReusingProduct<Domain>> make_product_of(const ProductShape& shape,
                                                        const Plan& plan) {
  std::unique_ptr<ReusingProduct<Domain>> product;
  const auto fits = [&](auto of) {
    using Of = decltype(of);
    if (plan.method != Of::k_method) return false;
    product = Of::make(shape, plan);
    return true;
  };
  const bool known = plan.method == Method::exact || (fits(ProductOf<Domain, Chosen>{}) || ...);
  require(known, "this layer is made for one setting, got method ", to_string(plan.method));
  return product;
}

}  // namespace detail

/// Makes the product of any plan.
template <class Domain>
std::unique_ptr<ReusingProduct<Domain>> make_product(const ProductShape& shape, const Plan& plan) {
  return detail::make_product_of<Domain, Subspace, Published, Clustered>(shape, plan);
}

ADR_NAMESPACE_END
