// What a setting costs on a layer: predicted from shapes, corrected by what was timed.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/robust_median.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Costs of the passes, each relative to the dense time of the same pass.
struct PassCosts {
  double forward = 1;
  double weight_gradient = 1;
  double input_gradient = 1;
};

namespace detail {

/// Time units are dense multiply-adds of a large product (15 ps on one core). Measured stage by
/// stage on convolutions of 3 to 256 channels and on plain products, AVX-512, one thread, nhwc and
/// nchw; dense: oneDNN's direct convolutions and OpenBLAS. What the exact engine does besides
/// multiply-adds: from the times of subspaces of CifarNet's conv2, AVX2 (decision 0014).
struct StageUnits {
  static constexpr double transform = 250;   ///< per element that the exact engine transforms
  static constexpr double pixel = 80;        ///< per element of a pixel that is rotated for it
  static constexpr double load = 27;         ///< per element of other neuron vectors
  static constexpr double rotate = 1.7;      ///< per multiply-add of a rotation that is kept
  static constexpr double output = 38;       ///< per element of the output
  static constexpr double subspace = 1.45;   ///< per multiply-add in kept coordinates
  static constexpr double coordinate = 9;    ///< per kept coordinate that a row and offset reads
  static constexpr double offset = 60;       ///< per row and kernel offset of a subspace
  static constexpr double unfold_nchw = 25;  ///< per element of the unfolded input
  static constexpr double unfold_nhwc = 6;   ///< the same, and
  static constexpr double slice_nhwc = 190;  ///< per slice of a row
  static constexpr double hash = 1.2;        ///< per element and hyperplane, of which 16 at a time
  static constexpr double cluster = 6;       ///< per element of slices that are summed
  static constexpr double slice = 540;       ///< per slice: signature, id and gathering
  static constexpr double centroid = 1.6;    ///< per multiply-add of centroids
  static constexpr double look = 20;         ///< per element that is compared
  static constexpr double remaining = 0.25;  ///< of rows, where some repeat
  static constexpr double gather = 2.3;      ///< per element of a gathered product row
  static constexpr double pass = 3e5;        ///< per pass: threads, samples, bookkeeping
  static constexpr double fit = 3;           ///< forward passes that a fit takes
  static constexpr double dense_call = 2e4;  ///< per dense pass
  static constexpr double dense_output = 8;  ///< per element of a dense output
  static constexpr double dense_element = 10;  ///< per element of the unfolded input: packing
};

/// The dense pass in the same units: small K and M leave less to do per element that is touched.
inline double dense_units(const LayerShape& shape) noexcept {
  const auto rows = static_cast<double>(shape.rows);
  return shape.dense_work() + StageUnits::dense_call +
         rows * (StageUnits::dense_output * static_cast<double>(shape.outputs) +
                 StageUnits::dense_element * static_cast<double>(shape.columns));
}

/// The exact engine over that many channels of every pixel. Where its algorithms save
/// multiply-adds, what is done once per element weighs the more.
inline double engine_units(const LayerShape& shape, double channels) noexcept {
  const auto rows = static_cast<double>(shape.rows);
  const auto outputs = static_cast<double>(shape.outputs);
  return rows * static_cast<double>(shape.offsets) * channels * outputs +
         StageUnits::transform * (static_cast<double>(shape.vectors) * channels + rows * outputs);
}

/// Rotating the input and the weights, and products of kept coordinates: those of a convolution of
/// pixels as a share of what the engine does with all channels, others of unfolded coordinates.
inline double subspace_units(const LayerShape& shape, const Plan& config) noexcept {
  using U = StageUnits;
  const auto vectors = static_cast<double>(shape.vectors);
  const auto length = static_cast<double>(shape.vector_length);
  const auto outputs = static_cast<double>(shape.outputs);
  // As many coordinates as an error asks for are not known from shapes: half of them.
  const double kept = config.kept_coordinates > 0
                          ? std::min(length, static_cast<double>(config.kept_coordinates))
                          : 0.5 * length;
  const double sample = std::min(vectors, std::clamp(vectors / 4, 256.0, 1024.0));
  const double weights = U::subspace * static_cast<double>(shape.columns) * kept * outputs;
  if (shape.convolves_pixels) {
    const double projected = U::pixel * vectors * length + vectors * length * kept;
    return dense_units(shape) * (engine_units(shape, kept) + projected) /
               std::max(engine_units(shape, length), 1.0) +
           U::rotate * 2 * sample * length * kept + weights;
  }
  const double reads = static_cast<double>(shape.rows) * static_cast<double>(shape.offsets);
  return U::load * vectors * length + U::rotate * (vectors + sample) * length * kept + weights +
         reads * (U::offset + kept * (U::subspace * outputs + U::coordinate)) +
         U::output * static_cast<double>(shape.rows) * outputs;
}

/// Data that has something to share fills a part of the cells.
inline double filled_clusters(double vectors, int bits) noexcept {
  return std::max(1.0, std::min(0.1 * vectors, 0.25 * std::exp2(bits)));
}

inline double forward_units(const LayerShape& shape, const Plan& config,
                            double remaining_ratio) noexcept {
  using U = StageUnits;
  const auto rows = static_cast<double>(shape.rows);
  const auto columns = static_cast<double>(shape.columns);
  const auto outputs = static_cast<double>(shape.outputs);
  switch (config.method) {
    case Method::exact:
      return dense_units(shape);
    case Method::subspace:
      return U::pass + subspace_units(shape, config) *
                           (1.0 + U::fit / static_cast<double>(config.refit_interval));
    case Method::clustered:
      return U::pass + rows * (U::look * columns + U::gather * outputs) +
             remaining_ratio * dense_units(shape);
    case Method::published: {
      const double slices = rows * std::ceil(columns / static_cast<double>(config.vector_length));
      const double planes = 16 * std::ceil(config.hash_count / 16.0);
      const double unfold = shape.channels_last
                                ? U::unfold_nhwc * rows * columns + U::slice_nhwc * slices
                                : U::unfold_nchw * rows * columns;
      return U::pass + unfold + rows * columns * (U::hash * planes + U::cluster) +
             slices * (U::slice + U::gather * outputs) +
             U::centroid * filled_clusters(rows, config.hash_count) * columns * outputs;
    }
  }
  return dense_units(shape);
}

}  // namespace detail

