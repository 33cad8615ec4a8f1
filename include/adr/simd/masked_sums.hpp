// Sums over the elements of a row that are not zero: a strip of a matrix per element, all of whose
// registers stay in registers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/unrolled.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Registers of a strip: so many sums hide the latency of each other, and an element's broadcast
/// costs little beside them.
inline constexpr int k_strip_registers = 8;
/// Elements of a strip.
template <class T>
inline constexpr index_t k_strip = index_t{k_strip_registers} * Batch<T>::size;

/// to[:] = start[:] + (sum over the bits k of mask of values[k] strips[k k_strip + :], in order).
/// start: null for zero; it may be `to`. Requires: `to` overlaps no strip. What was summed before
/// is added to the sum, and not the other way round: less rounding over many blocks.
template <class T, class B = Batch<T>>
void masked_sums(const T* values, std::uint64_t mask, const T* strips, const T* start,
                 T* to) noexcept {
  std::array<B, static_cast<std::size_t>(k_strip_registers)> sums;
  fill_registers(sums, B::broadcast(T(0)));
  for (; mask != 0; mask &= mask - 1) {
    const auto k = static_cast<index_t>(__builtin_ctzll(mask));
    const B value = B::broadcast(values[k]);
    const T* strip = strips + k * (index_t{k_strip_registers} * B::size);
    unrolled<k_strip_registers>([&](auto i) ADR_INLINE_LAMBDA {
      sums[i] = multiply_add(value, B::load(strip + static_cast<index_t>(i) * B::size), sums[i]);
    });
  }
  if (start != nullptr) {
    unrolled<k_strip_registers>([&](auto i) ADR_INLINE_LAMBDA {
      sums[i] = sums[i] + B::load(start + static_cast<index_t>(i) * B::size);
    });
  }
  unrolled<k_strip_registers>(
      [&](auto i) ADR_INLINE_LAMBDA { sums[i].store(to + static_cast<index_t>(i) * B::size); });
}

}  // namespace simd
ADR_NAMESPACE_END
