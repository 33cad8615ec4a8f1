// Sums of windows that lie in place, each times a number of its own: one multiply-add per register
// of a window, whose sums stay in registers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/sparse_kernels.hpp"
#include "adr/simd/unrolled.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Registers of a run that there are kernels for.
inline constexpr int k_most_run_registers = 5;

/// Runs of a window whose sums fit the registers at once.
inline constexpr int most_runs(int registers) noexcept {
  return std::min(k_most_sums / registers, 7);
}

/// sums[r, :] += sum over k of values[k] * windows[indices[k] + r run_step ...] for some runs, each
/// of so many registers; sums are as wide as those.
template <class T>
using WindowKernel = void (*)(const NonZeros<T>& list, const T* windows, index_t run_step,
                              T* sums) noexcept;

namespace detail {

template <class B, int Registers, int Runs, class T>
void add_windows(const NonZeros<T>& list, const T* windows, index_t run_step, T* sums) noexcept {
  constexpr index_t k_width = Registers * B::size;
  std::array<B, static_cast<std::size_t>(Registers * Runs)> total;
  fill_registers(total, B::broadcast(T(0)));
  for (index_t k = 0; k < list.count; ++k) {
    const B value = B::broadcast(list.values[k]);
    const T* window = windows + list.indices[k];
    unrolled<Runs>([&](auto run) ADR_INLINE_LAMBDA {
      const T* from = window + static_cast<index_t>(run) * run_step;
      unrolled<Registers>([&](auto i) ADR_INLINE_LAMBDA {
        B& sum = total[run * Registers + i];
        sum = multiply_add(value, B::load(from + static_cast<index_t>(i) * B::size), sum);
      });
    });
  }
  unrolled<Runs>([&](auto run) ADR_INLINE_LAMBDA {
    unrolled<Registers>([&](auto i) ADR_INLINE_LAMBDA {
      T* to = sums + static_cast<index_t>(run) * k_width + static_cast<index_t>(i) * B::size;
      (B::load(to) + total[run * Registers + i]).store(to);
    });
  });
}

template <class B, class T, int Registers, std::size_t... I>
constexpr auto window_kernels(std::index_sequence<I...> /*runs - 1*/) noexcept {
  return std::array<WindowKernel<T>, sizeof...(I)>{
      &add_windows<B, Registers, static_cast<int>(I) + 1, T>...};
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
