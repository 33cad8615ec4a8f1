// The operands of a forward pass of a convolution, and what one of its groups has of them.
#pragma once

#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// Images, weights and bias, which may be empty, of all groups. Requires: the shapes of the
/// geometry.
template <class T>
struct ConvOperands {
  const ConvGeometry& geometry;
  TensorView<const T> x;
  MatrixView<const T> w;
  VectorView<const T> bias;

  /// The filters of one group.
  [[nodiscard]] MatrixView<const T> group_weights(index_t group) const noexcept {
    const index_t outputs = geometry.group_out_channels();
    return plain_stride(w.middle_rows(group * outputs, outputs));
  }
  [[nodiscard]] VectorView<const T> group_bias(index_t group) const noexcept {
    const index_t outputs = geometry.group_out_channels();
    return bias.empty() ? bias : VectorView<const T>(bias.data + group * outputs, outputs);
  }
};

ADR_NAMESPACE_END
