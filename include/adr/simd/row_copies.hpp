// Copies of the rows of a block to where they lie far apart: of a register or two each, for which
// a call per row would cost more than the copy.
#pragma once

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

template <int Registers, class B, class T>
void copy_registers(const T* from, index_t from_stride, index_t rows, T* to,
                    index_t to_stride) noexcept {
  for (index_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    for (int r = 0; r < Registers; ++r) B::load(from + r * B::size).store(to + r * B::size);
  }
}

}  // namespace detail

/// to[i * to_stride + j] = from[i * from_stride + j] for i < rows, j < cols. Cost: a load and a
/// store per register. They must not overlap.
template <class T, class B = Batch<T>>
void copy_rows(const T* from, index_t from_stride, index_t rows, index_t cols, T* to,
               index_t to_stride) noexcept {
  if (cols == B::size) return detail::copy_registers<1, B>(from, from_stride, rows, to, to_stride);
  if (cols == 2 * B::size) {
    return detail::copy_registers<2, B>(from, from_stride, rows, to, to_stride);
  }
  for (index_t i = 0; i < rows; ++i) copy(from + i * from_stride, to + i * to_stride, cols);
}

}  // namespace simd
ADR_NAMESPACE_END
