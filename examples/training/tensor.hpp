// Memory for a batch of images or features, with the views that the library's layers take.
#pragma once

#include <string>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

namespace training {

using adr::index_t;

/// The shape of one image; a vector of features is an image of one pixel.
struct ImageShape {
  index_t channels = 1;
  index_t height = 1;
  index_t width = 1;

  [[nodiscard]] index_t size() const { return channels * height * width; }
  friend bool operator==(const ImageShape& a, const ImageShape& b) {
    return a.channels == b.channels && a.height == b.height && a.width == b.width;
  }
};

inline std::string to_string(const ImageShape& shape) {
  return std::to_string(shape.channels) + " x " + std::to_string(shape.height) + " x " +
         std::to_string(shape.width);
}

/// A batch of images that owns its memory and keeps it when the batch shrinks.
template <class T>
class Tensor {
 public:
  void resize(index_t batch, const ImageShape& shape, adr::Layout layout) {
    storage_.resize(
        adr::checked_product("tensor", batch, shape.channels, shape.height, shape.width));
    view_ = {storage_.data(), batch, shape.channels, shape.height, shape.width, layout};
  }

  [[nodiscard]] adr::TensorView<T> view() { return view_; }
  [[nodiscard]] adr::TensorView<const T> const_view() const { return view_; }

 private:
  adr::AlignedBuffer<T> storage_;
  adr::TensorView<T> view_;
};

/// The batch as a matrix with one image per row.
template <class T>
adr::MatrixView<T> as_matrix(const adr::TensorView<T>& tensor) {
  return {tensor.data, tensor.batch, tensor.image_size(), tensor.image_stride};
}

/// The batch as images of one pixel.
template <class T>
adr::TensorView<T> as_features(const adr::TensorView<T>& tensor) {
  return {tensor.data, tensor.batch, tensor.image_size(), 1, 1, tensor.layout};
}

}  // namespace training
