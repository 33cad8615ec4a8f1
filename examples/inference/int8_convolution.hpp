// The convolution of 8-bit integers that frameworks offer for inference, by oneDNN: what a user
// would take in place of this library if a loss of accuracy is allowed.
#pragma once

#if defined(TRAINING_HAS_ONEDNN)

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "adr/core/parallel.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/onednn_threads.hpp"
#include "adr/onednn.hpp"
#include "inference/learning.hpp"
#include "training/errors.hpp"
#include "training/network.hpp"

namespace inference {

/// A forward pass of one layer in layout nhwc: floats and their range while it is calibrated,
/// integers afterwards.
///
/// Inputs have one scale, that of the largest value met while calibrating, and 7 bits and a sign,
/// since processors without VNNI add two products of 8 bits with saturation; weights have one scale
/// per filter. Weights must stay what they were in the first pass of integers. Thread-safety: none.
class Int8Convolution final : public adr::DenseConvolution<float> {
 public:
  Int8Convolution(const adr::ConvGeometry& geometry, int threads)
      : geometry_(geometry),
        threads_(threads),
        floats_(geometry, threads),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    training::require(geometry.layout == adr::Layout::nhwc && geometry.groups == 1,
                      "int8: needs layout nhwc and 1 group, got ", geometry.groups, " group(s)");
  }

  /// Integers from now on.
  void end_calibration() { calibrating_ = false; }

  void forward(const adr::TensorView<const float>& x, const adr::MatrixView<const float>& w,
               const adr::VectorView<const float>& bias, const adr::TensorView<float>& y) override {
    if (calibrating_) {
      note_range(x);
      return floats_.forward(x, w, bias, y);
    }
    const adr::detail::OneDnnThreads limit(threads_);
    if (weights_.empty()) quantise_weights(w);
    Pass& pass = pass_of(x.batch);
    quantise(x, pass);
    pass.primitive.execute(stream_, pass.operands);
    stream_.wait();
    scale_back(pass, bias, y);
  }
  void weight_gradient(const adr::TensorView<const float>& /*x*/,
                       const adr::TensorView<const float>& /*d_y*/,
                       const adr::MatrixView<float>& /*d_w*/) override {
    throw training::UserError("int8: has no gradients");
  }
  void input_gradient(const adr::TensorView<const float>& /*d_y*/,
                      const adr::MatrixView<const float>& /*w*/,
                      const adr::TensorView<float>& /*d_x*/) override {
    throw training::UserError("int8: has no gradients");
  }

 private:
  using Desc = dnnl::memory::desc;
  using Tag = dnnl::memory::format_tag;
  using Type = dnnl::memory::data_type;
  static constexpr float k_levels = 127;

  /// What depends on the batch.
  struct Pass {
    std::vector<std::int8_t> x;
    std::vector<std::int32_t> sums;
    dnnl::convolution_forward primitive;
    std::unordered_map<int, dnnl::memory> operands;
  };

  void note_range(const adr::TensorView<const float>& x) {
    for (adr::index_t n = 0; n < x.batch; ++n) {
      const auto [least, most] = std::minmax_element(x.image(n), x.image(n) + x.image_size());
      largest_ = std::max({largest_, std::abs(*least), std::abs(*most)});
      is_signed_ = is_signed_ || *least < 0;
    }
  }

  void quantise_weights(const adr::MatrixView<const float>& w) {
    input_scale_ = largest_ > 0 ? largest_ / k_levels : 1.0F;
    for (adr::index_t m = 0; m < w.rows; ++m) {
      float largest = 0;
      for (adr::index_t k = 0; k < w.cols; ++k) largest = std::max(largest, std::abs(w(m, k)));
      const float scale = largest > 0 ? largest / k_levels : 1.0F;
      scales_.push_back(scale * input_scale_);
      for (adr::index_t k = 0; k < w.cols; ++k) {
        weights_.push_back(static_cast<std::int8_t>(std::lround(w(m, k) / scale)));
      }
    }
  }

