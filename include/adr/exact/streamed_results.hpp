// Which results go past the caches.
#pragma once

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// Whether results are written past the caches: so many are not read soon and would only drive out
/// what is. Rows of `run` elements, row_stride apart, must be whole registers.
template <class T>
bool is_streamed(const T* first, index_t row_stride, index_t run, index_t elements) noexcept {
  constexpr index_t k_elements = (index_t{8} << 20) / static_cast<index_t>(sizeof(T));
  constexpr index_t k_register = simd::Batch<T>::size;
  return elements >= k_elements && run % k_register == 0 && row_stride % k_register == 0 &&
         simd::begins_register(first);
}

}  // namespace exact
ADR_NAMESPACE_END
