// The results of an inference comparison: a table for people, JSON for programs.
#pragma once

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adr/adapt/plan_label.hpp"
#include "inference/comparison.hpp"
#include "training/errors.hpp"
#include "training/reuse_options.hpp"

namespace inference {

/// What all rows of a run have in common.
struct RunDescription {
  std::string network;
  std::string rival;  ///< what computes the dense network
  std::string checkpoint;
  int threads = 1;
  index_t batch = 1;
};

inline void print_comparison(const Comparison& c) {
  std::printf("%-14s %9.2f %% %+8.2f %+8.2f %8.2fx %8.2fx  %s\n", c.name.c_str(),
              100 * c.accuracy(), 0 - c.chosen_on.points_lost(), 0 - c.judged_on.points_lost(),
              c.speedup, c.convolution_speedup, training::label(c.plans).c_str());
  std::fflush(stdout);
}

inline void print_header(double dense_accuracy) {
  std::printf(
      "dense: %.2f %%; points against it on the half that settings are chosen on, and on "
      "the other\n%-14s %11s %8s %8s %9s %9s  settings of the convolutions\n",
      100 * dense_accuracy, "points to lose", "accuracy", "chosen", "judged", "network", "convs");
}

inline nlohmann::json to_json(const RunDescription& run, const Comparison& c,
                              const std::vector<std::string>& layer_names) {
  nlohmann::json layers = nlohmann::json::array();
  for (std::size_t i = 0; i < c.plans.size(); ++i) {
    layers.push_back({{"layer", layer_names[i]},
                      {"config", adr::label(c.plans[i])},
                      {"output_error", c.layer_errors[i]},
                      {"speedup", c.layer_speedups[i]}});
  }
  return {{"network", run.network},
          {"rival", run.rival == "fastest" ? "package" : run.rival},
          {"threads", run.threads},
          {"batch", run.batch},
          {"images", c.chosen_on.images + c.judged_on.images},
          {"setting", c.name},
          {"max_error", c.max_error},
          {"dense_accuracy", c.dense_accuracy()},
          {"accuracy", c.accuracy()},
          {"points_lost_where_chosen", c.chosen_on.points_lost()},
          {"points_lost_where_judged", c.judged_on.points_lost()},
          {"dense_seconds", c.dense_seconds},
          {"seconds", c.seconds},
          {"speedup", c.speedup},
          {"convolution_speedup", c.convolution_speedup},
          {"layers", layers}};
}

/// Errors: UserError when the file cannot be written.
inline void write_json(const std::string& path, const nlohmann::json& rows) {
  std::ofstream file(path, std::ios::trunc);
  file << nlohmann::json{{"rows", rows}}.dump(1) << '\n';
  file.flush();
  training::require(file.good(), "--json: cannot write to '", path, "'");
  std::printf("Results: %s\n", path.c_str());
}

}  // namespace inference
