// The shapes of the matrix products that are measured.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "bench/support/matrix.hpp"
#include "bench/support/user_error.hpp"

namespace adr_bench {

/// An N x K matrix times a K x M matrix.
struct GemmShape {
  index_t n = 0;
  index_t k = 0;
  index_t m = 0;
  std::string note;

  /// "32768x1600x64"
  [[nodiscard]] std::string name() const { return message(n, "x", k, "x", m); }
};

/// Layers of well-known networks as products (batch 128 for CifarNet), and a square one.
inline std::vector<GemmShape> gemm_shapes() {
  return {{32768, 1600, 64, "CifarNet conv2, batch 128"},
          {32768, 75, 64, "CifarNet conv1, a quarter of batch 128"},
          {8192, 576, 128, "3x3 on 64 channels"},
          {4096, 2304, 256, "3x3 on 256 channels"},
          {2048, 4608, 512, "3x3 on 512 channels"},
          {1024, 1024, 1024, "fully connected"}};
}
inline std::vector<GemmShape> quick_gemm_shapes() { return {{2048, 400, 64, "smoke"}}; }

/// Reads "NxKxM". Errors: UserError unless it is three positive integers.
inline GemmShape parse_gemm_shape(const std::string& text) {
  GemmShape shape;
  int used = 0;
  const int found = std::sscanf(text.c_str(), "%tdx%tdx%td%n", &shape.n, &shape.k, &shape.m, &used);
  require(found == 3 && static_cast<std::size_t>(used) == text.size() && shape.n > 0 &&
              shape.k > 0 && shape.m > 0,
          "--shape must be NxKxM with three positive integers, as in 8192x576x128, got '", text,
          "'");
  return shape;
}

}  // namespace adr_bench
