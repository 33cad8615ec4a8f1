// The results of bench_gemm for people: a table per shape and a summary that says where reuse
// loses.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "bench/gemm/comparison.hpp"
#include "bench/support/text_table.hpp"

namespace adr_bench {

/// What a contender is called in tables: rivals by name, reuse by the remaining ratio of the
/// input and the one it found.
inline std::string contender_name(const ContenderResult& contender) {
  return contender.dense
             ? contender.engine
             : contender.engine + " r_c " + text("%.3f", contender.asked_remaining_ratio) + ": " +
                   text("%.3f", contender.remaining_ratio);
}

inline void print_comparison(const GemmShape& shape, const ComparisonSettings& settings,
                             const ComparisonResult& result) {
  std::printf("\nN %td, K %td, M %td%s%s\n", shape.n, shape.k, shape.m,
              shape.note.empty() ? "" : ": ", shape.note.c_str());
  TextTable table;
  std::vector<std::string> titles = {""};
  std::vector<std::string> units = {""};
  for (const Pass pass : settings.passes) {
    titles.insert(titles.end(), {"|", to_string(pass), "", "", ""});
    units.insert(units.end(), {"|", "ms", "speed-up", "vs exact", "error"});
  }
  table.add(titles);
  table.add(units);
  for (const ContenderResult& contender : result.contenders) {
    std::vector<std::string> cells = {contender_name(contender)};
    for (const PassResult& pass : contender.passes) {
      cells.insert(
          cells.end(),
          {"|", milliseconds(median(pass.seconds)), text("%.2f", pass.speedup_vs_best_dense),
           text("%.2f", pass.speedup_vs_exact), text("%.2g", pass.relative_error)});
    }
    table.add(cells);
  }
  table.print();
  for (const EngineBreakEven& engine : result.break_even) {
    for (std::size_t p = 0; p < settings.passes.size(); ++p) {
      const BreakEven& even = engine.passes[p];
      std::printf("  %s: %s wins %s", to_string(settings.passes[p]).c_str(), engine.engine.c_str(),
                  to_text(even).c_str());
      if (even.kind == BreakEven::Kind::never) {
        std::printf(" (at r_c = %.3f it takes %.2f times as long as %s)", even.remaining_ratio,
                    even.cost, result.best_dense[p].c_str());
      }
      std::printf("\n");
    }
  }
  std::fflush(stdout);
}

struct NamedResult {
  GemmShape shape;
  ComparisonResult result;
};

/// The break-even of every shape and pass, beside the best rival's rate.
inline void print_summary(const std::vector<NamedResult>& results,
                          const ComparisonSettings& settings) {
  std::printf(
      "\nReuse wins ... (elsewhere it loses; the rate is that of the best dense product)\n");
  TextTable table;
  std::vector<std::string> titles = {"N x K x M", "engine"};
  for (const Pass pass : settings.passes) {
    titles.insert(titles.end(), {"|", to_string(pass), "best dense", "GMAC/s"});
  }
  table.add(titles);
  for (const NamedResult& named : results) {
    const GemmShape& shape = named.shape;
    const double work =
        static_cast<double>(shape.n) * static_cast<double>(shape.k) * static_cast<double>(shape.m);
    for (const EngineBreakEven& engine : named.result.break_even) {
      std::vector<std::string> cells = {shape.name(), engine.engine};
      for (std::size_t p = 0; p < settings.passes.size(); ++p) {
        double best_seconds = 0;
        for (const ContenderResult& contender : named.result.contenders) {
          if (contender.engine == named.result.best_dense[p]) {
            best_seconds = median(contender.passes[p].seconds);
          }
        }
        cells.insert(cells.end(), {"|", to_text(engine.passes[p]), named.result.best_dense[p],
                                   text("%.0f", 1e-9 * work / best_seconds)});
      }
      table.add(cells);
    }
  }
  table.print();
}

}  // namespace adr_bench
