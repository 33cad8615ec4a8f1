// Finding, listing and rounding the numbers of an array that are not zero. The loops stand here
// once, in a plain form for every target and over the registers of lanes_<instruction set>.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "adr/core/float_bits.hpp"
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
  static index_t pack(index_t count, std::int32_t* indices, T* values) noexcept {
    index_t listed = 0;
    for (index_t i = 0; i < count; ++i) {
      const T value = values[i];
      indices[listed] = indices[i];
      values[listed] = value;
      listed += value != T(0) ? 1 : 0;
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
  static index_t pack(index_t count, std::int32_t* indices, T* values) noexcept {
    index_t listed = 0;
    for (index_t i = 0; i < count; i += L::size) {
      const auto value = L::load(values + i, count - i);
      const auto index = L::load(indices + i, count - i);
      const std::uint32_t keep = L::non_zero(value);
      L::pack(keep, value, values + listed);
      L::pack(keep, index, indices + listed);
      listed += L::count(keep);
    }
    return listed;
  }
};

template <class T>
using Packer = std::conditional_t<HasLanes<T>::value, LanePacker<T>, PlainPacker<T>>;

/// 32 well mixed bits of a number, by two rounds of shifts and multiplications (the constants are
/// of C. Wellons' search for hash functions with little bias, 2018). Registers of every instruction
/// set multiply 32 bits.
inline std::uint32_t mixed_bits(std::uint32_t number) noexcept {
  number = (number ^ (number >> 16)) * 0x7feb352du;
  number = (number ^ (number >> 15)) * 0x846ca68bu;
  return number ^ (number >> 16);
}

}  // namespace detail

/// Returns how many of x[0] ... x[count - 1] are not zero; NaN is not. Cost: one pass.
template <class T, class Packer = detail::Packer<T>>
index_t count_non_zeros(const T* x, index_t count) noexcept {
  return Packer::count(x, count);
}

/// Lists the x[i] that are not zero, and their i, in order; returns how many there are. Room:
/// k_list_slack elements more than are listed. Requires: count < 2^31. Cost: one pass.
template <class T, class Packer = detail::Packer<T>>
index_t list_non_zeros(const T* x, index_t count, std::int32_t* indices, T* values) noexcept {
  return Packer::list(x, count, indices, values);
}

/// Removes from a list what has become zero; returns how many stay. Room: as list_non_zeros.
template <class T, class Packer = detail::Packer<T>>
index_t pack_non_zeros(index_t count, std::int32_t* indices, T* values) noexcept {
  return Packer::pack(count, indices, values);
}

/// The element numbers of a list whose i-th entry stands for element first + indices[i] * stride.
struct ElementNumbers {
  std::uint64_t first;
  std::uint64_t stride;
};

/// Rounds every value of a list that is smaller than the unit to zero or the unit, at random and
/// without bias.
///
/// Math: v becomes sign(v) unit where u < |v| / unit and 0 elsewhere, u uniform in [0, 1) and a
/// function of the seed and the element's number modulo 2^32 alone, so E[v] stays, up to the
/// precision of T. Values of one unit and more, infinities and NaN stay. No other unbiased choice
/// that leaves as many values, on average, has less variance (Wangni et al., NeurIPS 2018).
/// Requires: unit > 0, unit and 1 / unit finite. Cost: three 32-bit multiplications and a handful
/// of operations per value.
template <class T>
void round_at_random(T* values, const std::int32_t* indices, index_t count, T unit,
                     std::uint64_t seed, const ElementNumbers& numbers) noexcept {
  // Choices are made among bits, because with branches the loop stays one of scalars.
  using adr::detail::same_bits;
  using Bits = adr::detail::BitsOf<T>;
  constexpr int k_bits = std::is_same_v<T, float> ? 24 : 31;
  constexpr T k_step = T(1) / static_cast<T>(std::uint64_t{1} << k_bits);
  const T per_unit = T(1) / unit;
  // Two keys, so that two seeds do not give the same numbers in another order.
  const std::uint32_t before = detail::mixed_bits(static_cast<std::uint32_t>(seed) + 0x9e3779b9u);
  const std::uint32_t behind =
      detail::mixed_bits(before ^ static_cast<std::uint32_t>(seed >> 32)) * 0x85ebca6bu;
  const auto first = static_cast<std::uint32_t>(numbers.first) + before;
  const auto stride = static_cast<std::uint32_t>(numbers.stride);
  for (index_t i = 0; i < count; ++i) {
    const std::uint32_t element = first + static_cast<std::uint32_t>(indices[i]) * stride;
    const auto bits =
        static_cast<std::int32_t>((detail::mixed_bits(element ^ behind)) >> (32 - k_bits));
    const T value = values[i];
    const T units = std::abs(value) * per_unit;
    const auto is_small = static_cast<Bits>(-static_cast<std::int32_t>(units < T(1)));
    const T small = same_bits<T>(same_bits<Bits>(units) & is_small);
    const auto stays = static_cast<std::int32_t>(small + static_cast<T>(bits) * k_step);
    const T rounded = std::copysign(unit * static_cast<T>(stays), value);
    values[i] =
        same_bits<T>((same_bits<Bits>(rounded) & is_small) | (same_bits<Bits>(value) & ~is_small));
  }
}

}  // namespace simd
ADR_NAMESPACE_END
