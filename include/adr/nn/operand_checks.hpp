// What all layers alike ask of the operands of a product and its gradients: finite elements where
// that is wanted, and memory that does not overlap.
#pragma once

#include <string_view>

#include "adr/core/view_checks.hpp"

ADR_NAMESPACE_BEGIN

/// Throws std::invalid_argument when an operand of a product holds a NaN or an infinity.
template <class X, class W, class Bias>
void require_finite_operands(const X& x, const W& w, const Bias& bias) {
  require_finite("x", x);
  require_finite("w", w);
  require_finite("bias", bias);
}

/// Throws std::invalid_argument when the output of a product overlaps one of its operands.
template <class X, class W, class Bias, class Y>
void require_disjoint_output(const X& x, const W& w, const Bias& bias, const Y& y) {
  require_disjoint("y", y, "x", x);
  require_disjoint("y", y, "w", w);
  require_disjoint("y", y, "bias", bias);
}

/// Throws std::invalid_argument when a gradient overlaps an operand or another gradient. Views
/// without memory, which stand for gradients that are not wanted, overlap nothing.
template <class X, class W, class DY, class DX, class DW, class DBias>
void require_disjoint_gradients(const X& x, const W& w, const DY& d_y, const DX& d_x, const DW& d_w,
                                const DBias& d_bias) {
  const auto require_apart = [&](std::string_view name, const auto& gradient) {
    require_disjoint(name, gradient, "x", x);
    require_disjoint(name, gradient, "w", w);
    require_disjoint(name, gradient, "d_y", d_y);
  };
  require_apart("d_x", d_x);
  require_apart("d_w", d_w);
  require_apart("d_bias", d_bias);
  require_disjoint("d_w", d_w, "d_x", d_x);
  require_disjoint("d_bias", d_bias, "d_x", d_x);
  require_disjoint("d_bias", d_bias, "d_w", d_w);
}

ADR_NAMESPACE_END
