// A product small enough to check by hand, through the library's main function. Each program that
// takes it compiles it for itself; it is static because some of them link it twice, with different
// flags.
#pragma once

#include <adr/adr.hpp>
#include <vector>

/// Four rows, alike in pairs, times a 6 x 2 matrix of ones; returns the sum of the result, which
/// is 48.
static double small_product() {
  const adr::index_t rows = 4, inner = 6, cols = 2;
  std::vector<float> a(rows * inner);
  for (adr::index_t i = 0; i < rows; ++i)
    for (adr::index_t k = 0; k < inner; ++k)
      a[i * inner + k] = i % 2 == 0 ? 1.0f : (k % 2 == 0 ? -1.0f : 3.0f);
  const std::vector<float> b(inner * cols, 1.0f);
  std::vector<float> c(rows * cols);

  adr::Plan config;
  config.vector_length = 3;
  config.hash_count = 8;
  adr::ReuseGemm<float> reuse(config);
  adr::reuse_gemm<float>({a.data(), rows, inner}, {b.data(), inner, cols}, {c.data(), rows, cols},
                         reuse);

  double sum = 0;
  for (const float value : c) sum += value;
  return sum;
}
