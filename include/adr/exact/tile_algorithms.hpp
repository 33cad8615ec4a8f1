// The small bilinear algorithms that tiles are computed with: a few multiplications in place of
// many, by linear transforms of inputs, weights and results (Winograd 1980; Lavin and Gray 2016).
//
// In one dimension an algorithm computes `outputs` results of a filter of `taps` weights from
// `inputs` inputs by `products` multiplications: y = A^T ((B^T x) * (G w)). Applied to rows and
// columns it does the same in two dimensions. The gradients use the same matrices:
// dw = G^T ((B^T x) * (A dy)).
#pragma once

#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

namespace detail {

template <class B>
[[gnu::always_inline]] inline B times(float factor, B value) noexcept {
  return B::broadcast(factor) * value;
}
/// factor * value + more
template <class B>
[[gnu::always_inline]] inline B times_plus(float factor, B value, B more) noexcept {
  return multiply_add(B::broadcast(factor), value, more);
}

}  // namespace detail

/// F(4, 3): points 0, 1, -1, 2, -2 and infinity; 36 multiplications for 4 x 4 outputs in place of
/// 144.
struct Tile4x3 {
  static constexpr index_t inputs = 6;
  static constexpr index_t products = 6;
  static constexpr index_t outputs = 4;
  static constexpr index_t taps = 3;
  static constexpr bool whole_map = false;
  static constexpr const char* name = "F(4x4,3x3)";

  template <class B>
  [[gnu::always_inline]] static void input(const B* x, B* v) noexcept {
    using detail::times_plus;
    const B a = times_plus(-4, x[2], x[4]);
    const B b = times_plus(-4, x[1], x[3]);
    const B c = x[4] - x[2];
    const B d = x[3] - x[1];
    v[0] = times_plus(4, x[0], times_plus(-5, x[2], x[4]));
    v[1] = a + b;
    v[2] = a - b;
    v[3] = times_plus(2, d, c);
    v[4] = times_plus(-2, d, c);
    v[5] = times_plus(4, x[1], times_plus(-5, x[3], x[5]));
  }
  template <class B>
  [[gnu::always_inline]] static void output(const B* z, B* y) noexcept {
    using detail::times_plus;
    const B a = z[1] + z[2];
    const B b = z[1] - z[2];
    const B c = z[3] + z[4];
    const B d = z[3] - z[4];
    y[0] = z[0] + a + c;
    y[1] = times_plus(2, d, b);
    y[2] = times_plus(4, c, a);
    y[3] = times_plus(8, d, b) + z[5];
  }
  template <class B>
  [[gnu::always_inline]] static void output_gradient(const B* y, B* z) noexcept {
    using detail::times_plus;
    const B a = y[0] + y[2];
    const B b = y[1] + y[3];
    const B c = times_plus(4, y[2], y[0]);
    const B d = detail::times(2, times_plus(4, y[3], y[1]));
    z[0] = y[0];
    z[1] = a + b;
    z[2] = a - b;
    z[3] = c + d;
    z[4] = c - d;
    z[5] = y[3];
  }
  template <class B>
  [[gnu::always_inline]] static void weights(const B* w, B* u) noexcept {
    using detail::times;
    using detail::times_plus;
    const B a = times(-1.0F / 6, w[0] + w[2]);
    const B b = times(-1.0F / 6, w[1]);
    const B c = times_plus(1.0F / 24, w[0], times(1.0F / 6, w[2]));
    const B d = times(1.0F / 12, w[1]);
    u[0] = times(0.25F, w[0]);
    u[1] = a + b;
    u[2] = a - b;
    u[3] = c + d;
    u[4] = c - d;
    u[5] = w[2];
  }
  template <class B>
  [[gnu::always_inline]] static void weight_gradient(const B* u, B* w) noexcept {
    using detail::times;
    using detail::times_plus;
    const B a = u[1] + u[2];
    const B b = u[1] - u[2];
    const B c = u[3] + u[4];
    const B d = u[3] - u[4];
    const B e = times(-1.0F / 6, a);
    w[0] = times_plus(0.25F, u[0], times_plus(1.0F / 24, c, e));
    w[1] = times_plus(1.0F / 12, d, times(-1.0F / 6, b));
    w[2] = times_plus(1.0F / 6, c, e) + u[5];
  }
};

