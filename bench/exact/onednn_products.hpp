// Fully connected layers by oneDNN's inner product and by its matrix product, every operand in the
// format that the primitive likes best.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <dnnl.hpp>
#include <optional>

#include "bench/support/layer_tensors.hpp"
#include "bench/support/onednn_passes.hpp"

namespace adr_bench {

/// What both know of a fully connected layer: images of one pixel.
class OneDnnLinear : public OneDnnPasses {
 protected:
  using Tag = dnnl::memory::format_tag;

  OneDnnLinear(LayerTensors& tensors, int threads)
      : OneDnnPasses(tensors, threads, Type::f32),
        batch_(tensors.batch()),
        inputs_(tensors.geometry().in_channels),
        outputs_(tensors.geometry().out_channels) {}

  /// A row-major matrix, or one whose transpose is.
  [[nodiscard]] static Desc matrix(index_t rows, index_t cols, Tag tag = Tag::ab) {
    return {{rows, cols}, Type::f32, tag};
  }

  const index_t batch_;
  const index_t inputs_;
  const index_t outputs_;
};

class OneDnnInnerProduct : public OneDnnLinear {
 public:
  OneDnnInnerProduct(LayerTensors& tensors, int threads) : OneDnnLinear(tensors, threads) {
    const Desc plain_x = matrix(batch_, inputs_);
    const Desc plain_w = matrix(outputs_, inputs_);
    const Desc plain_y = matrix(batch_, outputs_);
    const Desc x = free_format(plain_x);
    const Desc w = free_format(plain_w);
    const Desc y = free_format(plain_y);
    const auto kind = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::inner_product_forward::primitive_desc forward(engine(), kind, x, w, y,
                                                              attributes());
    const dnnl::inner_product_backward_weights::primitive_desc to_w(engine(), x, w, y, forward,
                                                                    attributes());
    const dnnl::inner_product_backward_data::primitive_desc to_x(engine(), x, w, y, forward,
                                                                 attributes());
#else
    const dnnl::inner_product_forward::primitive_desc forward({kind, x, w, y}, attributes(),
                                                              engine());
    const dnnl::inner_product_backward_weights::primitive_desc to_w({x, w, y}, attributes(),
                                                                    engine(), forward);
    const dnnl::inner_product_backward_data::primitive_desc to_x({x, w, y}, attributes(), engine(),
                                                                 forward);
#endif
    forward_.emplace(*this, dnnl::inner_product_forward(forward), forward);
    forward_->set_operand(DNNL_ARG_SRC, forward.src_desc(), plain_input(plain_x));
    forward_->set_operand(DNNL_ARG_WEIGHTS, forward.weights_desc(), plain_weights(plain_w));
    forward_->set_result(DNNL_ARG_DST, forward.dst_desc(), {plain_y, tensors.output().data});
    weight_gradient_.emplace(*this, dnnl::inner_product_backward_weights(to_w), to_w);
    weight_gradient_->set_operand(DNNL_ARG_SRC, to_w.src_desc(), plain_input(plain_x));
    weight_gradient_->set_operand(DNNL_ARG_DIFF_DST, to_w.diff_dst_desc(),
                                  plain_output_gradient(plain_y));
    weight_gradient_->set_result(DNNL_ARG_DIFF_WEIGHTS, to_w.diff_weights_desc(),
                                 {plain_w, tensors.weight_gradient().data});
    input_gradient_.emplace(*this, dnnl::inner_product_backward_data(to_x), to_x);
    input_gradient_->set_operand(DNNL_ARG_WEIGHTS, to_x.weights_desc(), plain_weights(plain_w));
    input_gradient_->set_operand(DNNL_ARG_DIFF_DST, to_x.diff_dst_desc(),
                                 plain_output_gradient(plain_y));
    input_gradient_->set_result(DNNL_ARG_DIFF_SRC, to_x.diff_src_desc(),
                                {plain_x, tensors.input_gradient().data});
  }
};

class OneDnnMatmul : public OneDnnLinear {
 public:
  OneDnnMatmul(LayerTensors& tensors, int threads) : OneDnnLinear(tensors, threads) {
    const Desc x = matrix(batch_, inputs_);
    const Desc w = matrix(outputs_, inputs_);
    const Desc y = matrix(batch_, outputs_);
    const Plain d_y = plain_output_gradient(y);
    make(forward_, plain_input(x), plain_weights(matrix(inputs_, outputs_, Tag::ba)),
         {y, tensors.output().data});
    make(weight_gradient_, plain_output_gradient(matrix(outputs_, batch_, Tag::ba)), plain_input(x),
         {w, tensors.weight_gradient().data});
    make(input_gradient_, d_y, plain_weights(w), {x, tensors.input_gradient().data});
  }

 private:
  /// result = a b
  void make(std::optional<Pass>& pass, const Plain& a, const Plain& b, const Plain& result) {
    const Desc left = free_format(a.desc);
    const Desc right = free_format(b.desc);
    const Desc product = free_format(result.desc);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc desc(engine(), left, right, product, attributes());
#else
    const dnnl::matmul::primitive_desc desc({left, right, product}, attributes(), engine());
#endif
    pass.emplace(*this, dnnl::matmul(desc), desc);
    pass->set_operand(DNNL_ARG_SRC, desc.src_desc(), a);
    pass->set_operand(DNNL_ARG_WEIGHTS, desc.weights_desc(), b);
    pass->set_result(DNNL_ARG_DST, desc.dst_desc(), result);
  }
};

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
