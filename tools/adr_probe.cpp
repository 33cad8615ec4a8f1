// adr-probe: would reuse help on this tensor? Prints similarity, error and speed of settings of the
// library on a layer input saved as .npy, and the line of code that asks for the best of them.
#include <CLI/CLI.hpp>
#include <adr/adr.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "probe/layer_under_test.hpp"
#include "probe/options_text.hpp"
#include "probe/probe.hpp"
#include "support/npy_tensor.hpp"

namespace {

struct Options {
  std::string input_path;
  std::string weights_path;
  std::string layout = "nchw";
  tools::LayerOptions layer;
  std::vector<adr::index_t> coordinates;
  std::vector<adr::index_t> vector_lengths;
  std::vector<int> hash_counts;
  std::string hash_center = "both";
  double max_error = 0.2;
  int threads = 1;
  int repetitions = 5;
};

std::vector<adr::HashCenter> hash_centers(const std::string& name) {
  if (name == "origin") return {adr::HashCenter::origin};
  if (name == "mean") return {adr::HashCenter::mean};
  return {adr::HashCenter::origin, adr::HashCenter::mean};
}

/// What the user names, or of every kind what is worth trying.
std::vector<adr::Setting> settings_to_try(const Options& options, const adr::ConvGeometry& g) {
  const auto or_usual = [](auto named, const auto& usual) { return named.empty() ? usual : named; };
  const bool published = !options.vector_lengths.empty() || !options.hash_counts.empty();
  const bool subspaces = !options.coordinates.empty();
  std::vector<adr::Setting> settings;
  if (subspaces || !published) {
    settings = tools::subspaces(or_usual(options.coordinates, tools::usual_coordinates(g)));
  }
  if (published || !subspaces) {
    const adr::Published usual;
    const auto lengths =
        or_usual(options.vector_lengths, published ? std::vector<adr::index_t>{usual.vector_length}
                                                   : tools::usual_vector_lengths(g));
    const auto counts = or_usual(options.hash_counts, published ? std::vector<int>{usual.hash_count}
                                                                : tools::usual_hash_counts());
    for (const adr::Setting& setting :
         tools::published_settings(lengths, counts, hash_centers(options.hash_center))) {
      settings.push_back(setting);
    }
  }
  return settings;
}

adr::Options options_with(const adr::Setting& setting, std::uint64_t seed) {
  adr::Options options;
  options.setting = setting;
  options.seed = seed;
  return options;
}

void print_code(const std::string& lines) {
  std::istringstream text(lines);
  for (std::string line; std::getline(text, line);) std::printf("    %s\n", line.c_str());
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
        "\nStay exact: no setting tried is both faster and within a relative output error of %g "
        "(--max-error).\n",
        max_error);
    return print_code("adr::Options options;");
  }
  std::printf("\nUse %s: %.2fx the exact speed at a relative output error of %.3f.\n",
              best->label.c_str(), best->speedup, best->output_error);
  print_code(tools::options_text(best->setting));
  if (std::holds_alternative<adr::Subspace>(best->setting)) {
    std::printf("Or let the layer find out by itself, on its own batches:\n");
    print_code(tools::max_error_text(max_error));
  }
}

void probe(Options options) {
  options.layer.layout = options.layout == "nhwc" ? adr::Layout::nhwc : adr::Layout::nchw;
  std::optional<tools::NpyTensor> weights;
  if (!options.weights_path.empty()) weights = tools::read_npy(options.weights_path);
  const tools::LayerUnderTest layer = tools::make_layer(
      tools::read_npy(options.input_path), weights ? &*weights : nullptr, options.layer);
  adr::require_finite("the input", layer.x());
  adr::require_finite("the weights", layer.w());
  const std::vector<adr::Setting> settings = settings_to_try(options, layer.geometry);
  for (const adr::Setting& setting : settings) {
    const std::string problem = options_with(setting, options.layer.seed).validate();
    tools::require(problem.empty(), problem);
  }

  tools::Probe probe(layer, options.threads, options.repetitions);
  std::printf("%td rows x %td columns x %td outputs%s, %d thread(s), %s; exact %.2f ms\n",
              layer.geometry.rows(layer.batch), layer.geometry.columns(),
              layer.geometry.out_channels, weights ? "" : " (random weights)", options.threads,
              ADR_ISA_NAME, 1e3 * probe.exact_seconds());
  std::printf("\n%-28s %12s %12s %12s %12s %10s %8s\n", "setting", "remaining", "input error",
              "output error", "MACs saved", "time (ms)", "speed-up");
  std::vector<tools::ProbeResult> results;
  for (const adr::Setting& setting : settings) {
    results.push_back(probe.run(options_with(setting, options.layer.seed)));
    const auto& r = results.back();
    std::printf("%-28s %12.4f %12.3f %12.3f %11.0f%% %10.2f %7.2fx\n", r.label.c_str(),
                r.remaining_ratio, r.input_error, r.output_error, 100 * r.saved_share,
                1e3 * r.seconds, r.speedup);
  }
  print_recommendation(results, options.max_error);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Would Adaptive Deep Reuse help on this tensor?", "adr-probe");
  Options options;
  const CLI::Validator max_error_rule(
      [](const std::string& text) {
        adr::Options bounded;
        bounded.max_error = std::strtod(text.c_str(), nullptr);
        return bounded.validate();
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
  app.add_option("--coordinates", options.coordinates, "D of subspaces, one or several")
      ->delimiter(',');
  app.add_option("--vector-length", options.vector_lengths,
                 "L of the published method, one or several")
      ->delimiter(',');
  app.add_option("--hash-count", options.hash_counts, "H of the published method, one or several")
      ->delimiter(',');
  app.add_option("--hash-center", options.hash_center, "where hyperplanes pass")
      ->check(CLI::IsMember({"origin", "mean", "both"}));
  app.add_option("--max-error", options.max_error,
                 "largest relative output error of a recommended setting")
      ->check(max_error_rule);
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
