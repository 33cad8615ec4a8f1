// A plan in words, for people, tables, logs and file columns.
#pragma once

#include <cstddef>
#include <string>

#include "adr/adapt/plan.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// "rounded gradients", "dW over non-zeros": a form of gradients, which both enumerations list in
/// the same order.
inline std::string gradient_words(int form, const char* gradient) {
  constexpr struct {
    const char* before;
    const char* after;
  } words[] = {{"automatic ", ""},      {"", " of clusters"}, {"exact ", ""},
               {"", " over non-zeros"}, {"rounded ", ""},     {"", " over non-zeros"}};
  const auto& around = words[static_cast<std::size_t>(form)];
  return message(around.before, gradient, around.after);
}

inline bool reuses_clusters(const Plan& plan) noexcept {
  return (plan.method == Method::published || plan.method == Method::clustered) &&
         plan.cluster_reuse;
}

}  // namespace detail

/// Of forward passes: "exact", "subspace of 16 coordinates", "published L 25 H 10 centred with
/// cluster reuse to age 2". Without commas, so that it is one field of a table.
inline std::string forward_label(const Plan& plan) {
  using detail::message;
  std::string text;
  switch (plan.method) {
    case Method::exact:
      text = "exact";
      break;
    case Method::subspace:
      text = plan.kept_coordinates > 0
                 ? message("subspace of ", plan.kept_coordinates, " coordinates")
                 : message("subspace of error ", plan.subspace_error);
      break;
    case Method::published:
      text = message("published L ", plan.vector_length, " H ", plan.hash_count);
      if (plan.hash_center == HashCenter::mean) text += " centred";
      break;
    case Method::clustered:
      text = message("clustered within ", plan.radius);
      if (plan.vector_length > 0) text += message(" L ", plan.vector_length);
      text += message(" H ", plan.hash_count);
      break;
  }
  if (detail::reuses_clusters(plan)) {
    text += " with cluster reuse";
    if (plan.method == Method::published) text += message(" to age ", plan.max_product_age);
  }
  return text;
}

/// Of all passes: forward_label, and gradients that are not the usual ones of the method, as in
/// "subspace of 16 coordinates with rounded gradients".
inline std::string label(const Plan& plan) {
  std::string text = forward_label(plan);
  const char* joint = detail::reuses_clusters(plan) ? " and " : " with ";
  const auto add = [&](const std::string& words) {
    text += joint + words;
    joint = " and ";
  };
  const auto is_usual = [&](int form, bool of_weights) {
    const bool automatic = form == static_cast<int>(WeightGradient::automatic);
    const bool exact = form == static_cast<int>(WeightGradient::dense) ||
                       form == static_cast<int>(WeightGradient::exact);
    if (plan.method == Method::exact) return automatic || exact;  // equal but for rounding
    if (plan.method == Method::clustered && of_weights) {
      return form == static_cast<int>(WeightGradient::clusters);
    }
    return plan.method == Method::published ? automatic : exact;
  };
  const int weights = static_cast<int>(plan.weight_gradient);
  const int input = static_cast<int>(plan.input_gradient);
  if (weights == input) {
    if (!is_usual(weights, true) || !is_usual(input, false)) {
      add(detail::gradient_words(weights, "gradients"));
    }
  } else {
    if (!is_usual(weights, true)) add(detail::gradient_words(weights, "dW"));
    if (!is_usual(input, false)) add(detail::gradient_words(input, "dX"));
  }
  return text;
}

ADR_NAMESPACE_END
