// Two copies of a layer through the same training: one dense, one under a schedule. Everything that
// the schedule does counts, from the first step on: timing, measurements, fits, the meter.
#pragma once

#include <adr/adapt/scheduler.hpp>
#include <adr/core/context.hpp>
#include <adr/core/random.hpp>
#include <adr/reuse_conv2d.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "bench/adaptive/shapes.hpp"
#include "bench/support/engines.hpp"

#if defined(ADR_BENCH_HAS_ONEDNN)
#include <adr/onednn.hpp>
#endif

namespace adr_bench {

struct TrainingSettings {
  adr::SchedulerOptions schedule;
  std::string product;
  bool onednn_convolutions = false;  ///< dense passes by oneDNN's fastest convolutions
  int threads = 1;
  double seconds = 1;         ///< of dense steps per round, at least
  index_t least_steps = 300;  ///< at most 5 times `seconds` long
};

/// What one round of training took.
struct TrainingResult {
  double dense_seconds = 0;
  double auto_seconds = 0;
  index_t steps = 0;
  double largest_error = 0;      ///< of the metered outputs
  double meter_seconds = 0;      ///< of auto_seconds: the error meter and measuring settings
  double scheduler_seconds = 0;  ///< of auto_seconds: deciding
  std::string config;            ///< in force at the end
  adr::Decision decision;
};

namespace detail {

/// A tensor of the kind that the shape names. Gradients are never smooth: what is after a ReLU is
/// half zero, the others are noise.
inline std::vector<float> training_tensor(index_t batch, index_t channels, index_t pixels,
                                          Similarity similarity, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(batch * channels * pixels));
  adr::Random random(seed);
  const auto size = static_cast<index_t>(std::lround(std::sqrt(static_cast<double>(pixels))));
  for (index_t n = 0, i = 0; n < batch; ++n) {
    const auto phase = static_cast<float>(6.28 * random.uniform());
    for (index_t c = 0; c < channels; ++c) {
      const auto slant = static_cast<float>(1 + c % 5);
      const float level = 0.2F * static_cast<float>(c % 7);
      for (index_t p = 0; p < pixels; ++p, ++i) {
        const auto noise = static_cast<float>(random.normal());
        float& value = values[static_cast<std::size_t>(i)];
        value = noise;
        if (similarity == Similarity::rectified) value = std::max(0.0F, noise);
        if (similarity == Similarity::smooth) {
          const float y = static_cast<float>(p / size), x = static_cast<float>(p % size);
          value = level + std::sin(phase + 0.15F * (slant * x + y)) + 0.01F * noise;
        }
      }
    }
  }
  return values;
}

/// One layer with its operands.
class TrainedLayer {
 public:
  TrainedLayer(const AdaptiveShape& shape, const DenseEngine& product, adr::Context& context)
      : shape_(shape),
        layer_(shape.geometry, adr::Options(), context),
        weights_(filters(shape.geometry)),
        weight_gradient_(weights_.size()),
        bias_(static_cast<std::size_t>(shape.geometry.out_channels), 0.1F),
        bias_gradient_(bias_.size()),
        input_gradient_(size(shape.geometry.in_channels, pixels_in())),
        output_(size(shape.geometry.out_channels, shape.geometry.out_pixels())) {
    layer_.set_dense_gemm(product.multiply);
    if (shape.load) {
      take(shape.load());
      return;
    }
    const Similarity gradients =
        shape.similarity == Similarity::rectified ? Similarity::rectified : Similarity::none;
    for (std::uint64_t b = 0; b < k_training_batches; ++b) {
      inputs_.push_back(training_tensor(shape.batch, shape.geometry.in_channels, pixels_in(),
                                        shape.similarity, 10 + b));
      gradients_.push_back(training_tensor(shape.batch, shape.geometry.out_channels,
                                           shape.geometry.out_pixels(), gradients, 20 + b));
    }
  }

  [[nodiscard]] adr::ReuseConv2d<float>& layer() noexcept { return layer_; }
  void compute_by_onednn([[maybe_unused]] int threads) {
#if defined(ADR_BENCH_HAS_ONEDNN)
    layer_.set_dense_convolution(
        std::make_shared<adr::OneDnnConvolution>(shape_.geometry, threads));
#endif
  }

  /// A forward and a backward pass, and a small change of the weights.
  void step(index_t number) {
    const auto batch =
        static_cast<std::size_t>(number) % static_cast<std::size_t>(k_training_batches);
    const adr::ConvGeometry& g = shape_.geometry;
    const adr::TensorView<const float> x(inputs_[batch].data(), shape_.batch, g.in_channels,
                                         g.in_height, g.in_width, g.layout);
    const adr::TensorView<float> y(output_.data(), shape_.batch, g.out_channels, g.out_height(),
                                   g.out_width(), g.layout);
    const adr::TensorView<const float> d_y(gradients_[batch].data(), shape_.batch, g.out_channels,
                                           g.out_height(), g.out_width(), g.layout);
    const adr::TensorView<float> d_x(input_gradient_.data(), shape_.batch, g.in_channels,
                                     g.in_height, g.in_width, g.layout);
    const adr::MatrixView<const float> w(weights_.data(), g.out_channels, g.columns());
    const adr::MatrixView<float> d_w(weight_gradient_.data(), g.out_channels, g.columns());
    const auto count = static_cast<index_t>(bias_.size());
    layer_.forward(x, w, adr::VectorView<const float>(bias_.data(), count), y);
    layer_.backward(x, w, d_y,
                    {shape_.needs_input_gradient ? d_x : adr::TensorView<float>(), d_w,
                     adr::VectorView<float>(bias_gradient_.data(), count)});
    for (std::size_t i = 0; i < weights_.size(); ++i) weights_[i] -= 1e-6F * weight_gradient_[i];
  }

