// Sizes at which loops over registers, blocks and tails go wrong.
#pragma once

#include <algorithm>
#include <vector>

#include "adr/simd/batch.hpp"

namespace adr_test {

using adr::index_t;

/// 0, the smallest, one below, at and above one, two, four and eight registers of T and the common
/// block sizes, and primes; sorted, each once.
template <class T>
std::vector<index_t> awkward_sizes() {
  const index_t width = adr::simd::Batch<T>::size;
  std::vector<index_t> sizes = {0, 1, 2, 3, 5, 7, 11, 31, 32, 33, 63, 64, 65, 97, 131};
  for (const index_t around : {width, 2 * width, 4 * width, 8 * width}) {
    for (const index_t size : {around - 1, around, around + 1}) sizes.push_back(size);
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

}  // namespace adr_test
