// The contenders of a layer: dense rivals first, then every reuse setting.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/layers/library_convolution.hpp"
#include "bench/layers/settings.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/onednn_convolution.hpp"
#include "bench/support/onednn_int8.hpp"

namespace adr_bench {

struct LayerEngine {
  std::string name;
  std::string label;               ///< short, for the screen
  std::optional<adr::Plan> reuse;  ///< empty: dense
  bool gradients_only = false;     ///< as in LayerSetting
  bool frozen = false;             ///< measured after freeze(): inference
  bool low_precision = false;      ///< to be looked at: never the best dense one
  /// Makes it for that many threads; the tensors must outlive it.
  std::function<std::unique_ptr<Convolution>(LayerTensors&, int threads)> make;

  [[nodiscard]] bool dense() const noexcept { return !reuse.has_value(); }
  /// Whether others are compared with it, and its results are checked.
  [[nodiscard]] bool rival() const noexcept { return dense() && !low_precision; }
  /// The library without reuse and without rounding.
  [[nodiscard]] bool exact() const noexcept {
    return !dense() && reuse->method == adr::Method::exact &&
           reuse->weight_gradient == adr::WeightGradient::dense &&
           reuse->input_gradient == adr::InputGradient::dense;
  }
  /// True when forward passes fit something to their inputs now and then.
  [[nodiscard]] bool refits() const noexcept {
    if (dense() || frozen || reuse->method == adr::Method::exact) return false;
    return reuse->method != adr::Method::published || reuse->hash_center == adr::HashCenter::mean;
  }
  [[nodiscard]] std::string title() const { return label.empty() ? name : name + " " + label; }
};

namespace detail {

inline auto library_maker(const adr::Plan& plan, const DenseEngine& product) {
  return [plan, product](LayerTensors& tensors, int threads) {
    return std::make_unique<LibraryConvolution>(tensors, plan, product, threads);
  };
}

inline void add_dense_engines(std::vector<LayerEngine>& engines) {
  for (const DenseEngine& product : dense_engines()) {
    LayerEngine engine;
    engine.name = product.name == "onednn" ? "onednn_gemm" : product.name;
    engine.make = library_maker(adr::Options().plan(), product);
    engines.push_back(engine);
  }
#if defined(ADR_BENCH_HAS_ONEDNN)
  const std::pair<const char*, dnnl::algorithm> algorithms[] = {
      {"onednn_direct", dnnl::algorithm::convolution_direct},
      {"onednn_winograd", dnnl::algorithm::convolution_winograd}};
  for (const auto& [name, algorithm] : algorithms) {
    LayerEngine engine;
    engine.name = name;
    engine.make = [algorithm = algorithm](LayerTensors& tensors, int threads) {
      return std::make_unique<OneDnnConvolution>(tensors, algorithm, threads);
    };
    engines.push_back(engine);
  }
  // Without instructions for them, oneDNN computes with bfloat16 far slower than with floats.
  if (onednn_has(dnnl_cpu_isa_avx512_core_bf16)) {
    LayerEngine engine;
    engine.name = "onednn_bf16";
    engine.low_precision = true;
    engine.make = [](LayerTensors& tensors, int threads) {
      return std::make_unique<OneDnnConvolution>(tensors, dnnl::algorithm::convolution_direct,
                                                 threads, dnnl::memory::data_type::bf16);
    };
    engines.push_back(engine);
  }
  LayerEngine integers;
  integers.name = "onednn_int8";
  integers.low_precision = true;
  integers.make = [](LayerTensors& tensors, int threads) {
    return std::make_unique<OneDnnInt8Convolution>(tensors, threads);
  };
  engines.push_back(integers);
#endif
}

}  // namespace detail

/// All contenders; the first is Eigen's dense product. product: what reuse multiplies with.
inline std::vector<LayerEngine> layer_engines(const ConvLayer& layer, const std::string& product,
                                              SettingsAmount amount) {
  std::vector<LayerEngine> engines;
  detail::add_dense_engines(engines);
  for (const LayerSetting& setting : layer_settings(layer, amount)) {
    LayerEngine engine;
    engine.name = setting.engine;
    engine.label = setting.label;
    engine.reuse = setting.plan;
    engine.gradients_only = setting.gradients_only;
    engine.make = detail::library_maker(setting.plan, dense_engine(product));
    engines.push_back(engine);
    const bool freezes = !setting.gradients_only && setting.plan.method == adr::Method::subspace;
    if (freezes) {
      engine.name += "_frozen";
      engine.frozen = true;
      engines.push_back(engine);
    }
  }
  return engines;
}

}  // namespace adr_bench
