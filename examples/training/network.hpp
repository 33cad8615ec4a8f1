// A chain of layers with the activations and gradients between them.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "training/network_builder.hpp"

namespace training {

/// Seconds that one layer has taken in training so far.
struct LayerTime {
  std::string name;
  double forward = 0;
  double backward = 0;
};

/// The operands of a layer that is a product in the last forward and backward pass. A fully
/// connected layer is a convolution over images of one pixel.
template <class T>
struct ProductOperands {
  std::string name;
  index_t kernel = 1;
  adr::TensorView<const T> input;
  adr::TensorView<const T> output_gradient;
  adr::MatrixView<const T> weights;
};

template <class T>
class Network {
 public:
  Network(const NetworkDescription& description, const NetworkSettings<T>& settings,
          adr::Context& context)
      : layout_(settings.layout), input_shape_(description.input) {
    NetworkBuilder<T> builder(description, settings, context);
    layers_ = builder.take_layers();
    convolutions_ = builder.convolutions();
    linears_ = builder.linears();
    reused_.assign(convolutions_.begin(), convolutions_.end());
    reused_.insert(reused_.end(), linears_.begin(), linears_.end());
    outputs_.resize(layers_.size());
    gradients_.resize(layers_.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const bool shares = i > 0 && layers_[i]->works_in_place();
      memory_of_.push_back(shares ? memory_of_.back() : i);
    }
    for (const auto& layer : layers_) {
      times_.push_back({layer->name()});
      for (Parameter<T>* parameter : layer->parameters()) parameters_.push_back(parameter);
    }
    while (layers_[first_trained_]->parameters().empty()) ++first_trained_;
  }

  /// Returns one row of logits per image. The images must stay where they are until backward.
  adr::MatrixView<const T> forward(const adr::TensorView<const T>& images) {
    input_ = images;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Stopwatch watch(training_ ? &times_[i].forward : nullptr);
      layers_[i]->forward(layer_input(i), layer_memory(outputs_, i));
    }
    return as_matrix(layer_input(layers_.size()));
  }

  /// Networks train until told otherwise.
  void set_training(bool training) {
    training_ = training;
    for (const auto& layer : layers_) layer->set_training(training);
  }

  /// Where the loss puts the gradient of the logits of the last forward.
  adr::MatrixView<T> logit_gradient() {
    return as_matrix(layer_memory(gradients_, layers_.size() - 1));
  }

  /// Fills the gradients of all parameters from logit_gradient().
  void backward() {
    for (std::size_t i = layers_.size(); i-- > first_trained_;) {
      const Stopwatch watch(&times_[i].backward);
      adr::TensorView<T> d_x;
      if (i > first_trained_) d_x = layer_memory(gradients_, i - 1);
      layers_[i]->backward(layer_input(i), layer_input(i + 1), output_gradient(i), d_x);
    }
  }

  /// What the layers that are products have last worked on, after backward.
  [[nodiscard]] std::vector<ProductOperands<T>> products() {
    std::vector<ProductOperands<T>> all;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      if (!layers_[i]->is_product()) continue;
      ProductOperands<T> operands;
      operands.name = layers_[i]->name();
      operands.input = layer_input(i);
      operands.output_gradient = output_gradient(i);
      operands.weights = layers_[i]->parameters().front()->matrix();
      if (const auto* conv = dynamic_cast<const Conv<T>*>(layers_[i].get())) {
        operands.kernel = conv->geometry().kernel_height;
      } else {
        operands.input = as_features(operands.input);
      }
      all.push_back(operands);
    }
    return all;
  }

  [[nodiscard]] adr::Layout layout() const { return layout_; }
  [[nodiscard]] const ImageShape& input_shape() const { return input_shape_; }
  [[nodiscard]] const std::vector<Parameter<T>*>& parameters() const { return parameters_; }
  [[nodiscard]] const std::vector<Conv<T>*>& convolutions() const { return convolutions_; }
  [[nodiscard]] const std::vector<Linear<T>*>& linears() const { return linears_; }
  /// The layers of both kinds.
  [[nodiscard]] const std::vector<ReusedLayer<T>*>& reused_layers() const { return reused_; }
  [[nodiscard]] const std::vector<LayerTime>& times() const { return times_; }

 private:
  /// Adds the seconds of its life; to nothing if null.
  class Stopwatch {
   public:
    explicit Stopwatch(double* seconds)
        : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
    ~Stopwatch() {
      if (seconds_ == nullptr) return;
      const auto elapsed = std::chrono::steady_clock::now() - start_;
      *seconds_ += std::chrono::duration<double>(elapsed).count();
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

   private:
    double* seconds_;
    std::chrono::steady_clock::time_point start_;
  };

  [[nodiscard]] adr::TensorView<const T> layer_input(std::size_t layer) const {
    return layer == 0 ? input_ : outputs_[memory_of_[layer - 1]].const_view();
  }
  [[nodiscard]] adr::TensorView<const T> output_gradient(std::size_t layer) const {
    return gradients_[memory_of_[layer]].const_view();
  }
  /// Where the layer's output, or the gradient with respect to it, is written.
  adr::TensorView<T> layer_memory(std::vector<Tensor<T>>& tensors, std::size_t layer) {
    Tensor<T>& tensor = tensors[memory_of_[layer]];
    tensor.resize(input_.batch, layers_[layer]->output_shape(), layout_);
    return tensor.view();
  }

  adr::Layout layout_;
  ImageShape input_shape_;
  bool training_ = true;
  std::vector<std::unique_ptr<Layer<T>>> layers_;
  std::vector<Conv<T>*> convolutions_;
  std::vector<Linear<T>*> linears_;
  std::vector<ReusedLayer<T>*> reused_;
  std::vector<Parameter<T>*> parameters_;
  std::size_t first_trained_ = 0;
  adr::TensorView<const T> input_;
  std::vector<std::size_t>
      memory_of_;  ///< the tensor of a layer's output: its own or the last one's
  std::vector<Tensor<T>> outputs_;
  std::vector<Tensor<T>> gradients_;
  std::vector<LayerTime> times_;
};

}  // namespace training