/// F(4, 5): points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity; 64 multiplications for 4 x 4 outputs in
/// place of 400.
struct Tile4x5 {
  static constexpr index_t inputs = 8;
  static constexpr index_t products = 8;
  static constexpr index_t outputs = 4;
  static constexpr index_t taps = 5;
  static constexpr bool whole_map = false;
  static constexpr const char* name = "F(4x4,5x5)";

  template <class B>
  [[gnu::always_inline]] static void input(const B* x, B* v) noexcept {
    using detail::times;
    using detail::times_plus;
    v[0] = times_plus(5.25F, x[4] - x[2], x[0] - x[6]);
    v[7] = times_plus(5.25F, x[3] - x[5], x[7] - x[1]);
    const B a = times_plus(-4.25F, x[4], x[2] + x[6]);
    const B b = times_plus(-4.25F, x[3], x[1] + x[5]);
    v[1] = a + b;
    v[2] = a - b;
    const B c = times_plus(0.25F, x[2], times_plus(-1.25F, x[4], x[6]));
    const B d = times_plus(0.5F, x[1], times_plus(-2.5F, x[3], x[5] + x[5]));
    v[3] = c + d;
    v[4] = c - d;
    const B e = times_plus(4, x[2], times_plus(-5, x[4], x[6]));
    const B f = times_plus(2, x[1], times_plus(-2.5F, x[3], times(0.5F, x[5])));
    v[5] = e + f;
    v[6] = e - f;
  }
  template <class B>
  [[gnu::always_inline]] static void output(const B* z, B* y) noexcept {
    using detail::times_plus;
    const B a = z[1] + z[2];
    const B b = z[1] - z[2];
    const B c = z[3] + z[4];
    const B d = z[3] - z[4];
    const B e = z[5] + z[6];
    const B f = z[5] - z[6];
    y[0] = z[0] + a + c + e;
    y[1] = times_plus(2, d, times_plus(0.5F, f, b));
    y[2] = times_plus(4, c, times_plus(0.25F, e, a));
    y[3] = times_plus(8, d, times_plus(0.125F, f, b)) + z[7];
  }
  template <class B>
  [[gnu::always_inline]] static void output_gradient(const B* y, B* z) noexcept {
    using detail::times;
    using detail::times_plus;
    const B a = y[0] + y[2];
    const B b = y[1] + y[3];
    z[0] = y[0];
    z[1] = a + b;
    z[2] = a - b;
    const B c = times_plus(4, y[2], y[0]);
    const B d = detail::times(2, times_plus(4, y[3], y[1]));
    z[3] = c + d;
    z[4] = c - d;
    const B e = times_plus(0.25F, y[2], y[0]);
    const B f = times_plus(0.5F, y[1], times(0.125F, y[3]));
    z[5] = e + f;
    z[6] = e - f;
    z[7] = y[3];
  }
  template <class B>
  [[gnu::always_inline]] static void weights(const B* w, B* u) noexcept {
    using detail::times;
    using detail::times_plus;
    u[0] = w[0];
    const B a = times(-2.0F / 9, w[0] + w[2] + w[4]);
    const B b = times(-2.0F / 9, w[1] + w[3]);
    u[1] = a + b;
    u[2] = a - b;
    const B c = times(1.0F / 90, times_plus(16, w[4], times_plus(4, w[2], w[0])));
    const B d = times(1.0F / 45, times_plus(4, w[3], w[1]));
    u[3] = c + d;
    u[4] = c - d;
    const B e = times(32.0F / 45, times_plus(0.0625F, w[4], times_plus(0.25F, w[2], w[0])));
    const B f = times(16.0F / 45, times_plus(0.25F, w[3], w[1]));
    u[5] = e + f;
    u[6] = e - f;
    u[7] = w[4];
  }
  template <class B>
  [[gnu::always_inline]] static void weight_gradient(const B* u, B* w) noexcept {
    using detail::times;
    using detail::times_plus;
    const B a = times(-2.0F / 9, u[1] + u[2]);
    const B b = times(-2.0F / 9, u[1] - u[2]);
    const B c = times(1.0F / 90, u[3] + u[4]);
    const B d = times(1.0F / 90, u[3] - u[4]);
    const B e = times(32.0F / 45, u[5] + u[6]);
    const B f = times(32.0F / 45, u[5] - u[6]);
    w[0] = u[0] + a + c + e;
    w[1] = times_plus(2, d, times_plus(0.5F, f, b));
    w[2] = times_plus(4, c, times_plus(0.25F, e, a));
    w[3] = times_plus(8, d, times_plus(0.125F, f, b));
    w[4] = times_plus(16, c, times_plus(0.0625F, e, a)) + u[7];
  }
};

