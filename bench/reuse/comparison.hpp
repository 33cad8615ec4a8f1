// Ways to reuse, beside the exact engine, on one product or one layer.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/options.hpp>
#include <adr/reuse_conv2d.hpp>
#include <adr/reuse_gemm.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/reuse/data.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/paired_rounds.hpp"
#include "bench/support/statistics.hpp"

namespace adr_bench {

/// What one engine did with one product or layer.
struct ReuseResult {
  std::string engine;
  std::string config;
  double remaining_ratio = 1;
  double share_computed = 1;  ///< of the multiply-adds of the exact product
  double relative_error = 0;
  double error_bound = 0;  ///< 0: none is known
  std::vector<double> seconds;
  double speedup_vs_exact = 1;
};

/// A product or layer that every engine computes.
struct ReuseCase {
  std::string data;
  std::string network;  ///< empty: a plain product
  std::string layer;
  index_t n = 0;
  index_t k = 0;
  index_t m = 0;
  std::vector<ReuseResult> results;  ///< the exact engine first
};

/// An engine on its operands. Others than settings of a layer, such as streams, join here.
struct ReuseEngine {
  std::string engine;
  std::string config;
  std::function<void()> run;
  std::function<const adr::Report&()> report;
};

/// Times all engines, the first of which is exact, and compares what they wrote to `output`.
inline std::vector<ReuseResult> compare_engines(const std::vector<ReuseEngine>& engines,
                                                const float* output, index_t elements, int rounds,
                                                int threads) {
  std::vector<ReuseResult> results(engines.size());
  std::vector<float> exact;
  std::vector<Contender> contenders;
  for (std::size_t i = 0; i < engines.size(); ++i) {
    const ReuseEngine& engine = engines[i];
    contenders.push_back({engine.engine, [] {}, engine.run,
                          [&, i] {
                            ReuseResult& result = results[i];
                            const adr::Report& report = engine.report();
                            if (i == 0) exact.assign(output, output + elements);
                            result.engine = engine.engine;
                            result.config = engine.config;
                            result.remaining_ratio = report.remaining_ratio();
                            result.share_computed = 1 - report.forward.saved_share();
                            result.relative_error = relative_error(output, exact.data(), elements);
                            result.error_bound = report.output_error_bound();
                          },
                          threads});
  }
  const auto seconds = paired_rounds(contenders, rounds);
  for (std::size_t i = 0; i < engines.size(); ++i) {
    results[i].seconds = seconds[i];
    results[i].speedup_vs_exact = median_ratio(seconds[0], seconds[i]);
  }
  return results;
}

/// Rows times normal weights of m columns.
inline ReuseCase compare_product(const ReuseData& rows, index_t m,
                                 const std::vector<adr::Setting>& settings, int rounds,
                                 int threads) {
  adr::Context context(threads);
  const Matrix weights = normal_matrix(rows.channels, m, 1.0, 11);
  Matrix output(rows.count, m);
  std::vector<std::unique_ptr<adr::ReuseGemm<float>>> products;
  std::vector<ReuseEngine> engines;
  for (const adr::Setting& setting : settings) {
    products.push_back(std::make_unique<adr::ReuseGemm<float>>(options_with(setting), context));
    adr::ReuseGemm<float>& product = *products.back();
    engines.push_back({engine_of(setting), adr::forward_label(options_with(setting).plan()),
                       [&] {
                         adr::reuse_gemm(adr::MatrixView<const float>(rows.elements.data(),
                                                                      rows.count, rows.channels),
                                         weights.view(), output.view(), product);
                       },
                       [&product]() -> const adr::Report& { return product.report(); }});
  }
  ReuseCase result{rows.name, "", "", rows.count, rows.channels, m, {}};
  result.results = compare_engines(engines, output.data(), output.size(), rounds, threads);
  return result;
}

/// Layers one behind the other, every engine on what the exact one hands on.
class LayerStack {
 public:
  LayerStack(const ReuseData& images, std::string network, int rounds, int threads)
      : name_(images.name),
        network_(std::move(network)),
        rounds_(rounds),
        threads_(threads),
        batch_(images.count),
        channels_(images.channels),
        height_(images.height),
        width_(images.width),
        values_(channels_last(images.elements, images.count, images.channels)) {}

