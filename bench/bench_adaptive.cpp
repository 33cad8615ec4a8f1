// Does the automatic mode ever lose? A dense layer beside one under a schedule, from the first step
// of a training to the last, on shapes and data on which there is little or nothing to gain.
#include <algorithm>
#include <cstdio>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "bench/adaptive/paired_training.hpp"
#include "bench/adaptive/shapes.hpp"
#include "bench/support/benchmark_session.hpp"
#include "bench/support/command_line.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/report.hpp"
#include "bench/support/statistics.hpp"
#include "bench/support/text_table.hpp"

namespace {

using namespace adr_bench;

/// Rounds of one shape, run when Google Benchmark asks for the first.
class LazyTraining {
 public:
  LazyTraining(AdaptiveShape shape, const TrainingSettings& settings, int rounds)
      : shape_(std::move(shape)), settings_(settings), rounds_(rounds) {}

  const std::vector<double>& dense_seconds() { return run(), dense_; }
  const std::vector<double>& auto_seconds() { return run(), auto_; }
  [[nodiscard]] const AdaptiveShape& shape() const noexcept { return shape_; }
  [[nodiscard]] bool has_run() const noexcept { return last_.has_value(); }
  /// Time under the schedule relative to dense: the median over rounds.
  [[nodiscard]] double cost() const { return median_ratio(auto_, dense_); }
  [[nodiscard]] const TrainingResult& last() const { return *last_; }

 private:
  void run() {
    if (last_) return;
    const DenseEngine product = dense_engine(settings_.product);
    for (int round = 0; round < rounds_; ++round) {
      last_ = train_pair(shape_, product, settings_);
      dense_.push_back(last_->dense_seconds / static_cast<double>(last_->steps));
      auto_.push_back(last_->auto_seconds / static_cast<double>(last_->steps));
    }
    // The table comes at the end, after many minutes.
    std::fprintf(stderr, "%s, %s: auto takes %.3f of dense\n", shape_.name.c_str(),
                 to_string(shape_.similarity), cost());
  }

