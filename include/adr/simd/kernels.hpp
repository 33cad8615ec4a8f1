// The inner loops of the library, written once over a register type.
//
// Rows are padded (simd::padded) where a kernel says so; that removes every tail from the hot
// loops. All are noexcept, allocate nothing, and give the same result for the same input on one
// instruction set; between instruction sets results differ by rounding only.
#pragma once

#include <cstdint>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// Adds: y[i] += x[i] for i < count. Cost: count additions. x and y must not overlap.
template <class T, class B = Batch<T>>
void add(const T* x, T* y, index_t count) noexcept {
  index_t i = 0;
  for (; i + B::size <= count; i += B::size) (B::load(x + i) + B::load(y + i)).store(y + i);
  for (; i < count; ++i) y[i] += x[i];
}

/// Whether x[i] is finite for all i < count: anything else times zero is not zero. Cost: one read.
template <class T, class B = Batch<T>>
bool all_finite(const T* x, index_t count) noexcept {
  const B zero = B::broadcast(T(0));
  B even = zero;
  B odd = zero;
  index_t i = 0;
  for (; i + 2 * B::size <= count; i += 2 * B::size) {
    even = even + B::load(x + i) * zero;
    odd = odd + B::load(x + i + B::size) * zero;
  }
  T poison = sum(even + odd);
  for (; i < count; ++i) poison += x[i] * T(0);
  return poison == T(0);
}

/// Scales: x[i] *= factor for i < count.
template <class T, class B = Batch<T>>
void scale(T factor, T* x, index_t count) noexcept {
  const B by = B::broadcast(factor);
  index_t i = 0;
  for (; i + B::size <= count; i += B::size) (B::load(x + i) * by).store(x + i);
  for (; i < count; ++i) x[i] *= factor;
}

/// Adds a multiple: y[i] += factor * x[i] for i < count. x and y must not overlap.
template <class T, class B = Batch<T>>
void add_scaled(T factor, const T* x, T* y, index_t count) noexcept {
  const B by = B::broadcast(factor);
  index_t i = 0;
  for (; i + B::size <= count; i += B::size) {
    multiply_add(by, B::load(x + i), B::load(y + i)).store(y + i);
  }
  for (; i < count; ++i) y[i] += factor * x[i];
}

/// Turns two rows: x[i], y[i] = cosine x[i] - sine y[i], sine x[i] + cosine y[i] for i < count. x
/// and y must not overlap.
template <class T, class B = Batch<T>>
void rotate(T cosine, T sine, T* x, T* y, index_t count) noexcept {
  const B c = B::broadcast(cosine);
  const B s = B::broadcast(sine);
  const B negated = B::broadcast(-sine);
  index_t i = 0;
  for (; i + B::size <= count; i += B::size) {
    const B a = B::load(x + i);
    const B b = B::load(y + i);
    multiply_add(c, a, negated * b).store(x + i);
    multiply_add(s, a, c * b).store(y + i);
  }
  for (; i < count; ++i) {
    const T a = x[i];
    x[i] = cosine * a - sine * y[i];
    y[i] = sine * a + cosine * y[i];
  }
}

/// Copies: y[i] = x[i] for i < count. Short copies of unforeseen length, where a call to memcpy
/// would cost more than the copy. x and y must not overlap.
template <class T, class B = Batch<T>>
void copy(const T* x, T* y, index_t count) noexcept {
  if (count < B::size) {
    for (index_t i = 0; i < count; ++i) y[i] = x[i];
    return;
  }
  for (index_t i = 0; i + B::size < count; i += B::size) B::load(x + i).store(y + i);
  B::load(x + count - B::size).store(y + count - B::size);
}

