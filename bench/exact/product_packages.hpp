// Layers by the matrix products of Eigen, OpenBLAS and oneDNN, called as a framework would call
// them: on the tensors themselves where a layer is one product, behind im2col where it is not.
#pragma once

#include <adr/core/parallel.hpp>
#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/convolution.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/layer_tensors.hpp"

namespace adr_bench {

/// Whether every pass of the layer is one product of its tensors: layout nhwc, 1x1 kernels without
/// stride and padding.
inline bool is_one_product(const adr::ConvGeometry& g) {
  return g.columns() == g.in_channels && g.groups == 1 && g.stride_height * g.stride_width == 1 &&
         g.out_height() == g.in_height && g.out_width() == g.in_width;
}

/// A layer that is one product. The tensors must outlive the object.
class ProductPackage : public Convolution {
 public:
  ProductPackage(LayerTensors& tensors, DenseEngine product, int threads)
      : tensors_(tensors), product_(std::move(product)), threads_(threads) {}

  [[nodiscard]] bool has(const PassParts& /*parts*/) const override { return true; }
  void prepare() override { product_.set_threads(threads_); }
  void run(const PassParts& parts) override {
    using adr::as_is;
    using adr::transposed;
    const auto x = rows(tensors_.input());
    const auto d_y = rows(tensors_.output_gradient());
    const auto w = tensors_.weights();
    const auto replace = adr::Update::replace;
    if (parts.forward) {
      product_.multiply(as_is(x), transposed(w), replace, rows(tensors_.output()));
    }
    if (parts.weight_gradient) {
      product_.multiply(transposed(d_y), as_is(x), replace, tensors_.weight_gradient());
    }
    if (parts.input_gradient) {
      product_.multiply(as_is(d_y), as_is(w), replace, rows(tensors_.input_gradient()));
    }
  }
  void deliver(const PassParts& /*parts*/) override {}
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& /*parts*/) const override { return 0; }
  [[nodiscard]] std::string config(const PassParts& /*parts*/) const override { return "product"; }

 private:
  template <class T>
  static adr::MatrixView<T> rows(const adr::TensorView<T>& images) {
    return {images.data, images.batch * images.height * images.width, images.channels};
  }

  LayerTensors& tensors_;
  DenseEngine product_;
  int threads_;
};

/// im2col and a product, as many images at a time as fit a block of a few MB: layout nhwc, one
/// group. The tensors must outlive the object.
class UnfoldedPackage : public Convolution {
 public:
  UnfoldedPackage(LayerTensors& tensors, DenseEngine product, int threads)
      : tensors_(tensors), product_(std::move(product)), threads_(threads) {
    constexpr index_t k_block_floats = index_t{1} << 20;
    const adr::ConvGeometry& g = tensors.geometry();
    const index_t image_floats = g.out_pixels() * g.columns();
    block_images_ = std::clamp<index_t>(k_block_floats / image_floats, 1, tensors.batch());
    columns_.resize(static_cast<std::size_t>(block_images_ * image_floats));
  }

  [[nodiscard]] bool has(const PassParts& /*parts*/) const override { return true; }
  void prepare() override { product_.set_threads(threads_); }
  void run(const PassParts& parts) override {
    for (index_t first = 0; first < tensors_.batch(); first += block_images_) {
      const index_t images = std::min(block_images_, tensors_.batch() - first);
      if (parts.forward) forward(first, images);
      if (parts.weight_gradient) weight_gradient(first, images);
      if (parts.input_gradient) input_gradient(first, images);
    }
  }
  void deliver(const PassParts& /*parts*/) override {}
  [[nodiscard]] std::size_t workspace_bytes(const PassParts& /*parts*/) const override {
    return columns_.size() * sizeof(float);
  }
  [[nodiscard]] std::string config(const PassParts& /*parts*/) const override {
    return "im2col, blocks of " + std::to_string(block_images_) + " images";
  }

 private:
  void forward(index_t first, index_t images) {
    unfold(first, images);
    product_.multiply(adr::as_is(unfolded(images)), adr::transposed(tensors_.weights()),
                      adr::Update::replace, rows_of(tensors_.output(), first, images));
  }
  void weight_gradient(index_t first, index_t images) {
    unfold(first, images);
    product_.multiply(adr::transposed(rows_of(tensors_.output_gradient(), first, images)),
                      adr::as_is(unfolded(images)),
                      first == 0 ? adr::Update::replace : adr::Update::accumulate,
                      tensors_.weight_gradient());
  }
  void input_gradient(index_t first, index_t images) {
    product_.multiply(adr::as_is(rows_of(tensors_.output_gradient(), first, images)),
                      adr::as_is(tensors_.weights()), adr::Update::replace, unfolded(images));
    fold(first, images);
  }

  [[nodiscard]] adr::MatrixView<float> unfolded(index_t images) {
    const adr::ConvGeometry& g = tensors_.geometry();
    return {columns_.data(), g.rows(images), g.columns()};
  }
  template <class T>
  static adr::MatrixView<T> rows_of(const adr::TensorView<T>& tensor, index_t first,
                                    index_t images) {
    return {tensor.image(first), images * tensor.height * tensor.width, tensor.channels};
  }

  /// Calls visit(column block of a window, pixel of the image or null outside) for every tap of
  /// every window of an image.
  template <class T, class Visit>
  void for_each_tap(T* image, float* columns, const Visit& visit) const {
    const adr::ConvGeometry& g = tensors_.geometry();
    for (index_t oy = 0; oy < g.out_height(); ++oy) {
      for (index_t ox = 0; ox < g.out_width(); ++ox) {
        for (index_t ky = 0; ky < g.kernel_height; ++ky) {
          const index_t y = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
          for (index_t kx = 0; kx < g.kernel_width; ++kx, columns += g.in_channels) {
            const index_t x = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
            const bool inside = y >= 0 && y < g.in_height && x >= 0 && x < g.in_width;
            visit(columns, inside ? image + (y * g.in_width + x) * g.in_channels : nullptr);
          }
        }
      }
    }
  }
  float* columns_of(index_t image) {
    const adr::ConvGeometry& g = tensors_.geometry();
    return columns_.data() + image * g.out_pixels() * g.columns();
  }
  void unfold(index_t first, index_t images) {
    const index_t channels = tensors_.geometry().in_channels;
    adr::parallel_for(images, threads_, [&](index_t n, int) {
      for_each_tap(tensors_.input().image(first + n), columns_of(n),
                   [channels](float* columns, const float* pixel) {
                     if (pixel != nullptr) {
                       std::copy_n(pixel, channels, columns);
                     } else {
                       std::fill_n(columns, channels, 0.0F);
                     }
                   });
    });
  }
  void fold(index_t first, index_t images) {
    const auto d_x = tensors_.input_gradient();
    adr::parallel_for(images, threads_, [&](index_t n, int) {
      std::fill_n(d_x.image(first + n), d_x.image_size(), 0.0F);
      for_each_tap(d_x.image(first + n), columns_of(n),
                   [channels = d_x.channels](const float* columns, float* pixel) {
                     if (pixel == nullptr) return;
                     for (index_t c = 0; c < channels; ++c) pixel[c] += columns[c];
                   });
    });
  }

  LayerTensors& tensors_;
  DenseEngine product_;
  int threads_;
  index_t block_images_ = 1;
  LayerTensors::Tensor columns_;
};

}  // namespace adr_bench
