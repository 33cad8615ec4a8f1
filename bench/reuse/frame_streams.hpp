// A layer over frames that come one after the other: exactly, and as streams that leave what has
// not changed as it was.
#pragma once

#include <adr/options.hpp>
#include <adr/reuse_conv2d.hpp>
#include <adr/stream/stream.hpp>
#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/reuse/comparison.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/matrix.hpp"
#include "bench/support/paired_rounds.hpp"
#include "bench/support/statistics.hpp"
#include "bench/support/user_error.hpp"

namespace adr_bench {

/// What a layer in layout nhwc gets to see, image by image.
struct Frames {
  const adr::ConvGeometry& geometry;
  const std::vector<float>& values;
  index_t count;

  [[nodiscard]] adr::TensorView<const float> operator[](index_t n) const {
    const adr::ConvGeometry& g = geometry;
    return {values.data() + n * g.in_channels * g.in_height * g.in_width,
            1,
            g.in_channels,
            g.in_height,
            g.in_width,
            g.layout};
  }
};

/// One way to compute a layer over frames, in inference.
class FrameLayer {
 public:
  /// max_error: of a stream; without, all is computed with kept weights.
  FrameLayer(const Frames& frames, const Matrix& weights, std::optional<double> max_error,
             adr::Context& context)
      : frames_(frames),
        weights_(weights),
        max_error_(max_error),
        conv_(frames.geometry, options(max_error), context),
        output_(
            static_cast<std::size_t>(frames.geometry.out_channels * frames.geometry.out_pixels())) {
    conv_.set_mode(adr::Mode::inference);
  }

  void begin_anew() {
    stream_.reset();
    next_ = 0;
  }
  void compute_next() {
    const adr::ConvGeometry& g = frames_.geometry;
    const auto x = frames_[next_++];
    if (max_error_) {
      result_ = conv_.forward(x, weights_.view(), {}, stream_).data;
      return;
    }
    conv_.forward(x, weights_.view(), {},
                  {output_.data(), 1, g.out_channels, g.out_height(), g.out_width(), g.layout});
    result_ = output_.data();
  }

  [[nodiscard]] const float* result() const noexcept { return result_; }
  [[nodiscard]] const adr::Report& report() const { return conv_.report(); }
  [[nodiscard]] std::string engine() const {
    return max_error_ ? "adr_stream" : engine_of(adr::Exact{});
  }
  [[nodiscard]] std::string config() const {
    return max_error_ ? message("stream within ", *max_error_) : "exact with kept weights";
  }

 private:
  static adr::Options options(std::optional<double> max_error) {
    adr::Options options = options_with(adr::Exact{});
    if (max_error) {
      options = adr::Options();
      options.stream = true;
      options.max_error = *max_error;
    }
    return options;
  }

  const Frames& frames_;
  const Matrix& weights_;
  std::optional<double> max_error_;
  adr::ReuseConv2d<float> conv_;
  adr::Stream stream_;
  LayerTensors::Tensor output_;
  const float* result_ = nullptr;
  index_t next_ = 0;
};

/// What was computed and lost over the frames after the first.
struct FrameTotals {
  double done = 0;
  double dense = 0;
  double difference = 0;
  double energy = 0;

  void add(const FrameLayer& layer, const FrameLayer& exact, index_t elements) {
    done += layer.report().forward.multiply_adds_done;
    dense += layer.report().forward.multiply_adds_dense;
    for (index_t i = 0; i < elements; ++i) {
      const double e = exact.result()[i];
      const double d = layer.result()[i] - e;
      difference += d * d;
      energy += e * e;
    }
  }
  [[nodiscard]] double relative_error() const {
    return difference == 0 ? 0.0 : std::sqrt(difference / energy);
  }
};

/// The exact engine with kept weights, then a stream for each error. Every frame after the first is
/// a round; shares and errors are those of all of them. Requires: 2 frames.
inline std::vector<ReuseResult> compare_streams(const Frames& frames, const Matrix& weights,
                                                const std::vector<double>& max_errors,
                                                int threads) {
  adr::Context context(threads);
  std::vector<std::unique_ptr<FrameLayer>> layers;
  layers.push_back(std::make_unique<FrameLayer>(frames, weights, std::nullopt, context));
  for (const double max_error : max_errors) {
    layers.push_back(std::make_unique<FrameLayer>(frames, weights, max_error, context));
  }
  // What is compared is computed beforehand, because a stream sees every frame once.
  std::vector<FrameTotals> totals(layers.size());
  const index_t elements = frames.geometry.out_channels * frames.geometry.out_pixels();
  for (index_t n = 0; n < frames.count; ++n) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      layers[i]->compute_next();
      if (n > 0) totals[i].add(*layers[i], *layers.front(), elements);
    }
  }
  std::vector<Contender> contenders;
  for (const auto& layer : layers) {
    layer->begin_anew();
    contenders.push_back(
        {layer->engine(), [] {}, [&layer] { layer->compute_next(); }, [] {}, threads});
  }
  const auto seconds = paired_rounds(contenders, static_cast<int>(frames.count - 1));
  std::vector<ReuseResult> results;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    ReuseResult result;
    result.engine = layers[i]->engine();
    result.config = layers[i]->config();
    result.share_computed = totals[i].done / totals[i].dense;
    result.relative_error = totals[i].relative_error();
    result.seconds = seconds[i];
    result.speedup_vs_exact = median_ratio(seconds.front(), seconds[i]);
    results.push_back(result);
  }
  return results;
}

}  // namespace adr_bench
