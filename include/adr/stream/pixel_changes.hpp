// How far the pixels of a batch are from those of an earlier one: one read of both.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "adr/core/float_bits.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// What counts as a change of a pixel.
enum class Compare {
  energies,  ///< the sum over its channels of squared differences
  bits,      ///< 1 where any bit differs, or a square is not finite; else 0
};

namespace detail {

/// Of `count` channels that lie side by side: the change; adds their squares to the lanes of
/// `energy`.
template <class T>
T pixel_change(const T* x, const T* used, index_t count, simd::Batch<T>& energy,
               T& energy_of_rest) noexcept {
  using B = simd::Batch<T>;
  // Two chains, because one waits for itself.
  B sums[2] = {B::broadcast(T(0)), B::broadcast(T(0))};
  index_t i = 0;
  for (; i + 2 * B::size <= count; i += 2 * B::size) {
    for (index_t k = 0; k < 2; ++k) {
      const B a = B::load(x + i + k * B::size);
      const B d = a - B::load(used + i + k * B::size);
      sums[k] = multiply_add(d, d, sums[k]);
      energy = multiply_add(a, a, energy);
    }
  }
  T rest = 0;
  for (; i < count; ++i) {
    const T d = x[i] - used[i];
    rest += d * d;
    energy_of_rest += x[i] * x[i];
  }
  return sum(sums[0] + sums[1]) + rest;
}

/// The changes of whole pixels of few channels, which fill registers together.
template <class T>
double packed_changes(const T* x, const T* used, index_t pixels, index_t channels,
                      float* changes) noexcept {
  using B = simd::Batch<T>;
  constexpr index_t k_at_once = 512;
  T squares[k_at_once];
  double energy = 0;
  const index_t some = k_at_once / channels;
  for (index_t first = 0; first < pixels; first += some) {
    const index_t count = std::min(some, pixels - first);
    const T* a = x + first * channels;
    const T* b = used + first * channels;
    B lanes = B::broadcast(T(0));
    index_t i = 0;
    for (; i + B::size <= count * channels; i += B::size) {
      const B v = B::load(a + i);
      const B d = v - B::load(b + i);
      (d * d).store(squares + i);
      lanes = multiply_add(v, v, lanes);
    }
    T rest = 0;
    for (; i < count * channels; ++i) {
      squares[i] = (a[i] - b[i]) * (a[i] - b[i]);
      rest += a[i] * a[i];
    }
    energy += static_cast<double>(sum(lanes)) + static_cast<double>(rest);
    for (index_t p = 0; p < count; ++p) {
      T change = 0;
      for (index_t c = 0; c < channels; ++c) change += squares[p * channels + c];
      changes[first + p] = static_cast<float>(change);
    }
  }
  return energy;
}

/// One line of pixels in layout nhwc. Returns the sum of the squares of x.
template <class T>
double pixel_changes(Compare compare, const T* x, const T* used, index_t pixels, index_t stride,
                     index_t used_stride, index_t channels, float* changes) noexcept {
  using B = simd::Batch<T>;
  if (compare == Compare::energies) {
    if (stride == channels && used_stride == channels && channels < B::size) {
      return packed_changes(x, used, pixels, channels, changes);
    }
    B energy = B::broadcast(T(0));
    T energy_of_rest = 0;
    for (index_t i = 0; i < pixels; ++i) {
      changes[i] = static_cast<float>(
          pixel_change(x + i * stride, used + i * used_stride, channels, energy, energy_of_rest));
    }
    return static_cast<double>(sum(energy)) + static_cast<double>(energy_of_rest);
  }
  double total = 0;
  for (index_t i = 0; i < pixels; ++i) {
    const T* pixel = x + i * stride;
    B energy = B::broadcast(T(0));
    index_t c = 0;
    for (; c + B::size <= channels; c += B::size) {
      const B a = B::load(pixel + c);
      energy = multiply_add(a, a, energy);
    }
    T squares = sum(energy);
    for (; c < channels; ++c) squares += pixel[c] * pixel[c];
    const bool same =
        std::isfinite(squares) && adr::detail::equal_bits(pixel, used + i * used_stride, channels);
    changes[i] = same ? 0.0F : 1.0F;
    total += static_cast<double>(squares);
  }
  return total;
}

/// One line of one plane in layout nchw: adds to the changes.
template <class T>
double add_plane_changes(Compare compare, const T* x, const T* used, index_t pixels,
                         float* changes) noexcept {
  double total = 0;
  if (compare == Compare::energies) {
    T squares = 0;
    for (index_t i = 0; i < pixels; ++i) {
      const T d = x[i] - used[i];
      changes[i] += static_cast<float>(d * d);
    }
    for (index_t i = 0; i < pixels; ++i) squares += x[i] * x[i];
    return static_cast<double>(squares);
  }
  const bool same_line = adr::detail::equal_bits(x, used, pixels);
  for (index_t i = 0; i < pixels; ++i) {
    const T square = x[i] * x[i];
    total += static_cast<double>(square);
    if (!std::isfinite(square) || (!same_line && !adr::detail::equal_bits(x + i, used + i, 1)))
      changes[i] = 1;
  }
  return total;
}

/// One line of the batch. Returns the sum of the squares of x.
template <class T>
double line_changes(const exact::GroupImages<const T>& x, const exact::GroupImages<const T>& used,
                    Compare compare, index_t line, float* changes) noexcept {
  const index_t image = line / x.images.height;
  const index_t y = line % x.images.height;
  const index_t width = x.images.width;
  if (x.channels_last()) {
    const auto a = x.in_place(image);
    const auto b = used.in_place(image);
    return pixel_changes(compare, a.at(y, 0), b.at(y, 0), width, a.pixel_stride, b.pixel_stride,
                         x.channels, changes);
  }
  double energy = 0;
  std::fill_n(changes, width, 0.0F);
  for (index_t c = 0; c < x.channels; ++c) {
    energy += add_plane_changes(compare, x.plane(image, c) + y * width,
                                used.plane(image, c) + y * width, width, changes);
  }
  return energy;
}

}  // namespace detail

