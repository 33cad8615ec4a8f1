// What convolutions and fully connected layers have in common: weights, and a product of the
// library.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "training/layers/layer.hpp"

namespace training {

/// Product: adr::ReuseConv2d<T> or adr::ReuseLinear<T>.
template <class T, class Product>
class ProductLayer : public Layer<T> {
 public:
  std::vector<Parameter<T>*> parameters() final { return {&weights_, &bias_}; }
  [[nodiscard]] bool is_product() const final { return true; }

 protected:
  /// Weights of outputs x columns elements, drawn for what follows.
  ProductLayer(std::string name, Product product, index_t outputs, index_t columns, FollowedBy next,
               adr::Random& random)
      : Layer<T>(std::move(name)),
        product_(std::move(product)),
        weights_(this->name() + ".weights", outputs, columns, WeightDecay::on),
        bias_(this->name() + ".bias", 1, outputs, WeightDecay::off) {
    initialise(weights_, next, random);
  }

  Product product_;
  Parameter<T> weights_;
  Parameter<T> bias_;
};

}  // namespace training
