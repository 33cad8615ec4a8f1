// A convolution's tensors as they lie in memory, in oneDNN's words.
#pragma once

#if defined(ADR_BENCH_HAS_ONEDNN)

#include <dnnl.hpp>

#include "bench/support/layer_tensors.hpp"

namespace adr_bench {

/// The plain formats of a layer's operands. The tensors must outlive it.
class PlainFormats {
  using Desc = dnnl::memory::desc;
  using Type = dnnl::memory::data_type;
  using Tag = dnnl::memory::format_tag;

 public:
  explicit PlainFormats(const LayerTensors& tensors) : tensors_(tensors) {}

  [[nodiscard]] Desc input(Type type = Type::f32) const {
    const adr::ConvGeometry& g = tensors_.geometry();
    return images({tensors_.batch(), g.in_channels, g.in_height, g.in_width}, type);
  }
  [[nodiscard]] Desc output(Type type = Type::f32) const {
    const adr::ConvGeometry& g = tensors_.geometry();
    return images({tensors_.batch(), g.out_channels, g.out_height(), g.out_width()}, type);
  }
  [[nodiscard]] Desc weights(Type type = Type::f32) const {
    const adr::ConvGeometry& g = tensors_.geometry();
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

 private:
  [[nodiscard]] Desc images(const dnnl::memory::dims& sizes, Type type) const {
    return {sizes, type, is_nchw() ? Tag::nchw : Tag::nhwc};
  }

  const LayerTensors& tensors_;
};

/// The same tensor in whatever format a primitive likes best.
inline dnnl::memory::desc free_format(const dnnl::memory::desc& desc,
                                      dnnl::memory::data_type type) {
#if DNNL_VERSION_MAJOR >= 3
  return {desc.get_dims(), type, dnnl::memory::format_tag::any};
#else
  return {desc.dims(), type, dnnl::memory::format_tag::any};
#endif
}

}  // namespace adr_bench

#endif  // ADR_BENCH_HAS_ONEDNN
