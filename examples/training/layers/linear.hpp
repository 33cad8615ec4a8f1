// A fully connected layer with its weights. Its products are dense: reuse is for convolutions here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/reuse_linear.hpp"
#include "training/layers/layer.hpp"

namespace training {

template <class T>
class Linear final : public Layer<T> {
 public:
  Linear(std::string name, index_t in_features, index_t out_features, const adr::DenseGemm<T>& gemm,
         FollowedBy next, adr::Random& random, adr::Context& context)
      : Layer<T>(std::move(name)),
        linear_(in_features, out_features, dense_config(), context),
        weights_(this->name() + ".weights", out_features, in_features, WeightDecay::on),
        bias_(this->name() + ".bias", 1, out_features, WeightDecay::off) {
    linear_.set_dense_gemm(gemm);
    initialise(weights_, next, random);
  }

  [[nodiscard]] ImageShape output_shape() const override { return {bias_.matrix().cols, 1, 1}; }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    linear_.forward(as_matrix(x), weights_.matrix(), bias_.vector(), as_matrix(y));
  }

  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>&,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    linear_.backward(as_matrix(x), weights_.matrix(), as_matrix(d_y), as_matrix(d_x),
                     weights_.gradient_matrix(), bias_.gradient_vector());
  }

  std::vector<Parameter<T>*> parameters() override { return {&weights_, &bias_}; }

 private:
  static adr::ReuseConfig dense_config() {
    adr::ReuseConfig config;
    config.method = adr::Method::dense;
    return config;
  }

  adr::ReuseLinear<T> linear_;
  Parameter<T> weights_;
  Parameter<T> bias_;
};

}  // namespace training
