// Finding and listing the numbers of an array that are not zero. The loops stand here
// once, in a plain form for every target and over the registers of lanes_<instruction set>.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/simd/lanes_avx2.hpp"
#include "adr/simd/lanes_avx512.hpp"
#include "adr/simd/lanes_neon.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {

/// What is listed may be followed by this many elements of anything: lists have that much room
/// behind them.
inline constexpr index_t k_list_slack = 16;

namespace detail {

/// The plain form: one element at a time, without branches.
template <class T>
struct PlainPacker {
  static index_t count(const T* x, index_t count) noexcept {
    std::int32_t found = 0;
    index_t total = 0;
    for (index_t first = 0; first < count; first += 4096, total += found, found = 0) {
      const index_t last = std::min(count, first + 4096);
      for (index_t i = first; i < last; ++i) found += x[i] != T(0) ? 1 : 0;
    }
    return total;
  }
  static std::uint64_t mask(const T* x, index_t count) noexcept {
    std::uint64_t found = 0;
    for (index_t i = 0; i < count; ++i) found |= std::uint64_t{x[i] != T(0)} << i;
    return found;
  }
  static index_t list(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
    constexpr index_t k_stretch = 16;
    index_t listed = 0;
    for (index_t first = 0; first < count; first += k_stretch) {
      const index_t last = std::min(count, first + k_stretch);
      int any = 0;
      for (index_t i = first; i < last; ++i) any |= x[i] != T(0) ? 1 : 0;
      if (any == 0) continue;
      for (index_t i = first; i < last; ++i) {
        indices[listed] = static_cast<std::int32_t>(i);
        values[listed] = x[i];
        listed += x[i] != T(0) ? 1 : 0;
      }
    }
    return listed;
  }
};

/// What packs registers of T, where the instruction set has it: load(from, count) reads the first
/// of `count` > 0 elements, as many as a register holds, and none behind them; non_zero gives a bit
/// per lane; pack(lanes, x, to) stores a register that begins with those lanes.
template <class T>
struct Lanes;
template <class T, class = void>
struct HasLanes : std::false_type {};
template <class T>
struct HasLanes<T, std::void_t<decltype(Lanes<T>::size)>> : std::true_type {};

/// The same with whole registers. Packing to a register and storing all of it is much faster than
/// packing to memory.
template <class T>
struct LanePacker {
  using L = Lanes<T>;
  static index_t count(const T* x, index_t count) noexcept {
    index_t total = 0;
    for (index_t i = 0; i < count; i += L::size) {
      total += L::count(L::non_zero(L::load(x + i, count - i)));
    }
    return total;
  }
  static std::uint64_t mask(const T* x, index_t count) noexcept {
    std::uint64_t found = 0;
    for (index_t i = 0; i < count; i += L::size) {
      found |= std::uint64_t{L::non_zero(L::load(x + i, count - i))} << i;
    }
    return found;
  }
  static index_t list(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
    index_t listed = 0;
    for (index_t i = 0; i < count; i += L::size) {
      const auto value = L::load(x + i, count - i);
      const std::uint32_t keep = L::non_zero(value);
      L::pack(keep, value, values + listed);
      L::pack(keep, L::numbers_from(static_cast<std::int32_t>(i)), indices + listed);
      listed += L::count(keep);
    }
    return listed;
  }
};

template <class T>
using Packer = std::conditional_t<HasLanes<T>::value, LanePacker<T>, PlainPacker<T>>;

}  // namespace detail

/// Returns how many of x[0] ... x[count - 1] are not zero; NaN is not. Cost: one pass.
template <class T, class Packer = detail::Packer<T>>
index_t count_non_zeros(const T* x, index_t count) noexcept {
  return Packer::count(x, count);
}

/// Elements of a non_zero_mask, at most.
inline constexpr index_t k_mask_bits = 64;

/// Bit i is set where x[i] is not zero; NaN is not. Requires: count <= k_mask_bits.
template <class T, class Packer = detail::Packer<T>>
std::uint64_t non_zero_mask(const T* x, index_t count) noexcept {
  return Packer::mask(x, count);
}

/// Lists the x[i] that are not zero, and their i, in order; returns how many there are. Room:
/// k_list_slack elements more than are listed. Requires: count < 2^31. Cost: one pass.
template <class T, class Packer = detail::Packer<T>>
index_t list_non_zeros(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
  return Packer::list(x, count, indices, values);
}

}  // namespace simd
ADR_NAMESPACE_END
