// Where does reuse pay, and where not? Clusters with a radius, the published method and streams
// beside the exact engine, on layers of networks and on plain products, with the data that
// arguments name.
#include <adr/options.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/reuse/comparison.hpp"
#include "bench/reuse/data.hpp"
#include "bench/reuse/layer_stack.hpp"
#include "bench/support/command_line.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/report.hpp"
#include "bench/support/text_table.hpp"

namespace {

using namespace adr_bench;

struct Options {
  std::vector<std::string> data;
  std::vector<std::string> networks;
  std::vector<double> radii = {0, 0.01, 0.05};
  std::vector<double> max_errors = {0, 0.02, 0.05};
  std::vector<index_t> patches = {4, 8, 16};
  index_t outputs = 256;
  index_t layers = 6;
  index_t images = 8;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option(
         "--data", options.data,
         "Files .npy, uint8 or float32, of count x channels x height x width images or rows "
         "x columns matrices; without, generated data")
      ->delimiter(',');
  app.add_option("--network", options.networks, "Files of layers, as those in bench/shapes");
  app.add_option("--radius", options.radii, "Of clusters with a radius")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 0.999))
      ->capture_default_str();
  app.add_option("--max-error", options.max_errors, "Of streams over images one after the other")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 0.999))
      ->capture_default_str();
  app.add_option("--patch", options.patches, "Sides of patches that become rows of a product")
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--outputs", options.outputs, "Columns of the weights of plain products")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--layers", options.layers, "Layers of a network, from the first one on")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--images", options.images, "Images of a file, from the first one on; 0: all")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
}

std::vector<ReuseData> load(const Options& options, bool quick) {
  std::vector<ReuseData> all;
  for (const std::string& path : options.data) {
    all.push_back(read_reuse_data(path));
    if (!all.back().is_matrix()) all.back().keep(options.images);
  }
  if (!all.empty()) return all;
  const index_t rows = quick ? 1024 : 8192;
  for (const double ratio : {0.05, 0.5, 1.0}) all.push_back(redundant_rows(rows, 576, ratio));
  all.push_back(plain_images(quick ? 1 : 8, quick ? 16 : 128));
  all.push_back(smooth_images(quick ? 1 : 8, quick ? 16 : 128));
  all.push_back(still_camera(quick ? 3 : 8, quick ? 16 : 128));
  return all;
}

/// The exact engine, which all are compared with, first.
std::vector<adr::Setting> settings_of(const Options& options) {
  std::vector<adr::Setting> settings = {adr::Exact{}, adr::Published{}};
  for (const double radius : options.radii) {
    adr::Clustered clustered;
    clustered.radius = radius;
    settings.emplace_back(clustered);
  }
  return settings;
}

class Run {
 public:
  Run(const Options& options, const CommonOptions& common)
      : options_(options), common_(common), settings_(settings_of(options)) {}

  void measure(const ReuseData& data) {
    if (data.is_matrix())
      return add(compare_product(data, options_.outputs, settings_, rounds(), common_.threads));
    constexpr index_t k_most_rows = 32768;
    for (const index_t patch : options_.patches) {
      if (patch > data.height || patch > data.width) continue;
      add(compare_product(patches_of(data, patch, k_most_rows), options_.outputs, settings_,
                          rounds(), common_.threads));
    }
    for (const std::string& path : networks()) measure(data, convolutions_of(read_network(path)));
  }

  [[nodiscard]] const std::vector<ReuseCase>& cases() const noexcept { return cases_; }

 private:
  [[nodiscard]] int rounds() const noexcept { return common_.rounds; }
  [[nodiscard]] std::vector<std::string> networks() const {
    if (!options_.networks.empty()) return options_.networks;
    std::vector<std::string> all;
    for (const char* name : {"cifarnet", "alexnet", "vgg19"}) {
      all.push_back(message(ADR_BENCH_SHAPES "/", name, ".txt"));
    }
    return all;
  }

  void measure(const ReuseData& data, const Network& network) {
    LayerStack stack(data, network.name, rounds(), common_.threads);
    const index_t count = common_.quick ? 1 : options_.layers;
    for (index_t i = 0; i < std::min<index_t>(count, static_cast<index_t>(network.layers.size()));
         ++i) {
      const ConvLayer& layer = network.layers[static_cast<std::size_t>(i)];
      if (i > 0) {
        const adr::ConvGeometry before =
            network.layers[static_cast<std::size_t>(i - 1)].geometry(adr::Layout::nhwc);
        if (2 * layer.height <= before.out_height() + 1) stack.pool();
      }
      if (!stack.fits(layer.geometry(adr::Layout::nhwc))) return;
      stack.enter(layer);
      add(stack.compare(settings_));
      if (data.count > 1) add(stack.compare_streams(options_.max_errors));
      stack.leave();
    }
  }

  void add(ReuseCase done) {
    std::printf("\n%s%s%s%s%s: N %td, K %td, M %td\n", done.data.c_str(),
                done.network.empty() ? "" : ", ", done.network.c_str(),
                done.layer.empty() ? "" : " ", done.layer.c_str(), done.n, done.k, done.m);
    TextTable table;
    table.add({"", "computed", "error", "at most", "ms", "against exact"});
    for (const ReuseResult& result : done.results) {
      table.add({result.config, text("%.3f", result.share_computed),
                 text("%.2g", result.relative_error),
                 result.error_bound > 0 ? text("%.2g", result.error_bound) : "",
                 milliseconds(median(result.seconds)), text("%.2f", result.speedup_vs_exact)});
    }
    table.print();
    std::fflush(stdout);
    cases_.push_back(std::move(done));
  }

  const Options& options_;
  const CommonOptions& common_;
  std::vector<adr::Setting> settings_;
  std::vector<ReuseCase> cases_;
};

nlohmann::json rows_of(const std::vector<ReuseCase>& cases, const CommonOptions& common) {
  nlohmann::json rows = nlohmann::json::array();
  for (const ReuseCase& one : cases) {
    for (const ReuseResult& result : one.results) {
      rows.push_back({{"bench", "reuse"},
                      {"data", one.data},
                      {"network", one.network},
                      {"layer", one.layer},
                      {"n", one.n},
                      {"k", one.k},
                      {"m", one.m},
                      {"remaining_ratio", result.remaining_ratio},
                      {"engine", result.engine},
                      {"config", result.config},
                      {"threads", common.threads},
                      {"isa", ADR_ISA_NAME},
                      {"share_computed", result.share_computed},
                      {"relative_error", result.relative_error},
                      {"error_bound", result.error_bound > 0 ? nlohmann::json(result.error_bound)
                                                             : nlohmann::json(nullptr)},
                      {"seconds_median", median(result.seconds)},
                      {"speedup_vs_exact", result.speedup_vs_exact}});
    }
  }
  return rows;
}

void run(const Options& options, const CommonOptions& common) {
  ReportFile file(common.json);
  const nlohmann::json header = machine(common.threads);
  std::printf("%s\n", to_text(header).c_str());
  Run all(options, common);
  for (const ReuseData& data : load(options, common.quick)) all.measure(data);
  nlohmann::json report;
  report["machine"] = header;
  report["rows"] = rows_of(all.cases(), common);
  file.write(report);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return run_program(
      argc, argv, "bench_reuse",
      "Shows where reuse pays: what is computed, the error and the time against the exact engine.",
      [&](CLI::App& app) { add_options(app, options); },
      [&](const CommonOptions& common) { run(options, common); });
}
