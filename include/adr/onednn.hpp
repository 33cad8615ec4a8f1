// Dense convolutions by oneDNN (2 or 3). Optional: adr.hpp does not include it; include it where
// oneDNN is linked.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <dnnl.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/fastest.hpp"
#include "adr/core/recently_used.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/onednn_plan.hpp"
#include "adr/gemm/onednn_threads.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// oneDNN's convolution in the fastest of its forms, found by trying.
///
/// Math, shapes, units: those of DenseConvolution; any geometry, groups included, and any batch.
/// The first pass of a kind over a batch size makes the candidates (direct and Winograd, on the
/// tensors as they lie or copied to oneDNN's own formats and back), runs each up to three times
/// (detail::fastest_of) on the operands at hand, copies included, and keeps the one with the
/// fastest run; the last four batch sizes are remembered. Determinism: which one is the fastest may
/// change from run to run, and so may the last bits of the results; Winograd's rounding errors are
/// larger than those of direct convolution. Threads: the given number when the program is compiled
/// with ADR_OPENMP and oneDNN runs on the same OpenMP; else oneDNN decides. Cost: N K M
/// multiply-adds. Memory: copies of operands that are in another format, and oneDNN's scratch;
/// nothing is allocated here in the steady state. Errors: std::invalid_argument for an impossible
/// geometry, a thread count below 1 or wrong shapes; dnnl::error for what oneDNN refuses.
/// Thread-safety: none. Source: oneDNN.
class OneDnnConvolution final : public DenseConvolution<float> {
 public:
  /// For one layer, on that many threads. Errors: those of the class.
  OneDnnConvolution(const ConvGeometry& geometry, int threads)
      : geometry_(geometry),
        threads_(threads),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    const std::string problem = geometry.validate();
    detail::require(problem.empty(), "ConvGeometry: ", problem);
    detail::require(threads >= 1, "OneDnnConvolution: threads must be at least 1, got ", threads);
    attributes_.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  }

  void forward(const TensorView<const float>& x, const MatrixView<const float>& w,
               const VectorView<const float>& bias, const TensorView<float>& y) override {
    require_operands("x", x, "w", w, "y", y);
    if (!bias.empty()) require_size("bias", bias, geometry_.out_channels);
    run(ConvolutionPass::forward, x, w, bias, y);
  }
  void weight_gradient(const TensorView<const float>& x, const TensorView<const float>& d_y,
                       const MatrixView<float>& d_w) override {
    require_operands("x", x, "d_w", d_w, "d_y", d_y);
    // Implementations of version 3 that multiply matrices (x64:gemm:jit of 3.7) multiply what is
    // there by 0 and add to it, so that a NaN stays.
    constexpr bool k_reads_results = DNNL_VERSION_MAJOR >= 3;
    if (x.batch == 0 || k_reads_results) {
      for (index_t m = 0; m < d_w.rows; ++m) std::fill_n(d_w.row(m), d_w.cols, 0.0f);
    }
    run(ConvolutionPass::weight_gradient, x, d_w, {}, d_y);
  }
  void input_gradient(const TensorView<const float>& d_y, const MatrixView<const float>& w,
                      const TensorView<float>& d_x) override {
    require_operands("d_x", d_x, "w", w, "d_y", d_y);
    run(ConvolutionPass::input_gradient, d_x, w, {}, d_y);
  }

  /// What computes each pass that was run, by oneDNN's names: "forward jit:avx512_core; weight
  /// gradient jit:avx512_core, copies x y".
  [[nodiscard]] std::string algorithms() const {
    std::string text;
    for (const Plans& plans : plans_) {
      if (plans.last() != nullptr) text += (text.empty() ? "" : "; ") + plans.last()->label();
    }
    return text;
  }

 private:
  using Desc = dnnl::memory::desc;
  using Dims = dnnl::memory::dims;

  /// What a plan depends on besides the geometry.
  struct Key {
    index_t batch = 0;
    index_t x_stride = 0;
    index_t w_stride = 0;
    index_t y_stride = 0;
    bool with_bias = false;

    bool operator==(const Key& other) const noexcept {
      return batch == other.batch && x_stride == other.x_stride && w_stride == other.w_stride &&
             y_stride == other.y_stride && with_bias == other.with_bias;
    }
  };
  /// Which tensors may have any format; the others lie as the user's do, but without gaps.
  struct FreeFormats {
    bool x;
    bool y;
  };
  /// The plans of a pass. Training has four: for a batch and what is left over at the end, and the
  /// same for tests.
  using Plans = detail::RecentlyUsed<Key, OneDnnPlan, 4>;

  void require_operands(std::string_view x_name, const TensorView<const float>& x,
                        std::string_view w_name, const MatrixView<const float>& w,
                        std::string_view y_name, const TensorView<const float>& y) const {
    const ConvGeometry& g = geometry_;
    require_shape(x_name, x, x.batch, g.in_channels, g.in_height, g.in_width, g.layout);
    require_shape(w_name, w, g.out_channels, g.columns());
    require_shape(y_name, y, x.batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
  }

  void run(ConvolutionPass pass, const TensorView<const float>& x, const MatrixView<const float>& w,
           const VectorView<const float>& bias, const TensorView<const float>& y) {
    if (x.batch == 0) return;
    const detail::OneDnnThreads limit(threads_);
    const Key key = {x.batch, plain_stride(x).image_stride, plain_stride(w).row_stride,
                     plain_stride(y).image_stride, !bias.empty()};
    const OneDnnPointers pointers = {x.data, w.data, y.data, bias.data};
    Plans& plans = plans_[static_cast<std::size_t>(pass)];
    OneDnnPlan* plan = plans.find(key);
    if (plan == nullptr) {
      plan = &plans.insert(key, fastest_plan(pass, key, pointers));
      fit_arena({});
    }
    plan->execute(pointers, arena_.data(), stream_);
  }

  OneDnnPlan fastest_plan(ConvolutionPass pass, const Key& key, const OneDnnPointers& pointers) {
    std::vector<OneDnnPlan> plans = candidates(pass, key);
    detail::require(!plans.empty(), "oneDNN has no convolution for this geometry");
    // Loops without any optimisation are for want of anything else.
    const auto references = std::stable_partition(
        plans.begin(), plans.end(), [](const OneDnnPlan& plan) { return !plan.is_reference(); });
    if (references != plans.begin()) plans.erase(references, plans.end());
    fit_arena(plans);
    return plans[detail::fastest_of(plans.size(), steady_seconds, [&](std::size_t i) {
      plans[i].execute(pointers, arena_.data(), stream_);
    })];
  }

  /// Every combination of algorithm and formats that oneDNN has, once.
  [[nodiscard]] std::vector<OneDnnPlan> candidates(ConvolutionPass pass, const Key& key) const {
    std::vector<OneDnnPlan> plans;
    for (const auto algorithm :
         {dnnl::algorithm::convolution_direct, dnnl::algorithm::convolution_winograd}) {
      for (const FreeFormats free : {FreeFormats{true, true}, FreeFormats{false, false},
                                     FreeFormats{true, false}, FreeFormats{false, true}}) {
        OneDnnPlan plan = make_plan(pass, key, algorithm, free);
        const bool known = std::any_of(plans.begin(), plans.end(), [&](const OneDnnPlan& other) {
          return other.label() == plan.label();
        });
        if (!plan.empty() && !known) plans.push_back(std::move(plan));
      }
    }
    return plans;
  }

  /// Makes the arena as large as these plans and those that are kept need it.
  void fit_arena(const std::vector<OneDnnPlan>& tried) {
    index_t bytes = 0;
    const auto fit = [&](const OneDnnPlan& plan) { bytes = std::max(bytes, plan.arena_bytes()); };
    for (const OneDnnPlan& plan : tried) fit(plan);
    for (const Plans& plans : plans_) plans.for_each(fit);
    if (bytes == arena_.size()) return;
    arena_ = AlignedBuffer<unsigned char>(bytes);
    // So that no candidate is timed while it waits for fresh pages.
    std::fill_n(arena_.data(), bytes, static_cast<unsigned char>(0));
  }

  [[nodiscard]] Desc image_desc(index_t batch, index_t channels, index_t height, index_t width,
                                index_t image_stride) const {
    const Dims strides = geometry_.layout == Layout::nchw
                             ? Dims{image_stride, height * width, width, 1}
                             : Dims{image_stride, 1, width * channels, channels};
    return {Dims{batch, channels, height, width}, dnnl::memory::data_type::f32, strides};
  }
  [[nodiscard]] Desc input_desc(index_t batch, index_t image_stride) const {
    const ConvGeometry& g = geometry_;
    return image_desc(batch, g.in_channels, g.in_height, g.in_width, image_stride);
  }
  [[nodiscard]] Desc output_desc(index_t batch, index_t image_stride) const {
    const ConvGeometry& g = geometry_;
    return image_desc(batch, g.out_channels, g.out_height(), g.out_width(), image_stride);
  }
  [[nodiscard]] Desc weights_desc(index_t row_stride) const {
    const ConvGeometry& g = geometry_;
    const index_t channels = g.group_in_channels();
    Dims sizes = {g.group_out_channels(), channels, g.kernel_height, g.kernel_width};
    Dims strides = g.layout == Layout::nchw
                       ? Dims{row_stride, g.kernel_height * g.kernel_width, g.kernel_width, 1}
                       : Dims{row_stride, 1, g.kernel_width * channels, channels};
    if (g.groups > 1) {
      sizes.insert(sizes.begin(), g.groups);
      strides.insert(strides.begin(), g.group_out_channels() * row_stride);
    }
    return {sizes, dnnl::memory::data_type::f32, strides};
  }
  /// The same tensor in whatever format the primitive likes best.
  [[nodiscard]] static Desc free_format(const Desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
    return {desc.get_dims(), desc.get_data_type(), dnnl::memory::format_tag::any};
#else
    return {desc.dims(), desc.data_type(), dnnl::memory::format_tag::any};
#endif
  }

  /// The same arguments in the order of either version; empty where oneDNN does not have it.
  template <class Convolution, class... Arguments>
  [[nodiscard]] typename Convolution::primitive_desc describe(const Arguments&... arguments) const {
#if DNNL_VERSION_MAJOR >= 3
    return {engine_, arguments..., attributes_, true};
#else
    return {typename Convolution::desc(arguments...), attributes_, engine_, true};
#endif
  }
  template <class Convolution, class... Arguments>
  [[nodiscard]] typename Convolution::primitive_desc describe_gradient(
      const dnnl::convolution_forward::primitive_desc& forward,
      const Arguments&... arguments) const {
#if DNNL_VERSION_MAJOR >= 3
    return {engine_, arguments..., forward, attributes_, true};
#else
    return {typename Convolution::desc(arguments...), attributes_, engine_, forward, true};
#endif
  }

  /// An empty plan where oneDNN does not have it.
  [[nodiscard]] OneDnnPlan make_plan(ConvolutionPass pass, const Key& key,
                                     dnnl::algorithm algorithm, FreeFormats free) const {
    const ConvGeometry& g = geometry_;
    const OneDnnFormats plain = {input_desc(key.batch, key.x_stride), weights_desc(key.w_stride),
                                 output_desc(key.batch, key.y_stride)};
    // Kernels of version 3.7 (x64:gemm:jit, brgconv_strided) accept images with gaps between them
    // and read and write them as if there were none: images with gaps are always copied.
    const Desc dense_x = input_desc(key.batch, g.in_channels * g.in_height * g.in_width);
    const Desc dense_y = output_desc(key.batch, g.out_channels * g.out_pixels());
    const Desc x = free.x ? free_format(dense_x) : dense_x;
    const Desc w = free_format(plain.w);
    const Desc y = free.y ? free_format(dense_y) : dense_y;
    const Desc bias =
        key.with_bias ? Desc(Dims{g.out_channels}, dnnl::memory::data_type::f32, Dims{1}) : Desc();
    const Dims stride = {g.stride_height, g.stride_width};
    const Dims dilation = {g.dilation_height - 1, g.dilation_width - 1};
    const Dims before = {g.pad_top, g.pad_left};
    const Dims after = {g.pad_bottom, g.pad_right};
    const auto forward =
        describe<dnnl::convolution_forward>(dnnl::prop_kind::forward_training, algorithm, x, w,
                                            bias, y, stride, dilation, before, after);
    if (!forward) return {};
    if (pass == ConvolutionPass::forward) {
      const OneDnnFormats formats = {forward.src_desc(), forward.weights_desc(),
                                     forward.dst_desc()};
      return {pass,
              engine_,
              forward,
              dnnl::convolution_forward(forward),
              plain,
              formats,
              key.with_bias ? &bias : nullptr};
    }
    if (pass == ConvolutionPass::weight_gradient) {
      const auto gradient = describe_gradient<dnnl::convolution_backward_weights>(
          forward, algorithm, x, w, y, stride, dilation, before, after);
      if (!gradient) return {};
      const OneDnnFormats formats = {gradient.src_desc(), gradient.diff_weights_desc(),
                                     gradient.diff_dst_desc()};
      return {pass,  engine_, gradient, dnnl::convolution_backward_weights(gradient),
              plain, formats};
    }
    const auto gradient = describe_gradient<dnnl::convolution_backward_data>(
        forward, algorithm, x, w, y, stride, dilation, before, after);
    if (!gradient) return {};
    const OneDnnFormats formats = {gradient.diff_src_desc(), gradient.weights_desc(),
                                   gradient.diff_dst_desc()};
    return {pass, engine_, gradient, dnnl::convolution_backward_data(gradient), plain, formats};
  }

  ConvGeometry geometry_;
  int threads_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive_attr attributes_;
  std::array<Plans, 3> plans_;  ///< one list per pass
  AlignedBuffer<unsigned char> arena_;
};

ADR_NAMESPACE_END
