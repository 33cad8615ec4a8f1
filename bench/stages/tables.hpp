// The results of bench_stages for people: whole passes, then where their time goes.
#pragma once

#include <adr/core/stage_clock.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/stages/layer_comparison.hpp"
#include "bench/support/text_table.hpp"

namespace adr_bench {

inline std::string contender_name(const LayerContender& contender) {
  return contender.dense() ? "dense, " + contender.product : contender.label();
}

inline void print_passes(const std::vector<LayerContender>& contenders,
                         const std::vector<LayerResult>& results) {
  TextTable table;
  table.add({"", "r_c", "|", "forward ms", "speed-up", "error", "|", "backward ms", "speed-up",
             "dW error", "dX error", "|", "scratch MB"});
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const LayerResult& r = results[i];
    table.add({contender_name(contenders[i]), text("%.4f", r.remaining_ratio), "|",
               milliseconds(median(r.forward_seconds)), text("%.2f", r.forward_speedup),
               text("%.3f", r.output_error), "|", milliseconds(median(r.backward_seconds)),
               text("%.2f", r.backward_speedup), text("%.3f", r.weight_gradient_error),
               text("%.3f", r.input_gradient_error), "|",
               text("%.1f", 1e-6 * static_cast<double>(r.workspace_bytes))});
  }
  table.print();
}

inline void print_stages(const std::vector<LayerContender>& contenders,
                         const std::vector<LayerResult>& results) {
  TextTable table;
  // The names of the stages in two lines, which halves the width of the table.
  std::vector<std::string> first_line = {"ms per stage"};
  std::vector<std::string> second_line = {""};
  for (int s = 0; s < adr::k_stage_count; ++s) {
    const std::string name = adr::to_string(static_cast<adr::Stage>(s));
    const std::size_t gap = std::min(name.find('_'), name.size());
    first_line.push_back(name.substr(0, gap));
    second_line.push_back(gap < name.size() ? name.substr(gap + 1) : "");
  }
  table.add(first_line);
  table.add(second_line);
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    std::vector<std::string> cells = {contender_name(contenders[i])};
    for (const double seconds : results[i].stage_seconds) {
      cells.push_back(seconds > 0 ? milliseconds(seconds) : "-");
    }
    table.add(cells);
  }
  table.print();
}

inline void print_layer(const ConvLayer& layer, adr::Layout layout, index_t batch,
                        const std::vector<LayerContender>& contenders,
                        const std::vector<LayerResult>& results) {
  const adr::ConvGeometry g = layer.geometry(layout);
  std::printf("\nCifarNet %s, %s, batch %td: N %td, K %td, M %td\n", layer.name.c_str(),
              to_string(layout), batch, g.rows(batch), g.columns(), g.out_channels);
  print_passes(contenders, results);
  std::printf("\n");
  print_stages(contenders, results);
}

}  // namespace adr_bench
