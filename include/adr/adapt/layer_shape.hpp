// The sizes of a layer that decide what a setting costs and which settings are worth a try.
#pragma once

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// One product as policy sees it: sizes alone, no geometry and no matrices.
struct LayerShape {
  index_t rows = 0;           ///< N of a batch: output pixels, or rows of a plain product
  index_t columns = 0;        ///< K
  index_t outputs = 0;        ///< M, of one group
  index_t image_outputs = 0;  ///< elements that an image, or row of a product, has in the output
  index_t vectors = 0;        ///< shared neuron vectors of a batch
  index_t vector_length = 0;  ///< elements of one
  index_t offsets = 1;        ///< kernel offsets that share one; columns = offsets * vector_length
  index_t kernel_width = 1;   ///< 1 for a plain product
  index_t kernel_plane = 1;   ///< kernel height times kernel width; 1 for a plain product
  bool convolves_pixels = false;  ///< coordinates of its vectors are images for the exact engine
  bool channels_last = false;  ///< columns run over channels first (nhwc) or over the plane (nchw)

  /// Multiply-adds of one dense pass.
  [[nodiscard]] double dense_work() const noexcept {
    return static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(outputs);
  }
};

ADR_NAMESPACE_END
