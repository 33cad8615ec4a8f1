// A convolution with its weights, computed by the library under one reuse setting.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/reuse_conv2d.hpp"
#include "training/layers/layer.hpp"

namespace training {

template <class T>
class Conv final : public Layer<T> {
 public:
  Conv(std::string name, const adr::ConvGeometry& geometry, const adr::ReuseConfig& config,
       const adr::DenseGemm<T>& gemm, FollowedBy next, adr::Random& random, adr::Context& context)
      : Layer<T>(std::move(name)),
        geometry_(geometry),
        conv_(geometry, config, context),
        weights_(this->name() + ".weights", geometry.out_channels, geometry.columns(),
                 WeightDecay::on),
        bias_(this->name() + ".bias", 1, geometry.out_channels, WeightDecay::off) {
    conv_.set_dense_gemm(gemm);
    initialise(weights_, next, random);
  }

  /// Computes what is dense in place of the product that the layer was made with; null: nothing.
  void set_dense_convolution(std::shared_ptr<adr::DenseConvolution<T>> convolution) {
    conv_.set_dense_convolution(std::move(convolution));
  }

  [[nodiscard]] ImageShape output_shape() const override {
    return {geometry_.out_channels, geometry_.out_height(), geometry_.out_width()};
  }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    conv_.forward(x, weights_.matrix(), bias_.vector(), y);
  }

  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>&,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    conv_.backward(x, weights_.matrix(), d_y, d_x, weights_.gradient_matrix(),
                   bias_.gradient_vector());
  }

  std::vector<Parameter<T>*> parameters() override { return {&weights_, &bias_}; }

  [[nodiscard]] const adr::ReuseConfig& config() const { return conv_.config(); }
  /// What a scheduler takes charge of.
  [[nodiscard]] adr::AdaptiveLayer& adaptive() { return conv_; }
  [[nodiscard]] const adr::ReuseStats& stats() const { return conv_.stats(); }

  /// What was learned from earlier batches, to and from a file; the weights are not in it.
  void save_state(const std::string& path) const { conv_.save_state(path); }
  void load_state(const std::string& path) { conv_.load_state(path); }
  /// Whether clusters were learned, or there are none.
  [[nodiscard]] bool can_freeze() const { return conv_.can_freeze(); }
  /// Stops, and goes on, learning clusters from what passes through.
  void freeze() { conv_.freeze(); }
  void unfreeze() { conv_.unfreeze(); }

 private:
  adr::ConvGeometry geometry_;
  adr::ReuseConv2d<T> conv_;
  Parameter<T> weights_;
  Parameter<T> bias_;
};

}  // namespace training