/// F(2, 3): points 0, 1, -1 and infinity; 16 multiplications for 2 x 2 outputs in place of 36. For
/// maps that tiles of 4 x 4 cover badly.
struct Tile2x3 {
  static constexpr index_t inputs = 4;
  static constexpr index_t products = 4;
  static constexpr index_t outputs = 2;
  static constexpr index_t taps = 3;
  static constexpr bool whole_map = false;
  static constexpr const char* name = "F(2x2,3x3)";

  template <class B>
  [[gnu::always_inline]] static void input(const B* x, B* v) noexcept {
    v[0] = x[0] - x[2];
    v[1] = x[1] + x[2];
    v[2] = x[2] - x[1];
    v[3] = x[3] - x[1];
  }
  template <class B>
  [[gnu::always_inline]] static void output(const B* z, B* y) noexcept {
    y[0] = z[0] + z[1] + z[2];
    y[1] = z[1] - z[2] + z[3];
  }
  template <class B>
  [[gnu::always_inline]] static void output_gradient(const B* y, B* z) noexcept {
    z[0] = y[0];
    z[1] = y[0] + y[1];
    z[2] = y[0] - y[1];
    z[3] = y[1];
  }
  template <class B>
  [[gnu::always_inline]] static void weights(const B* w, B* u) noexcept {
    const B a = detail::times(0.5F, w[0] + w[2]);
    const B b = detail::times(0.5F, w[1]);
    u[0] = w[0];
    u[1] = a + b;
    u[2] = a - b;
    u[3] = w[2];
  }
  template <class B>
  [[gnu::always_inline]] static void weight_gradient(const B* u, B* w) noexcept {
    const B a = detail::times(0.5F, u[1] + u[2]);
    w[0] = u[0] + a;
    w[1] = detail::times(0.5F, u[1] - u[2]);
    w[2] = a + u[3];
  }
};

/// A map of 2 x 2 pixels with a padding of 1 on every side: a Toeplitz matrix of two rows, nine
/// multiplications in two dimensions in place of sixteen that meet a pixel.
struct Map2x3 {
  static constexpr index_t inputs = 2;
  static constexpr index_t products = 3;
  static constexpr index_t outputs = 2;
  static constexpr index_t taps = 3;
  static constexpr bool whole_map = true;
  static constexpr const char* name = "map 2x2,3x3";

  template <class B>
  [[gnu::always_inline]] static void input(const B* x, B* v) noexcept {
    v[0] = x[0] + x[1];
    v[1] = x[1];
    v[2] = x[0];
  }
  template <class B>
  [[gnu::always_inline]] static void output(const B* z, B* y) noexcept {
    y[0] = z[0] + z[1];
    y[1] = z[0] + z[2];
  }
  template <class B>
  [[gnu::always_inline]] static void output_gradient(const B* y, B* z) noexcept {
    z[0] = y[0] + y[1];
    z[1] = y[0];
    z[2] = y[1];
  }
  template <class B>
  [[gnu::always_inline]] static void weights(const B* w, B* u) noexcept {
    u[0] = w[1];
    u[1] = w[2] - w[1];
    u[2] = w[0] - w[1];
  }
  template <class B>
  [[gnu::always_inline]] static void weight_gradient(const B* u, B* w) noexcept {
    w[0] = u[2];
    w[1] = u[0] - u[1] - u[2];
    w[2] = u[1];
  }
};

}  // namespace exact
ADR_NAMESPACE_END
