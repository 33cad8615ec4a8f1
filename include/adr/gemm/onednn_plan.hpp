// One way in which oneDNN computes a pass of a convolution: a primitive, the copies of operands
// that it wants in another format, and where they lie. Optional, as adr/onednn.hpp, which uses it.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <dnnl.hpp>
#include <string>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

enum class ConvolutionPass { forward, weight_gradient, input_gradient };

inline const char* to_string(ConvolutionPass pass) noexcept {
  constexpr const char* names[] = {"forward", "weight gradient", "input gradient"};
  return names[static_cast<int>(pass)];
}

/// The memory of the three tensors of a convolution, or of their gradients, and of the bias.
struct OneDnnPointers {
  const float* x = nullptr;
  const float* w = nullptr;
  const float* y = nullptr;
  const float* bias = nullptr;  ///< null without one
};

/// The formats of the three tensors, or of their gradients.
struct OneDnnFormats {
  dnnl::memory::desc x;
  dnnl::memory::desc w;
  dnnl::memory::desc y;
};

/// A primitive for one pass over tensors in plain formats.
///
/// Copies and oneDNN's scratch lie in an arena that the caller lends, so that plans which never run
/// at once can share one. Errors: dnnl::error. Memory: nothing is allocated here by `execute`.
/// Thread-safety: none.
class OneDnnPlan {
  using Desc = dnnl::memory::desc;

 public:
  /// Stands for a way that oneDNN does not have.
  OneDnnPlan() = default;
  /// Requires: a description with a scratchpad of the user's, for which the primitive was made.
  /// bias: null without one.
  template <class PrimitiveDesc>
  OneDnnPlan(ConvolutionPass pass, const dnnl::engine& engine, const PrimitiveDesc& desc,
             const dnnl::primitive& convolution, const OneDnnFormats& plain,
             const OneDnnFormats& formatted, const Desc* bias = nullptr)
      : convolution_(convolution) {
    const std::string kernel = desc.impl_info_str();
    is_reference_ = kernel.rfind("ref", 0) == 0;
    label_ = to_string(pass) + (' ' + kernel);
    const bool forward = pass == ConvolutionPass::forward;
    const bool to_x = pass == ConvolutionPass::input_gradient;
    const bool to_w = pass == ConvolutionPass::weight_gradient;
    result_ = forward ? k_y : to_x ? k_x : k_w;
    add(k_x, to_x ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, plain.x, formatted.x, engine);
    add(k_w, to_w ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, plain.w, formatted.w, engine);
    add(k_y, forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, plain.y, formatted.y, engine);
    if (bias != nullptr) {
      bias_ = dnnl::memory(*bias, engine, DNNL_MEMORY_NONE);
      arguments_.push_back({DNNL_ARG_BIAS, bias_.get()});
    }
    scratch_ = dnnl::memory(desc.scratchpad_desc(), engine, DNNL_MEMORY_NONE);
    scratch_offset_ = place(desc.scratchpad_desc());
    arguments_.push_back({DNNL_ARG_SCRATCHPAD, scratch_.get()});
  }

  [[nodiscard]] bool empty() const noexcept { return label_.empty(); }
  /// "forward jit:avx512_core, copies x y".
  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  /// Whether it is loops without any optimisation, there for everything else to be compared with.
  [[nodiscard]] bool is_reference() const noexcept { return is_reference_; }
  [[nodiscard]] index_t arena_bytes() const noexcept { return arena_bytes_; }

