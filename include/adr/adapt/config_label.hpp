// A setting in a few characters, for tables, logs and file columns.
#pragma once

#include <string>

#include "adr/adapt/plan.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// "dense", "subspace16" or "L25H10", and what differs from the usual gradients of the method, as
/// in "L25H10-mean-exact-CR2" or "subspace16-sparsified".
inline std::string label(const Plan& config) {
  using detail::message;
  constexpr const char* input_names[] = {"",        "-cluster_mean", "-exact",
                                         "-sparse", "-sparsified",   "-cheapest_exact"};
  constexpr const char* weight_names[] = {"",           "-clusters_dw",   "-exact_dw",
                                          "-sparse_dw", "-sparsified_dw", "-cheapest_exact_dw"};
  std::string text;
  switch (config.method) {
    case Method::dense:
      text = "dense";
      break;
    case Method::subspace:
      text = message("subspace", config.kept_coordinates);
      break;
    case Method::hyperplane:
      text = message('L', config.sub_vector_length, 'H', config.hash_count);
      if (config.hash_center == HashCenter::mean) text += "-mean";
      break;
  }
  text += input_names[static_cast<int>(config.input_gradient)];
  text += weight_names[static_cast<int>(config.weight_gradient)];
  if (config.cluster_reuse) text += message("-CR", config.max_product_age);
  return text;
}

ADR_NAMESPACE_END
