// The library's own layer as a contender, dense (im2col and the product of a rival) or with reuse.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/core/context.hpp>
#include <adr/exact/convolution_passes.hpp>
#include <adr/reuse_conv2d.hpp>
#include <cstddef>
#include <string>
#include <utility>

#include "bench/support/convolution.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/layer_tensors.hpp"

namespace adr_bench {

/// Gradients use the clusters of the last forward pass, so that one must run first. The tensors
/// must outlive the object.
class LibraryConvolution : public Convolution {
 public:
  LibraryConvolution(LayerTensors& tensors, const adr::Plan& plan, DenseEngine product, int threads)
      : tensors_(tensors),
        product_(std::move(product)),
        context_(threads),
        layer_(tensors.geometry(), plan, context_) {
    layer_.set_dense_gemm(product_.multiply);
  }

  [[nodiscard]] bool has(const PassParts& parts) const override {
    return !frozen_ || !(parts.weight_gradient || parts.input_gradient);
  }
  /// One thread for the product, because the layer starts its own.
  void prepare() override { product_.set_threads(1); }
  void run(const PassParts& parts) override {
    if (parts.forward) {
      layer_.forward(tensors_.input(), tensors_.weights(), {}, tensors_.output());
    }
    if (parts.weight_gradient || parts.input_gradient) {
      layer_.backward(
          tensors_.input(), tensors_.weights(), tensors_.output_gradient(),
          {parts.input_gradient ? tensors_.input_gradient() : adr::TensorView<float>(),
           parts.weight_gradient ? tensors_.weight_gradient() : adr::MatrixView<float>(),
           {}});
    }
  }
  void deliver(const PassParts&) override {}
  [[nodiscard]] std::size_t workspace_bytes(const PassParts&) const override {
    return layer_.workspace_bytes(tensors_.batch());
  }
  [[nodiscard]] std::string config(const PassParts& parts) const override {
    const std::string setting = adr::label(layer_.plan());
    if (setting != "exact") return setting + ", products by " + product_.name;
    return product_.name == k_own_product ? forms(parts) : "im2col, products by " + product_.name;
  }

  [[nodiscard]] const adr::ReuseConv2d<float>& layer() const noexcept { return layer_; }
  /// Makes the next forward pass fit anew what the layer learns from its inputs.
  void forget() { layer_.clear_cache(); }
  /// Keeps what the last forward pass fitted, for inference.
  void freeze() {
    layer_.set_mode(adr::Mode::inference);
    frozen_ = true;
  }

 private:
  /// How the exact engine computes these passes.
  [[nodiscard]] std::string forms(const PassParts& parts) const {
    const adr::exact::ConvolutionPasses<float> passes(tensors_.geometry());
    std::string text;
    const auto add = [&](bool wanted, adr::exact::Form form) {
      if (wanted) text += (text.empty() ? "" : ", ") + std::string(adr::exact::to_string(form));
    };
    add(parts.forward, passes.forward_form(tensors_.batch()));
    add(parts.weight_gradient, passes.weight_gradient_form(tensors_.batch()));
    add(parts.input_gradient, passes.input_gradient_form(tensors_.batch()));
    return text;
  }

  LayerTensors& tensors_;
  DenseEngine product_;
  adr::Context context_;
  adr::ReuseConv2d<float> layer_;
  bool frozen_ = false;
};

}  // namespace adr_bench