/// Returns the sum of x[i] * y[i] over i < count.
template <class T, class B = Batch<T>>
T dot(const T* x, const T* y, index_t count) noexcept {
  // Four chains, because one would wait for the latency of every multiply-add.
  B total[4];
  for (B& t : total) t = B::broadcast(T(0));
  index_t i = 0;
  for (; i + 4 * B::size <= count; i += 4 * B::size) {
    for (index_t c = 0; c < 4; ++c) {
      const index_t at = i + c * B::size;
      total[c] = multiply_add(B::load(x + at), B::load(y + at), total[c]);
    }
  }
  for (; i + B::size <= count; i += B::size) {
    total[0] = multiply_add(B::load(x + i), B::load(y + i), total[0]);
  }
  T result = sum((total[0] + total[1]) + (total[2] + total[3]));
  for (; i < count; ++i) result += x[i] * y[i];
  return result;
}

/// Returns the sum of x[i] over i < count.
template <class T, class B = Batch<T>>
T total(const T* x, index_t count) noexcept {
  B parts[4];
  for (B& part : parts) part = B::broadcast(T(0));
  index_t i = 0;
  for (; i + 4 * B::size <= count; i += 4 * B::size) {
    for (index_t c = 0; c < 4; ++c) parts[c] = parts[c] + B::load(x + i + c * B::size);
  }
  for (; i + B::size <= count; i += B::size) parts[0] = parts[0] + B::load(x + i);
  T result = sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
  for (; i < count; ++i) result += x[i];
  return result;
}

/// Adds the sums of columns: to[c] += sum over i < rows of x[i row_stride + c] for c < cols, what
/// is added being summed in order from zero.
template <class T, class B = Batch<T>>
void add_column_sums(const T* x, index_t row_stride, index_t rows, index_t cols, T* to) noexcept {
  constexpr index_t k_registers = 4;
  index_t c = 0;
  for (; c + k_registers * B::size <= cols; c += k_registers * B::size) {
    B sums[k_registers];
    for (B& sum : sums) sum = B::broadcast(T(0));
    for (index_t i = 0; i < rows; ++i) {
      const T* row = x + i * row_stride + c;
      for (index_t r = 0; r < k_registers; ++r) sums[r] = sums[r] + B::load(row + r * B::size);
    }
    for (index_t r = 0; r < k_registers; ++r) {
      (B::load(to + c + r * B::size) + sums[r]).store(to + c + r * B::size);
    }
  }
  for (; c + B::size <= cols; c += B::size) {
    B sum = B::broadcast(T(0));
    for (index_t i = 0; i < rows; ++i) sum = sum + B::load(x + i * row_stride + c);
    (B::load(to + c) + sum).store(to + c);
  }
  for (; c < cols; ++c) {
    T sum = 0;
    for (index_t i = 0; i < rows; ++i) sum += x[i * row_stride + c];
    to[c] += sum;
  }
}

namespace detail {

/// Sign bits of `Rows` rows at once: their accumulators hide the latency of the multiply-adds and
/// share every load of a hyperplane.
template <int Rows, class T, class B>
void row_signatures(const T* vectors, index_t vector_stride, index_t length, const T* planes,
                    index_t plane_stride, const T* thresholds, int plane_count,
                    std::uint64_t* signatures, B& poison) noexcept {
  std::uint64_t bits[Rows] = {};
  for (index_t first = 0; first < plane_count; first += B::size) {
    B projection[Rows];
    for (auto& p : projection) p = B::broadcast(T(0));
    for (index_t l = 0; l < length; ++l) {
      const B plane = B::load(planes + l * plane_stride + first);
      for (int r = 0; r < Rows; ++r) {
        projection[r] =
            multiply_add(B::broadcast(vectors[r * vector_stride + l]), plane, projection[r]);
      }
    }
    const B threshold = B::load(thresholds + first);
    for (int r = 0; r < Rows; ++r) {
      bits[r] |= greater_mask(projection[r], threshold) << first;
      poison = multiply_add(projection[r], B::broadcast(T(0)), poison);
    }
  }
  for (int r = 0; r < Rows; ++r) signatures[r] = bits[r];
}

}  // namespace detail

