// oneDNN's convolution primitives.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <dnnl.hpp>

#include "bench/support/layer_tensors.hpp"
#include "bench/support/onednn_passes.hpp"

namespace adr_bench {

/// A pass for which the algorithm does not exist is left out.
class OneDnnConvolution : public OneDnnPasses {
 public:
  OneDnnConvolution(LayerTensors& tensors, dnnl::algorithm algorithm, int threads,
                    Type type = Type::f32)
      : OneDnnPasses(tensors, threads, type) {
    if_implemented([&] { make_passes(algorithm); });
  }

 private:
  using Tag = dnnl::memory::format_tag;

  void make_passes(dnnl::algorithm algorithm) {
    const adr::ConvGeometry& g = tensors().geometry();
    const dnnl::memory::dims stride = {g.stride_height, g.stride_width};
    const dnnl::memory::dims before = {g.pad_top, g.pad_left};
    const dnnl::memory::dims after = {g.pad_bottom, g.pad_right};
    const Desc x = free_format(input_desc());
    const Desc w = free_format(weights_desc());
    const Desc y = free_format(output_desc());
    const auto kind = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_forward::primitive_desc forward(engine(), kind, algorithm, x, w, y,
                                                            stride, before, after, attributes());
#else
    const dnnl::convolution_forward::primitive_desc forward(
        {kind, algorithm, x, w, y, stride, before, after}, attributes(), engine());
#endif
    forward_.emplace(*this, dnnl::convolution_forward(forward), forward);
    forward_->set_operand(DNNL_ARG_SRC, forward.src_desc(), plain_input(input_desc()));
    forward_->set_operand(DNNL_ARG_WEIGHTS, forward.weights_desc(), plain_weights(weights_desc()));
    forward_->set_result(DNNL_ARG_DST, forward.dst_desc(),
                         {output_desc(), tensors().output().data});

    if_implemented([&] {
#if DNNL_VERSION_MAJOR >= 3
      const dnnl::convolution_backward_weights::primitive_desc desc(
          engine(), algorithm, x, w, y, stride, before, after, forward, attributes());
#else
      const dnnl::convolution_backward_weights::primitive_desc desc(
          {algorithm, x, w, y, stride, before, after}, attributes(), engine(), forward);
#endif
      weight_gradient_.emplace(*this, dnnl::convolution_backward_weights(desc), desc);
      weight_gradient_->set_operand(DNNL_ARG_SRC, desc.src_desc(), plain_input(input_desc()));
      weight_gradient_->set_operand(DNNL_ARG_DIFF_DST, desc.diff_dst_desc(),
                                    plain_output_gradient(output_desc()));
      weight_gradient_->set_result(DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(),
                                   {weights_desc(), tensors().weight_gradient().data});
    });
    if_implemented([&] {
#if DNNL_VERSION_MAJOR >= 3
      const dnnl::convolution_backward_data::primitive_desc desc(
          engine(), algorithm, x, w, y, stride, before, after, forward, attributes());
#else
      const dnnl::convolution_backward_data::primitive_desc desc(
          {algorithm, x, w, y, stride, before, after}, attributes(), engine(), forward);
#endif
      input_gradient_.emplace(*this, dnnl::convolution_backward_data(desc), desc);
      input_gradient_->set_operand(DNNL_ARG_WEIGHTS, desc.weights_desc(),
                                   plain_weights(weights_desc()));
      input_gradient_->set_operand(DNNL_ARG_DIFF_DST, desc.diff_dst_desc(),
                                   plain_output_gradient(output_desc()));
      input_gradient_->set_result(DNNL_ARG_DIFF_SRC, desc.diff_src_desc(),
                                  {input_desc(), tensors().input_gradient().data});
    });
  }

  [[nodiscard]] Desc input_desc() const {
    const adr::ConvGeometry& g = tensors().geometry();
    return images({tensors().batch(), g.in_channels, g.in_height, g.in_width});
  }
  [[nodiscard]] Desc output_desc() const {
    const adr::ConvGeometry& g = tensors().geometry();
    return images({tensors().batch(), g.out_channels, g.out_height(), g.out_width()});
  }
  [[nodiscard]] Desc images(const dnnl::memory::dims& sizes) const {
    return {sizes, Type::f32, is_nchw() ? Tag::nchw : Tag::nhwc};
  }
  [[nodiscard]] Desc weights_desc() const {
    const adr::ConvGeometry& g = tensors().geometry();
    if (g.groups == 1) {
      return {{g.out_channels, g.in_channels, g.kernel_height, g.kernel_width},
              Type::f32,
              is_nchw() ? Tag::oihw : Tag::ohwi};
    }
    return {
        {g.groups, g.group_out_channels(), g.group_in_channels(), g.kernel_height, g.kernel_width},
        Type::f32,
        is_nchw() ? Tag::goihw : Tag::gohwi};
  }
  [[nodiscard]] bool is_nchw() const { return tensors().geometry().layout == adr::Layout::nchw; }
};

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
