// A setting in a few characters, for tables, logs and file columns.
#pragma once

#include <string>

#include "adr/adapt/reuse_config.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// "dense", "S4T64", "subspace16", "principal10" or "L25H10", and what differs from the usual
/// gradients of the method, as in "L25H10-mean-exact-CR2" or "S4T64-sparsified".
inline std::string label(const ReuseConfig& config) {
  using detail::message;
  constexpr const char* input_names[] = {
      "", "-cluster_mean", "-exact", "-sparse", "-sparsified", "-own_clusters", "-cheapest_exact"};
  constexpr const char* weight_names[] = {"",           "-clusters_dw",   "-exact_dw",
                                          "-sparse_dw", "-sparsified_dw", "-cheapest_exact_dw"};
  std::string text;
  switch (config.method) {
    case Method::dense:
      text = "dense";
      break;
    case Method::codebook:
      text = message('S', config.codebooks, 'T', config.codebook_size);
      if (config.quantizer == Quantizer::residual) text += "-residual";
      break;
    case Method::subspace:
      text = message("subspace", config.kept_coordinates);
      break;
    case Method::principal:
      text = message("principal", config.hash_count);
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
