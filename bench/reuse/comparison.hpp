// Ways to reuse, beside the exact engine, on the same operands.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/options.hpp>
#include <adr/reuse_gemm.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/reuse/data.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/paired_rounds.hpp"
#include "bench/support/statistics.hpp"

namespace adr_bench {

/// What one engine did with one product or layer.
struct ReuseResult {
  std::string engine;
  std::string config;
  double remaining_ratio = 1;
  double share_computed = 1;  ///< of the multiply-adds of the exact product
  double relative_error = 0;
  double error_bound = 0;  ///< 0: none is known
  std::vector<double> seconds;
  double speedup_vs_exact = 1;
};

/// A product or layer that every engine computes.
struct ReuseCase {
  std::string data;
  std::string network;  ///< empty: a plain product
  std::string layer;
  index_t n = 0;
  index_t k = 0;
  index_t m = 0;
  std::vector<ReuseResult> results;  ///< the exact engine first
};

/// An engine on its operands.
struct ReuseEngine {
  std::string engine;
  std::string config;
  std::function<void()> run;
  std::function<const adr::Report&()> report;
};

/// Times all engines, the first of which is exact, and compares what they wrote to `output`.
inline std::vector<ReuseResult> compare_engines(const std::vector<ReuseEngine>& engines,
                                                const float* output, index_t elements, int rounds,
                                                int threads) {
  std::vector<ReuseResult> results(engines.size());
  std::vector<float> exact;
  std::vector<Contender> contenders;
  for (std::size_t i = 0; i < engines.size(); ++i) {
    const ReuseEngine& engine = engines[i];
    contenders.push_back({engine.engine, [] {}, engine.run,
                          [&, i] {
                            ReuseResult& result = results[i];
                            const adr::Report& report = engine.report();
                            if (i == 0) exact.assign(output, output + elements);
                            result.engine = engine.engine;
                            result.config = engine.config;
                            result.remaining_ratio = report.remaining_ratio();
                            result.share_computed = 1 - report.forward.saved_share();
                            result.relative_error = relative_error(output, exact.data(), elements);
                            result.error_bound = report.output_error_bound();
                          },
                          threads});
  }
  const auto seconds = paired_rounds(contenders, rounds);
  for (std::size_t i = 0; i < engines.size(); ++i) {
    results[i].seconds = seconds[i];
    results[i].speedup_vs_exact = median_ratio(seconds[0], seconds[i]);
  }
  return results;
}

/// Rows times normal weights of m columns.
inline ReuseCase compare_product(const ReuseData& rows, index_t m,
                                 const std::vector<adr::Setting>& settings, int rounds,
                                 int threads) {
  adr::Context context(threads);
  const Matrix weights = normal_matrix(rows.channels, m, 1.0, 11);
  Matrix output(rows.count, m);
  std::vector<std::unique_ptr<adr::ReuseGemm<float>>> products;
  std::vector<ReuseEngine> engines;
  for (const adr::Setting& setting : settings) {
    products.push_back(std::make_unique<adr::ReuseGemm<float>>(options_with(setting), context));
    adr::ReuseGemm<float>& product = *products.back();
    engines.push_back({engine_of(setting), adr::forward_label(options_with(setting).plan()),
                       [&] {
                         adr::reuse_gemm(adr::MatrixView<const float>(rows.elements.data(),
                                                                      rows.count, rows.channels),
                                         weights.view(), output.view(), product);
                       },
                       [&product]() -> const adr::Report& { return product.report(); }});
  }
  ReuseCase result{rows.name, "", "", rows.count, rows.channels, m, {}};
  result.results = compare_engines(engines, output.data(), output.size(), rounds, threads);
  return result;
}

}  // namespace adr_bench
