// The bits of floating point numbers.
#pragma once

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

/// The integer of the size of a floating point number.
template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

}  // namespace detail
ADR_NAMESPACE_END
