// The results of bench_layers for people.
#pragma once

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "bench/layers/comparison.hpp"
#include "bench/layers/layer_engines.hpp"
#include "bench/support/layer_pass.hpp"
#include "bench/support/statistics.hpp"
#include "bench/support/text_table.hpp"

namespace adr_bench {
namespace detail {

inline std::string short_number(double value, double least_of_short) {
  return text(value < least_of_short ? "%.2f" : "%.1f", value);
}
inline std::string short_error(const std::optional<double>& error) {
  if (!error) return "-";
  return text(*error > 0 && *error < 5e-4 ? "%.0e" : "%.3f", *error);
}
inline const char* short_name(LayerPass pass) {
  constexpr const char* names[] = {"fwd", "dW", "dX", "step", "+dX"};
  return names[static_cast<int>(pass)];
}
inline bool is_step(LayerPass pass) {
  return pass == LayerPass::step || pass == LayerPass::step_with_input_gradient;
}
/// Both steps stand in one group of columns.
inline bool begins_group(LayerPass pass) { return pass != LayerPass::step_with_input_gradient; }
/// The error of the pass's own result; of a step that of the gradient with respect to the weights.
inline std::optional<double> own_error(LayerPass pass, const PassErrors& errors) {
  if (pass == LayerPass::forward) return errors.output;
  return pass == LayerPass::input_gradient ? errors.input_gradient : errors.weight_gradient;
}
inline std::string title_of(const LayerEngine& engine) {
  return engine.gradients_only ? "  " + engine.label : engine.title();
}

/// Times, speed-ups and errors of all contenders at that number of threads.
inline void print_passes(const std::vector<LayerPass>& passes,
                         const std::vector<LayerEngine>& engines, const LayerComparison& comparison,
                         int threads) {
  TextTable table;
  std::vector<std::string> first_line = {message(threads, " thread(s)")};
  std::vector<std::string> second_line = {""};
  for (const LayerPass pass : passes) {
    if (begins_group(pass)) {
      first_line.emplace_back("|");
      second_line.emplace_back("|");
    }
    first_line.insert(first_line.end(), {short_name(pass), ""});
    second_line.insert(second_line.end(), {"ms", "x"});
    if (!is_step(pass)) {
      first_line.emplace_back("");
      second_line.emplace_back("error");
    }
  }
  first_line.insert(first_line.end(), {"|", "work", "refit"});
  second_line.insert(second_line.end(), {"|", "MB", "ms"});
  table.add(first_line);
  table.add(second_line);
  for (const LayerEngineResult& result : comparison.results) {
    if (result.threads != threads || result.passes.empty()) continue;
    std::vector<std::string> cells = {title_of(engines[result.engine])};
    std::size_t workspace_bytes = 0;
    for (const LayerPass pass : passes) {
      if (begins_group(pass)) cells.emplace_back("|");
      const auto found = result.passes.find(pass);
      if (found == result.passes.end()) {
        cells.insert(cells.end(), is_step(pass) ? 2 : 3, "-");
        continue;
      }
      const LayerPassResult& r = found->second;
      workspace_bytes = std::max(workspace_bytes, r.workspace_bytes);
      cells.push_back(short_number(1e3 * median(r.seconds), 100));
      cells.push_back(short_number(r.speedup_vs_best_dense, 10));
      if (!is_step(pass)) cells.push_back(short_error(own_error(pass, r.errors)));
    }
    cells.emplace_back("|");
    cells.push_back(short_number(1e-6 * static_cast<double>(workspace_bytes), 10));
    cells.push_back(result.refit_seconds ? short_number(1e3 * *result.refit_seconds, 100) : "-");
    table.add(cells);
  }
  table.print();
}

/// Which contenders have no kernel for which passes, in words; empty when all have all.
inline std::vector<std::string> absent_kernels(const std::vector<LayerPass>& passes,
                                               const std::vector<LayerEngine>& engines,
                                               const LayerComparison& comparison, int threads) {
  std::vector<std::string> lines;
  for (const LayerEngineResult& result : comparison.results) {
    const LayerEngine& engine = engines[result.engine];
    if (result.threads != threads || !engine.dense()) continue;
    std::string names;
    for (const LayerPass pass : passes) {
      if (result.passes.count(pass) == 0)
        names += message(names.empty() ? "" : ", ", to_string(pass));
    }
    if (!names.empty()) lines.push_back(engine.name + " has no kernel for: " + names);
  }
  return lines;
}

/// One pass, the mean over seeds, and unseen images.
inline void print_accuracy(const std::vector<LayerEngine>& engines,
                           const LayerComparison& comparison, int seeds) {
  TextTable table;
  table.add({"errors of reuse", "r_c", "|", "output", "held-out", "|", "dW", "mean dW", "|", "dX",
             "mean dX"});
  for (const LayerEngineResult& result : comparison.results) {
    const LayerEngine& engine = engines[result.engine];
    if (result.threads != comparison.results.front().threads) continue;
    if (engine.dense() || engine.frozen) continue;
    const LayerEngineAccuracy& accuracy = comparison.accuracy[result.engine];
    const auto error = [&](LayerPass pass) -> std::optional<double> {
      const auto found = result.passes.find(pass);
      if (found == result.passes.end()) return {};
      return own_error(pass, found->second.errors);
    };
    const PassErrors bias = accuracy.bias.value_or(PassErrors());
    table.add({title_of(engine), text("%.4f", result.remaining_ratio.value_or(1)), "|",
               short_error(error(LayerPass::forward)), short_error(accuracy.held_out), "|",
               short_error(error(LayerPass::weight_gradient)), short_error(bias.weight_gradient),
               "|", short_error(error(LayerPass::input_gradient)),
               short_error(bias.input_gradient)});
  }
  std::printf("\n");
  table.print();
  if (seeds > 0) std::printf("  mean dW, mean dX: of the mean over %d seeds\n", seeds);
}

/// How much faster several threads are than one.
inline void print_scaling(const std::vector<LayerPass>& passes,
                          const std::vector<LayerEngine>& engines,
                          const LayerComparison& comparison, int threads) {
  TextTable table;
  std::vector<std::string> header = {message("speed-up of ", threads, " threads over 1")};
  for (const LayerPass pass : passes) header.emplace_back(short_name(pass));
  table.add(header);
  for (const LayerEngineResult& result : comparison.results) {
    if (result.threads != threads || result.passes.empty()) continue;
    std::vector<std::string> cells = {title_of(engines[result.engine])};
    for (const LayerPass pass : passes) {
      const auto found = result.passes.find(pass);
      const bool known = found != result.passes.end() && found->second.speedup_vs_one_thread;
      cells.push_back(known ? text("%.2f", *found->second.speedup_vs_one_thread) : "-");
    }
    table.add(cells);
  }
  std::printf("\n");
  table.print();
}

}  // namespace detail

inline void print_comparison(const ConvLayer& layer, index_t batch,
                             const std::vector<LayerEngine>& engines,
                             const LayerComparisonSettings& settings,
                             const LayerComparison& comparison) {
  const adr::ConvGeometry g = layer.geometry(settings.layout);
  std::printf("\n%s, %s, batch %td: N %td, K %td, M %td%s\n", layer.name.c_str(),
              to_string(settings.layout), batch, g.rows(batch), g.columns(), g.out_channels,
              layer.needs_input_gradient ? "" : "; its step needs no dX, +dX is a step with it");
  const std::vector<LayerPass> passes = passes_of(layer);
  for (const int threads : settings.thread_counts) {
    std::printf("\n");
    detail::print_passes(passes, engines, comparison, threads);
    for (const std::string& line : detail::absent_kernels(passes, engines, comparison, threads)) {
      std::printf("  %s\n", line.c_str());
    }
  }
  detail::print_accuracy(engines, comparison, settings.seeds);
  for (const int threads : settings.thread_counts) {
    if (threads > 1 && settings.thread_counts.front() == 1) {
      detail::print_scaling(passes, engines, comparison, threads);
    }
  }
  std::fflush(stdout);
}

}  // namespace adr_bench
