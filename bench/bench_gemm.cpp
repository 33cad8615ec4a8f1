// Where does reuse_gemm beat a dense product? Shapes times redundancy, beside Eigen, OpenBLAS and
// oneDNN, forward and both gradients; prints the break-even remaining ratio of every shape.
#include <adr/adapt/plan_label.hpp>
#include <algorithm>
#include <cstdio>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/gemm/comparison.hpp"
#include "bench/gemm/tables.hpp"
#include "bench/support/benchmark_session.hpp"
#include "bench/support/command_line.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/report.hpp"

namespace {

using namespace adr_bench;

struct Options {
  std::vector<std::string> passes = pass_names();
  std::vector<std::string> shapes;
  std::vector<double> remaining_ratios = {0.01, 0.05, 0.1, 0.3, 1.0};
  adr::Published published = {32, 16};
  adr::Clustered clustered = {1e-3};
  std::string product = k_own_product;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--pass", options.passes, "Passes to measure, separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember(pass_names()))
      ->capture_default_str();
  app.add_option("--shape", options.shapes, "Shapes NxKxM instead of the built-in ones")
      ->delimiter(',');
  app.add_option("--remaining-ratio", options.remaining_ratios,
                 "Distinct neuron vectors per row in the inputs, above 0 and at most 1")
      ->delimiter(',')
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  app.add_option("--vector-length", options.published.vector_length, "L (at most K is used)")
      ->capture_default_str();
  app.add_option("--hash-count", options.published.hash_count, "H")->capture_default_str();
  app.add_option("--radius", options.clustered.radius, "Of clusters with a radius")
      ->capture_default_str();
  app.add_option("--product", options.product,
                 "What the published method multiplies centroids with")
      ->check(CLI::IsMember(product_names()))
      ->capture_default_str();
}

ComparisonSettings settings_of(const Options& options, const CommonOptions& common) {
  ComparisonSettings settings;
  for (const Pass pass : {Pass::forward, Pass::weight_gradient, Pass::input_gradient}) {
    const auto& names = options.passes;
    if (std::find(names.begin(), names.end(), to_string(pass)) != names.end()) {
      settings.passes.push_back(pass);
    }
  }
  settings.remaining_ratios = options.remaining_ratios;
  settings.published = options.published;
  settings.clustered = options.clustered;
  for (const adr::Setting& setting :
       {adr::Setting(settings.published), adr::Setting(settings.clustered)}) {
    const std::string problem = options_with(setting).validate();
    require(problem.empty(), problem);
  }
  settings.product = options.product;
  settings.threads = common.threads;
  settings.rounds = common.rounds;
  return settings;
}

/// One shape of the run; measured when Google Benchmark asks for its first time.
class LazyComparison {
 public:
  LazyComparison(GemmShape shape, const ComparisonSettings& settings)
      : shape_(std::move(shape)), settings_(settings) {}

  const std::vector<double>& seconds(std::size_t contender, std::size_t pass) {
    if (!result_) {
      result_ = compare(shape_, settings_);
      print_comparison(shape_, settings_, *result_);
    }
    return result_->contenders[contender].passes[pass].seconds;
  }
  [[nodiscard]] const GemmShape& shape() const noexcept { return shape_; }
  [[nodiscard]] const std::optional<ComparisonResult>& result() const noexcept { return result_; }

 private:
  GemmShape shape_;
  const ComparisonSettings& settings_;
  std::optional<ComparisonResult> result_;
};

/// One benchmark per shape, pass and contender: gemm/32768x1600x64/forward/openblas.
void register_all(std::list<LazyComparison>& comparisons, const ComparisonSettings& settings) {
  std::vector<std::string> contenders = engine_names();
  contenders.emplace_back(engine_of(adr::Exact()));
  for (const double ratio : settings.remaining_ratios) {
    contenders.push_back(message(engine_of(settings.published), ":", ratio));
    contenders.push_back(message(engine_of(settings.clustered), ":", ratio));
  }
  for (LazyComparison& comparison : comparisons) {
    for (std::size_t p = 0; p < settings.passes.size(); ++p) {
      for (std::size_t c = 0; c < contenders.size(); ++c) {
        register_rounds(message("gemm/", comparison.shape().name(), "/",
                                to_string(settings.passes[p]), "/", contenders[c]),
                        [&comparison, c, p]() -> const std::vector<double>& {
                          return comparison.seconds(c, p);
                        });
      }
    }
  }
}