/// Compares every pixel of x with the one at its place in `used`, or the lines alone that hold one
/// that `written` marks.
///
/// changes: an element per pixel of the batch; energies: one per line, the sum of the squares of x;
/// both stay where nothing is compared. Lines are compared whole, because their energy is that of
/// all of their pixels. written: an element per pixel, or null. A pixel that holds a NaN, or an
/// infinity in both, has a change that is no number (energies) or 1 (bits). Requires: the same
/// layout, sizes and numbers of channels. Cost: one read of what is compared in both. Determinism:
/// the bits do not depend on the number of threads.
template <class T>
void find_pixel_changes(const exact::GroupImages<const T>& x,
                        const exact::GroupImages<const T>& used, const unsigned char* written,
                        Compare compare, int threads, float* changes, double* energies) {
  const index_t height = x.images.height;
  const index_t width = x.images.width;
  const index_t lines = x.images.batch * height;
  // A task has lines that lie side by side, of some 64 KB.
  const index_t pieces = std::min(
      lines, std::max<index_t>(blocks_of(lines * width * x.channels, index_t{1} << 14), 1));
  parallel_for(pieces, threads, [&](index_t piece, int) {
    const IndexRange range = partition(lines, pieces, piece);
    for (index_t line = range.first; line < range.last; ++line) {
      float* to = changes + line * width;
      if (written != nullptr &&
          std::memchr(written + line * width, 1, static_cast<std::size_t>(width)) == nullptr) {
        continue;
      }
      energies[line] = detail::line_changes(x, used, compare, line, to);
    }
  });
}

}  // namespace stream
ADR_NAMESPACE_END
