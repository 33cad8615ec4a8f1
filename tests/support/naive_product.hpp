// A dense product in three loops, for tests that count calls or allocations.
#pragma once

#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"

namespace adr_test {

/// The plainest product there is. Allocates nothing, which Eigen's does not promise.
template <class T>
void naive_product(const adr::GemmFactor<T>& a, const adr::GemmFactor<T>& b, adr::Update update,
                   const adr::MatrixView<T>& result) {
  const auto at = [](const adr::GemmFactor<T>& f, adr::index_t i, adr::index_t j) {
    return f.transposed ? f.matrix(j, i) : f.matrix(i, j);
  };
  for (adr::index_t i = 0; i < result.rows; ++i) {
    for (adr::index_t j = 0; j < result.cols; ++j) {
      T sum = update == adr::Update::accumulate ? result(i, j) : T(0);
      for (adr::index_t k = 0; k < a.cols(); ++k) sum += at(a, i, k) * at(b, k, j);
      result(i, j) = sum;
    }
  }
}

}  // namespace adr_test
