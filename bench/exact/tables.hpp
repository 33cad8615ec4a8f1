// The results of bench_exact for people.
#pragma once

#include <algorithm>
#include <cstdio>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "bench/exact/physical_limit.hpp"
#include "bench/exact/summary.hpp"
#include "bench/support/statistics.hpp"
#include "bench/support/text_table.hpp"

namespace adr_bench {
namespace detail {

/// The columns of a pass.
struct PassColumns {
  LayerPass pass;
  const char* title;
  bool has_rates;
};
inline constexpr PassColumns k_pass_columns[] = {{LayerPass::forward, "forward", true},
                                                 {LayerPass::input_gradient, "dX", true},
                                                 {LayerPass::weight_gradient, "dW", true},
                                                 {LayerPass::step, "step", false}};

inline bool measures(const SequenceSummary& summary, LayerPass pass) {
  const std::vector<LayerPass> passes = passes_of(summary.sequence());
  return std::find(passes.begin(), passes.end(), pass) != passes.end();
}

/// Milliseconds, speed-up and, of one layer, the dense rate and its share of the limit.
inline void add_cells(const SequenceSummary& summary, const PassColumns& columns, const Part& part,
                      double peak, std::vector<std::string>& cells) {
  const bool measured = measures(summary, part.pass);
  cells.emplace_back("|");
  if (measured) {
    cells.push_back(milliseconds(median(summary.seconds(k_library, part))));
    cells.push_back(text("%.2f", summary.speedup(k_library, part)));
  } else {
    cells.insert(cells.end(), {"-", "-"});
  }
  if (!columns.has_rates) return;
  if (!measured || !part.layer) {
    cells.insert(cells.end(), {"-", "-"});
    return;
  }
  const double rate = summary.dense_operations(part) / median(summary.seconds(k_library, part));
  const double limit = peak * multiplications_saved(summary.config(k_library, part));
  cells.push_back(text("%.0f", 1e-9 * rate));
  cells.push_back(text("%.0f", 100 * rate / limit));
}

/// A layer, or the sum of all.
inline void add_line(const SequenceSummary& summary, const std::optional<std::size_t>& layer,
                     double peak, TextTable& table) {
  const Sequence& sequence = summary.sequence();
  std::vector<std::string> cells = {
      message(layer ? sequence.layers[*layer].name : sequence.name, ", ", sequence.batch)};
  std::string packages;
  for (const PassColumns& columns : k_pass_columns) {
    const Part part{layer, columns.pass};
    add_cells(summary, columns, part, peak, cells);
    if (!columns.has_rates || !layer || !measures(summary, columns.pass)) continue;
    packages += (packages.empty() ? "" : " ") + summary.fastest_names(part);
  }
  const Part step{layer, LayerPass::step};
  cells.insert(cells.end(), {"|", text("%.0e", summary.error(k_library, step)), packages});
  table.add(cells);
}

}  // namespace detail

/// The layers of one network, a line each, and the sums of sequences. peak: floating-point
/// operations per second of all threads.
inline void print_layers(const std::string& network, const std::list<SequenceSummary>& summaries,
                         double peak) {
  TextTable table;
  std::vector<std::string> first_line = {network};
  std::vector<std::string> second_line = {"layer, batch"};
  for (const detail::PassColumns& columns : detail::k_pass_columns) {
    first_line.insert(first_line.end(), {"|", columns.title, ""});
    second_line.insert(second_line.end(), {"|", "ms", "x"});
    if (!columns.has_rates) continue;
    first_line.insert(first_line.end(), {"", ""});
    second_line.insert(second_line.end(), {"GF/s", "%"});
  }
  first_line.insert(first_line.end(), {"|", "", ""});
  second_line.insert(second_line.end(), {"|", "error", "fastest packages"});
  table.add(first_line);
  table.add(second_line);
  for (const SequenceSummary& summary : summaries) {
    const Sequence& sequence = summary.sequence();
    if (sequence.network != network) continue;
    for (std::size_t l = 0; l < sequence.layers.size(); ++l) {
      detail::add_line(summary, l, peak, table);
    }
    if (sequence.layers.size() > 1) detail::add_line(summary, std::nullopt, peak, table);
  }
  std::printf("\n");
  table.print();
}

}  // namespace adr_bench