  AdaptiveShape shape_;
  const TrainingSettings& settings_;
  int rounds_;
  std::vector<double> dense_;
  std::vector<double> auto_;
  std::optional<TrainingResult> last_;
};

void register_all(std::list<LazyTraining>& trainings) {
  for (LazyTraining& training : trainings) {
    const std::string name =
        message("adaptive/", training.shape().name, "/", to_string(training.shape().similarity));
    register_rounds(name + "/dense", [&training]() -> const std::vector<double>& {
      return training.dense_seconds();
    });
    register_rounds(name + "/auto", [&training]() -> const std::vector<double>& {
      return training.auto_seconds();
    });
  }
}

void print(const std::list<LazyTraining>& trainings) {
  TextTable table;
  table.add({"layer", "data", "steps", "dense us", "auto us", "auto/dense", "meter %", "decide us",
             "error", "setting", "because"});
  double worst = 0;
  int above = 0;
  int count = 0;
  for (const LazyTraining& training : trainings) {
    if (!training.has_run()) continue;
    const TrainingResult& last = training.last();
    table.add({training.shape().name, to_string(training.shape().similarity),
               std::to_string(last.steps), text("%.1f", 1e6 * last.dense_seconds / last.steps),
               text("%.1f", 1e6 * last.auto_seconds / last.steps), text("%.3f", training.cost()),
               text("%.2f", 100 * last.meter_seconds / last.auto_seconds),
               text("%.2f", 1e6 * last.scheduler_seconds / last.steps),
               text("%.3f", last.largest_error), last.config,
               adr::to_string(last.decision.reason)});
    worst = std::max(worst, training.cost());
    above += training.cost() > 1.03;
    ++count;
  }
  table.print();
  std::printf("%d shapes, worst auto/dense %.3f, above 1.03: %d\n", count, worst, above);
}

std::vector<Row> rows_of(const std::list<LazyTraining>& trainings, int threads) {
  std::vector<Row> rows;
  for (const LazyTraining& training : trainings) {
    if (!training.has_run()) continue;
    const adr::ConvGeometry& g = training.shape().geometry;
    Row row;
    row.bench = "adaptive";
    row.shape = {{"layer", training.shape().name},
                 {"n", g.rows(training.shape().batch)},
                 {"k", g.columns()},
                 {"m", g.out_channels}};
    row.pass = "step";
    row.engine = engine_of(adr::Automatic());
    row.config = training.last().config;
    row.threads = threads;
    row.seconds = {training.last().auto_seconds / static_cast<double>(training.last().steps)};
    row.speedup_vs_best_dense = 1 / training.cost();
    row.relative_error = training.last().largest_error;
    row.extra["data"] = to_string(training.shape().similarity);
    row.extra["steps"] = training.last().steps;
    row.extra["cost"] = training.cost();
    row.extra["meter_share"] = training.last().meter_seconds / training.last().auto_seconds;
    row.extra["scheduler_seconds"] =
        training.last().scheduler_seconds / static_cast<double>(training.last().steps);
    row.extra["reason"] = adr::to_string(training.last().decision.reason);
    rows.push_back(row);
  }
  return rows;
}

struct Options {
  std::string shapes;  ///< a file; empty: the built-in ones
  std::string snapshot = "trained";
  index_t batch = 128;
  bool onednn_convolutions = false;
  std::string product = k_own_product;
  double max_error = 0.10;
  double seconds = 1;
};

void run(const Options& options, const CommonOptions& common) {
  TrainingSettings settings;
  settings.product = options.product;
  settings.threads = common.threads;
  settings.onednn_convolutions = options.onednn_convolutions;
  settings.seconds = common.quick ? 0.02 : options.seconds;
  settings.least_steps = common.quick ? 20 : 300;
  settings.schedule.phases = {{options.max_error, 0.0, 1.0}};
  ReportFile file(common.json);
  nlohmann::json header = machine(common.threads);
  header["product"] = options.product;
  header["onednn_convolutions"] = options.onednn_convolutions;
  const DataSource source = find_data(options.snapshot);
  std::vector<AdaptiveShape> shapes = common.quick ? quick_adaptive_shapes() : adaptive_shapes();
  if (!options.shapes.empty()) {
    const index_t batch = common.quick ? std::min<index_t>(options.batch, 4) : options.batch;
    shapes = network_shapes(read_network(options.shapes), source, batch);
    header["data"] = source.description;
    require(!shapes.empty(), source.folder, " holds no layer of ", options.shapes);
  }
  header["budget"] = options.max_error;
  if (!common.lists_only()) {
    std::printf(
        "%s\nDense products by %s%s, max_error %.2f, exact gradients; %d rounds from the "
        "first step, medians\n",
        to_text(header).c_str(), options.product.c_str(),
        options.onednn_convolutions ? ", convolutions by oneDNN" : "", options.max_error,
        common.rounds);
    std::fflush(stdout);
  }
  std::list<LazyTraining> trainings;
  for (const AdaptiveShape& shape : shapes) {
    trainings.emplace_back(shape, settings, common.rounds);
  }
  register_all(trainings);
  run_benchmarks("bench_adaptive", common);
  const std::vector<Row> rows = rows_of(trainings, common.threads);
  if (rows.empty()) return;  // the benchmarks were only listed
  print(trainings);
  file.write(make_report(header, rows));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return run_program(
      argc, argv, "bench_adaptive",
      "Trains layers dense and under a schedule, on data with little or nothing to share.",
      [&](CLI::App& app) {
        app.add_option(
            "--shapes", options.shapes,
            "File of layers, as bench/shapes/cifarnet.txt, in place of the built-in ones");
        app.add_option("--snapshot", options.snapshot,
                       "With --shapes: a folder of ADR_SNAPSHOTS, when that is set")
            ->capture_default_str();
        app.add_option("--batch", options.batch, "With --shapes: images")
            ->check(CLI::Range(1, 1 << 20))
            ->capture_default_str();
#if defined(ADR_BENCH_HAS_ONEDNN)
        app.add_flag("--onednn-convolutions", options.onednn_convolutions,
                     "Dense passes by oneDNN's fastest convolutions");
#endif
        app.add_option("--product", options.product, "The dense product")
            ->check(CLI::IsMember(product_names()))
            ->capture_default_str();
        app.add_option("--max-error", options.max_error, "Relative output error allowed")
            ->check(CLI::Range(0.0, 0.99))
            ->capture_default_str();
        app.add_option("--seconds", options.seconds, "Dense seconds per shape and round")
            ->check(CLI::Range(0.001, 1000.0))
            ->capture_default_str();
      },
      [&](const CommonOptions& common) { run(options, common); });
}
