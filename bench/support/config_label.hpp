// The setting of a reusing product in a few words, for tables and files.
#pragma once

#include <adr/adapt/reuse_config.hpp>
#include <string>

#include "bench/support/user_error.hpp"

namespace adr_bench {

/// "L 25, H 10, origin", followed by what differs from the published form.
inline std::string config_label(const adr::ReuseConfig& config) {
  if (config.method == adr::Method::dense) return adr::to_string(config.method);
  std::string label = message("L ", config.sub_vector_length, ", H ", config.hash_count, ", ",
                              config.hash_center == adr::HashCenter::mean ? "mean" : "origin");
  if (config.cluster_reuse) label += ", CR";
  if (config.input_gradient == adr::InputGradient::exact) label += ", exact dX";
  return label;
}

}  // namespace adr_bench
