// The weight gradient of the direct form: which of its ways a layer takes.
#pragma once

#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/line_weight_gradient.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/pixel_weight_gradient.hpp"
#include "adr/exact/plane_weight_gradient.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
/// Bytes of scratch that direct_weight_gradient takes: at most 1.8 MB of floats per thread, and
/// 8.5 MB of partial sums for all threads together.
template <class T>
std::size_t direct_weight_gradient_workspace_bytes(const ConvGeometry& geometry, index_t batch,
                                                   int threads) {
  if (detail::is_linear(geometry)) return 0;
  if (detail::has_gradient_lines<T>(geometry)) {
    return detail::weight_gradient_lines_workspace_bytes<T>(geometry, batch, threads);
  }
  return geometry.layout == Layout::nchw
             ? detail::plane_weight_gradient_workspace_bytes<T>(geometry, batch, threads)
             : detail::pixel_weight_gradient_workspace_bytes<T>(geometry, batch, threads);
}

/// Computes the gradient with respect to the weights of one group without Winograd.
///
/// Math: d_w = windows(x)^T d_y, one filter per row. Shapes, requirements, errors, thread-safety,
/// source: those of direct_forward; d_w a filter of the group per row, any row stride, replaced.
/// Sums: blocks of 256 pixels in order, added up in order within at most 16 parts of the pixels
/// that follow from shape alone, then over the parts. Cost: N K M multiply-adds, and copies of
/// windows and d_y. channel_sums: null, or where the sums of d_y over all pixels go, which windows
/// of few columns have at hand. Returns whether they were written.
template <class T>
bool direct_weight_gradient(const ConvGeometry& geometry, const TensorView<const T>& x,
                            const TensorView<const T>& d_y, const MatrixView<T>& d_w,
                            T* channel_sums, Context& context) {
  if (detail::is_linear(geometry)) {
    detail::linear_weight_gradient(detail::image_rows(x), detail::image_rows(d_y), d_w,
                                   context.threads());
  } else if (detail::is_short_pointwise<T>(geometry, x, d_y)) {
    detail::linear_weight_gradient(detail::pixels_as_rows(x), detail::pixels_as_rows(d_y), d_w,
                                   context.threads());
  } else if (detail::has_gradient_lines<T>(geometry)) {
    detail::weight_gradient_lines(geometry, x, d_y, d_w, channel_sums, context);
    return channel_sums != nullptr;
  } else if (geometry.layout == Layout::nchw) {
    detail::plane_weight_gradient(geometry, x, d_y, d_w, context);
  } else {
    detail::pixel_weight_gradient(geometry, x, d_y, d_w, context);
  }
  return false;
}

ADR_NAMESPACE_END
