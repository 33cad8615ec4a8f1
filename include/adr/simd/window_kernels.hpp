// A window that lies in place, added to the sums of some outputs, each times a number of its own:
// the window stays in registers, and the sums, one multiply-add per register, in the first cache.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/sparse_kernels.hpp"
#include "adr/simd/unrolled.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Registers of a run that there are kernels for.
inline constexpr int k_most_run_registers = 5;

/// Runs of a window that fit the registers at once.
inline constexpr int most_runs(int registers) noexcept {
  return std::min(k_most_sums / registers, 7);
}

/// sums[m, r, :] += values[m] * window[r run_step ...] for the m in a mask and some runs of a
/// window, each of so many registers; the sums of m + 1 are sum_step elements behind those of m.
template <class T>
using WindowKernel = void (*)(const T* values, std::uint64_t mask, const T* window,
                              index_t run_step, T* sums, index_t sum_step) noexcept;

namespace detail {

template <class B, int Registers, int Runs, class T>
void add_window(const T* values, std::uint64_t mask, const T* window, index_t run_step, T* sums,
                index_t sum_step) noexcept {
  std::array<B, static_cast<std::size_t>(Registers * Runs)> part;
  unrolled<Runs>([&](auto run) ADR_INLINE_LAMBDA {
    unrolled<Registers>([&](auto i) ADR_INLINE_LAMBDA {
      part[run * Registers + i] = B::load(window + static_cast<index_t>(run) * run_step +
                                          static_cast<index_t>(i) * B::size);
    });
  });
  for (; mask != 0; mask &= mask - 1) {
    const auto m = static_cast<index_t>(__builtin_ctzll(mask));
    const B value = B::broadcast(values[m]);
    T* to = sums + m * sum_step;
    unrolled<Registers * Runs>([&](auto i) ADR_INLINE_LAMBDA {
      T* place = to + static_cast<index_t>(i) * B::size;
      multiply_add(value, part[i], B::load(place)).store(place);
    });
  }
}

template <class B, class T, int Registers, std::size_t... I>
constexpr auto window_kernels(std::index_sequence<I...> /*runs - 1*/) noexcept {
  return std::array<WindowKernel<T>, sizeof...(I)>{
      &add_window<B, Registers, static_cast<int>(I) + 1, T>...};
}

template <class B, class T, int Registers>
WindowKernel<T> window_kernel_of(index_t runs) noexcept {
  static constexpr auto kernels = window_kernels<B, T, Registers>(
      std::make_index_sequence<static_cast<std::size_t>(most_runs(Registers))>());
  return kernels[static_cast<std::size_t>(runs - 1)];
}

}  // namespace detail

/// The kernel for that many registers and runs. Requires: 0 < registers <= k_most_run_registers,
/// 0 < runs <= most_runs(registers).
template <class T, class B = Batch<T>>
WindowKernel<T> window_kernel(int registers, index_t runs) noexcept {
  switch (registers) {
    case 1:
      return detail::window_kernel_of<B, T, 1>(runs);
    case 2:
      return detail::window_kernel_of<B, T, 2>(runs);
    case 3:
      return detail::window_kernel_of<B, T, 3>(runs);
    case 4:
      return detail::window_kernel_of<B, T, 4>(runs);
    default:
      return detail::window_kernel_of<B, T, k_most_run_registers>(runs);
  }
}

}  // namespace simd
ADR_NAMESPACE_END
