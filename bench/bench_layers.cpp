// Is a convolution layer with reuse faster than the fastest dense one? Every layer of a network,
// pass by pass, beside im2col on Eigen, OpenBLAS and oneDNN, and beside oneDNN's own convolutions.
#include <algorithm>
#include <cstdio>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/layers/comparison.hpp"
#include "bench/layers/layer_engines.hpp"
#include "bench/layers/tables.hpp"
#include "bench/support/benchmark_session.hpp"
#include "bench/support/command_line.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/report.hpp"

namespace {

using namespace adr_bench;

struct Options {
  std::string shapes = cifarnet_shapes();
  index_t batch = 128;
  std::string snapshot = "late";
  std::string layout = "nchw";
  std::string product = k_own_product;
  std::string settings = "all";
  int seeds = 16;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--shapes", options.shapes, "File of layers, as bench/shapes/cifarnet.txt")
      ->capture_default_str();
  app.add_option("--batch", options.batch, "Images (more than 32 from snapshots: mirrored copies)")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--snapshot", options.snapshot,
                 "Moment of training, a folder of ADR_SNAPSHOTS when that is set")
      ->capture_default_str();
  app.add_option("--settings", options.settings,
                 "Of reuse: many subspaces and gradients, or a few settings that suit the width")
      ->check(CLI::IsMember({"all", "few"}))
      ->capture_default_str();
  app.add_option("--layout", options.layout, "Order of the tensors' dimensions")
      ->check(CLI::IsMember({"nchw", "nhwc"}))
      ->capture_default_str();
  app.add_option("--product", options.product, "What reuse multiplies with")
      ->check(CLI::IsMember(product_names()))
      ->capture_default_str();
  app.add_option("--seeds", options.seeds, "Seeds for the bias of gradients; 0: not measured")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

/// One layer; measured when Google Benchmark asks for its first time.
class LazyLayer {
 public:
  LazyLayer(ConvLayer layer, const DataSource& source, const Options& options,
            const LayerComparisonSettings& settings, SettingsAmount amount)
      : layer_(std::move(layer)),
        source_(source),
        options_(options),
        settings_(settings),
        engines_(layer_engines(layer_, options.product, amount)) {}

  [[nodiscard]] const ConvLayer& layer() const noexcept { return layer_; }
  [[nodiscard]] const std::vector<LayerEngine>& engines() const noexcept { return engines_; }
  /// Empty until it was measured.
  [[nodiscard]] const std::optional<LayerComparison>& comparison() const noexcept {
    return comparison_;
  }
  /// The rounds of one contender; empty when it has no kernel for the pass.
  const std::vector<double>& seconds(std::size_t engine, int threads, LayerPass pass) {
    if (!comparison_) {
      const LayerData data = load_layer(layer_, options_.batch, source_);
      comparison_ = compare_engines(layer_, data, engines_, settings_);
      print_comparison(layer_, options_.batch, engines_, settings_, *comparison_);
    }
    for (const LayerEngineResult& result : comparison_->results) {
      const auto found = result.passes.find(pass);
      const bool asked = result.engine == engine && result.threads == threads;
      if (asked && found != result.passes.end()) return found->second.seconds;
    }
    static const std::vector<double> k_none;
    return k_none;
  }

