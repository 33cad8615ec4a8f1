// The results of bench_exact as rows of the report.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/exact/summary.hpp"
#include "bench/support/report.hpp"

namespace adr_bench {
namespace detail {

inline Row exact_row(const SequenceSummary& summary, const Part& part, int threads) {
  const Sequence& sequence = summary.sequence();
  Row row;
  row.bench = "exact";
  if (part.layer) {
    const adr::ConvGeometry g = sequence.layers[*part.layer].geometry(adr::Layout::nhwc);
    row.shape = {{"n", g.rows(sequence.batch)}, {"k", g.columns()}, {"m", g.out_channels}};
  }
  row.pass = to_string(part.pass);
  row.threads = threads;
  row.extra = {{"network", sequence.network},
               {"layer", part.layer ? sequence.layers[*part.layer].name : sequence.name},
               {"batch", sequence.batch},
               {"isa", ADR_ISA_NAME},
               {"layout", "nhwc"},
               {"best_dense", summary.fastest_names(part)}};
  return row;
}

/// The rows of all contenders that have all that the part asks for, and one of the fastest packages
/// where that is more than one kernel.
inline void add_rows_of(const SequenceSummary& summary,
                        const std::vector<ExactContender>& contenders, const Part& part,
                        int threads, std::vector<Row>& rows) {
  for (std::size_t c = 0; c < contenders.size(); ++c) {
    const std::vector<double> seconds = summary.seconds(c, part);
    if (seconds.empty()) continue;
    Row row = exact_row(summary, part, threads);
    row.engine = contenders[c].name;
    row.config = summary.config(c, part);
    row.seconds = seconds;
    row.speedup_vs_best_dense = summary.speedup(c, part);
    row.relative_error = summary.error(c, part);
    row.workspace_bytes = summary.workspace_bytes(c, part);
    row.extra["version"] = contenders[c].version;
    row.extra["precision"] = contenders[c].fp32 ? "fp32" : "bf16";
    rows.push_back(row);
  }
  if (part.layer && part.pass != LayerPass::step) return;
  Row row = exact_row(summary, part, threads);
  row.engine = "fastest_packages";
  row.config = summary.fastest_names(part);
  row.seconds = summary.fastest_seconds(part);
  row.speedup_vs_best_dense = 1.0;
  row.extra["precision"] = "fp32";
  rows.push_back(row);
}

}  // namespace detail

/// The rows of a sequence: of every layer and, of several, of all together.
inline void add_rows(const SequenceSummary& summary, const std::vector<ExactContender>& contenders,
                     int threads, std::vector<Row>& rows) {
  const Sequence& sequence = summary.sequence();
  for (const LayerPass pass : passes_of(sequence)) {
    for (std::size_t l = 0; l < sequence.layers.size(); ++l) {
      detail::add_rows_of(summary, contenders, {l, pass}, threads, rows);
    }
    if (sequence.layers.size() == 1) continue;
    detail::add_rows_of(summary, contenders, {std::nullopt, pass}, threads, rows);
  }
}

}  // namespace adr_bench
