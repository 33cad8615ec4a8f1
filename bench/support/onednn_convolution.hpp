// oneDNN's convolution primitives.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <dnnl.hpp>

#include "bench/support/layer_tensors.hpp"
#include "bench/support/onednn_formats.hpp"
#include "bench/support/onednn_passes.hpp"

namespace adr_bench {

/// A pass for which the algorithm does not exist is left out.
class OneDnnConvolution : public OneDnnPasses {
 public:
  OneDnnConvolution(LayerTensors& tensors, dnnl::algorithm algorithm, int threads,
                    Type type = Type::f32)
      : OneDnnPasses(tensors, threads, type), formats_(tensors) {
    if_implemented([&] { make_passes(algorithm); });
  }

 private:
  void make_passes(dnnl::algorithm algorithm) {
    const adr::ConvGeometry& g = tensors().geometry();
    const dnnl::memory::dims stride = {g.stride_height, g.stride_width};
    const dnnl::memory::dims before = {g.pad_top, g.pad_left};
    const dnnl::memory::dims after = {g.pad_bottom, g.pad_right};
    const Desc x = free_format(formats_.input());
    const Desc w = free_format(formats_.weights());
    const Desc y = free_format(formats_.output());
    const auto kind = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_forward::primitive_desc forward(engine(), kind, algorithm, x, w, y,
                                                            stride, before, after, attributes());
#else
    const dnnl::convolution_forward::primitive_desc forward(
        {kind, algorithm, x, w, y, stride, before, after}, attributes(), engine());
#endif
    forward_.emplace(*this, dnnl::convolution_forward(forward), forward);
    forward_->set_operand(DNNL_ARG_SRC, forward.src_desc(), plain_input(formats_.input()));
    forward_->set_operand(DNNL_ARG_WEIGHTS, forward.weights_desc(),
                          plain_weights(formats_.weights()));
    forward_->set_result(DNNL_ARG_DST, forward.dst_desc(),
                         {formats_.output(), tensors().output().data});

    if_implemented([&] {
#if DNNL_VERSION_MAJOR >= 3
      const dnnl::convolution_backward_weights::primitive_desc desc(
          engine(), algorithm, x, w, y, stride, before, after, forward, attributes());
#else
      const dnnl::convolution_backward_weights::primitive_desc desc(
          {algorithm, x, w, y, stride, before, after}, attributes(), engine(), forward);
#endif
      weight_gradient_.emplace(*this, dnnl::convolution_backward_weights(desc), desc);
      weight_gradient_->set_operand(DNNL_ARG_SRC, desc.src_desc(), plain_input(formats_.input()));
      weight_gradient_->set_operand(DNNL_ARG_DIFF_DST, desc.diff_dst_desc(),
                                    plain_output_gradient(formats_.output()));
      weight_gradient_->set_result(DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(),
                                   {formats_.weights(), tensors().weight_gradient().data});
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
                                   plain_weights(formats_.weights()));
      input_gradient_->set_operand(DNNL_ARG_DIFF_DST, desc.diff_dst_desc(),
                                   plain_output_gradient(formats_.output()));
      input_gradient_->set_result(DNNL_ARG_DIFF_SRC, desc.diff_src_desc(),
                                  {formats_.input(), tensors().input_gradient().data});
    });
  }

  PlainFormats formats_;
};

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
