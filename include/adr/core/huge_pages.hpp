// Large arrays on large pages, where the operating system has them: kernels that read dozens of far
// apart lines at once wait for address translation otherwise.
#pragma once

#include <cstddef>

#include "adr/core/abi.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

ADR_NAMESPACE_BEGIN

/// Arrays of this size and more begin on such a boundary: the size of a large page.
inline constexpr std::size_t k_huge_page_bytes = std::size_t{1} << 21;

/// Asks for large pages behind fresh memory; a wish that changes nothing but the time that reading
/// takes. Requires: pointer on a boundary of k_huge_page_bytes.
inline void prefer_huge_pages(void* pointer, std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  static_cast<void>(madvise(pointer, bytes, MADV_HUGEPAGE));
#else
  static_cast<void>(pointer);
  static_cast<void>(bytes);
#endif
}

ADR_NAMESPACE_END