  Pass& pass_of(adr::index_t batch) {
    const auto known = passes_.find(batch);
    if (known != passes_.end()) return known->second;
    Pass& pass = passes_[batch];
    const adr::ConvGeometry& g = geometry_;
    const Type of_input = is_signed_ ? Type::s8 : Type::u8;
    const Desc x({batch, g.in_channels, g.in_height, g.in_width}, of_input, Tag::nhwc);
    const Desc y({batch, g.out_channels, g.out_height(), g.out_width()}, Type::s32, Tag::nhwc);
    const dnnl::memory::dims filters = {g.out_channels, g.in_channels, g.kernel_height,
                                        g.kernel_width};
    const Desc w(filters, Type::s8, Tag::any);
    const dnnl::memory::dims stride = {g.stride_height, g.stride_width};
    const dnnl::memory::dims before = {g.pad_top, g.pad_left};
    const dnnl::memory::dims after = {g.pad_bottom, g.pad_right};
    const auto kind = dnnl::prop_kind::forward_inference;
    const auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_forward::primitive_desc desc(engine_, kind, direct, x, w, y, stride,
                                                         before, after);
#else
    const dnnl::convolution_forward::primitive_desc desc(
        {kind, direct, x, w, y, stride, before, after}, engine_);
#endif
    pass.x.resize(static_cast<std::size_t>(batch * g.in_channels * g.in_height * g.in_width));
    pass.sums.resize(static_cast<std::size_t>(batch * g.out_channels * g.out_pixels()));
    dnnl::memory plain({filters, Type::s8, Tag::ohwi}, engine_, weights_.data());
    dnnl::memory packed(desc.weights_desc(), engine_);
    dnnl::reorder(plain, packed).execute(stream_, plain, packed);
    stream_.wait();
    pass.operands = {{DNNL_ARG_SRC, dnnl::memory(x, engine_, pass.x.data())},
                     {DNNL_ARG_WEIGHTS, packed},
                     {DNNL_ARG_DST, dnnl::memory(y, engine_, pass.sums.data())}};
    pass.primitive = dnnl::convolution_forward(desc);
    return pass;
  }

  /// Rounds to the nearest; what is larger than anything met while calibrating is cut off.
  void quantise(const adr::TensorView<const float>& x, Pass& pass) const {
    const float inverse = 1 / input_scale_;
    const float least = is_signed_ ? -k_levels : 0;
    adr::parallel_for(x.batch, threads_, [&](adr::index_t n, int) {
      const float* from = x.image(n);
      std::int8_t* to = pass.x.data() + n * x.image_size();
      for (adr::index_t i = 0; i < x.image_size(); ++i) {
        const float level = std::clamp(from[i] * inverse, least, k_levels);
        to[i] =
            static_cast<std::int8_t>(static_cast<std::int32_t>(level + std::copysign(0.5F, level)));
      }
    });
  }

  void scale_back(const Pass& pass, const adr::VectorView<const float>& bias,
                  const adr::TensorView<float>& y) const {
    const adr::index_t channels = geometry_.out_channels;
    adr::parallel_for(y.batch, threads_, [&](adr::index_t n, int) {
      const std::int32_t* from = pass.sums.data() + n * y.image_size();
      float* to = y.image(n);
      for (adr::index_t p = 0; p < geometry_.out_pixels(); ++p) {
        for (adr::index_t m = 0; m < channels; ++m) {
          to[p * channels + m] =
              scales_[static_cast<std::size_t>(m)] * static_cast<float>(from[p * channels + m]) +
              bias.data[m];
        }
      }
    });
  }

  adr::ConvGeometry geometry_;
  int threads_;
  adr::OneDnnConvolution floats_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  bool calibrating_ = true;
  bool is_signed_ = false;
  float largest_ = 0;
  float input_scale_ = 1;
  std::vector<float> scales_;  ///< of a filter's sums
  std::vector<std::int8_t> weights_;
  std::map<adr::index_t, Pass> passes_;
};

/// Gives every convolution of the network integers of 8 bits, calibrated on so many batches.
inline void use_int8(training::Network<float>& network, BatchStream<float>& stream, int batches,
                     int threads) {
  std::vector<std::shared_ptr<Int8Convolution>> convolutions;
  for (auto* layer : network.convolutions()) {
    convolutions.push_back(std::make_shared<Int8Convolution>(layer->geometry(), threads));
    layer->set_dense_convolution(convolutions.back());
  }
  for (int i = 0; i < batches; ++i) network.forward(stream.next().images.const_view());
  for (const auto& convolution : convolutions) convolution->end_calibration();
}

}  // namespace inference

#endif  // TRAINING_HAS_ONEDNN
