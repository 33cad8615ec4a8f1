// This library's exact convolution as a contender: it reads and writes the plain tensors, and what
// it makes of the weights is made in every pass, as in training.
#pragma once

#include <adr/nn/exact_convolution.hpp>
#include <cstddef>
#include <string>

#include "bench/support/convolution.hpp"
#include "bench/support/layer_tensors.hpp"

namespace adr_bench {

/// The tensors must outlive the object.
class LibraryEngine : public Convolution {
 public:
  LibraryEngine(LayerTensors& tensors, int threads)
      : tensors_(tensors), convolution_(tensors.geometry(), threads) {}

  [[nodiscard]] bool has(const PassParts& /*parts*/) const override { return true; }
  void prepare() override {}
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
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& /*parts*/) const override {
    return convolution_.workspace_bytes(tensors_.batch());
  }
  [[nodiscard]] std::string config(const PassParts& parts) const override {
    const auto& passes = convolution_.passes();
    return adr::exact::to_string(parts.input_gradient && !parts.forward
                                     ? passes.input_gradient_form(tensors_.batch())
                                     : passes.forward_form(tensors_.batch()));
  }

 private:
  LayerTensors& tensors_;
  adr::ExactConvolution<float> convolution_;
};

}  // namespace adr_bench
