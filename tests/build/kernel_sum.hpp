// A sum small enough to check by hand, by a kernel alone: what small_product.hpp is for all of the
// library, and compiled in no time.
#pragma once

#include <adr/simd/kernels.hpp>
#include <vector>

/// The product of a row of 48 ones with itself.
static double kernel_sum() {
  const std::vector<float> ones(48, 1.0f);
  return adr::simd::dot(ones.data(), ones.data(), static_cast<adr::index_t>(ones.size()));
}
