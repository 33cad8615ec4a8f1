// The elements of operands, to compare them bit by bit.
#pragma once

#include <cstring>
#include <vector>

#include "adr/core/types.hpp"
#include "support/guarded_buffer.hpp"

namespace adr_test {

/// Whether two arrays hold the same bits; numbers would not do, because poison is NaN.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  // Nothing has no address to compare.
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// A copy of the elements of a matrix, row after row.
template <class T>
std::vector<T> elements_of(const adr::MatrixView<const T>& matrix) {
  std::vector<T> result;
  for (index_t i = 0; i < matrix.rows; ++i) {
    result.insert(result.end(), matrix.row(i), matrix.row(i) + matrix.cols);
  }
  return result;
}
template <class T>
std::vector<T> elements_of(const GuardedBuffer<T>& buffer) {
  return elements_of<T>(buffer.view());
}

}  // namespace adr_test
