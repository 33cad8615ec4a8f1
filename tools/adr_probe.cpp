// adr-probe: would reuse help on this tensor? Prints similarity, error and speed of settings of the
// library on a layer input saved as .npy, and names the setting to use.
#include <CLI/CLI.hpp>
#include <adr/adr.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "probe/layer_under_test.hpp"
#include "probe/probe.hpp"
#include "support/npy_tensor.hpp"

namespace {

struct Options {
  std::string input_path;
  std::string weights_path;
  std::string layout = "nchw";
  tools::LayerOptions layer;
  std::vector<adr::index_t> sub_vector_lengths;
  std::vector<int> hash_counts;
  std::vector<adr::index_t> kept_coordinates;
  std::string hash_center = "both";
  double max_error = 0.2;
  int threads = 1;
  int repetitions = 5;
};

std::vector<adr::Plan> chosen_candidates(const Options& options,
                                         const tools::LayerUnderTest& layer) {
  std::vector<adr::Plan> candidates = tools::default_candidates(layer);
  const bool published_named = !options.sub_vector_lengths.empty() || !options.hash_counts.empty();
  if (published_named || !options.kept_coordinates.empty()) {
    candidates = tools::subspace_candidates(options.kept_coordinates);
  }
  if (published_named) {
    const adr::Plan defaults;
    auto lengths = options.sub_vector_lengths;
    auto counts = options.hash_counts;
    if (lengths.empty()) lengths.push_back(defaults.sub_vector_length);
    if (counts.empty()) counts.push_back(defaults.hash_count);
    for (const adr::index_t length : lengths) {
      for (const int count : counts) {
        for (const auto center : {adr::HashCenter::origin, adr::HashCenter::mean}) {
          adr::Plan config;
          config.sub_vector_length = length;
          config.hash_count = count;
          config.hash_center = center;
          candidates.push_back(config);
        }
      }
    }
  }
  std::vector<adr::Plan> kept;
  for (adr::Plan config : candidates) {
    const bool origin = config.hash_center == adr::HashCenter::origin;
    const bool published = config.method == adr::Method::hyperplane;
    if (published && options.hash_center == "origin" && !origin) continue;
    if (published && options.hash_center == "mean" && origin) continue;
    config.seed = options.layer.seed;
    kept.push_back(config);
  }
  return kept;
}

void print_recommendation(const std::vector<tools::ProbeResult>& results, double max_error) {
  const tools::ProbeResult* best = nullptr;
  for (const auto& result : results) {
    // What is no number is within no bound.
    if (!(result.output_error <= max_error) || !(result.speedup > 1)) continue;
    if (best == nullptr || result.seconds < best->seconds) best = &result;
  }
  if (best == nullptr) {
    std::printf(
        "\nUse the dense product: no setting tried is both faster and within a relative output "
        "error of %.2f (--max-error).\n",
        max_error);
    return;
  }
  std::printf("\nUse %s: %.2fx the dense speed at a relative output error of %.3f.\n",
              adr::label(best->config).c_str(), best->speedup, best->output_error);
}

void probe(Options options) {
  options.layer.layout = options.layout == "nhwc" ? adr::Layout::nhwc : adr::Layout::nchw;
  std::optional<tools::NpyTensor> weights;
  if (!options.weights_path.empty()) weights = tools::read_npy(options.weights_path);
  const tools::LayerUnderTest layer = tools::make_layer(
      tools::read_npy(options.input_path), weights ? &*weights : nullptr, options.layer);
  adr::require_finite("the input", layer.x());
  adr::require_finite("the weights", layer.w());
  const std::vector<adr::Plan> candidates = chosen_candidates(options, layer);
  for (const auto& config : candidates) {
    const std::string problem = config.validate(layer.geometry.columns());
    tools::require(problem.empty(), problem);
  }

  tools::Probe probe(layer, options.threads, options.repetitions);
  std::printf("%td rows x %td columns x %td outputs%s, %d thread(s), %s; dense %.2f ms\n",
              layer.geometry.rows(layer.batch), layer.geometry.columns(),
              layer.geometry.out_channels, weights ? "" : " (random weights)", options.threads,
              ADR_ISA_NAME, 1e3 * probe.dense_seconds());
  std::printf("\n%-22s %12s %12s %12s %12s %10s %8s\n", "setting", "remaining", "input error",
              "output error", "MACs saved", "time (ms)", "speed-up");
  std::vector<tools::ProbeResult> results;
  for (const auto& config : candidates) {
    results.push_back(probe.run(config));
    const auto& r = results.back();
    std::printf("%-22s %12.4f %12.3f %12.3f %11.0f%% %10.2f %7.2fx\n", adr::label(config).c_str(),
                r.remaining_ratio, r.input_error, r.output_error, 100 * r.saved_share,
                1e3 * r.seconds, r.speedup);
  }
  print_recommendation(results, options.max_error);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Would Adaptive Deep Reuse help on this tensor?", "adr-probe");
  Options options;
  // Comparisons let a NaN through any range.
  const CLI::Validator number(
      [](const std::string& text) {
        return std::isnan(std::strtod(text.c_str(), nullptr)) ? "must be a number, got " + text
                                                              : std::string();
      },
      "NUMBER");
  app.add_option("file", options.input_path,
                 "input of the layer: .npy, batch x channels x height x width or rows x columns")
      ->required();
  app.add_option(
      "--weights", options.weights_path,
      "weights: .npy, out x in x height x width, or columns x outputs (default: random)");
  app.add_option("--layout", options.layout, "layout of a 4-d input")
      ->check(CLI::IsMember({"nchw", "nhwc"}));
  app.add_option("--kernel", options.layer.kernel, "kernel size when there are no weights");
  app.add_option("--out-channels", options.layer.out_channels, "outputs when there are no weights");
  app.add_option("--pad", options.layer.pad, "zero padding on every side");
  app.add_option("--stride", options.layer.stride, "stride in both directions");
  app.add_option("--sub-vector-length", options.sub_vector_lengths, "L, one or several")
      ->delimiter(',');
  app.add_option("--hash-count", options.hash_counts, "H, one or several")->delimiter(',');
  app.add_option("--kept-coordinates", options.kept_coordinates, "D of subspaces, one or several")
      ->delimiter(',');
  app.add_option("--hash-center", options.hash_center, "where hyperplanes pass")
      ->check(CLI::IsMember({"origin", "mean", "both"}));
  app.add_option("--max-error", options.max_error,
                 "largest relative output error of a recommended setting")
      ->check(number)
      ->check(CLI::Range(0.0, 10.0));
  app.add_option("--threads", options.threads, "threads")->check(CLI::Range(1, 1024));
  app.add_option("--repetitions", options.repetitions, "timed passes per setting")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seed", options.layer.seed, "seed of hyperplanes and random weights")
      ->check(CLI::NonNegativeNumber);
  for (CLI::Option* option : app.get_options()) option->capture_default_str();
  try {
    app.parse(argc, argv);
    probe(options);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "adr-probe: %s\n", problem.what());
    return 2;
  }
  return 0;
}
