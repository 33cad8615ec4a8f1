// Packing the lanes of NEON registers: what non_zeros.hpp needs of a register.
// The instruction set has no packing: a table says for each mask of lanes which bytes move where.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "adr/core/types.hpp"

#if defined(__ARM_NEON) && defined(__aarch64__) && !defined(ADR_NO_SIMD)

#include <arm_neon.h>

ADR_NAMESPACE_BEGIN
namespace simd {
namespace detail {

/// Bytes 4 i to 4 i + 3 of entry m are the numbers of the bytes of the i-th lane whose bit is set
/// in m.
constexpr std::array<std::array<std::uint8_t, 16>, 16> packed_lane_bytes() noexcept {
  std::array<std::array<std::uint8_t, 16>, 16> all{};
  for (std::size_t mask = 0; mask < all.size(); ++mask) {
    std::size_t place = 0;
    for (std::size_t byte = 0; byte < 16; ++byte) {
      if ((mask >> (byte / 4) & 1u) != 0) all[mask][place++] = static_cast<std::uint8_t>(byte);
    }
  }
  return all;
}
inline constexpr std::array<std::array<std::uint8_t, 16>, 16> k_packed_lane_bytes =
    packed_lane_bytes();

template <class T>
struct Lanes;  // non_zeros.hpp

template <>
struct Lanes<float> {
  static constexpr index_t size = 4;
  static float32x4_t load(const float* from, index_t count) noexcept {
    if (count >= size) return vld1q_f32(from);
    float some[size] = {};
    for (index_t i = 0; i < count; ++i) some[i] = from[i];
    return vld1q_f32(some);
  }
  static int32x4_t numbers_from(std::int32_t number) noexcept {
    constexpr std::int32_t k_numbers[] = {0, 1, 2, 3};
    return vaddq_s32(vdupq_n_s32(number), vld1q_s32(k_numbers));
  }
  static std::uint32_t non_zero(float32x4_t x) noexcept {
    constexpr std::uint32_t k_bits[] = {1, 2, 4, 8};
    const uint32x4_t is_zero = vceqq_f32(x, vdupq_n_f32(0.0F));
    return vaddvq_u32(vbicq_u32(vld1q_u32(k_bits), is_zero));
  }
  static index_t count(std::uint32_t lanes) noexcept {
    return static_cast<index_t>((lanes & 1u) + (lanes >> 1 & 1u) + (lanes >> 2 & 1u) +
                                (lanes >> 3));
  }
  static void pack(std::uint32_t lanes, float32x4_t x, float* to) noexcept {
    vst1q_f32(to, vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(x), order(lanes))));
  }
  static void pack(std::uint32_t lanes, int32x4_t x, std::int32_t* to) noexcept {
    vst1q_s32(to, vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(x), order(lanes))));
  }

 private:
  static uint8x16_t order(std::uint32_t lanes) noexcept {
    return vld1q_u8(k_packed_lane_bytes[lanes].data());
  }
};

}  // namespace detail
}  // namespace simd
ADR_NAMESPACE_END

#endif