std::vector<Row> rows_of(const NamedResult& named, const ComparisonSettings& settings) {
  const GemmShape& shape = named.shape;
  std::vector<Row> rows;
  for (const ContenderResult& contender : named.result.contenders) {
    for (std::size_t p = 0; p < settings.passes.size(); ++p) {
      const PassResult& pass = contender.passes[p];
      Row row;
      row.bench = "gemm";
      row.shape = {{"n", shape.n}, {"k", shape.k}, {"m", shape.m}};
      row.pass = to_string(settings.passes[p]);
      row.engine = contender.engine;
      row.threads = settings.threads;
      row.seconds = pass.seconds;
      row.speedup_vs_best_dense = pass.speedup_vs_best_dense;
      row.relative_error = pass.relative_error;
      row.config = contender.config;
      row.extra["speedup_vs_exact"] = pass.speedup_vs_exact;
      if (!contender.dense) {
        row.remaining_ratio = contender.remaining_ratio;
        row.workspace_bytes = contender.workspace_bytes;
        row.extra["asked_remaining_ratio"] = contender.asked_remaining_ratio;
      }
      rows.push_back(row);
    }
  }
  return rows;
}

nlohmann::json break_even_rows(const NamedResult& named, const ComparisonSettings& settings) {
  nlohmann::json rows = nlohmann::json::array();
  for (const EngineBreakEven& engine : named.result.break_even) {
    for (std::size_t p = 0; p < settings.passes.size(); ++p) {
      const BreakEven& even = engine.passes[p];
      const bool at = even.kind == BreakEven::Kind::at;
      rows.push_back({{"shape", {{"n", named.shape.n}, {"k", named.shape.k}, {"m", named.shape.m}}},
                      {"engine", engine.engine},
                      {"pass", to_string(settings.passes[p])},
                      {"best_dense", named.result.best_dense[p]},
                      {"reuse_wins", to_string(even.kind)},
                      {"remaining_ratio", at ? nlohmann::json(even.remaining_ratio) : nullptr}});
    }
  }
  return rows;
}

void run(const Options& options, const CommonOptions& common) {
  const ComparisonSettings settings = settings_of(options, common);
  std::vector<GemmShape> shapes = common.quick ? quick_gemm_shapes() : gemm_shapes();
  if (!options.shapes.empty()) shapes.clear();
  for (const std::string& text : options.shapes) shapes.push_back(parse_gemm_shape(text));
  ReportFile file(common.json);
  const nlohmann::json header = machine(common.threads);
  if (!common.lists_only()) {
    std::printf(
        "%s\nreuse_gemm: %s, products by %s; %s; %d paired rounds, medians; speed-up and error "
        "against\n"
        "the best dense product and Eigen's result on the same data\n",
        to_text(header).c_str(), adr::label(options_with(settings.published).plan()).c_str(),
        settings.product.c_str(), adr::label(options_with(settings.clustered).plan()).c_str(),
        settings.rounds);
    std::fflush(stdout);
  }

  std::list<LazyComparison> comparisons;
  for (const GemmShape& shape : shapes) comparisons.emplace_back(shape, settings);
  register_all(comparisons, settings);
  run_benchmarks("bench_gemm", common);

  std::vector<NamedResult> results;
  for (const LazyComparison& comparison : comparisons) {
    if (comparison.result()) results.push_back({comparison.shape(), *comparison.result()});
  }
  if (results.empty()) return;  // the benchmarks were only listed
  print_summary(results, settings);
  std::vector<Row> rows;
  nlohmann::json break_even = nlohmann::json::array();
  for (const NamedResult& named : results) {
    for (Row& row : rows_of(named, settings)) rows.push_back(std::move(row));
    for (auto& row : break_even_rows(named, settings)) break_even.push_back(std::move(row));
  }
  nlohmann::json report = make_report(header, rows);
  report["break_even"] = std::move(break_even);
  file.write(report);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return run_program(
      argc, argv, "bench_gemm",
      "Times reuse_gemm and its gradients beside dense products on inputs of known redundancy.",
      [&](CLI::App& app) { add_options(app, options); },
      [&](const CommonOptions& common) { run(options, common); });
}
