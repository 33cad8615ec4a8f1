// One convolution layer: every contender at every number of threads, pass by pass, in one set of
// rounds.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench/layers/accuracy.hpp"
#include "bench/layers/layer_engines.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/layer_data.hpp"
#include "bench/support/layer_pass.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/paired_rounds.hpp"
#include "bench/support/statistics.hpp"

namespace adr_bench {

struct LayerComparisonSettings {
  adr::Layout layout = adr::Layout::nchw;
  std::string product;  ///< what reuse multiplies with
  std::vector<int> thread_counts;
  int rounds = 7;
  int seeds = 16;  ///< for the bias of gradients; 0: not measured
};

struct LayerPassResult {
  std::string config;
  /// Per round. With the share of fitting that falls on one forward pass, where there is one.
  std::vector<double> seconds;
  double speedup_vs_best_dense = 0;             ///< median over rounds, at the same threads
  std::optional<double> speedup_vs_one_thread;  ///< median over rounds
  PassErrors errors;
  std::size_t workspace_bytes = 0;
};

/// One contender at one number of threads.
struct LayerEngineResult {
  std::size_t engine = 0;  ///< which contender
  int threads = 1;
  std::map<LayerPass, LayerPassResult> passes;  ///< without those that do not exist
  std::optional<double> remaining_ratio;
  std::optional<double> refit_seconds;  ///< a forward pass that fits
  double refit_share_seconds = 0;       ///< of every forward pass, contained in its seconds
};

/// What does not depend on the number of threads.
struct LayerEngineAccuracy {
  std::optional<PassErrors> bias;  ///< of gradients, over seeds
  std::optional<double> held_out;
};

struct LayerComparison {
  std::vector<LayerEngineResult> results;
  std::vector<LayerEngineAccuracy> accuracy;                    ///< per contender
  std::map<std::pair<int, LayerPass>, std::string> best_dense;  ///< per threads and pass
};

namespace detail {

class LayerComparer {
 public:
  LayerComparer(const ConvLayer& layer, const LayerData& data,
                const std::vector<LayerEngine>& engines, const LayerComparisonSettings& settings)
      : layer_(layer),
        data_(data),
        engines_(engines),
        settings_(settings),
        tensors_(layer.geometry(settings.layout), data),
        exact_(exact_results(engines.front(), tensors_, most_threads())) {
    for (const int threads : settings.thread_counts) {
      for (std::size_t e = 0; e < engines.size(); ++e) add_runner(e, threads);
    }
  }

  LayerComparison compare() {
    for (const LayerPass pass : passes_of(layer_)) measure(pass);
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      if (engines_[result(i).engine].dense()) continue;
      result(i).remaining_ratio = runners_[i].library->layer().report().remaining_ratio();
    }
    for (const LayerEngine& engine : engines_) comparison_.accuracy.push_back(accuracy_of(engine));
    return comparison_;
  }

 private:
  struct Runner {
    std::unique_ptr<Convolution> convolution;
    LibraryConvolution* library;  ///< the same, when it is one
  };

  [[nodiscard]] int most_threads() const {
    return *std::max_element(settings_.thread_counts.begin(), settings_.thread_counts.end());
  }
  /// The result of the runner of that index.
  LayerEngineResult& result(std::size_t runner) { return comparison_.results[runner]; }

  void add_runner(std::size_t engine, int threads) {
    Runner runner;
    runner.convolution = engines_[engine].make(tensors_, threads);
    runner.library = dynamic_cast<LibraryConvolution*>(runner.convolution.get());
    if (engines_[engine].frozen) {
      runner.convolution->prepare();
      runner.convolution->run(parts_of(LayerPass::forward, layer_));
      runner.library->freeze();
    }
    runners_.push_back(std::move(runner));
    LayerEngineResult result;
    result.engine = engine;
    result.threads = threads;
    comparison_.results.push_back(result);
  }

  void measure(LayerPass pass) {
    const PassParts parts = parts_of(pass, layer_);
    std::vector<Contender> contenders;
    std::vector<std::size_t> runs;    // index of the runner of every contender that is compared
    std::vector<std::size_t> refits;  // the same of those that fit; they follow the others
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      if (!runners_[i].convolution->has(parts)) continue;
      runs.push_back(i);
      contenders.push_back({to_string(pass), [this, i] { runners_[i].convolution->prepare(); },
                            [this, i, parts] { runners_[i].convolution->run(parts); },
                            [this, i, pass] { inspect(i, pass); }, result(i).threads});
    }
    for (std::size_t i = 0; i < runners_.size() && pass == LayerPass::forward; ++i) {
      if (!engines_[result(i).engine].refits()) continue;
      refits.push_back(i);
      contenders.push_back({"refit",
                            [this, i] {
                              runners_[i].convolution->prepare();
                              runners_[i].library->forget();
                            },
                            [this, i, parts] { runners_[i].convolution->run(parts); },
                            {},
                            result(i).threads});
    }
    const auto seconds = paired_rounds(contenders, settings_.rounds);
    for (std::size_t r = 0; r < runs.size(); ++r) {
      result(runs[r]).passes[pass].seconds = seconds[r];
    }
    for (std::size_t r = 0; r < refits.size(); ++r) {
      note_refit(refits[r], seconds[runs.size() + r]);
    }
    if (parts.forward) {
      for (const std::size_t i : runs) {
        for (double& s : result(i).passes[pass].seconds) s += result(i).refit_share_seconds;
      }
    }
    for (const int threads : settings_.thread_counts) summarise(pass, threads);
  }

