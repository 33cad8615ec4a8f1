// The direct forms of a convolution over a list of squares of outputs: their windows are copied
// side by side, as images of their own.
#pragma once

#include <algorithm>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/direct_blocks.hpp"
#include "adr/exact/direct_forward.hpp"
#include "adr/exact/linear_form.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/stream/copied_pixels.hpp"
#include "adr/stream/window_grid.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// Direct passes over squares of the outputs of one group, to the bits of the pass over all.
///
/// Memory: the windows and results of some 1024 outputs, kept. Thread-safety: none.
template <class T>
class PatchForward {
 public:
  /// Whether a pass over all outputs has the bits of passes over squares (short products of rows
  /// sum up in another order), and squares enough.
  [[nodiscard]] static bool is_possible(const ConvGeometry& geometry) noexcept {
    return geometry.out_pixels() >
           (detail::is_pointwise(geometry) ? detail::k_short_pixels : k_fewest_outputs);
  }

  /// geometry: that of one group. Requires: is_possible.
  void set_geometry(const ConvGeometry& geometry) {
    constexpr index_t k_pixels_at_once = 1024;
    const index_t outputs = geometry.out_pixels() >= k_many_outputs ? 16 : 8;
    grid_ = window_grid(geometry, outputs);
    patch_ = geometry;
    patch_.set_padding(0);
    patch_.in_height = grid_.y.size;
    patch_.in_width = grid_.x.size;
    at_once_ = k_pixels_at_once / (outputs * outputs);
    windows_.resize(checked_product("windows", at_once_, patch_.in_channels, patch_.in_height,
                                    patch_.in_width));
    results_.resize(
        checked_product("results of squares", at_once_, patch_.out_channels, outputs, outputs));
  }
  [[nodiscard]] const WindowGrid& grid() const noexcept { return grid_; }

  void run(const exact::TileList& list, const exact::GroupImages<const T>& x,
           const MatrixView<const T>& w, const VectorView<const T>& bias, bool relu,
           const exact::GroupImages<T>& y, Context& context) {
    for (index_t first = 0; first < list.count; first += at_once_) {
      const index_t count = std::min(at_once_, list.count - first);
      const exact::GroupImages<T> windows =
          images(windows_.data(), count, patch_.in_channels, patch_.in_height, patch_.in_width);
      const exact::GroupImages<T> results = images(results_.data(), count, patch_.out_channels,
                                                   patch_.out_height(), patch_.out_width());
      for (index_t i = 0; i < count; ++i) gather(list[first + i], x, windows, i);
      // The form of the pass over all outputs, whatever one square alone would take.
      context.workspace().reserve(detail::window_product_workspace_bytes<T>(
          patch_, count, exact::WeightUse::forward, context.threads()));
      detail::window_product<T>(patch_, windows.images, w, exact::WeightUse::forward,
                                {bias.empty() ? nullptr : bias.data, relu}, results.images,
                                context);
      for (index_t i = 0; i < count; ++i) scatter(list[first + i], results, i, y);
    }
  }

 private:
  static constexpr index_t k_fewest_outputs = 256;
  static constexpr index_t k_many_outputs = 64 * 64;

  [[nodiscard]] exact::GroupImages<T> images(T* data, index_t count, index_t channels,
                                             index_t height, index_t width) const noexcept {
    return {{data, count, channels, height, width, patch_.layout}, 0, channels};
  }

  void gather(index_t block, const exact::GroupImages<const T>& x,
              const exact::GroupImages<T>& windows, index_t i) const noexcept {
    const exact::PixelRect rect = grid_.seen(block);
    const index_t row = block % grid_.per_image() / grid_.x.blocks;
    const index_t column = block % grid_.x.blocks;
    const bool whole = rect.last_y - rect.first_y == grid_.y.size && rect.width() == grid_.x.size;
    if (!whole) std::fill_n(windows.images.image(i), windows.images.image_size(), T(0));
    copy_pixels(x, block / grid_.per_image(), rect, windows, i, rect.first_y - grid_.y.first(row),
                rect.first_x - grid_.x.first(column));
  }
  void scatter(index_t block, const exact::GroupImages<T>& results, index_t i,
               const exact::GroupImages<T>& y) const noexcept {
    const exact::PixelRect rect = grid_.written(block);
    copy_pixels(exact::as_const(results), i, {0, rect.last_y - rect.first_y, 0, rect.width()}, y,
                block / grid_.per_image(), rect.first_y, rect.first_x);
  }

  ConvGeometry patch_;
  WindowGrid grid_;
  index_t at_once_ = 0;
  AlignedBuffer<T> windows_;
  AlignedBuffer<T> results_;
};

}  // namespace stream
ADR_NAMESPACE_END
