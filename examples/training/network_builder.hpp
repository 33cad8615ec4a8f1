// Turns a description into layers: follows the shapes, names the layers, draws the weights.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/options.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "training/dense_backend.hpp"
#include "training/errors.hpp"
#include "training/layers/batch_norm.hpp"
#include "training/layers/conv.hpp"
#include "training/layers/linear.hpp"
#include "training/layers/max_pool.hpp"
#include "training/layers/relu.hpp"
#include "training/network_description.hpp"

namespace training {

template <class T>
struct NetworkSettings {
  adr::Layout layout = adr::Layout::nhwc;
  std::vector<adr::Options> convolutions;  ///< one per convolution
  adr::DenseGemm<T> dense_gemm;
  ConvolutionMaker<T> dense_convolution;  ///< empty: convolutions are unfolded
  std::uint64_t seed = 1;
};

inline adr::ConvGeometry conv_geometry(const ConvLayer& conv, const ImageShape& input,
                                       adr::Layout layout) {
  adr::ConvGeometry geometry;
  geometry.in_channels = input.channels;
  geometry.in_height = input.height;
  geometry.in_width = input.width;
  geometry.out_channels = conv.out_channels;
  geometry.set_kernel(conv.kernel);
  geometry.set_stride(conv.stride);
  geometry.set_padding(conv.pad);
  geometry.layout = layout;
  return geometry;
}

template <class T>
class NetworkBuilder {
 public:
  NetworkBuilder(const NetworkDescription& description, const NetworkSettings<T>& settings,
                 adr::Context& context)
      : settings_(settings), context_(context), shape_(description.input), random_(settings.seed) {
    require(settings.convolutions.size() == conv_count(description), description.name,
            ": needs options for each convolution (", conv_count(description), "), got ",
            settings.convolutions.size());
    for (std::size_t i = 0; i < description.layers.size(); ++i) {
      next_ = followed_by(description.layers, i);
      takes_relu_ = takes_relu(description.layers, i);
      std::visit([&](const auto& layer) { add(layer); }, description.layers[i]);
      shape_ = layers_.back()->output_shape();
      if (takes_relu_) ++i;
    }
  }

  [[nodiscard]] std::vector<std::unique_ptr<Layer<T>>> take_layers() { return std::move(layers_); }
  [[nodiscard]] const std::vector<Conv<T>*>& convolutions() const { return convolutions_; }
  [[nodiscard]] const std::vector<Linear<T>*>& linears() const { return linears_; }

 private:
  void add(const ConvLayer& conv) {
    const std::string name = next_name("conv");
    const adr::ConvGeometry geometry = conv_geometry(conv, shape_, settings_.layout);
    const adr::Options& options = settings_.convolutions[convolutions_.size()];
    for (const std::string& problem : {geometry.validate(), options.validate()}) {
      require(problem.empty(), name, ": ", problem);
    }
    auto layer = std::make_unique<Conv<T>>(name, geometry, options, settings_.dense_gemm, next_,
                                           random_, context_);
    layer->set_dense_convolution(dense_convolution(geometry));
    convolutions_.push_back(layer.get());
    layers_.push_back(std::move(layer));
  }
  void add(const ReluLayer&) {
    layers_.push_back(std::make_unique<Relu<T>>(next_name("relu"), shape_, context_));
  }
  void add(const MaxPoolLayer& pool) {
    layers_.push_back(std::make_unique<MaxPool<T>>(next_name("pool"), shape_, pool.window,
                                                   pool.stride, takes_relu_, context_));
  }
  void add(const BatchNormLayer&) {
    layers_.push_back(std::make_unique<BatchNorm<T>>(next_name("norm"), shape_, context_));
  }
  void add(const LinearLayer& linear) {
    auto layer =
        std::make_unique<Linear<T>>(next_name("linear"), shape_.size(), linear.out_features,
                                    settings_.dense_gemm, next_, random_, context_);
    linears_.push_back(layer.get());
    layers_.push_back(std::move(layer));
  }

  /// One for all layers of a geometry, so that its fastest form is looked for once.
  std::shared_ptr<adr::DenseConvolution<T>> dense_convolution(const adr::ConvGeometry& geometry) {
    if (!settings_.dense_convolution) return nullptr;
    for (const auto& [known, convolution] : dense_convolutions_) {
      if (known == geometry) return convolution;
    }
    auto convolution = settings_.dense_convolution(geometry);
    dense_convolutions_.emplace_back(geometry, convolution);
    return convolution;
  }

  /// Whether a layer is a pool that computes the ReLU behind it as well.
  static bool takes_relu(const std::vector<LayerDescription>& layers, std::size_t i) {
    return i + 1 < layers.size() && std::holds_alternative<MaxPoolLayer>(layers[i]) &&
           std::holds_alternative<ReluLayer>(layers[i + 1]);
  }
  static FollowedBy followed_by(const std::vector<LayerDescription>& layers, std::size_t i) {
    if (i + 1 == layers.size()) return FollowedBy::nothing;
    return std::holds_alternative<MaxPoolLayer>(layers[i + 1]) ? FollowedBy::max_pool
                                                               : FollowedBy::relu;
  }

  /// conv1, conv2, ...: numbered per kind, as in the papers.
  std::string next_name(const std::string& kind) {
    int number = 1;
    for (const auto& layer : layers_) number += layer->name().compare(0, kind.size(), kind) == 0;
    return kind + std::to_string(number);
  }

  const NetworkSettings<T>& settings_;
  adr::Context& context_;
  ImageShape shape_;
  FollowedBy next_ = FollowedBy::nothing;
  bool takes_relu_ = false;
  adr::Random random_;
  std::vector<std::unique_ptr<Layer<T>>> layers_;
  std::vector<Conv<T>*> convolutions_;
  std::vector<Linear<T>*> linears_;
  std::vector<std::pair<adr::ConvGeometry, std::shared_ptr<adr::DenseConvolution<T>>>>
      dense_convolutions_;
};

}  // namespace training
