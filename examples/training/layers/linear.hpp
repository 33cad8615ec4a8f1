// A fully connected layer with its weights. Its products are exact until a schedule takes charge of
// it: a batch has too few rows to share anything, but gradients over non-zeros can gain.
#pragma once

#include <string>
#include <utility>

#include "adr/core/context.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/options.hpp"
#include "adr/reuse_linear.hpp"
#include "training/layers/product_layer.hpp"

namespace training {

template <class T>
class Linear final : public ProductLayer<T, adr::ReuseLinear<T>> {
 public:
  Linear(std::string name, index_t in_features, index_t out_features, const adr::DenseGemm<T>& gemm,
         FollowedBy next, adr::Random& random, adr::Context& context)
      : ProductLayer<T, adr::ReuseLinear<T>>(
            std::move(name),
            adr::ReuseLinear<T>(in_features, out_features, adr::Options(), context), out_features,
            in_features, next, random) {
    this->product_.set_dense_gemm(gemm);
  }

  [[nodiscard]] ImageShape output_shape() const override {
    return {this->bias_.matrix().cols, 1, 1};
  }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    this->product_.forward(as_matrix(x), this->weights_.matrix(), this->bias_.vector(),
                           as_matrix(y));
  }

  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>&,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    this->product_.backward(
        as_matrix(x), this->weights_.matrix(), as_matrix(d_y),
        {as_matrix(d_x), this->weights_.gradient_matrix(), this->bias_.gradient_vector()});
  }
};

}  // namespace training
