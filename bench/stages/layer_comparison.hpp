// One convolution layer in one layout: dense beside reuse, forward and backward, whole passes and
// stages.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/options.hpp>
#include <adr/reuse_conv2d.hpp>
#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/conv_layers.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/layer_data.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/matrix.hpp"
#include "bench/support/paired_rounds.hpp"
#include "bench/support/statistics.hpp"

namespace adr_bench {

/// What is compared: a setting, and what multiplies inside.
struct LayerContender {
  std::string engine;  ///< "dense", or the library's own
  std::string product;
  adr::Options options;

  [[nodiscard]] bool dense() const { return engine == "dense"; }
  /// What runs, for people and result files.
  [[nodiscard]] std::string label() const { return dense() ? engine : adr::label(options.plan()); }
};

/// One contender's outcome.
struct LayerResult {
  std::vector<double> forward_seconds;  ///< per round
  std::vector<double> backward_seconds;
  double forward_speedup = 0;  ///< over the best dense contender, median over rounds
  double backward_speedup = 0;
  double output_error = 0;
  double weight_gradient_error = 0;
  double input_gradient_error = 0;
  double remaining_ratio = 1;
  std::size_t workspace_bytes = 0;
  /// Seconds per stage, the least of several passes with the stage clock on. The least, because a
  /// stage is short beside an interruption and is compared with nothing.
  std::vector<double> stage_seconds;
};

namespace detail {

/// The tensors of the layer in the wanted layout, and the layers of all contenders.
class LayerWorkbench {
 public:
  LayerWorkbench(const ConvLayer& layer, adr::Layout layout, const LayerData& data,
                 const std::vector<LayerContender>& contenders, int threads)
      : tensors_(layer.geometry(layout), data),
        contenders_(contenders),
        threads_(threads),
        context_(threads),
        results_(contenders.size()) {
    for (const LayerContender& contender : contenders_) {
      products_.push_back(dense_engine(contender.product));
      layers_.push_back(std::make_unique<adr::ReuseConv2d<float>>(tensors_.geometry(),
                                                                  contender.options, context_));
      layers_.back()->set_dense_gemm(products_.back().multiply);
    }
  }

  std::vector<LayerResult> measure(int rounds, int stage_rounds) {
    measure_forward(rounds);
    measure_backward(rounds);
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
      results_[i].remaining_ratio = layers_[i]->report().remaining_ratio();
      results_[i].workspace_bytes = layers_[i]->workspace_bytes(tensors_.batch());
      measure_stages(i, stage_rounds);
    }
    return results_;
  }

 private:
  using Tensor = LayerTensors::Tensor;

  void forward(adr::ReuseConv2d<float>& layer) {
    layer.forward(tensors_.input(), tensors_.weights(), {}, tensors_.output());
  }
  void backward(adr::ReuseConv2d<float>& layer) {
    layer.backward(tensors_.input(), tensors_.weights(), tensors_.output_gradient(),
                   {tensors_.input_gradient(), tensors_.weight_gradient(), {}});
  }

  /// The error against what the first contender, a dense one, wrote.
  static double error_against_first(std::size_t contender, const Tensor& values, Tensor& exact) {
    if (contender == 0) exact = values;
    return relative_error(values.data(), exact.data(), static_cast<index_t>(values.size()));
  }

  void measure_forward(int rounds) {
    std::vector<Contender> runs;
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
      runs.push_back({contenders_[i].engine, [this, i] { products_[i].set_threads(1); },
                      [this, i] { forward(*layers_[i]); },
                      [this, i] {
                        results_[i].output_error =
                            error_against_first(i, tensors_.output_values(), exact_output_);
                      },
                      threads_});
    }
    const auto seconds = paired_rounds(runs, rounds);
    const std::size_t best = best_dense(seconds);
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
      results_[i].forward_seconds = seconds[i];
      results_[i].forward_speedup = median_ratio(seconds[best], seconds[i]);
    }
  }

  void measure_backward(int rounds) {
    std::vector<Contender> runs;
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
      runs.push_back({contenders_[i].engine, [this, i] { products_[i].set_threads(1); },
                      [this, i] { backward(*layers_[i]); },
                      [this, i] {
                        results_[i].weight_gradient_error = error_against_first(
                            i, tensors_.weight_gradient_values(), exact_weight_gradient_);
                        results_[i].input_gradient_error = error_against_first(
                            i, tensors_.input_gradient_values(), exact_input_gradient_);
                      },
                      threads_});
    }
    const auto seconds = paired_rounds(runs, rounds);
    const std::size_t best = best_dense(seconds);
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
      results_[i].backward_seconds = seconds[i];
      results_[i].backward_speedup = median_ratio(seconds[best], seconds[i]);
    }
  }

  [[nodiscard]] std::size_t best_dense(const std::vector<std::vector<double>>& seconds) const {
    std::size_t best = 0;
    for (std::size_t i = 1; i < contenders_.size(); ++i) {
      if (contenders_[i].dense() && median(seconds[i]) < median(seconds[best])) best = i;
    }
    return best;
  }

  /// A layer of its own, because the stage clock would slow the passes that are compared.
  void measure_stages(std::size_t contender, int rounds) {
    adr::ReuseConv2d<float> layer(tensors_.geometry(), contenders_[contender].options, context_);
    adr::Plan timed = layer.plan();
    timed.time_stages = true;
    layer.set_plan(timed);
    layer.set_dense_gemm(products_[contender].multiply);
    products_[contender].set_threads(1);
    std::vector<double>& least = results_[contender].stage_seconds;
    least.assign(adr::k_stage_count, std::numeric_limits<double>::infinity());
    for (int round = -1; round < rounds; ++round) {
      forward(layer);
      backward(layer);
      if (round < 0) continue;  // warm-up
      for (int s = 0; s < adr::k_stage_count; ++s) {
        const auto stage = static_cast<adr::Stage>(s);
        double& seconds = least[static_cast<std::size_t>(s)];
        seconds = std::min(seconds, layer.report().forward_times.seconds(stage) +
                                        layer.report().backward_times.seconds(stage));
      }
    }
  }

  LayerTensors tensors_;
  std::vector<LayerContender> contenders_;
  int threads_;
  Tensor exact_output_;
  Tensor exact_weight_gradient_;
  Tensor exact_input_gradient_;
  adr::Context context_;
  std::vector<DenseEngine> products_;
  std::vector<std::unique_ptr<adr::ReuseConv2d<float>>> layers_;
  std::vector<LayerResult> results_;
};

}  // namespace detail

/// Dense by every engine of this build, then reuse with the product that is named.
inline std::vector<LayerContender> layer_contenders(const std::vector<adr::Setting>& settings,
                                                    const std::string& product) {
  std::vector<LayerContender> contenders;
  for (const std::string& name : engine_names()) contenders.push_back({"dense", name, {}});
  for (const adr::Setting& setting : settings) {
    contenders.push_back({engine_of(setting), product, options_with(setting)});
  }
  return contenders;
}

/// Measures a layer; results in the order of the contenders, of which the first must be dense.
inline std::vector<LayerResult> compare_layer(const ConvLayer& layer, adr::Layout layout,
                                              const LayerData& data,
                                              const std::vector<LayerContender>& contenders,
                                              int threads, int rounds) {
  detail::LayerWorkbench workbench(layer, layout, data, contenders, threads);
  return workbench.measure(rounds, std::min(rounds, 5));
}

}  // namespace adr_bench
