// oneDNN's convolution primitives at their best: every pass chooses the memory formats of all its
// operands, as a framework that keeps tensors in blocked formats lets it, and the copies from and
// to the plain formats are made before and after the times are taken.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <dnnl.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "bench/layers/convolution.hpp"
#include "bench/support/layer_tensors.hpp"

namespace adr_bench {

/// Accepts versions 2 and 3 of oneDNN. A pass for which the algorithm does not exist is left out.
/// The tensors must outlive the object.
class OneDnnConvolution : public Convolution {
 public:
  OneDnnConvolution(LayerTensors& tensors, dnnl::algorithm algorithm, int threads)
      : tensors_(tensors),
        threads_(threads),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    attributes_.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    prepare();  // a primitive is made for the number of threads of that moment
    if_implemented([&] { make_passes(algorithm); });
  }

  [[nodiscard]] bool has(const PassParts& parts) const override {
    return (!parts.forward || forward_) && (!parts.weight_gradient || weight_gradient_) &&
           (!parts.input_gradient || input_gradient_);
  }
  void prepare() override { omp_set_num_threads(threads_); }
  void run(const PassParts& parts) override {
    for_each(parts, [this](Pass& pass) { pass.primitive.execute(stream_, pass.operands); });
    stream_.wait();
  }
  void deliver(const PassParts& parts) override {
    for_each(parts, [this](Pass& pass) { copy(pass.operands.at(pass.result), pass.plain_result); });
  }
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& parts) const override {
    std::size_t bytes = 0;
    for_each(parts, [&](const Pass& pass) { bytes = std::max(bytes, pass.scratch_bytes); });
    return bytes;
  }
  /// The names of oneDNN's kernels: "jit:avx512_core".
  [[nodiscard]] std::string config(const PassParts& parts) const override {
    std::string names;
    for_each(parts, [&](const Pass& pass) {
      if (names.find(pass.kernel) != std::string::npos) return;
      names += (names.empty() ? "" : ", ") + pass.kernel;
    });
    return names;
  }

 private:
  using Desc = dnnl::memory::desc;
  using Tag = dnnl::memory::format_tag;

  struct Pass {
    dnnl::primitive primitive;
    std::unordered_map<int, dnnl::memory> operands;
    int result = 0;  ///< which operand
    dnnl::memory plain_result;
    std::size_t scratch_bytes = 0;
    std::string kernel;
  };

  void make_passes(dnnl::algorithm algorithm) {
    const adr::ConvGeometry& g = tensors_.geometry();
    const dnnl::memory::dims stride = {g.stride_height, g.stride_width};
    const dnnl::memory::dims before = {g.pad_top, g.pad_left};
    const dnnl::memory::dims after = {g.pad_bottom, g.pad_right};
    const Desc x = free_format(input_desc());
    const Desc w = free_format(weights_desc());
    const Desc y = free_format(output_desc());
    const auto kind = dnnl::prop_kind::forward_training;
    const dnnl::memory plain_x = plain(input_desc(), tensors_.input().data);
    const dnnl::memory plain_w = plain(weights_desc(), tensors_.weights().data);
    const dnnl::memory plain_d_y = plain(output_desc(), tensors_.output_gradient().data);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_forward::primitive_desc forward(engine_, kind, algorithm, x, w, y,
                                                            stride, before, after, attributes_);
#else
    const dnnl::convolution_forward::primitive_desc forward(
        {kind, algorithm, x, w, y, stride, before, after}, attributes_, engine_);
#endif
    forward_ = make_pass(dnnl::convolution_forward(forward), forward);
    set_operand(*forward_, DNNL_ARG_SRC, forward.src_desc(), plain_x);
    set_operand(*forward_, DNNL_ARG_WEIGHTS, forward.weights_desc(), plain_w);
    set_result(*forward_, DNNL_ARG_DST, forward.dst_desc(),
               plain(output_desc(), tensors_.output().data));

    if_implemented([&] {
#if DNNL_VERSION_MAJOR >= 3
      const dnnl::convolution_backward_weights::primitive_desc desc(
          engine_, algorithm, x, w, y, stride, before, after, forward, attributes_);
#else
      const dnnl::convolution_backward_weights::primitive_desc desc(
          {algorithm, x, w, y, stride, before, after}, attributes_, engine_, forward);
#endif
      weight_gradient_ = make_pass(dnnl::convolution_backward_weights(desc), desc);
      set_operand(*weight_gradient_, DNNL_ARG_SRC, desc.src_desc(), plain_x);
      set_operand(*weight_gradient_, DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), plain_d_y);
      set_result(*weight_gradient_, DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(),
                 plain(weights_desc(), tensors_.weight_gradient().data));
    });
    if_implemented([&] {
#if DNNL_VERSION_MAJOR >= 3
      const dnnl::convolution_backward_data::primitive_desc desc(
          engine_, algorithm, x, w, y, stride, before, after, forward, attributes_);
#else
      const dnnl::convolution_backward_data::primitive_desc desc(
          {algorithm, x, w, y, stride, before, after}, attributes_, engine_, forward);
#endif
      input_gradient_ = make_pass(dnnl::convolution_backward_data(desc), desc);
      set_operand(*input_gradient_, DNNL_ARG_WEIGHTS, desc.weights_desc(), plain_w);
      set_operand(*input_gradient_, DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), plain_d_y);
      set_result(*input_gradient_, DNNL_ARG_DIFF_SRC, desc.diff_src_desc(),
                 plain(input_desc(), tensors_.input_gradient().data));
    });
  }

  template <class Make>
  static void if_implemented(const Make& make) {
    try {
      make();
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
    }
  }

  template <class PrimitiveDesc>
  Pass make_pass(const dnnl::primitive& primitive, const PrimitiveDesc& desc) {
    Pass pass;
    pass.primitive = primitive;
    pass.scratch_bytes = desc.scratchpad_desc().get_size();
    pass.kernel = desc.impl_info_str();
    pass.operands[DNNL_ARG_SCRATCHPAD] = dnnl::memory(desc.scratchpad_desc(), engine_);
    return pass;
  }
  void set_operand(Pass& pass, int which, const Desc& desc, const dnnl::memory& values) {
    const dnnl::memory memory(desc, engine_);
    copy(values, memory);
    pass.operands[which] = memory;
  }
  void set_result(Pass& pass, int which, const Desc& desc, const dnnl::memory& plain_result) {
    pass.operands[which] = dnnl::memory(desc, engine_);
    pass.result = which;
    pass.plain_result = plain_result;
  }
  void copy(dnnl::memory from, dnnl::memory to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  [[nodiscard]] Desc input_desc() const {
    const adr::ConvGeometry& g = tensors_.geometry();
    return images({tensors_.batch(), g.in_channels, g.in_height, g.in_width});
  }
  [[nodiscard]] Desc output_desc() const {
    const adr::ConvGeometry& g = tensors_.geometry();
    return images({tensors_.batch(), g.out_channels, g.out_height(), g.out_width()});
  }
  [[nodiscard]] Desc images(const dnnl::memory::dims& sizes) const {
    return {sizes, dnnl::memory::data_type::f32, is_nchw() ? Tag::nchw : Tag::nhwc};
  }
  [[nodiscard]] Desc weights_desc() const {
    const adr::ConvGeometry& g = tensors_.geometry();
    const auto type = dnnl::memory::data_type::f32;
    if (g.groups == 1) {
      return {{g.out_channels, g.in_channels, g.kernel_height, g.kernel_width},
              type,
              is_nchw() ? Tag::oihw : Tag::ohwi};
    }
    return {
        {g.groups, g.group_out_channels(), g.group_in_channels(), g.kernel_height, g.kernel_width},
        type,
        is_nchw() ? Tag::goihw : Tag::gohwi};
  }
  [[nodiscard]] bool is_nchw() const { return tensors_.geometry().layout == adr::Layout::nchw; }
  /// The same tensor in whatever format the primitive likes best.
  static Desc free_format(const Desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
    return {desc.get_dims(), desc.get_data_type(), Tag::any};
#else
    return {desc.dims(), desc.data_type(), Tag::any};
#endif
  }
  /// The memory of one of the tensors; oneDNN's type has no constant form.
  [[nodiscard]] dnnl::memory plain(const Desc& desc, const float* data) const {
    return {desc, engine_, const_cast<float*>(data)};
  }

  template <class Use>
  void for_each(const PassParts& parts, const Use& use) {
    if (parts.forward) use(*forward_);
    if (parts.weight_gradient) use(*weight_gradient_);
    if (parts.input_gradient) use(*input_gradient_);
  }
  template <class Use>
  void for_each(const PassParts& parts, const Use& use) const {
    if (parts.forward) use(*forward_);
    if (parts.weight_gradient) use(*weight_gradient_);
    if (parts.input_gradient) use(*input_gradient_);
  }

  LayerTensors& tensors_;
  int threads_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive_attr attributes_;
  std::optional<Pass> forward_;
  std::optional<Pass> weight_gradient_;
  std::optional<Pass> input_gradient_;
};

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
