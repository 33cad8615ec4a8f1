// The input gradient of the direct form: a convolution with flipped filters where the stride is 1,
// else products that are added back onto the images.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/direct_forward.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/panels.hpp"
#include "adr/exact/plane_input_gradient.hpp"
#include "adr/exact/weight_use.hpp"
#include "adr/unfold/col2im.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/flipped_convolution.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Columns of the unfolded gradient that are added back at once.
inline constexpr index_t k_folded_columns = 256;

/// The unfolded gradients of the windows of one image, a block at a time.
template <class T>
struct FoldTask {
  const ConvGeometry& geometry;
  const TensorView<const T>& d_y;
  const TensorView<T>& d_x;
  const WeightParts<T>& parts;

  /// Elements of a block of results.
  static constexpr index_t k_block_size = k_most_left_rows * k_folded_columns;
  void run(index_t part, const T* packed, index_t image, T* block) const noexcept {
    constexpr index_t k_width = k_panel_width<T>;
    constexpr index_t k_columns = k_folded_columns / k_width * k_width;
    const index_t pixels = geometry.out_pixels();
    const IndexRange columns = parts.part_outputs(part);
    for (index_t first = 0; first < pixels; first += k_most_left_rows) {
      const index_t rows = std::min(k_most_left_rows, pixels - first);
      for (index_t c = 0; c < columns.size(); c += k_columns) {
        const index_t cols = std::min(k_columns, columns.size() - c);
        const MatrixView<T> result(block, rows, cols, k_columns);
        for (index_t b = 0; b < parts.blocks(); ++b) {
          const IndexRange terms = parts.block_terms(b);
          const index_t step = panel_stride(terms.size(), k_width);
          const T* gradients = d_y.image(image) + first * d_y.channels + terms.first;
          multiply_by_panels(LeftRows<T>{gradients, d_y.channels}, rows,
                             packed + parts.block_place(b) + c / k_width * step, step, terms.size(),
                             cols, result.data, result.row_stride,
                             b == 0 ? simd::Sums::start : simd::Sums::add);
        }
        col2im_add<T>(geometry, result, 0, image * pixels + first, columns.first + c, d_x);
      }
    }
  }
};

template <class T>
struct FoldScratch {
  T* packed;  ///< weights
  T* blocks;  ///< of results, one of every thread

  template <class Memory>
  FoldScratch(Memory& memory, const WeightParts<T>& parts, int threads)
      : packed(memory.template take<T>(
            checked_product("packed weights", parts.together, parts.part_size))),
        blocks(memory.template take<T>(
            checked_product("gradients", threads, FoldTask<T>::k_block_size))) {}
};

template <class T>
std::size_t folded_gradient_workspace_bytes(const ConvGeometry& g, int threads) {
  return scratch_bytes<FoldScratch<T>>(WeightParts<T>(g.group_out_channels(), g.columns()),
                                       threads);
}

template <class T>
void folded_input_gradient(const ConvGeometry& g, const TensorView<const T>& d_y,
                           const MatrixView<const T>& w, const TensorView<T>& d_x,
                           Context& context) {
  const WeightParts<T> parts(g.group_out_channels(), g.columns());
  const FoldTask<T> fold{g, d_y, d_x, parts};
  const Workspace::Frame frame(context.workspace());
  const FoldScratch<T> scratch(context.workspace(), parts, context.threads());
  for (index_t first = 0; first < parts.count; first += parts.together) {
    const index_t count = std::min(parts.together, parts.count - first);
    parts.pack(first, count, scratch.packed, context.threads(),
               [&](const IndexRange& columns, const IndexRange& terms, T* to) {
                 pack_right(
                     as_is(w.block(terms.first, columns.first, terms.size(), columns.size())), to);
               });
    parallel_for(d_x.batch, context.threads(), [&](index_t image, int thread) {
      if (first == 0) set_image_zero(pixel_view(d_x, 0, g.group_in_channels()), image);
      for (index_t part = 0; part < count; ++part) {
        fold.run(first + part, scratch.packed + part * parts.part_size, image,
                 scratch.blocks + thread * FoldTask<T>::k_block_size);
      }
    });
  }
}

/// Whether the input gradient is a convolution of d_y: not for a few channels, which would leave
/// panels of weights half empty in layout nhwc and be multiplied with windows of many columns in
/// layout nchw.
template <class T>
bool is_carried_back(const ConvGeometry& g) noexcept {
  return has_flipped_convolution(g) && 2 * g.group_in_channels() > k_panel_width<T>;
}

}  // namespace detail

/// Bytes of scratch that direct_input_gradient takes: those of direct_forward, or 8 MB of floats of
/// packed weights for all threads together (more where one panel of them is larger) and 0.2 MB per
/// thread; in layout nchw the flipped weights, or about 1 MB per thread.
template <class T>
std::size_t direct_input_gradient_workspace_bytes(const ConvGeometry& geometry, index_t batch,
                                                  int threads) {
  if (detail::is_linear(geometry) || detail::is_short_planes(geometry, batch)) return 0;
  if (detail::is_carried_back<T>(geometry)) {
    return detail::window_product_workspace_bytes<T>(flipped_convolution(geometry), batch,
                                                     exact::WeightUse::input_gradient, threads);
  }
  return geometry.layout == Layout::nchw
             ? detail::plane_input_gradient_workspace_bytes<T>(geometry, batch, threads)
             : detail::folded_gradient_workspace_bytes<T>(geometry, threads);
}

/// Computes the gradient with respect to the input of one group without Winograd.
///
/// Math: d_x = d_y w, added up over the windows that hold an input. Shapes, requirements, errors,
/// thread-safety: those of direct_forward; d_x is replaced. Cost: with stride 1 and more than a few
/// channels a convolution of d_y with flipped weights, which takes as many multiply-adds as the
/// forward pass (and those of the padding); else N K M multiply-adds and as many additions as
/// windows have elements, threads working on images of their own. Source: as direct_forward, and
/// col2im.
template <class T>
void direct_input_gradient(const ConvGeometry& geometry, const TensorView<const T>& d_y,
                           const MatrixView<const T>& w, const TensorView<T>& d_x,
                           Context& context) {
  if (detail::is_linear(geometry)) {
    detail::linear_input_gradient(detail::image_rows(d_y), w, detail::image_rows(d_x),
                                  context.threads());
  } else if (detail::is_short_pointwise<T>(geometry, d_y, d_x)) {
    detail::linear_input_gradient(detail::pixels_as_rows(d_y), w, detail::pixels_as_rows(d_x),
                                  context.threads());
  } else if (detail::is_short_planes(geometry, d_y.batch)) {
    // w^T d_y, in the form of a weight gradient.
    detail::linear_weight_gradient(detail::planes_as_rows(d_y), w, detail::planes_as_rows(d_x),
                                   context.threads());
  } else if (detail::is_carried_back<T>(geometry)) {
    detail::window_product(flipped_convolution(geometry), d_y, w, exact::WeightUse::input_gradient,
                           {}, d_x, context);
  } else if (geometry.layout == Layout::nchw) {
    detail::plane_input_gradient(geometry, d_y, w, d_x, context);
  } else {
    detail::folded_input_gradient(geometry, d_y, w, d_x, context);
  }
}

ADR_NAMESPACE_END
