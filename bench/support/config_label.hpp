// The setting of a reusing product in a few words, for tables and files.
#pragma once

#include <adr/adapt/reuse_config.hpp>
#include <string>

#include "bench/support/user_error.hpp"

namespace adr_bench {

inline const char* to_string(adr::InputGradient gradient) noexcept {
  constexpr const char* names[] = {"automatic", "cluster means", "exact",
                                   "sparse",    "sparsified",    "own clusters"};
  return names[static_cast<int>(gradient)];
}
inline const char* to_string(adr::WeightGradient gradient) noexcept {
  constexpr const char* names[] = {"automatic", "clusters", "exact", "sparse", "sparsified"};
  return names[static_cast<int>(gradient)];
}

namespace detail {

/// What decides how finely the inputs are approximated.
inline std::string method_label(const adr::ReuseConfig& config) {
  switch (config.method) {
    case adr::Method::dense:
      break;
    case adr::Method::hyperplane:
      return message("L ", config.sub_vector_length, ", H ", config.hash_count, ", ",
                     config.hash_center == adr::HashCenter::mean ? "mean" : "origin");
    case adr::Method::codebook: {
      std::string label = message("S ", config.codebooks, ", T ", config.codebook_size);
      if (config.quantizer == adr::Quantizer::residual) label += ", residual";
      return label;
    }
    case adr::Method::principal:
      return message("principal, ", config.hash_count, " bits");
    case adr::Method::subspace:
      return config.kept_coordinates > 0 ? message("subspace, kept ", config.kept_coordinates)
                                         : std::string("subspace, kept as needed");
  }
  return adr::to_string(config.method);
}

}  // namespace detail

/// "L 25, H 10, origin" or "S 4, T 64", followed by what differs from the published gradients.
inline std::string config_label(const adr::ReuseConfig& config) {
  std::string label = detail::method_label(config);
  if (config.method == adr::Method::dense) return label;
  if (config.cluster_reuse) label += ", CR";
  if (config.input_gradient != adr::InputGradient::automatic) {
    label += message(", ", to_string(config.input_gradient), " dX");
  }
  if (config.weight_gradient != adr::WeightGradient::automatic) {
    label += message(", ", to_string(config.weight_gradient), " dW");
  }
  return label;
}

}  // namespace adr_bench
