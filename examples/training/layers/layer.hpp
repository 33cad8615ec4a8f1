// What every layer of a network can do. Layers own their weights and no activations: the network
// holds those, so that a layer is a pair of functions and can be tested alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "adr/core/types.hpp"
#include "training/parameter.hpp"
#include "training/tensor.hpp"

namespace training {

template <class T>
class Layer {
 public:
  explicit Layer(std::string name) : name_(std::move(name)) {}
  virtual ~Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] virtual ImageShape output_shape() const = 0;

  virtual void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) = 0;

  /// x and y are those of the last forward, x its output where the layer works in place. d_x is
  /// empty when nobody wants it.
  virtual void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>& y,
                        const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) = 0;

  /// Whether x and y may be the same memory, and d_y and d_x: then the network has one for both,
  /// and the layer before must not read its own output in its backward pass.
  [[nodiscard]] virtual bool works_in_place() const { return false; }

  virtual std::vector<Parameter<T>*> parameters() { return {}; }

  /// Whether the next passes are for training; layers that make no difference ignore it.
  virtual void set_training(bool) {}

  /// Whether the layer is a product of its input and its first parameter.
  [[nodiscard]] virtual bool is_product() const { return false; }

 private:
  std::string name_;
};

}  // namespace training