 private:
  /// Data of all batches, in the layout of the geometry.
  void take(const LayerData& data) {
    const adr::ConvGeometry& g = shape_.geometry;
    weights_ = in_layout(g.layout, data.weights, g.out_channels, g.group_in_channels());
    const auto split = [](const std::vector<float>& all, std::vector<std::vector<float>>& batches) {
      const auto size = static_cast<std::ptrdiff_t>(all.size()) / k_training_batches;
      for (index_t b = 0; b < k_training_batches; ++b) {
        batches.emplace_back(all.begin() + b * size, all.begin() + (b + 1) * size);
      }
    };
    split(in_layout(g.layout, data.input, data.batch, g.in_channels), inputs_);
    split(in_layout(g.layout, data.output_gradient, data.batch, g.out_channels), gradients_);
  }
  [[nodiscard]] index_t pixels_in() const {
    return shape_.geometry.in_height * shape_.geometry.in_width;
  }
  [[nodiscard]] std::size_t size(index_t channels, index_t pixels) const {
    return static_cast<std::size_t>(shape_.batch * channels * pixels);
  }
  static std::vector<float> filters(const adr::ConvGeometry& g) {
    std::vector<float> weights(static_cast<std::size_t>(g.out_channels * g.columns()));
    adr::Random random(3);
    const double scale = 1.0 / std::sqrt(static_cast<double>(g.columns()));
    for (float& weight : weights) weight = static_cast<float>(scale * random.normal());
    return weights;
  }

  AdaptiveShape shape_;
  adr::ReuseConv2d<float> layer_;
  std::vector<std::vector<float>> inputs_;
  std::vector<std::vector<float>> gradients_;
  std::vector<float> weights_;
  std::vector<float> weight_gradient_;
  std::vector<float> bias_;
  std::vector<float> bias_gradient_;
  std::vector<float> input_gradient_;
  std::vector<float> output_;
};

template <class Run>
double seconds_of(const Run& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace detail

/// One round: both layers from scratch, in turns of a few milliseconds, so that what disturbs the
/// machine disturbs both.
inline TrainingResult train_pair(const AdaptiveShape& shape, const DenseEngine& product,
                                 const TrainingSettings& settings) {
  product.set_threads(1);
  adr::Context context(settings.threads);
  detail::TrainedLayer reference(shape, product, context);
  detail::TrainedLayer adaptive(shape, product, context);
  adr::ReuseScheduler scheduler(settings.schedule);
  detail::TrainedLayer warm_up(shape, product, context);
  if (settings.onednn_convolutions) {
    for (detail::TrainedLayer* layer : {&reference, &adaptive, &warm_up}) {
      layer->compute_by_onednn(settings.threads);
    }
  }
  scheduler.attach(adaptive.layer(), shape.name);

  // Memory and code are warm for both before anything counts.
  const double once = detail::seconds_of([&] { warm_up.step(0); });
  const double step = std::max(1e-7, std::min(once, detail::seconds_of([&] { warm_up.step(1); })));
  TrainingResult result;
  const auto wanted = static_cast<index_t>(settings.seconds / step);
  const auto most = static_cast<index_t>(5 * settings.seconds / step);
  result.steps = std::max<index_t>(
      20, std::min(most, std::max(settings.least_steps, std::min<index_t>(wanted, 20000))));
  const auto turn = std::clamp<index_t>(static_cast<index_t>(2e-3 / step), 1, 200);
  reference.step(0);
  for (index_t first = 0, round = 0; first < result.steps; first += turn, ++round) {
    const index_t last = std::min(result.steps, first + turn);
    const auto run_dense = [&] {
      for (index_t i = first; i < last; ++i) reference.step(i);
    };
    const auto run_auto = [&] {
      for (index_t i = first; i < last; ++i) {
        adaptive.step(i);
        const adr::Report& stats = adaptive.layer().report();
        result.largest_error = std::max(result.largest_error, stats.relative_output_error());
        result.meter_seconds += stats.seconds.meter;
        result.scheduler_seconds +=
            detail::seconds_of([&] { scheduler.observe(1.0 / static_cast<double>(1 + i)); });
      }
    };
    if (round % 2 == 0) result.dense_seconds += detail::seconds_of(run_dense);
    result.auto_seconds += detail::seconds_of(run_auto);
    if (round % 2 != 0) result.dense_seconds += detail::seconds_of(run_dense);
  }
  result.config = adr::label(adaptive.layer().plan());
  result.decision = scheduler.decision(0);
  return result;
}

}  // namespace adr_bench
