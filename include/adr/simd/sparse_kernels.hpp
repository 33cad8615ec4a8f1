// The inner loops of gradients over the non-zeros of an output gradient: one multiply-add per
// non-zero, kernel offset and register, whose sums stay in registers.
//
// Both work on a plane: the vectors around some output pixels, a strip of registers each, so that
// every kernel offset is a constant displacement. Kernels exist for a few numbers of offsets and
// registers and are picked by a table; other numbers are put together from those.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Sums that fit the registers of the instruction set beside the operands.
#if defined(__AVX512F__) || defined(__ARM_NEON)
inline constexpr int k_most_sums = 25;
#else
inline constexpr int k_most_sums = 12;
#endif

/// The largest number of neighbouring offsets that kernels exist for (1, 2, 3 and 5) and that
/// divides `count` well. Requires: count > 0, most > 0.
inline index_t offset_run(index_t count, index_t most = 5) noexcept {
  const index_t run = count == 4 ? 2 : count == 6 ? 3 : count;
  const index_t bound = std::min(run, most);
  return bound >= 5 ? 5 : bound >= 3 ? 3 : bound;
}

/// Registers of one strip: as many as the sums of that many offsets leave room for and a vector of
/// that length fills.
template <class B>
int strip_registers(index_t offsets, index_t length) noexcept {
  const index_t needed = (length + B::size - 1) / B::size;
  const int room = offsets == 1 ? 4 : offsets <= 9 ? 2 : 1;
  return needed >= 3 ? room : std::min(room, needed == 2 ? 2 : 1);
}

/// The non-zeros of one list, with what each stands for: a place in the plane or a channel.
template <class T>
struct NonZeros {
  const std::int32_t* indices;
  const T* values;
  index_t count;
};

/// sums[r, c, :] += sum over k of values[k] * plane[indices[k] + r rows + c, :] for Rows x Cols
/// offsets; places and columns are one strip apart, rows of the plane plane_row and of the sums
/// sum_row elements.
template <class T>
using WeightKernel = void (*)(const NonZeros<T>& list, const T* plane, index_t plane_row, T* sums,
                              index_t sum_row) noexcept;

/// For each pixel p < pixels of a row, with its non-zeros k from starts[p] to ends[p]:
/// plane[p + o, :] += sum over k of values[k] * weights[channels[k], o, :] for neighbouring offsets
/// o, one strip apart; weights hold channels x offsets strips.
template <class T>
using RowKernel = void (*)(const std::int32_t* starts, const std::int32_t* ends,
                           const std::int32_t* channels, const T* values, index_t pixels,
                           const T* weights, T* plane) noexcept;

/// The same where pixels and offsets lie anywhere:
/// plane[places[p] + displacements[o], :] += the sum, both counted in strips.
template <class T>
using PixelKernel = void (*)(const std::int32_t* starts, const std::int32_t* ends,
                             const std::int32_t* channels, const T* values, index_t pixels,
                             const std::int32_t* places, const index_t* displacements,
                             const T* weights, T* plane) noexcept;

