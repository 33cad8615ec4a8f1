// The bits of floating point numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The value of another type of the same size that has the same bits.
template <class To, class From>
To same_bits(From from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// Whether `count` elements have the same bits, -0 and 0 told apart, a NaN equal to itself.
template <class T>
bool equal_bits(const T* a, const T* b, index_t count) noexcept {
  return std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(T)) == 0;
}

/// The integer of the size of a floating point number.
template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

}  // namespace detail
ADR_NAMESPACE_END
