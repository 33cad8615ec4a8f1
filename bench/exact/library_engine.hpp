// This library's exact convolution as a contender: it reads and writes the plain tensors, and what
// it makes of the weights is made in every pass, as in training.
#pragma once

#include <adr/nn/unfolded_convolution.hpp>
#include <cstddef>
#include <string>

#include "bench/support/convolution.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/layer_tensors.hpp"

namespace adr_bench {

/// The tensors must outlive the object.
class LibraryEngine : public Convolution {
 public:
  LibraryEngine(LayerTensors& tensors, int threads)
      : tensors_(tensors),
        product_(dense_engine(default_product())),
        convolution_(tensors.geometry(), product_.multiply, threads) {}

  [[nodiscard]] bool has(const PassParts& /*parts*/) const override { return true; }
  void prepare() override { product_.set_threads(1); }
  void run(const PassParts& parts) override {
    LayerTensors& t = tensors_;
    if (parts.forward) convolution_.forward(t.input(), t.weights(), {}, t.output());
    if (parts.weight_gradient) {
      convolution_.weight_gradient(t.input(), t.output_gradient(), t.weight_gradient());
    }
    if (parts.input_gradient) {
      convolution_.input_gradient(t.output_gradient(), t.weights(), t.input_gradient());
    }
  }
  void deliver(const PassParts& /*parts*/) override {}
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& /*parts*/) const override { return 0; }
  [[nodiscard]] std::string config(const PassParts& /*parts*/) const override {
    return "im2col, products by " + product_.name;
  }

 private:
  LayerTensors& tensors_;
  DenseEngine product_;
  adr::UnfoldedConvolution<float> convolution_;
};

}  // namespace adr_bench