/// Computes the sign signatures of row vectors: bit h of signatures[i] is vectors[i,:] .
/// planes[:,h] > thresholds[h]; a NaN projection gives 0. Returns false when some projection was
/// NaN or infinite. Shapes: vectors count x length; planes length x plane_stride, transposed
/// hyperplanes whose columns from plane_count to padded(plane_count) are 0, as are those
/// thresholds. plane_count <= 64. Cost: count * length * padded-to-register(plane_count)
/// multiply-adds.
template <class T, class B = Batch<T>>
bool sign_signatures(const T* vectors, index_t vector_stride, index_t count, index_t length,
                     const T* planes, index_t plane_stride, const T* thresholds, int plane_count,
                     std::uint64_t* signatures) noexcept {
  constexpr int k_rows = 8;
  B poison = B::broadcast(T(0));
  index_t i = 0;
  for (; i + k_rows <= count; i += k_rows) {
    detail::row_signatures<k_rows>(vectors + i * vector_stride, vector_stride, length, planes,
                                   plane_stride, thresholds, plane_count, signatures + i, poison);
  }
  for (; i < count; ++i) {
    detail::row_signatures<1>(vectors + i * vector_stride, vector_stride, length, planes,
                              plane_stride, thresholds, plane_count, signatures + i, poison);
  }
  return sum(poison) == T(0);
}

namespace detail {

/// Adds up one table row per slice into `Registers` registers of one row of the result.
template <int Registers, class B, class T>
void gather_strip(const T* const* tables, const std::int32_t* const* ids, index_t row,
                  index_t slice_count, index_t table_stride, index_t first_column,
                  T* result) noexcept {
  B total[Registers];
  for (int r = 0; r < Registers; ++r) total[r] = B::load(result + first_column + r * B::size);
  for (index_t s = 0; s < slice_count; ++s) {
    const T* entry = tables[s] + ids[s][row] * table_stride + first_column;
    for (int r = 0; r < Registers; ++r) total[r] = total[r] + B::load(entry + r * B::size);
  }
  for (int r = 0; r < Registers; ++r) total[r].store(result + first_column + r * B::size);
}

}  // namespace detail

/// Adds the rows of several tables that a list of ids names: for i < count,
/// results[i,:] += sum over s of tables[s][ids[s][first_row + i], :].
/// Shapes: tables[s] clusters x table_stride; results count x cols, table_stride >= padded(cols)
/// and the columns from cols to padded(cols) of tables are readable. Sums are taken in the order of
/// s. Cost: count * slice_count * cols additions; every sum stays in registers.
template <class T, class B = Batch<T>>
void gather_add(const T* const* tables, const std::int32_t* const* ids, index_t slice_count,
                index_t table_stride, index_t first_row, const MatrixView<T>& results) noexcept {
  constexpr int k_registers = 8;
  const index_t cols = results.cols;
  for (index_t i = 0; i < results.rows; ++i) {
    T* result = results.row(i);
    const index_t row = first_row + i;
    index_t c = 0;
    for (; c + k_registers * B::size <= cols; c += k_registers * B::size) {
      detail::gather_strip<k_registers, B>(tables, ids, row, slice_count, table_stride, c, result);
    }
    for (; c + 4 * B::size <= cols; c += 4 * B::size) {
      detail::gather_strip<4, B>(tables, ids, row, slice_count, table_stride, c, result);
    }
    for (; c + B::size <= cols; c += B::size) {
      detail::gather_strip<1, B>(tables, ids, row, slice_count, table_stride, c, result);
    }
    for (; c < cols; ++c) {
      detail::gather_strip<1, ScalarBatch<T>>(tables, ids, row, slice_count, table_stride, c,
                                              result);
    }
  }
}

/// Adds rows into the table rows that a list of ids names: for i < rows.rows,
/// table[ids[i], :] += rows[i, :]. Additions happen in the order of i.
template <class T, class B = Batch<T>>
void keyed_add(const MatrixView<const T>& rows, const std::int32_t* ids, T* table,
               index_t table_stride) noexcept {
  for (index_t i = 0; i < rows.rows; ++i) {
    add<T, B>(rows.row(i), table + ids[i] * table_stride, rows.cols);
  }
}

}  // namespace simd
ADR_NAMESPACE_END
