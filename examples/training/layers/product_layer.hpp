// What convolutions and fully connected layers have in common: weights, and a product of the
// library, which a schedule can take charge of.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/adapt/tunable.hpp"
#include "training/layers/layer.hpp"

namespace training {

/// A product of the library, whatever its kind.
template <class T>
class ReusedLayer : public Layer<T> {
 public:
  using Layer<T>::Layer;

  /// What a scheduler takes charge of.
  [[nodiscard]] virtual adr::Tunable& adaptive() = 0;
  [[nodiscard]] virtual const adr::Plan& plan() const = 0;
  [[nodiscard]] virtual const adr::Report& report() const = 0;

  /// What was learned from earlier batches, to and from a file; the weights are not in it.
  virtual void save_state(const std::string& path) const = 0;
  virtual void load_state(const std::string& path) = 0;

  /// Whether clusters were learned, or there are none.
  [[nodiscard]] virtual bool can_freeze() const = 0;
  /// Stops, and goes on, learning clusters from what passes through.
  virtual void freeze() = 0;
  virtual void unfreeze() = 0;
};

/// Product: adr::ReuseConv2d<T> or adr::ReuseLinear<T>.
template <class T, class Product>
class ProductLayer : public ReusedLayer<T> {
 public:
  std::vector<Parameter<T>*> parameters() final { return {&weights_, &bias_}; }
  [[nodiscard]] bool is_product() const final { return true; }

  [[nodiscard]] adr::Tunable& adaptive() final { return product_; }
  [[nodiscard]] const adr::Plan& plan() const final { return product_.plan(); }
  [[nodiscard]] const adr::Report& report() const final { return product_.report(); }
  void save_state(const std::string& path) const final { product_.save_state(path); }
  void load_state(const std::string& path) final { product_.load_state(path); }
  [[nodiscard]] bool can_freeze() const final { return product_.can_freeze(); }
  void freeze() final { product_.freeze(); }
  void unfreeze() final { product_.unfreeze(); }

 protected:
  /// Weights of outputs x columns elements, drawn for what follows.
  ProductLayer(std::string name, Product product, index_t outputs, index_t columns, FollowedBy next,
               adr::Random& random)
      : ReusedLayer<T>(std::move(name)),
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
