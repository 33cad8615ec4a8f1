// A layer without matrices: errors and times are what a test says they are, so that schedules can
// be checked decision by decision.
#pragma once

#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/tunable.hpp"

namespace adr_test {

/// The sizes of conv2 of CifarNet at batch 128.
inline adr::LayerShape convolution_shape() {
  adr::LayerShape shape;
  shape.rows = 128 * 16 * 16;
  shape.columns = 1600;
  shape.outputs = 64;
  shape.image_outputs = 64 * 16 * 16;
  shape.vectors = shape.rows;
  shape.vector_length = 64;
  shape.offsets = 25;
  shape.kernel_width = 5;
  shape.kernel_plane = 25;
  shape.convolves_pixels = true;
  return shape;
}

/// Errors that fall with the number of coordinates or planes, in the way of a real layer.
inline double usual_error(const adr::Plan& config) {
  switch (config.method) {
    case adr::Method::exact:
      return 0;
    case adr::Method::subspace:
      return 3.2 / static_cast<double>(config.kept_coordinates);
    case adr::Method::clustered:
      return config.radius;
    case adr::Method::published:
      break;
  }
  return 4.0 / config.hash_count + 0.002 * static_cast<double>(config.vector_length);
}

class FakeLayer final : public adr::Tunable {
 public:
  /// The true relative output error of a setting.
  std::function<double(const adr::Plan&)> error = usual_error;
  /// Seconds of a forward pass; none: no clock.
  std::function<double(const adr::Plan&)> seconds;
  /// Seconds of each gradient; none: as a dense forward pass.
  std::function<double(const adr::Plan&)> gradient_seconds;
  /// What rounding by a step adds to both gradients; none: nothing.
  std::function<double(double)> gradient_noise;
  double density = 1;
  double measuring_seconds = 0;  ///< of each setting
  bool frozen = false;           ///< measurements wait

  explicit FakeLayer(const adr::LayerShape& shape) : shape_(shape) {
    config_.method = adr::Method::exact;
    seconds = [shape](const adr::Plan& config) {
      return 0.05 * adr::predicted_costs(shape, config, 1.0).forward;
    };
  }

  /// What a forward and a backward pass leave behind.
  void pass() {
    stats_.reset();
    stats_.method = config_.method;
    stats_.decision = decision_;
    if (seconds) {
      stats_.seconds.forward = seconds(config_);
      stats_.seconds.weight_gradient = stats_.seconds.input_gradient =
          gradient_seconds ? gradient_seconds(config_) : seconds(adr::Plan());
    }
    stats_.gradient_density = density;
    if (config_.measure_rounding && gradient_noise) {
      stats_.weight_noise_energy = stats_.input_noise_energy =
          gradient_noise(config_.gradient_rounding);
      stats_.weight_gradient_variance = stats_.input_gradient_energy = 1;
      measured_rounding_ += 1;
    }
    if (config_.method == adr::Method::exact) {
      passes_with_setting_ = 0;
    } else if (config_.meter_interval > 0 && passes_with_setting_++ % config_.meter_interval == 0) {
      stats_.sampled_output_energy = 1;
      stats_.output_error_energy = error(config_) * error(config_);
    }
    if (requested_.empty() || frozen) return;
    for (const adr::Plan& config : requested_) {
      measurements_.push_back({config, error(config), error(config)});
      stats_.seconds.meter += measuring_seconds;
    }
    measured_ += 1;
    settings_measured_ += static_cast<int>(requested_.size());
    requested_.clear();
  }

  [[nodiscard]] adr::LayerShape layer_shape() const override { return shape_; }
  [[nodiscard]] const adr::Plan& plan() const noexcept override { return config_; }
  [[nodiscard]] const adr::Report& report() const noexcept override { return stats_; }
  void set_plan(const adr::Plan& config) override {
    if (!config.clusters_as(config_)) passes_with_setting_ = 0;
    config_ = config;
  }
  void set_gradient_costs(const adr::GradientCosts& /*costs*/) override {}
  void set_learning(bool learns) override { frozen = !learns; }
  void set_decision(const adr::Decision& decision) override { decision_ = decision; }
  void request_measurements(std::vector<adr::Plan> configs) override {
    requested_ = std::move(configs);
    measurements_.clear();
  }
  [[nodiscard]] bool awaits_measurements() const noexcept override { return !requested_.empty(); }
  [[nodiscard]] const std::vector<adr::RungMeasurement>& measurements() const noexcept override {
    return measurements_;
  }
  /// How often the noise of rounding was measured.
  [[nodiscard]] int measured_rounding() const noexcept { return measured_rounding_; }
  /// How often settings were measured, and how many in all.
  [[nodiscard]] int measured() const noexcept { return measured_; }
  [[nodiscard]] int settings_measured() const noexcept { return settings_measured_; }

 private:
  adr::LayerShape shape_;
  adr::Plan config_;
  adr::Report stats_;
  adr::Decision decision_;
  std::vector<adr::Plan> requested_;
  std::vector<adr::RungMeasurement> measurements_;
  int measured_ = 0;
  int settings_measured_ = 0;
  int measured_rounding_ = 0;
  adr::index_t passes_with_setting_ = 0;
};

}  // namespace adr_test
