// Copies images into batches: bytes to numbers, planes to the network's layout, shifts and
// reflections.
#pragma once

#include <cstdint>
#include <vector>

#include "adr/core/context.hpp"
#include "training/data_order.hpp"
#include "training/image_set.hpp"
#include "training/pixel_scale.hpp"

namespace training {

/// A batch as the network reads it.
template <class T>
struct Batch {
  Tensor<T> images;
  std::vector<std::uint8_t> labels;
};

template <class T>
class BatchLoader {
 public:
  BatchLoader(const ImageSet& set, const PixelScale& scale, adr::Layout layout,
              adr::Context& context)
      : set_(set), scale_(scale), layout_(layout), context_(context) {}

  /// Fills the batch with the images of the given indices. Augmentations, when there are any,
  /// belong to the indices one by one; pixels from outside an image are 0, the mean.
  void load(const index_t* indices, index_t count, const std::vector<Augmentation>& augmentations,
            Batch<T>& batch) const {
    batch.images.resize(count, set_.shape, layout_);
    batch.labels.resize(static_cast<std::size_t>(count));
    const adr::TensorView<T> images = batch.images.view();
    adr::parallel_for(count, context_.threads(), [&](index_t i, int) {
      const auto slot = static_cast<std::size_t>(i);
      batch.labels[slot] = set_.labels[static_cast<std::size_t>(indices[i])];
      const Augmentation change = augmentations.empty() ? Augmentation{} : augmentations[slot];
      load_image(set_.image(indices[i]), change, images.image(i));
    });
  }

 private:
  void load_image(const std::uint8_t* from, const Augmentation& change, T* to) const {
    const auto [channels, height, width] = set_.shape;
    const bool pixels_first = layout_ == adr::Layout::nhwc;
    const index_t pixel_stride = pixels_first ? channels : 1;
    const index_t channel_stride = pixels_first ? 1 : height * width;
    for (index_t channel = 0; channel < channels; ++channel) {
      const auto& table = scale_.table(channel);
      const std::uint8_t* plane = from + channel * height * width;
      for (index_t y = 0; y < height; ++y) {
        const index_t source_y = y + change.shift_y;
        const bool row_inside = source_y >= 0 && source_y < height;
        for (index_t x = 0; x < width; ++x) {
          const index_t source_x = (change.mirrored ? width - 1 - x : x) + change.shift_x;
          const bool is_inside = row_inside && source_x >= 0 && source_x < width;
          to[channel * channel_stride + (y * width + x) * pixel_stride] =
              is_inside ? static_cast<T>(table[plane[source_y * width + source_x]]) : T(0);
        }
      }
    }
  }

  const ImageSet& set_;
  const PixelScale& scale_;
  adr::Layout layout_;
  adr::Context& context_;
};

}  // namespace training
