// oneDNN's convolution of 8-bit integers, forward: what inference buys with a loss of accuracy.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/support/convolution.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/onednn_formats.hpp"

namespace adr_bench {

/// Inputs with one scale, of their largest value, weights with one per filter, sums of 32 bits.
/// Only the convolution is timed: quantising, formats and scaling back are not. Accepts versions 2
/// and 3 of oneDNN. Without a kernel no pass exists. The tensors must outlive the object.
class OneDnnInt8Convolution final : public Convolution {
 public:
  OneDnnInt8Convolution(LayerTensors& tensors, int threads)
      : tensors_(tensors),
        formats_(tensors),
        threads_(threads),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    if (tensors.geometry().groups > 1) return;
    omp_set_num_threads(threads_);  // a primitive is made for the number of threads of that moment
    try {
      make();
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
    }
  }

  [[nodiscard]] bool has(const PassParts& parts) const override {
    return forward_ && !parts.weight_gradient && !parts.input_gradient;
  }
  void prepare() override { omp_set_num_threads(threads_); }
  void run(const PassParts& /*parts*/) override {
    forward_->execute(stream_, operands_);
    stream_.wait();
  }
  void deliver(const PassParts& /*parts*/) override {
    dnnl::memory plain(formats_.output(Type::s32), engine_, sums_.data());
    dnnl::reorder(operands_.at(DNNL_ARG_DST), plain)
        .execute(stream_, operands_.at(DNNL_ARG_DST), plain);
    stream_.wait();
    const adr::ConvGeometry& g = tensors_.geometry();
    float* y = tensors_.output().data;
    const auto pixels = static_cast<std::size_t>(g.out_pixels());
    const auto channels = static_cast<std::size_t>(g.out_channels);
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      const std::size_t channel = formats_.is_nchw() ? i / pixels % channels : i % channels;
      y[i] = input_scale_ * weight_scales_[channel] * static_cast<float>(sums_[i]);
    }
  }
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& /*parts*/) const override {
    return scratch_bytes_;
  }
  [[nodiscard]] std::string config(const PassParts& /*parts*/) const override { return kernel_; }

 private:
  using Desc = dnnl::memory::desc;
  using Type = dnnl::memory::data_type;

  void make() {
    const adr::ConvGeometry& g = tensors_.geometry();
    quantise_input();
    quantise_weights();
    const Type of_input = is_signed_ ? Type::s8 : Type::u8;
    const Desc plain_x = formats_.input(of_input);
    const Desc plain_w = formats_.weights(Type::s8);
    const Desc x = free_format(plain_x, of_input);
    const Desc w = free_format(plain_w, Type::s8);
    const Desc y = free_format(formats_.output(), Type::s32);
    const dnnl::memory::dims stride = {g.stride_height, g.stride_width};
    const dnnl::memory::dims before = {g.pad_top, g.pad_left};
    const dnnl::memory::dims after = {g.pad_bottom, g.pad_right};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const auto kind = dnnl::prop_kind::forward_inference;
    const auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_forward::primitive_desc desc(engine_, kind, direct, x, w, y, stride,
                                                         before, after, attributes);
#else
    const dnnl::convolution_forward::primitive_desc desc(
        {kind, direct, x, w, y, stride, before, after}, attributes, engine_);
#endif
    set(DNNL_ARG_SRC, desc.src_desc(), plain_x, input_.data());
    set(DNNL_ARG_WEIGHTS, desc.weights_desc(), plain_w, weights_.data());
    operands_[DNNL_ARG_DST] = dnnl::memory(desc.dst_desc(), engine_);
    operands_[DNNL_ARG_SCRATCHPAD] = dnnl::memory(desc.scratchpad_desc(), engine_);
    scratch_bytes_ = desc.scratchpad_desc().get_size();
    kernel_ = desc.impl_info_str();
    sums_.resize(tensors_.output_values().size());
    forward_.emplace(desc);
  }

  void set(int which, const Desc& desc, const Desc& plain, void* values) {
    dnnl::memory from(plain, engine_, values);
    dnnl::memory to(desc, engine_);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    operands_[which] = to;
  }

  /// Unsigned where nothing is negative, as behind a ReLU.
  void quantise_input() {
    const float* x = tensors_.input().data;
    const auto count = static_cast<std::size_t>(tensors_.batch() * tensors_.input().image_size());
    const auto [least, most] = std::minmax_element(x, x + count);
    is_signed_ = *least < 0;
    const float largest = std::max(std::abs(*least), std::abs(*most));
    const float levels = is_signed_ ? 127.0F : 255.0F;
    input_scale_ = largest > 0 ? largest / levels : 1.0F;
    input_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      input_[i] = static_cast<std::uint8_t>(std::lround(x[i] / input_scale_));
    }
  }
  void quantise_weights() {
    const adr::MatrixView<const float> w = tensors_.weights();
    weights_.resize(static_cast<std::size_t>(w.rows * w.cols));
    for (index_t m = 0; m < w.rows; ++m) {
      float largest = 0;
      for (index_t k = 0; k < w.cols; ++k) largest = std::max(largest, std::abs(w(m, k)));
      const float scale = largest > 0 ? largest / 127.0F : 1.0F;
      weight_scales_.push_back(scale);
      for (index_t k = 0; k < w.cols; ++k) {
        weights_[static_cast<std::size_t>(m * w.cols + k)] =
            static_cast<std::int8_t>(std::lround(w(m, k) / scale));
      }
    }
  }

  LayerTensors& tensors_;
  PlainFormats formats_;
  int threads_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::optional<dnnl::convolution_forward> forward_;
  std::unordered_map<int, dnnl::memory> operands_;
  std::size_t scratch_bytes_ = 0;
  std::string kernel_;
  bool is_signed_ = false;
  float input_scale_ = 1;
  std::vector<float> weight_scales_;
  std::vector<std::uint8_t> input_;
  std::vector<std::int8_t> weights_;
  std::vector<std::int32_t> sums_;
};

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
