// How far results are from the exact ones: of one pass, of the mean over seeds, and on images that
// were not fitted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "bench/layers/layer_engines.hpp"
#include "bench/support/layer_data.hpp"
#include "bench/support/layer_pass.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/matrix.hpp"

namespace adr_bench {

/// The results of all passes, computed densely.
struct ExactResults {
  LayerTensors::Tensor output;
  LayerTensors::Tensor weight_gradient;
  LayerTensors::Tensor input_gradient;
};

/// ||result - exact|| / ||exact|| of what a pass computed.
struct PassErrors {
  std::optional<double> output;
  std::optional<double> weight_gradient;
  std::optional<double> input_gradient;

  [[nodiscard]] double sum() const {
    return output.value_or(0) + weight_gradient.value_or(0) + input_gradient.value_or(0);
  }
};

namespace detail {

inline double relative_error(const LayerTensors::Tensor& values,
                             const LayerTensors::Tensor& exact) {
  return adr_bench::relative_error(values.data(), exact.data(), static_cast<index_t>(exact.size()));
}

/// Runs all passes once with results in the tensors.
inline void run_all(Convolution& convolution) {
  const PassParts all{true, true, true};
  convolution.prepare();
  convolution.run(all);
  convolution.deliver(all);
}

/// The sum of several results.
class SumOfTensors {
 public:
  void add(const LayerTensors::Tensor& values) {
    sums_.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) sums_[i] += values[i];
  }
  [[nodiscard]] LayerTensors::Tensor divided_by(int count) const {
    LayerTensors::Tensor mean;
    mean.reserve(sums_.size());
    for (const double sum : sums_) mean.push_back(static_cast<float>(sum / count));
    return mean;
  }

 private:
  std::vector<double> sums_;
};

/// The images whose original is one of [first, last), with their mirrored copies.
inline LayerData select_images(const LayerData& data, index_t first, index_t last) {
  LayerData selection;
  selection.weights = data.weights;
  selection.distinct_images = last - first;
  const auto append = [&](const std::vector<float>& from, index_t n, std::vector<float>& to) {
    const auto size = static_cast<std::ptrdiff_t>(from.size()) / data.batch;
    to.insert(to.end(), from.begin() + n * size, from.begin() + (n + 1) * size);
  };
  for (index_t n = 0; n < data.batch; ++n) {
    const index_t original = n % data.distinct_images;
    if (original < first || original >= last) continue;
    append(data.input, n, selection.input);
    append(data.output_gradient, n, selection.output_gradient);
    ++selection.batch;
  }
  return selection;
}

}  // namespace detail

/// Computes all results with the given dense engine.
inline ExactResults exact_results(const LayerEngine& dense, LayerTensors& tensors, int threads) {
  detail::run_all(*dense.make(tensors, threads));
  return {tensors.output_values(), tensors.weight_gradient_values(),
          tensors.input_gradient_values()};
}

/// The errors of what was delivered to the tensors.
inline PassErrors errors_of(const PassParts& parts, const LayerTensors& tensors,
                            const ExactResults& exact) {
  PassErrors errors;
  if (parts.forward) {
    errors.output = detail::relative_error(tensors.output_values(), exact.output);
  }
  if (parts.weight_gradient) {
    errors.weight_gradient =
        detail::relative_error(tensors.weight_gradient_values(), exact.weight_gradient);
  }
  if (parts.input_gradient) {
    errors.input_gradient =
        detail::relative_error(tensors.input_gradient_values(), exact.input_gradient);
  }
  return errors;
}

/// The errors of the mean of the gradients over that many seeds. What is left of an unbiased
/// gradient's error is a share of 1 / sqrt(seeds).
inline PassErrors gradient_bias(const adr::Plan& plan, const DenseEngine& product,
                                LayerTensors& tensors, const ExactResults& exact, int threads,
                                int seeds) {
  detail::SumOfTensors weight_gradients;
  detail::SumOfTensors input_gradients;
  for (int i = 0; i < seeds; ++i) {
    adr::Plan seeded = plan;
    seeded.seed = plan.seed + static_cast<std::uint64_t>(i);
    LibraryConvolution convolution(tensors, seeded, product, threads);
    detail::run_all(convolution);
    weight_gradients.add(tensors.weight_gradient_values());
    input_gradients.add(tensors.input_gradient_values());
  }
  PassErrors errors;
  errors.weight_gradient =
      detail::relative_error(weight_gradients.divided_by(seeds), exact.weight_gradient);
  errors.input_gradient =
      detail::relative_error(input_gradients.divided_by(seeds), exact.input_gradient);
  return errors;
}

/// The error of the output on half of the images after fitting to the other half and freezing. The
/// copies of an image are on its side. Empty when there is a single image, or nothing to freeze.
inline std::optional<double> held_out_error(const adr::Plan& plan, const DenseEngine& product,
                                            const adr::ConvGeometry& geometry,
                                            const LayerData& data, int threads) {
  const index_t half = data.distinct_images / 2;
  if (half == 0) return {};
  LayerTensors fitted(geometry, detail::select_images(data, 0, half));
  LayerTensors held_out(geometry, detail::select_images(data, half, data.distinct_images));
  adr::Context context(threads);
  const auto forward = [](adr::ReuseConv2d<float>& layer, LayerTensors& tensors) {
    layer.forward(tensors.input(), tensors.weights(), {}, tensors.output());
    return tensors.output_values();
  };
  product.set_threads(1);
  adr::ReuseConv2d<float> dense(geometry, adr::Options(), context);
  dense.set_dense_gemm(product.multiply);
  const LayerTensors::Tensor exact = forward(dense, held_out);
  adr::ReuseConv2d<float> layer(geometry, plan, context);
  layer.set_dense_gemm(product.multiply);
  forward(layer, fitted);
  layer.set_mode(adr::Mode::inference);
  return detail::relative_error(forward(layer, held_out), exact);
}

}  // namespace adr_bench
