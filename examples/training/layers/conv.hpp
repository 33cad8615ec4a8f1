// A convolution with its weights, computed by the library as its options say.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "adr/core/context.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/options.hpp"
#include "adr/reuse_conv2d.hpp"
#include "training/layers/product_layer.hpp"

namespace training {

template <class T>
class Conv final : public ProductLayer<T, adr::ReuseConv2d<T>> {
 public:
  Conv(std::string name, const adr::ConvGeometry& geometry, const adr::Options& options,
       const adr::DenseGemm<T>& gemm, FollowedBy next, adr::Random& random, adr::Context& context)
      : ProductLayer<T, adr::ReuseConv2d<T>>(
            std::move(name), adr::ReuseConv2d<T>(geometry, options, context), geometry.out_channels,
            geometry.columns(), next, random) {
    this->product_.set_dense_gemm(gemm);
  }

  /// Computes what is dense in place of the product that the layer was made with; null: nothing.
  void set_dense_convolution(std::shared_ptr<adr::DenseConvolution<T>> convolution) {
    this->product_.set_dense_convolution(std::move(convolution));
  }

  [[nodiscard]] const adr::ConvGeometry& geometry() const { return this->product_.geometry(); }

  [[nodiscard]] ImageShape output_shape() const override {
    return {geometry().out_channels, geometry().out_height(), geometry().out_width()};
  }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    this->product_.forward(x, this->weights_.matrix(), this->bias_.vector(), y);
  }

  void backward(const adr::TensorView<const T>& x, const adr::TensorView<const T>&,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    this->product_.backward(x, this->weights_.matrix(), d_y,
                            {d_x, this->weights_.gradient_matrix(), this->bias_.gradient_vector()});
  }
};

}  // namespace training