/// Predicts the costs of a setting from shapes alone, relative to the dense passes.
///
/// Math: per stage, multiply-adds or elements touched times what one of them takes (StageUnits);
/// gradients over non-zeros as sparse_pays has them. `density` is the share of non-zeros in what
/// the gradients are computed over, `remaining_ratio` the share of rows that clusters
/// with a radius multiply. Gradients in any other form count as dense. Good to about a
/// third on direct convolutions, to a factor of two on plain products; where dense convolutions are
/// Winograd's they are two to three times as fast as this knows. A CostModel corrects it. Requires:
/// a setting that is valid for shape.columns >= 1. Thread-safety: reentrant. Source: this library.
inline PassCosts predicted_costs(const LayerShape& shape, const Plan& config, double density,
                                 double remaining_ratio = detail::StageUnits::remaining) noexcept {
  const double dense = detail::dense_units(shape);
  PassCosts costs;
  costs.forward = detail::forward_units(shape, config, remaining_ratio) / dense;
  const double sparse = detail::StageUnits::pass / dense +
                        GradientCosts().listing / static_cast<double>(shape.columns) +
                        GradientCosts::k_sparse * density;
  const WeightGradient w = config.weight_gradient;
  if (w == WeightGradient::over_non_zeros || w == WeightGradient::rounded) {
    costs.weight_gradient = sparse;
  } else if (w == WeightGradient::exact) {
    costs.weight_gradient = std::min(1.0, sparse);
  }
  const InputGradient x = config.input_gradient;
  if (x == InputGradient::over_non_zeros || x == InputGradient::rounded) {
    costs.input_gradient = sparse;
  } else if (x == InputGradient::exact) {
    costs.input_gradient = std::min(1.0, sparse);
  }
  return costs;
}

/// Predictions of forward passes that learn from the clock: for every method the median of measured
/// over predicted. (What gradients over non-zeros cost is measured by GradientChoice.)
/// Thread-safety: none. Source: this library.
class CostModel {
 public:
  /// Takes the timing of a forward pass; both figures relative to the dense one.
  void note(Method method, double predicted, double measured) noexcept {
    constexpr double k_most = 16;
    if (!(predicted > 0) || !(measured > 0)) return;
    ratios_[index(method)].add(std::clamp(measured / predicted, 1 / k_most, k_most));
  }

  /// What predictions are multiplied with; 1 until something was timed.
  [[nodiscard]] double factor(Method method) const noexcept {
    const Ratios& known = ratios_[index(method)];
    return known.empty() ? 1.0 : known.median();
  }

  /// The predicted cost of a forward pass; see predicted_costs.
  [[nodiscard]] double predict_forward(
      const LayerShape& shape, const Plan& config,
      double remaining_ratio = detail::StageUnits::remaining) const noexcept {
    return predicted_costs(shape, config, 1.0, remaining_ratio).forward * factor(config.method);
  }

  void exchange(StateArchive& archive) {
    for (Ratios& ratios : ratios_) ratios.exchange("measured over predicted", archive);
  }

 private:
  using Ratios = RobustMedian<9>;
  static constexpr std::size_t k_methods = static_cast<std::size_t>(Method::clustered) + 1;

  static std::size_t index(Method method) noexcept { return static_cast<std::size_t>(method); }

  std::array<Ratios, k_methods> ratios_;
};

ADR_NAMESPACE_END
