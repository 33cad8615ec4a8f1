// oneDNN's primitives for the passes of a layer, at their best: every pass chooses the memory
// formats of all its operands, as a framework that keeps tensors in blocked formats lets it, and
// the copies from and to the plain formats are made before and after the times are taken.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <dnnl.hpp>
#include <optional>
#include <string>
#include <unordered_map>

#include "bench/support/convolution.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/onednn_formats.hpp"

namespace adr_bench {

/// Accepts versions 2 and 3 of oneDNN. A derived class makes the passes; those that it leaves out
/// do not exist. The tensors must outlive the object.
class OneDnnPasses : public Convolution {
 public:
  [[nodiscard]] bool has(const PassParts& parts) const override {
    return (!parts.forward || forward_) && (!parts.weight_gradient || weight_gradient_) &&
           (!parts.input_gradient || input_gradient_);
  }
  void prepare() override { omp_set_num_threads(threads_); }
  void run(const PassParts& parts) override {
    for_each(*this, parts, [this](Pass& pass) { pass.primitive.execute(stream_, pass.operands); });
    stream_.wait();
  }
  void deliver(const PassParts& parts) override {
    for_each(*this, parts,
             [this](Pass& pass) { copy(pass.operands.at(pass.result), pass.plain_result); });
  }
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& parts) const override {
    std::size_t bytes = 0;
    for_each(*this, parts, [&](const Pass& pass) { bytes = std::max(bytes, pass.scratch_bytes); });
    return bytes;
  }
  /// The names of oneDNN's kernels: "jit:avx512_core".
  [[nodiscard]] std::string config(const PassParts& parts) const override {
    std::string names;
    for_each(*this, parts, [&](const Pass& pass) {
      if (names.find(pass.kernel) != std::string::npos) return;
      names += (names.empty() ? "" : ", ") + pass.kernel;
    });
    return names;
  }

 protected:
  using Desc = dnnl::memory::desc;
  using Type = dnnl::memory::data_type;

  /// One operand or result as it lies in the tensors.
  struct Plain {
    Desc desc;
    const float* data;
  };

  /// type: of all operands inside the primitives; the tensors hold floats.
  OneDnnPasses(LayerTensors& tensors, int threads, Type type)
      : tensors_(tensors),
        threads_(threads),
        type_(type),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    attributes_.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    omp_set_num_threads(threads_);  // a primitive is made for the number of threads of that moment
  }

  /// The steps of making a pass: its primitive, then its operands and its result.
  class Pass {
   public:
    template <class PrimitiveDesc>
    Pass(OneDnnPasses& passes, const dnnl::primitive& made, const PrimitiveDesc& desc)
        : primitive(made),
          scratch_bytes(desc.scratchpad_desc().get_size()),
          kernel(desc.impl_info_str()),
          passes_(&passes) {
      operands[DNNL_ARG_SCRATCHPAD] = dnnl::memory(desc.scratchpad_desc(), passes.engine_);
    }
    void set_operand(int which, const Desc& desc, const Plain& values) {
      const dnnl::memory memory(desc, passes_->engine_);
      passes_->copy(passes_->memory_of(values), memory);
      operands[which] = memory;
    }
    void set_result(int which, const Desc& desc, const Plain& to) {
      const dnnl::memory memory(desc, passes_->engine_);
      // Some kernels multiply what was there by zero, and fresh memory may hold a NaN.
      std::memset(memory.get_data_handle(), 0, desc.get_size());
      operands[which] = memory;
      result = which;
      plain_result = passes_->memory_of(to);
    }

    dnnl::primitive primitive;
    std::unordered_map<int, dnnl::memory> operands;
    int result = 0;  ///< which operand
    dnnl::memory plain_result;
    std::size_t scratch_bytes = 0;
    std::string kernel;

   private:
    OneDnnPasses* passes_;
  };

  template <class Make>
  static void if_implemented(const Make& make) {
    try {
      make();
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
    }
  }

  [[nodiscard]] LayerTensors& tensors() const noexcept { return tensors_; }
  [[nodiscard]] const dnnl::engine& engine() const noexcept { return engine_; }
  [[nodiscard]] const dnnl::primitive_attr& attributes() const noexcept { return attributes_; }
  /// The same tensor in whatever format the primitive likes best.
  [[nodiscard]] Desc free_format(const Desc& desc) const {
    return adr_bench::free_format(desc, type_);
  }
  [[nodiscard]] Plain plain_input(const Desc& desc) const { return {desc, tensors_.input().data}; }
  [[nodiscard]] Plain plain_weights(const Desc& desc) const {
    return {desc, tensors_.weights().data};
  }
  [[nodiscard]] Plain plain_output_gradient(const Desc& desc) const {
    return {desc, tensors_.output_gradient().data};
  }

  std::optional<Pass> forward_;
  std::optional<Pass> weight_gradient_;
  std::optional<Pass> input_gradient_;

 private:
  /// oneDNN's type has no constant form.
  [[nodiscard]] dnnl::memory memory_of(const Plain& plain) const {
    return {plain.desc, engine_, const_cast<float*>(plain.data)};
  }
  void copy(dnnl::memory from, dnnl::memory to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  template <class Self, class Use>
  static void for_each(Self& self, const PassParts& parts, const Use& use) {
    if (parts.forward) use(*self.forward_);
    if (parts.weight_gradient) use(*self.weight_gradient_);
    if (parts.input_gradient) use(*self.input_gradient_);
  }

  LayerTensors& tensors_;
  int threads_;
  Type type_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive_attr attributes_;
};

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