 private:
  ConvLayer layer_;
  const DataSource& source_;
  const Options& options_;
  const LayerComparisonSettings& settings_;
  std::vector<LayerEngine> engines_;
  std::optional<LayerComparison> comparison_;
};

/// One benchmark per layer, layout, threads, pass and contender:
/// layers/conv2/nchw/2 threads/forward/openblas.
void register_layers(std::list<LazyLayer>& layers, const LayerComparisonSettings& settings) {
  for (LazyLayer& layer : layers) {
    for (const int threads : settings.thread_counts) {
      for (const LayerPass pass : passes_of(layer.layer())) {
        for (std::size_t e = 0; e < layer.engines().size(); ++e) {
          const LayerEngine& engine = layer.engines()[e];
          if (engine.frozen && pass != LayerPass::forward) continue;
          register_rounds(message("layers/", layer.layer().name, "/", to_string(settings.layout),
                                  "/", threads, " threads/", to_string(pass), "/", engine.title()),
                          [&layer, e, threads, pass]() -> const std::vector<double>& {
                            return layer.seconds(e, threads, pass);
                          });
        }
      }
    }
  }
}

/// What the rows of one layer have in common.
struct RowContext {
  const std::string& network;
  const LazyLayer& layer;
  const LayerComparisonSettings& settings;
  index_t batch;
};

void add_accuracy(const RowContext& context, const LayerEngineResult& result, LayerPass pass,
                  nlohmann::json& extra) {
  const LayerEngineAccuracy& accuracy = context.layer.comparison()->accuracy[result.engine];
  if (pass == LayerPass::forward && accuracy.held_out) {
    extra["held_out_error"] = *accuracy.held_out;
  }
  if (pass == LayerPass::forward || !accuracy.bias) return;
  if (pass == LayerPass::input_gradient) {
    extra["relative_bias"] = json_or_null(accuracy.bias->input_gradient);
  } else if (pass == LayerPass::weight_gradient) {
    extra["relative_bias"] = json_or_null(accuracy.bias->weight_gradient);
  } else {
    return;
  }
  extra["relative_bias_seeds"] = context.settings.seeds;
}

Row row_of(const RowContext& context, const LayerEngineResult& result, LayerPass pass) {
  const LayerEngine& engine = context.layer.engines()[result.engine];
  const LayerPassResult& measured = result.passes.at(pass);
  const adr::ConvGeometry g = context.layer.layer().geometry(context.settings.layout);
  Row row;
  row.bench = "layers";
  row.shape = {{"n", g.rows(context.batch)}, {"k", g.columns()}, {"m", g.out_channels}};
  row.pass = to_string(pass);
  row.engine = engine.name;
  row.config = measured.config;
  row.threads = result.threads;
  row.seconds = measured.seconds;
  row.speedup_vs_best_dense = measured.speedup_vs_best_dense;
  row.relative_error = detail::own_error(pass, measured.errors);
  row.remaining_ratio = result.remaining_ratio;
  row.workspace_bytes = measured.workspace_bytes;
  row.extra = {{"network", context.network},
               {"layer", context.layer.layer().name},
               {"layout", to_string(context.settings.layout)},
               {"batch", context.batch},
               {"best_dense", context.layer.comparison()->best_dense.at({result.threads, pass})}};
  if (measured.speedup_vs_one_thread) {
    row.extra["speedup_vs_one_thread"] = *measured.speedup_vs_one_thread;
  }
  if (detail::is_step(pass)) {
    row.extra["relative_error_of_output"] = json_or_null(measured.errors.output);
    row.extra["relative_error_of_input_gradient"] = json_or_null(measured.errors.input_gradient);
  }
  if (result.refit_seconds && (detail::is_step(pass) || pass == LayerPass::forward)) {
    row.extra["refit_seconds"] = *result.refit_seconds;
    row.extra["refit_share_seconds"] = result.refit_share_seconds;
  }
  add_accuracy(context, result, pass, row.extra);
  return row;
}

/// The kernels that do not exist: [{layer, engine, pass, threads}].
nlohmann::json absent_rows(const LazyLayer& layer) {
  nlohmann::json rows = nlohmann::json::array();
  for (const LayerEngineResult& result : layer.comparison()->results) {
    const LayerEngine& engine = layer.engines()[result.engine];
    for (const LayerPass pass : passes_of(layer.layer())) {
      if (result.passes.count(pass) > 0 || engine.frozen) continue;
      rows.push_back({{"layer", layer.layer().name},
                      {"engine", engine.name},
                      {"pass", to_string(pass)},
                      {"threads", result.threads}});
    }
  }
  return rows;
}

void run(const Options& given, const CommonOptions& common) {
  Options options = given;
  if (common.quick) {
    options.batch = std::min<index_t>(options.batch, 8);
    options.seeds = std::min(options.seeds, 2);
  }
  LayerComparisonSettings settings;
  settings.layout = options.layout == "nchw" ? adr::Layout::nchw : adr::Layout::nhwc;
  settings.product = options.product;
  settings.thread_counts = common.thread_counts;
  std::sort(settings.thread_counts.begin(), settings.thread_counts.end());
  settings.thread_counts.erase(
      std::unique(settings.thread_counts.begin(), settings.thread_counts.end()),
      settings.thread_counts.end());
  settings.rounds = common.rounds;
  settings.seeds = options.seeds;
  const Network network = read_network(options.shapes);
  const DataSource source = find_data(options.snapshot);
  ReportFile file(common.json);
  nlohmann::json header = machine(settings.thread_counts);
  header["data"] = source.description;
  if (!common.lists_only()) {
    std::printf(
        "%s\nData: %s\nReuse: products by %s; %d paired rounds, medians; x is the speed-up over "
        "the "
        "fastest dense\nengine of the pass at as many threads; errors against the exact result; a "
        "forward pass carries its\nshare of fitting; work is scratch memory\n",
        to_text(header).c_str(), source.description.c_str(), options.product.c_str(),
        common.rounds);
    std::fflush(stdout);
  }

  std::list<LazyLayer> layers;
  const SettingsAmount amount = common.quick                ? SettingsAmount::smoke
                                : options.settings == "few" ? SettingsAmount::few
                                                            : SettingsAmount::all;
  for (const ConvLayer& layer : network.layers) {
    if (has_data(layer, source)) {
      layers.emplace_back(layer, source, options, settings, amount);
    } else if (!common.lists_only()) {
      std::printf("%s: left out, %s holds nothing of it\n", layer.name.c_str(),
                  source.folder.c_str());
    }
  }
  register_layers(layers, settings);
  run_benchmarks("bench_layers", common);

  std::vector<Row> rows;
  nlohmann::json absent = nlohmann::json::array();
  for (const LazyLayer& layer : layers) {
    if (!layer.comparison()) continue;
    const RowContext context{network.name, layer, settings, options.batch};
    for (const LayerEngineResult& result : layer.comparison()->results) {
      for (const auto& [pass, measured] : result.passes) {
        rows.push_back(row_of(context, result, pass));
      }
    }
    for (auto& row : absent_rows(layer)) absent.push_back(std::move(row));
  }
  if (rows.empty()) return;  // the benchmarks were only listed
  nlohmann::json report = make_report(header, rows);
  report["absent"] = std::move(absent);
  file.write(report);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return run_program(
      argc, argv, "bench_layers",
      "Times the passes of convolution layers with reuse beside the fastest dense ones.",
      [&](CLI::App& app) { add_options(app, options); },
      [&](const CommonOptions& common) { run(options, common); }, ThreadsFlag::list_of_counts);
}