  /// Requires: an arena of at least arena_bytes(), on a cache line; pointers to tensors of the
  /// plain formats, with a bias exactly where the plan was made with one.
  void execute(const OneDnnPointers& pointers, unsigned char* arena, dnnl::stream& stream) {
    if (arena != arena_) move_to(arena);
    point(tensors_[k_x].plain, pointers.x);
    point(tensors_[k_w].plain, pointers.w);
    point(tensors_[k_y].plain, pointers.y);
    if (bias_) point(bias_, pointers.bias);
    for (const Tensor& tensor : tensors_) {
      if (&tensor != &tensors_[result_]) copy(tensor, stream);
    }
#if DNNL_VERSION_MAJOR >= 3  // see OneDnnConvolution::weight_gradient
    const Tensor& result = tensors_[result_];
    if (result_ == k_w && result.formatted) {
      std::memset(arena + result.offset, 0, result.formatted.get_desc().get_size());
    }
#endif
    run(convolution_, arguments_.data(), arguments_.size(), stream);
    copy(tensors_[result_], stream);
    stream.wait();
  }

 private:
  enum Role : std::size_t { k_x, k_w, k_y, k_roles };

  struct Tensor {
    dnnl::memory plain;
    dnnl::memory formatted;  ///< in the arena; empty where the plain format will do
    index_t offset = 0;
    dnnl::primitive copy;  ///< to the other format, or from it where this is the result
    std::array<dnnl_exec_arg_t, 2> copy_arguments{};
  };

  void add(Role role, int argument, const Desc& plain, const Desc& formatted,
           const dnnl::engine& engine) {
    Tensor& tensor = tensors_[role];
    tensor.plain = dnnl::memory(plain, engine, DNNL_MEMORY_NONE);
    if (formatted == plain) {
      arguments_.push_back({argument, tensor.plain.get()});
      return;
    }
    tensor.formatted = dnnl::memory(formatted, engine, DNNL_MEMORY_NONE);
    tensor.offset = place(formatted);
    const dnnl::memory& from = role == result_ ? tensor.formatted : tensor.plain;
    const dnnl::memory& to = role == result_ ? tensor.plain : tensor.formatted;
    tensor.copy = dnnl::reorder(from, to);
    tensor.copy_arguments = {{{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()}}};
    arguments_.push_back({argument, tensor.formatted.get()});
    constexpr const char* names[] = {" x", " w", " y"};
    if (label_.find(", copies") == std::string::npos) label_ += ", copies";
    label_ += names[role];
  }

  /// Takes room in the arena.
  index_t place(const Desc& desc) {
    const index_t offset = arena_bytes_;
    const auto bytes = static_cast<index_t>(desc.get_size());
    arena_bytes_ += (bytes + k_alignment_bytes - 1) / k_alignment_bytes * k_alignment_bytes;
    return offset;
  }
  void move_to(unsigned char* arena) {
    arena_ = arena;
    for (Tensor& tensor : tensors_) {
      if (tensor.formatted) tensor.formatted.set_data_handle(arena + tensor.offset);
    }
    scratch_.set_data_handle(arena + scratch_offset_);
  }

  /// oneDNN's type has no constant form.
  static void point(dnnl::memory& memory, const float* values) {
    memory.set_data_handle(const_cast<float*>(values));
  }
  static void copy(const Tensor& tensor, const dnnl::stream& stream) {
    if (tensor.copy) {
      run(tensor.copy, tensor.copy_arguments.data(), tensor.copy_arguments.size(), stream);
    }
  }
  /// By the C interface: that of C++ makes a vector of the arguments in every call.
  static void run(const dnnl::primitive& primitive, const dnnl_exec_arg_t* arguments,
                  std::size_t count, const dnnl::stream& stream) {
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive.get(), stream.get(), static_cast<int>(count), arguments),
        "oneDNN could not execute a primitive of a convolution");
  }

  std::array<Tensor, k_roles> tensors_;
  Role result_ = k_y;
  dnnl::memory bias_;
  dnnl::memory scratch_;
  index_t scratch_offset_ = 0;
  index_t arena_bytes_ = 0;
  const unsigned char* arena_ = nullptr;  ///< where the memories point to
  dnnl::primitive convolution_;
  std::vector<dnnl_exec_arg_t> arguments_;
  std::string label_;
  bool is_reference_ = false;
};

ADR_NAMESPACE_END
