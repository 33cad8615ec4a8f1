// Whether the layer of this library can keep what it fitted.
#pragma once

#include <adr/nn/reuse_conv2d.hpp>
#include <type_traits>
#include <utility>

namespace adr_bench {

template <class Layer, class = void>
struct CanFreeze : std::false_type {};
template <class Layer>
struct CanFreeze<Layer, std::void_t<decltype(std::declval<Layer&>().freeze())>> : std::true_type {};
inline constexpr bool k_can_freeze = CanFreeze<adr::ReuseConv2d<float>>::value;

/// Keeps what the last forward pass fitted, for inference.
template <class Layer>
void freeze([[maybe_unused]] Layer& layer) {
  if constexpr (CanFreeze<Layer>::value) layer.freeze();
}

}  // namespace adr_bench