  /// Keeps what the pass computed beside the exact results.
  void inspect(std::size_t runner, LayerPass pass) {
    const PassParts parts = parts_of(pass, layer_);
    const Convolution& convolution = *runners_[runner].convolution;
    runners_[runner].convolution->deliver(parts);
    LayerPassResult& pass_result = result(runner).passes[pass];
    pass_result.config = convolution.config(parts);
    pass_result.workspace_bytes = convolution.workspace_bytes(parts);
    pass_result.errors = errors_of(parts, tensors_, exact_);
    constexpr double k_dense_tolerance = 1e-3;
    const LayerEngine& engine = engines_[result(runner).engine];
    if (engine.rival() && !(pass_result.errors.sum() < k_dense_tolerance)) {
      throw std::runtime_error(message(layer_.name, ", ", to_string(pass), ": ", engine.name,
                                       " and ", engines_.front().name, " differ by ",
                                       pass_result.errors.sum()));
    }
  }

  void note_refit(std::size_t runner, const std::vector<double>& refit_seconds) {
    LayerEngineResult& r = result(runner);
    const std::vector<double>& steady = r.passes[LayerPass::forward].seconds;
    std::vector<double> beyond;
    for (std::size_t i = 0; i < steady.size(); ++i) beyond.push_back(refit_seconds[i] - steady[i]);
    const auto interval = static_cast<double>(engines_[r.engine].reuse->refit_interval);
    r.refit_seconds = median(refit_seconds);
    r.refit_share_seconds = std::max(0.0, median(beyond)) / interval;
  }

  /// The results that have the pass at that number of threads.
  std::vector<LayerEngineResult*> results_of(LayerPass pass, int threads) {
    std::vector<LayerEngineResult*> found;
    for (LayerEngineResult& r : comparison_.results) {
      if (r.threads == threads && r.passes.count(pass) > 0) found.push_back(&r);
    }
    return found;
  }

  void summarise(LayerPass pass, int threads) {
    const LayerEngineResult* best = nullptr;
    for (const LayerEngineResult* r : results_of(pass, threads)) {
      if (!engines_[r->engine].rival()) continue;
      if (best == nullptr ||
          median(r->passes.at(pass).seconds) < median(best->passes.at(pass).seconds)) {
        best = r;
      }
    }
    comparison_.best_dense[{threads, pass}] = engines_[best->engine].name;
    for (LayerEngineResult* r : results_of(pass, threads)) {
      LayerPassResult& mine = r->passes.at(pass);
      mine.speedup_vs_best_dense = median_ratio(best->passes.at(pass).seconds, mine.seconds);
      if (threads == 1) continue;
      for (const LayerEngineResult* one : results_of(pass, 1)) {
        if (one->engine != r->engine) continue;
        mine.speedup_vs_one_thread = median_ratio(one->passes.at(pass).seconds, mine.seconds);
      }
    }
  }

  LayerEngineAccuracy accuracy_of(const LayerEngine& engine) {
    LayerEngineAccuracy accuracy;
    if (engine.dense() || engine.exact() || engine.frozen) return accuracy;
    const DenseEngine product = dense_engine(settings_.product);
    if (settings_.seeds > 0) {
      accuracy.bias =
          gradient_bias(*engine.reuse, product, tensors_, exact_, most_threads(), settings_.seeds);
    }
    if (engine.refits() && !engine.gradients_only) {
      accuracy.held_out =
          held_out_error(*engine.reuse, product, tensors_.geometry(), data_, most_threads());
    }
    return accuracy;
  }

  const ConvLayer& layer_;
  const LayerData& data_;
  const std::vector<LayerEngine>& engines_;
  const LayerComparisonSettings& settings_;
  LayerTensors tensors_;
  ExactResults exact_;
  std::vector<Runner> runners_;
  LayerComparison comparison_;
};

}  // namespace detail

/// Measures a layer. The first engine must be dense: its results are the exact ones, and every
/// other dense engine must agree with them. Errors: std::runtime_error when one does not.
inline LayerComparison compare_engines(const ConvLayer& layer, const LayerData& data,
                                       const std::vector<LayerEngine>& engines,
                                       const LayerComparisonSettings& settings) {
  return detail::LayerComparer(layer, data, engines, settings).compare();
}

}  // namespace adr_bench