namespace detail {

// The sums are numbered by a pack of constants and not by loops, because compilers keep an array in
// registers only when its indices are constants before they unroll anything.
template <int Count>
using Numbers = std::make_integer_sequence<int, Count>;

template <class B, class T>
void add_to(B sum, T* to) noexcept {
  (sum + B::load(to)).store(to);
}

template <class B, int Rows, int Cols, int Registers, class T, int... I>
void weight_sums(const NonZeros<T>& list, const T* plane, index_t plane_row, T* sums,
                 index_t sum_row, std::integer_sequence<int, I...> /*numbers*/) noexcept {
  constexpr int k_per_row = Cols * Registers;
  B total[] = {(static_cast<void>(I), B::broadcast(T(0)))...};
  const T* rows[Rows];
  for (int r = 0; r < Rows; ++r) rows[r] = plane + r * plane_row;
  for (index_t k = 0; k < list.count; ++k) {
    const index_t place = list.indices[k] * (Registers * B::size);
    const B value = B::broadcast(list.values[k]);
    ((total[I] = multiply_add(value, B::load(rows[I / k_per_row] + place + I % k_per_row * B::size),
                              total[I])),
     ...);
  }
  (add_to(total[I], sums + I / k_per_row * sum_row + I % k_per_row * B::size), ...);
}

template <class B, int Rows, int Cols, int Registers, class T>
void weight_kernel(const NonZeros<T>& list, const T* plane, index_t plane_row, T* sums,
                   index_t sum_row) noexcept {
  weight_sums<B, Rows, Cols, Registers>(list, plane, plane_row, sums, sum_row,
                                        Numbers<Rows * Cols * Registers>());
}

/// The sums of the offsets slide along the row with the pixels: each is stored once.
template <class B, int Cols, int Registers, class T, int... I>
void row_sums(const std::int32_t* starts, const std::int32_t* ends, const std::int32_t* channels,
              const T* values, index_t pixels, const T* weights, T* plane,
              std::integer_sequence<int, I...> /*numbers*/) noexcept {
  constexpr int k_sums = Cols * Registers;
  constexpr index_t k_strip = Registers * B::size;
  const B zero = B::broadcast(T(0));
  B total[] = {(static_cast<void>(I), zero)...};
  for (index_t p = 0; p < pixels; ++p, plane += k_strip) {
    for (index_t k = starts[p]; k < ends[p]; ++k) {
      const T* weight = weights + channels[k] * (Cols * k_strip);
      const B value = B::broadcast(values[k]);
      ((total[I] = multiply_add(value, B::load(weight + I * B::size), total[I])), ...);
    }
    ((I < Registers ? add_to(total[I], plane + I * B::size) : static_cast<void>(0)), ...);
    ((total[I] = I + Registers < k_sums ? total[(I + Registers) % k_sums] : zero), ...);
  }
  ((I + Registers < k_sums ? add_to(total[I], plane + I * B::size) : static_cast<void>(0)), ...);
}

template <class B, int Cols, int Registers, class T>
void row_kernel(const std::int32_t* starts, const std::int32_t* ends, const std::int32_t* channels,
                const T* values, index_t pixels, const T* weights, T* plane) noexcept {
  row_sums<B, Cols, Registers>(starts, ends, channels, values, pixels, weights, plane,
                               Numbers<Cols * Registers>());
}

template <class B, int Offsets, int Registers, class T, int... I>
void pixel_sums(const std::int32_t* starts, const std::int32_t* ends, const std::int32_t* channels,
                const T* values, index_t pixels, const std::int32_t* places,
                const index_t* displacements, const T* weights, T* plane,
                std::integer_sequence<int, I...> /*numbers*/) noexcept {
  constexpr index_t k_strip = Registers * B::size;
  T* targets[Offsets];
  for (int o = 0; o < Offsets; ++o) targets[o] = plane + displacements[o] * k_strip;
  for (index_t p = 0; p < pixels; ++p) {
    const index_t last = ends[p];
    index_t k = starts[p];
    if (k == last) continue;
    B total[] = {(static_cast<void>(I), B::broadcast(T(0)))...};
    for (; k < last; ++k) {
      const T* weight = weights + channels[k] * (Offsets * k_strip);
      const B value = B::broadcast(values[k]);
      ((total[I] = multiply_add(value, B::load(weight + I * B::size), total[I])), ...);
    }
    const index_t place = places[p] * k_strip;
    (add_to(total[I], targets[I / Registers] + place + I % Registers * B::size), ...);
  }
}

template <class B, int Offsets, int Registers, class T>
void pixel_kernel(const std::int32_t* starts, const std::int32_t* ends,
                  const std::int32_t* channels, const T* values, index_t pixels,
                  const std::int32_t* places, const index_t* displacements, const T* weights,
                  T* plane) noexcept {
  pixel_sums<B, Offsets, Registers>(starts, ends, channels, values, pixels, places, displacements,
                                    weights, plane, Numbers<Offsets * Registers>());
}

/// The place of 1, 2, 3 and 5 in a table.
inline int run_index(index_t run) noexcept { return run == 5 ? 3 : static_cast<int>(run) - 1; }

template <class B, int Rows, int Cols, int Registers, class T>
constexpr WeightKernel<T> weight_kernel_if_it_fits() noexcept {
  if constexpr (Rows * Cols * Registers <= k_most_sums) {
    return &weight_kernel<B, Rows, Cols, Registers, T>;
  } else {
    return nullptr;
  }
}

template <class B, int Rows, int Registers, class T>
WeightKernel<T> weight_kernel_of_rows(index_t cols) noexcept {
  constexpr WeightKernel<T> kernels[] = {weight_kernel_if_it_fits<B, Rows, 1, Registers, T>(),
                                         weight_kernel_if_it_fits<B, Rows, 2, Registers, T>(),
                                         weight_kernel_if_it_fits<B, Rows, 3, Registers, T>(),
                                         weight_kernel_if_it_fits<B, Rows, 5, Registers, T>()};
  return kernels[run_index(cols)];
}

template <class B, int Registers, class T>
WeightKernel<T> weight_kernel_of_registers(index_t rows, index_t cols) noexcept {
  switch (rows) {
    case 1:
      return weight_kernel_of_rows<B, 1, Registers, T>(cols);
    case 2:
      return weight_kernel_of_rows<B, 2, Registers, T>(cols);
    case 3:
      return weight_kernel_of_rows<B, 3, Registers, T>(cols);
    default:
      return weight_kernel_of_rows<B, 5, Registers, T>(cols);
  }
}

}  // namespace detail