  [[nodiscard]] index_t channels() const noexcept { return channels_; }
  [[nodiscard]] bool fits(const adr::ConvGeometry& g) const {
    return height_ + g.pad_top + g.pad_bottom >= g.kernel_height &&
           width_ + g.pad_left + g.pad_right >= g.kernel_width;
  }

  /// Computes a layer of these kernels with every engine on images of whatever size has come here;
  /// its exact output behind a ReLU is the input of the next.
  ReuseCase compare(const ConvLayer& layer, const std::vector<adr::Setting>& settings) {
    adr::ConvGeometry g = layer.geometry(adr::Layout::nhwc);
    g.in_channels = channels_;
    g.in_height = height_;
    g.in_width = width_;
    g.groups = channels_ == layer.in_channels ? layer.groups : 1;
    const double deviation = std::sqrt(2.0 / static_cast<double>(g.columns()));
    const Matrix weights = normal_matrix(g.out_channels, g.columns(), deviation, 12);
    const index_t elements = batch_ * g.out_channels * g.out_pixels();
    LayerTensors::Tensor output(static_cast<std::size_t>(elements));
    LayerTensors::Tensor handed_on;
    adr::Context context(threads_);
    std::vector<std::unique_ptr<adr::ReuseConv2d<float>>> layers;
    std::vector<ReuseEngine> engines;
    for (const adr::Setting& setting : settings) {
      layers.push_back(
          std::make_unique<adr::ReuseConv2d<float>>(g, options_with(setting), context));
      adr::ReuseConv2d<float>& conv = *layers.back();
      engines.push_back(
          {engine_of(setting), adr::forward_label(options_with(setting).plan()),
           [&] {
             conv.forward(
                 {values_.data(), batch_, channels_, height_, width_, g.layout}, weights.view(), {},
                 {output.data(), batch_, g.out_channels, g.out_height(), g.out_width(), g.layout});
           },
           [&]() -> const adr::Report& {
             if (handed_on.empty()) handed_on = output;
             return conv.report();
           }});
    }
    ReuseCase result{name_,       network_,       layer.name, batch_ * g.out_pixels(),
                     g.columns(), g.out_channels, {}};
    result.results = compare_engines(engines, output.data(), elements, rounds_, threads_);
    for (float& value : handed_on) value = std::max(value, 0.0F);
    values_.assign(handed_on.begin(), handed_on.end());
    channels_ = g.out_channels;
    height_ = g.out_height();
    width_ = g.out_width();
    return result;
  }

  /// A maximum over 2 x 2 pixels, as far as whole ones go.
  void pool() {
    const index_t height = std::max<index_t>(height_ / 2, 1);
    const index_t width = std::max<index_t>(width_ / 2, 1);
    std::vector<float> pooled(static_cast<std::size_t>(batch_ * height * width * channels_));
    const auto at = [&](index_t n, index_t y, index_t x, index_t c) {
      y = std::min(y, height_ - 1);
      x = std::min(x, width_ - 1);
      return values_[static_cast<std::size_t>(((n * height_ + y) * width_ + x) * channels_ + c)];
    };
    std::size_t i = 0;
    for (index_t n = 0; n < batch_; ++n) {
      for (index_t y = 0; y < height; ++y) {
        for (index_t x = 0; x < width; ++x) {
          for (index_t c = 0; c < channels_; ++c) {
            pooled[i++] = std::max({at(n, 2 * y, 2 * x, c), at(n, 2 * y + 1, 2 * x, c),
                                    at(n, 2 * y, 2 * x + 1, c), at(n, 2 * y + 1, 2 * x + 1, c)});
          }
        }
      }
    }
    values_ = std::move(pooled);
    height_ = height;
    width_ = width;
  }

 private:
  std::string name_;
  std::string network_;
  int rounds_;
  int threads_;
  index_t batch_;
  index_t channels_;
  index_t height_;
  index_t width_;
  std::vector<float> values_;  // in layout nhwc
};

}  // namespace adr_bench
