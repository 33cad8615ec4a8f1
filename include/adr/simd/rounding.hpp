// Rounding small numbers to zero or a unit so that neither they nor their sums drift.
#pragma once

#include <cstdint>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

/// 32 well mixed bits of a number, by two rounds of shifts and multiplications (the constants are
/// of C. Wellons' search for hash functions with little bias, 2018).
inline std::uint32_t mixed_bits(std::uint32_t number) noexcept {
  number = (number ^ (number >> 16)) * 0x7feb352du;
  number = (number ^ (number >> 15)) * 0x846ca68bu;
  return number ^ (number >> 16);
}

/// One register of round_and_carry.
template <class B, class T>
void round_register(const T* x, T unit, T per_unit, T* carry, T* rounded) noexcept {
  const B one = B::broadcast(T(1)), minus_one = B::broadcast(T(-1)), half = B::broadcast(T(0.5)),
          minus_half = B::broadcast(T(-0.5));
  const B value = B::load(x);
  const B units = value * B::broadcast(per_unit);
  const B before = B::load(carry);
  const B wanted = units + before;
  const B chosen = select_less(wanted, minus_half, minus_one,
                               select_less(wanted, half, B::broadcast(T(0)), one));
  // Below a half, whatever was rounded on the way: or a zero that follows would become a unit.
  const B left = multiply_add(chosen, minus_one, wanted);
  const B after = select_less(left, half, left, minus_half);
  // NaN is not less than anything and stays.
  const auto if_small = [&](B small, B otherwise) {
    return select_less(units, one, select_less(minus_one, units, small, otherwise), otherwise);
  };
  if_small(chosen * B::broadcast(unit), value).store(rounded);
  if_small(after, before).store(carry);
}

}  // namespace detail

/// Fills carries with numbers that are uniform in [-1/2, 1/2) by the seed and first_number + i.
template <class T>
void start_carries(std::uint64_t seed, std::uint64_t first_number, index_t count,
                   T* carry) noexcept {
  constexpr int k_bits = std::is_same_v<T, float> ? 24 : 31;
  constexpr T k_step = T(1) / static_cast<T>(std::uint64_t{1} << k_bits);
  // Two keys, so that two seeds do not give the same numbers in another order.
  const std::uint32_t before = detail::mixed_bits(static_cast<std::uint32_t>(seed) + 0x9e3779b9u);
  const std::uint32_t behind =
      detail::mixed_bits(before ^ static_cast<std::uint32_t>(seed >> 32)) * 0x85ebca6bu;
  for (index_t i = 0; i < count; ++i) {
    const auto number =
        static_cast<std::uint32_t>(first_number + static_cast<std::uint64_t>(i)) + before;
    const auto bits =
        static_cast<std::int32_t>(detail::mixed_bits(number ^ behind) >> (32 - k_bits));
    carry[i] = static_cast<T>(bits) * k_step - T(0.5);
  }
}

/// Rounds each of a row of values that is smaller than the unit to zero or plus or minus the unit,
/// and carries what it lost on to the value in the same place of the next row.
///
/// Math: v with |v| < unit becomes unit q, q in {-1, 0, 1} nearest to v / unit + carry, and the
/// difference is the new carry. Larger values, infinities and NaN stay, and so do their carries. A
/// carry that was uniform in [-1/2, 1/2) is so afterwards, independent of the values: E[unit q] = v
/// for each value, with the variance of independent rounding, |v| (unit - |v|), which is the least
/// that an unbiased choice among as few values has (Wangni et al., NeurIPS 2018). But the errors of
/// a place sum to less than a unit however many rows there are. Zero stays zero.
/// Requires: unit > 0, unit and 1 / unit finite, carries of start_carries or of the row before.
/// Cost: a dozen operations per register. Source: this library; error diffusion is that of R. W.
/// Floyd and L. Steinberg (1976).
template <class T, class B = Batch<T>>
void round_and_carry(const T* x, index_t count, T unit, T* carry, T* rounded) noexcept {
  const T per_unit = T(1) / unit;
  index_t i = 0;
  for (; i + B::size <= count; i += B::size) {
    detail::round_register<B>(x + i, unit, per_unit, carry + i, rounded + i);
  }
  for (; i < count; ++i) {
    detail::round_register<ScalarBatch<T>>(x + i, unit, per_unit, carry + i, rounded + i);
  }
}

}  // namespace simd
ADR_NAMESPACE_END
