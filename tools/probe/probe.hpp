// Tries settings of the library on a layer: similarity, error and time of each, beside the exact
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
  adr::Setting setting;
  std::string label;
  double remaining_ratio = 0;
  double input_error = 0;
  double output_error = 0;
  double saved_share = 0;
  double seconds = 0;
  double speedup = 0;
};

/// Subspaces, from coarse to fine.
inline std::vector<adr::Setting> subspaces(const std::vector<adr::index_t>& coordinates) {
  std::vector<adr::Setting> settings;
  for (const adr::index_t count : coordinates) settings.emplace_back(adr::Subspace{count});
  return settings;
}

/// Published settings, L by L, coarse to fine hashes.
inline std::vector<adr::Setting> published_settings(const std::vector<adr::index_t>& lengths,
                                                    const std::vector<int>& hash_counts,
                                                    const std::vector<adr::HashCenter>& centers) {
  std::vector<adr::Setting> settings;
  for (const adr::index_t length : lengths) {
    for (const int count : hash_counts) {
      for (const adr::HashCenter center : centers) {
        adr::Published published;
        published.vector_length = length;
        published.hash_count = count;
        published.hash_center = center;
        settings.emplace_back(published);
      }
    }
  }
  return settings;
}

/// Coordinates worth trying when the user names none.
inline std::vector<adr::index_t> usual_coordinates(const adr::ConvGeometry& g) {
  const adr::index_t elements =
      adr::vector_length(g, adr::resolve(adr::NeuronVectorKind::automatic, g));
  std::vector<adr::index_t> coordinates;
  for (const adr::index_t count : {8, 12, 16, 24, 32, 48}) {
    if (count < elements) coordinates.push_back(count);
  }
  return coordinates;
}

/// L worth trying when the user names none: from one kernel row to two kernel planes; for a matrix,
/// 8 to 64 columns.
inline std::vector<adr::index_t> usual_vector_lengths(const adr::ConvGeometry& g) {
  const adr::index_t plane = g.kernel_height * g.kernel_width;
  std::vector<adr::index_t> lengths{g.kernel_width, plane, 2 * plane};
  if (plane == 1) lengths = {8, 16, 32, 64};
  std::vector<adr::index_t> distinct;
  for (adr::index_t length : lengths) {
    length = std::min(length, g.columns());
    if (std::find(distinct.begin(), distinct.end(), length) == distinct.end()) {
      distinct.push_back(length);
    }
  }
  return distinct;
}

/// H worth trying when the user names none.
inline std::vector<int> usual_hash_counts() { return {8, 12, 16}; }

/// Runs the layer with settings one by one and compares with its exact form.
class Probe {
 public:
  Probe(const LayerUnderTest& layer, int threads, int repetitions)
      : layer_(layer), context_(threads), repetitions_(repetitions) {
    adr::ReuseConv2d<float> exact(layer.geometry, adr::Options(), context_);
    exact_.resize(static_cast<std::size_t>(layer.output_size()));
    exact_seconds_ = time(exact, exact_);
  }

  [[nodiscard]] double exact_seconds() const { return exact_seconds_; }

  [[nodiscard]] ProbeResult run(const adr::Options& options) {
    adr::ReuseConv2d<float> conv(layer_.geometry, options, context_);
    std::vector<float> output(exact_.size());
    ProbeResult result;
    result.setting = options.setting;
    result.label = adr::label(conv.plan());
    result.seconds = time(conv, output);
    result.speedup = exact_seconds_ / result.seconds;
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
  double exact_seconds_ = 0;
};

}  // namespace tools
