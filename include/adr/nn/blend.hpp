// Results that are scaled, or added to what is there.
#pragma once

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// alpha times a result plus beta times what is there.
template <class T>
struct Blend {
  T alpha = 1;
  T beta = 0;

  /// Whether the result simply takes the place of what is there.
  [[nodiscard]] bool replaces() const noexcept { return alpha == T(1) && beta == T(0); }
};

/// Lets compute(target) fill a target of rows x cols as it lies in memory: the result itself, or a
/// buffer that is then blended with it. Requires: a buffer that is kept from call to call.
template <class T, class Compute>
void blended(const Blend<T>& blend, const MatrixView<T>& result, AlignedBuffer<T>& buffer,
             const Compute& compute) {
  if (blend.replaces() || result.data == nullptr) return compute(result);
  buffer.resize(checked_product("result", result.rows, result.cols));
  const MatrixView<T> fresh(buffer.data(), result.rows, result.cols);
  compute(fresh);
  for (index_t i = 0; i < result.rows; ++i) {
    T* to = result.row(i);
    const T* from = fresh.row(i);
    if (blend.beta == T(0)) {  // what is there may be anything
      for (index_t j = 0; j < result.cols; ++j) to[j] = blend.alpha * from[j];
    } else {
      for (index_t j = 0; j < result.cols; ++j) {
        to[j] = blend.alpha * from[j] + blend.beta * to[j];
      }
    }
  }
}

}  // namespace detail
ADR_NAMESPACE_END