/// The kernel for a block of offsets of sizes that offset_run gives, at most k_most_sums sums in
/// all, and a number of registers that strip_registers gives for at least as many offsets. Columns
/// of a block must be neighbours in the plane.
template <class T, class B = Batch<T>>
WeightKernel<T> weight_kernel(index_t rows, index_t cols, int registers) noexcept {
  if (registers == 4) return &detail::weight_kernel<B, 1, 1, 4, T>;
  return registers == 2 ? detail::weight_kernel_of_registers<B, 2, T>(rows, cols)
                        : detail::weight_kernel_of_registers<B, 1, T>(rows, cols);
}

/// The kernel for 2, 3 or 5 neighbouring offsets and 1 or 2 registers.
template <class T, class B = Batch<T>>
RowKernel<T> row_kernel(index_t cols, int registers) noexcept {
  constexpr RowKernel<T> one[] = {nullptr, &detail::row_kernel<B, 2, 1, T>,
                                  &detail::row_kernel<B, 3, 1, T>, &detail::row_kernel<B, 5, 1, T>};
  constexpr RowKernel<T> two[] = {nullptr, &detail::row_kernel<B, 2, 2, T>,
                                  &detail::row_kernel<B, 3, 2, T>, &detail::row_kernel<B, 5, 2, T>};
  return (registers == 2 ? two : one)[detail::run_index(cols)];
}

/// The kernel for 1, 2, 3 or 5 offsets and 1 or 2 registers, or for 1 offset and 4.
template <class T, class B = Batch<T>>
PixelKernel<T> pixel_kernel(index_t offsets, int registers) noexcept {
  constexpr PixelKernel<T> one[] = {
      &detail::pixel_kernel<B, 1, 1, T>, &detail::pixel_kernel<B, 2, 1, T>,
      &detail::pixel_kernel<B, 3, 1, T>, &detail::pixel_kernel<B, 5, 1, T>};
  constexpr PixelKernel<T> two[] = {
      &detail::pixel_kernel<B, 1, 2, T>, &detail::pixel_kernel<B, 2, 2, T>,
      &detail::pixel_kernel<B, 3, 2, T>, &detail::pixel_kernel<B, 5, 2, T>};
  if (registers == 4) return &detail::pixel_kernel<B, 1, 4, T>;
  return (registers == 2 ? two : one)[detail::run_index(offsets)];
}

}  // namespace simd
ADR_NAMESPACE_END
