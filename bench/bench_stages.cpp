// Where does the time of a convolution with reuse go? CifarNet's layers in both layouts, several
// settings beside the dense layer: whole passes, stages, errors; and the inner loops alone.
#include <algorithm>
#include <cstdio>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "bench/stages/layer_comparison.hpp"
#include "bench/stages/primitives.hpp"
#include "bench/stages/settings.hpp"
#include "bench/stages/tables.hpp"
#include "bench/support/benchmark_session.hpp"
#include "bench/support/command_line.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/report.hpp"

namespace {

using namespace adr_bench;

struct Options {
  index_t batch = 128;
  std::string snapshot = "late";
  std::string product = k_own_product;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--batch", options.batch, "Images (more than 32 from snapshots: mirrored copies)")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--snapshot", options.snapshot,
                 "Moment of training, a folder of ADR_SNAPSHOTS when that is set")
      ->capture_default_str();
  app.add_option("--product", options.product, "What reuse multiplies centroids with")
      ->check(CLI::IsMember(product_names()))
      ->capture_default_str();
}

/// One layer in one layout; measured when Google Benchmark asks for its first time.
class LazyLayer {
 public:
  LazyLayer(ConvLayer layer, adr::Layout layout, const DataSource& source, const Options& options,
            const CommonOptions& common)
      : layer_(std::move(layer)),
        layout_(layout),
        source_(source),
        options_(options),
        common_(common),
        contenders_(layer_contenders(stage_settings(layer_, common.quick), options.product)) {}

  [[nodiscard]] std::string name() const { return layer_.name + "/" + to_string(layout_); }
  [[nodiscard]] const std::vector<LayerContender>& contenders() const noexcept {
    return contenders_;
  }
  const std::vector<LayerResult>& results() {
    if (results_.empty()) {
      const LayerData data = load_layer(layer_, options_.batch, source_);
      results_ = compare_layer(layer_, layout_, data, contenders_, common_.threads, common_.rounds);
      print_layer(layer_, layout_, options_.batch, contenders_, results_);
    }
    return results_;
  }
  /// Two rows per contender, none when it was not measured.
  [[nodiscard]] std::vector<Row> rows() const {
    std::vector<Row> rows;
    for (std::size_t i = 0; i < results_.size(); ++i) {
      rows.push_back(row(i, "forward"));
      rows.push_back(row(i, "backward"));
    }
    return rows;
  }

 private:
  [[nodiscard]] Row row(std::size_t i, const std::string& pass) const {
    const LayerResult& result = results_[i];
    const bool forward = pass == "forward";
    const adr::ConvGeometry g = layer_.geometry(layout_);
    Row row;
    row.bench = "stages";
    row.shape = {{"layer", layer_.name},    {"layout", to_string(layout_)},
                 {"batch", options_.batch}, {"n", g.rows(options_.batch)},
                 {"k", g.columns()},        {"m", g.out_channels}};
    row.pass = pass;
    row.engine = contenders_[i].engine;
    row.config = contenders_[i].label() + ", products by " + contenders_[i].product;
    row.threads = common_.threads;
    row.seconds = forward ? result.forward_seconds : result.backward_seconds;
    row.speedup_vs_best_dense = forward ? result.forward_speedup : result.backward_speedup;
    row.remaining_ratio = result.remaining_ratio;
    row.workspace_bytes = result.workspace_bytes;
    if (forward) {
      row.relative_error = result.output_error;
      for (int s = 0; s < adr::k_stage_count; ++s) {
        row.extra["stage_seconds_of_both_passes"][adr::to_string(static_cast<adr::Stage>(s))] =
            result.stage_seconds[static_cast<std::size_t>(s)];
      }
    } else {
      row.relative_error = result.weight_gradient_error;
      row.extra["relative_error_of_input_gradient"] = result.input_gradient_error;
    }
    return row;
  }

  ConvLayer layer_;
  adr::Layout layout_;
  const DataSource& source_;
  const Options& options_;
  const CommonOptions& common_;
  std::vector<LayerContender> contenders_;
  std::vector<LayerResult> results_;
};

/// One benchmark per layer, layout, pass and contender: stages/conv2/nhwc/forward/dense, eigen.
void register_layers(std::list<LazyLayer>& layers) {
  for (LazyLayer& layer : layers) {
    for (const bool forward : {true, false}) {
      for (std::size_t i = 0; i < layer.contenders().size(); ++i) {
        register_rounds(message("stages/", layer.name(), forward ? "/forward/" : "/backward/",
                                contender_name(layer.contenders()[i])),
                        [&layer, i, forward]() -> const std::vector<double>& {
                          const LayerResult& result = layer.results()[i];
                          return forward ? result.forward_seconds : result.backward_seconds;
                        });
      }
    }
  }
}

void run(const Options& given, const CommonOptions& common) {
  Options options = given;
  if (common.quick) options.batch = std::min<index_t>(options.batch, 8);
  const DataSource source = find_data(options.snapshot);
  ReportFile file(common.json);
  nlohmann::json header = machine(common.threads);
  header["data"] = source.description;
  if (!common.lists_only()) {
    std::printf(
        "%s\nData: %s\nReuse: products by %s; %d paired rounds, medians; speed-up and errors "
        "against\n"
        "the best dense layer and the exact result; backward is dW and dX together\n",
        to_text(header).c_str(), source.description.c_str(), options.product.c_str(),
        common.rounds);
    std::fflush(stdout);
  }

  const Network network = convolutions_of(read_network(cifarnet_shapes()));
  std::list<LazyLayer> layers;
  for (const ConvLayer& layer : network.layers) {
    for (const adr::Layout layout : {adr::Layout::nchw, adr::Layout::nhwc}) {
      layers.emplace_back(layer, layout, source, options, common);
    }
  }
  register_layers(layers);
  const std::vector<Primitive> primitives = all_primitives(network);
  const double min_seconds = common.quick ? 0.001 : 0.02;
  register_primitives(primitives,
                      common.has_benchmark_flag("--benchmark_min_time") ? 0.0 : min_seconds);
  const MeasuredSeconds measured = run_benchmarks("bench_stages", common);

  std::vector<Row> rows;
  for (const LazyLayer& layer : layers) {
    for (Row& row : layer.rows()) rows.push_back(std::move(row));
  }
  for (Row& row : report_primitives(primitives, measured)) rows.push_back(std::move(row));
  if (rows.empty()) return;  // the benchmarks were only listed
  file.write(make_report(header, rows));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return run_program(
      argc, argv, "bench_stages",
      "Times the stages of CifarNet's convolutions with reuse beside the dense layer.",
      [&](CLI::App& app) { add_options(app, options); },
      [&](const CommonOptions& common) { run(options, common); });
}
