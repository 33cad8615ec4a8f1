// Layers that run one after the other as in a network, forward through all of them and backward
// again: every contender in turn, round after round. A layer finds its weights and tensors as cold
// as training leaves them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench/exact/contenders.hpp"
#include "bench/exact/sampled_error.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/layer_data.hpp"
#include "bench/support/layer_pass.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/paired_rounds.hpp"

namespace adr_bench {

/// A layer alone is a sequence of one.
struct Sequence {
  std::string network;
  std::string name;  ///< of the layer, or "sequence"
  std::vector<ConvLayer> layers;
  index_t batch = 1;
  Rounds rounds;
};

struct ExactPassResult {
  std::vector<double> seconds;  ///< per round
  double error = 0;
  std::string config;
  std::size_t workspace_bytes = 0;
};

/// What one contender did in one layer: no entry for a pass that it has no kernel for.
using ExactLayerResult = std::map<LayerPass, ExactPassResult>;

/// [contender][layer]
using SequenceResults = std::vector<std::vector<ExactLayerResult>>;

namespace detail {

/// One contender over all layers of a sequence.
class Sweep {
 public:
  Sweep(const Sequence& sequence, std::vector<std::unique_ptr<LayerTensors>>& tensors,
        const ExactContender& contender, int threads)
      : sequence_(sequence), tensors_(tensors), contender_(contender) {
    for (auto& t : tensors) layers_.push_back(contender.make(*t, threads));
    results_.resize(layers_.size());
  }

  /// Whether there is anything that it computes.
  [[nodiscard]] bool empty() const {
    return std::all_of(layers_.begin(), layers_.end(), [](const auto& l) { return l == nullptr; });
  }
  void prepare() {
    for (auto& layer : layers_) {
      if (layer != nullptr) layer->prepare();
    }
  }
  void run() {
    for (std::size_t l = 0; l < layers_.size(); ++l) run_pass(l, LayerPass::forward);
    for (std::size_t l = layers_.size(); l-- > 0;) {
      run_pass(l, LayerPass::weight_gradient);
      if (sequence_.layers[l].needs_input_gradient) run_pass(l, LayerPass::input_gradient);
    }
  }
  /// After the run that warmed up: measures errors and forgets its times.
  void inspect() {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (auto& [pass, result] : results_[l]) inspect_pass(l, pass, result);
      tensors_[l]->forget_results();
    }
  }
  [[nodiscard]] std::vector<ExactLayerResult> results() && { return std::move(results_); }

 private:
  static PassParts parts(LayerPass pass) { return parts_of(pass, ConvLayer()); }

  void run_pass(std::size_t l, LayerPass pass) {
    using Clock = std::chrono::steady_clock;
    if (layers_[l] == nullptr || !layers_[l]->has(parts(pass))) return;
    const Clock::time_point start = Clock::now();
    layers_[l]->run(parts(pass));
    const std::chrono::duration<double> seconds = Clock::now() - start;
    results_[l][pass].seconds.push_back(seconds.count());
  }
  void inspect_pass(std::size_t l, LayerPass pass, ExactPassResult& result) {
    layers_[l]->deliver(parts(pass));
    result.seconds.clear();
    result.error = sampled_error(*tensors_[l], pass);
    result.config = layers_[l]->config(parts(pass));
    result.workspace_bytes = layers_[l]->workspace_bytes(parts(pass));
    constexpr double k_fp32_tolerance = 1e-3;
    if (contender_.fp32 && !(result.error < k_fp32_tolerance)) {
      throw std::runtime_error(message(sequence_.layers[l].name, ", ", to_string(pass), ": ",
                                       contender_.name, " (", result.config, ") is off by ",
                                       result.error));
    }
  }

  const Sequence& sequence_;
  std::vector<std::unique_ptr<LayerTensors>>& tensors_;
  const ExactContender& contender_;
  std::vector<std::unique_ptr<Convolution>> layers_;
  std::vector<ExactLayerResult> results_;
};

}  // namespace detail

/// Measures all contenders, on generated data in layout nhwc. Errors: std::runtime_error when one
/// that computes with floats is not exact.
inline SequenceResults compare_contenders(const Sequence& sequence,
                                          const std::vector<ExactContender>& contenders,
                                          int threads) {
  std::vector<std::unique_ptr<LayerTensors>> tensors;
  for (const ConvLayer& layer : sequence.layers) {
    tensors.push_back(std::make_unique<LayerTensors>(layer.geometry(adr::Layout::nhwc),
                                                     load_layer(layer, sequence.batch, {})));
    tensors.back()->forget_results();
  }
  std::vector<std::unique_ptr<detail::Sweep>> sweeps;
  std::vector<Contender> runs;
  for (const ExactContender& contender : contenders) {
    sweeps.push_back(std::make_unique<detail::Sweep>(sequence, tensors, contender, threads));
    detail::Sweep& sweep = *sweeps.back();
    if (sweep.empty()) continue;
    runs.push_back({contender.name, [&sweep] { sweep.prepare(); }, [&sweep] { sweep.run(); },
                    [&sweep] { sweep.inspect(); }, threads});
  }
  paired_rounds(runs, sequence.rounds);
  SequenceResults results;
  for (auto& sweep : sweeps) results.push_back(std::move(*sweep).results());
  return results;
}

}  // namespace adr_bench
