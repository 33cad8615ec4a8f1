// Tries settings of the library on a layer: similarity, error and time of each, beside the dense
// layer.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/adr.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "probe/layer_under_test.hpp"

namespace tools {

/// What one setting does on the probed layer.
struct ProbeResult {
  adr::Plan config;
  double remaining_ratio = 0;
  double input_error = 0;
  double output_error = 0;
  double saved_share = 0;
  double seconds = 0;
  double speedup = 0;
};

/// Subspaces, from coarse to fine.
inline std::vector<adr::Plan> subspace_candidates(const std::vector<adr::index_t>& kept) {
  std::vector<adr::Plan> candidates;
  for (const adr::index_t count : kept) {
    adr::Plan config;
    config.method = adr::Method::subspace;
    config.kept_coordinates = count;
    candidates.push_back(config);
  }
  return candidates;
}

/// Settings worth trying when the user names none: subspaces from coarse to fine, and for the
/// published method neuron vectors from one kernel row to two kernel planes (for a matrix, 8 to 64
/// columns), coarse to fine hashes, planes through 0 and the mean.
inline std::vector<adr::Plan> default_candidates(const LayerUnderTest& layer) {
  const adr::ConvGeometry& g = layer.geometry;
  const adr::index_t plane = g.kernel_height * g.kernel_width;
  std::vector<adr::index_t> lengths{g.kernel_width, plane, 2 * plane};
  if (plane == 1) lengths = {8, 16, 32, 64};
  const adr::index_t elements =
      adr::vector_length(g, adr::resolve(adr::NeuronVectorKind::automatic, g));
  std::vector<adr::index_t> kept;
  for (const adr::index_t count : {8, 12, 16, 24, 32, 48}) {
    if (count < elements) kept.push_back(count);
  }
  std::vector<adr::Plan> candidates = subspace_candidates(kept);
  std::vector<adr::index_t> used;
  for (adr::index_t length : lengths) {
    length = std::min(length, g.columns());
    if (std::find(used.begin(), used.end(), length) != used.end()) continue;
    used.push_back(length);
    for (const int hash_count : {8, 12, 16}) {
      for (const auto center : {adr::HashCenter::origin, adr::HashCenter::mean}) {
        adr::Plan config;
        config.sub_vector_length = length;
        config.hash_count = hash_count;
        config.hash_center = center;
        candidates.push_back(config);
      }
    }
  }
  return candidates;
}

/// Runs the layer with settings one by one and compares with its dense form.
class Probe {
 public:
  Probe(const LayerUnderTest& layer, int threads, int repetitions)
      : layer_(layer), context_(threads), repetitions_(repetitions) {
    adr::Plan config;
    config.method = adr::Method::dense;
    adr::ReuseConv2d<float> dense(layer.geometry, config, context_);
    exact_.resize(static_cast<std::size_t>(layer.output_size()));
    dense_seconds_ = time(dense, exact_);
  }

  [[nodiscard]] double dense_seconds() const { return dense_seconds_; }

  [[nodiscard]] ProbeResult run(const adr::Plan& config) {
    adr::ReuseConv2d<float> conv(layer_.geometry, config, context_);
    std::vector<float> output(exact_.size());
    ProbeResult result;
    result.config = config;
    result.seconds = time(conv, output);
    result.speedup = dense_seconds_ / result.seconds;
    result.remaining_ratio = conv.report().remaining_ratio();
    result.input_error = conv.report().relative_input_error();
    result.saved_share = conv.report().forward.saved_share();
    result.output_error = relative_error(output);
    return result;
  }

 private:
  /// The median time of a forward pass, with its share of what the first one learns.
  double time(adr::ReuseConv2d<float>& conv, std::vector<float>& output) {
    const adr::ConvGeometry& g = layer_.geometry;
    const adr::TensorView<float> y(output.data(), layer_.batch, g.out_channels, g.out_height(),
                                   g.out_width(), g.layout);
    std::vector<double> seconds;
    double first = 0;
    for (int i = 0; i <= repetitions_ + 1; ++i) {
      const auto start = std::chrono::steady_clock::now();
      conv.forward(layer_.x(), layer_.w(), {}, y);
      const auto end = std::chrono::steady_clock::now();
      const double time = std::chrono::duration<double>(end - start).count();
      if (i > 1) seconds.push_back(time);
      // The very first pass allocates as well; learning again costs what it does in training.
      if (i == 1) first = time;
      if (i == 0) conv.clear_cache();
    }
    std::nth_element(seconds.begin(), seconds.begin() + repetitions_ / 2, seconds.end());
    const double usual = seconds[static_cast<std::size_t>(repetitions_ / 2)];
    return usual + std::max(0.0, first - usual) / static_cast<double>(conv.plan().refit_interval);
  }

  [[nodiscard]] double relative_error(const std::vector<float>& output) const {
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < exact_.size(); ++i) {
      const double exact = exact_[i];
      difference += (output[i] - exact) * (output[i] - exact);
      norm += exact * exact;
    }
    return norm > 0 ? std::sqrt(difference / norm) : 0;
  }

  const LayerUnderTest& layer_;
  adr::Context context_;
  int repetitions_;
  std::vector<float> exact_;
  double dense_seconds_ = 0;
};

}  // namespace tools
