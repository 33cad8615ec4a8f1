// Loops over registers, unrolled by the language: an array of registers that is indexed by
// constants alone stays in registers whatever the compiler's flags are.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "adr/core/types.hpp"

/// For lambdas that are bodies of unrolled loops: a call would put the registers into memory.
#define ADR_INLINE_LAMBDA __attribute__((always_inline))

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

template <class Body, std::size_t... I>
[[gnu::always_inline]] inline void unroll(const Body& body, std::index_sequence<I...> /*range*/) {
  (body(std::integral_constant<std::size_t, I>()), ...);
}

}  // namespace detail

/// Calls body(0), ..., body(Count - 1) with constants.
template <index_t Count, class Body>
[[gnu::always_inline]] inline void unrolled(const Body& body) {
  detail::unroll(body, std::make_index_sequence<static_cast<std::size_t>(Count)>());
}

/// Sets all registers of an array. Not std::array::fill: in large programs compilers leave it a
/// call, and what a call writes to is in memory from then on (measured: the micro-kernel takes
/// twice as long).
template <class B, std::size_t Count>
[[gnu::always_inline]] inline void fill_registers(std::array<B, Count>& registers,
                                                  const B& with) noexcept {
  unrolled<static_cast<index_t>(Count)>([&](auto i) ADR_INLINE_LAMBDA { registers[i] = with; });
}

}  // namespace simd
ADR_NAMESPACE_END
