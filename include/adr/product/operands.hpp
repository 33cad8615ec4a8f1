// What a product reads and writes, in the three forms in which the algorithms want it: rows of the
// unfolded matrix, shared neuron vectors, and pixels of channels. Nothing is copied.
#pragma once

#include <algorithm>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "adr/unfold/pixel_rows.hpp"
#include "adr/unfold/unfolded_rows.hpp"

ADR_NAMESPACE_BEGIN

/// Those images of a batch.
template <class T>
TensorView<T> some_images(TensorView<T> images, const IndexRange& range) noexcept {
  images.data = images.image(range.first);
  images.batch = range.size();
  return images;
}

/// One group of the images that a convolution reads, or of the gradient with respect to them.
template <class T>
struct ConvInput {
  const ConvGeometry& geometry;
  TensorView<T> images;
  index_t group;

  [[nodiscard]] UnfoldedRows<T> rows() const { return {geometry, images, group}; }
  [[nodiscard]] NeuronVectors<T> vectors(NeuronVectorKind kind) const {
    return {geometry, images, group, kind};
  }
  [[nodiscard]] PixelView<T> pixels() const {
    const index_t channels = geometry.group_in_channels();
    return pixel_view(images, group * channels, channels);
  }
  /// Whether this stands for a gradient that is not wanted.
  [[nodiscard]] bool empty() const noexcept { return images.data == nullptr; }
  /// How many parts the input can be cut into: images.
  [[nodiscard]] index_t parts() const noexcept { return images.batch; }
  [[nodiscard]] ConvInput part(const IndexRange& range) const {
    return {geometry, some_images(images, range), group};
  }
};

/// One group of the images that a convolution writes, or of the gradient with respect to them.
template <class T>
struct ConvOutput {
  const ConvGeometry& geometry;
  TensorView<T> images;
  index_t group;

  [[nodiscard]] index_t channels() const { return geometry.group_out_channels(); }
  [[nodiscard]] PixelRows<T> rows() const { return {images, group * channels(), channels()}; }
  [[nodiscard]] PixelView<T> pixels() const {
    return pixel_view(images, group * channels(), channels());
  }
  [[nodiscard]] ConvOutput part(const IndexRange& range) const {
    return {geometry, some_images(images, range), group};
  }
};

/// A matrix that a plain product reads or writes, by its rows or, transposed, by its columns.
template <class T>
struct MatrixOperand {
  MatrixView<T> matrix;
  bool transposed = false;
  Update update = Update::accumulate;  ///< of rows that are added to

  [[nodiscard]] index_t row_count() const noexcept {
    return transposed ? matrix.cols : matrix.rows;
  }
  [[nodiscard]] index_t col_count() const noexcept {
    return transposed ? matrix.rows : matrix.cols;
  }
  [[nodiscard]] MatrixRows<T> rows() const { return MatrixRows<T>(matrix, update, transposed); }
  [[nodiscard]] MatrixVectors<T> vectors(NeuronVectorKind /*kind*/) const {
    return MatrixVectors<T>(matrix, transposed);
  }
  [[nodiscard]] PixelView<T> pixels() const { return pixel_view(matrix, transposed); }
  /// Whether this stands for a gradient that is not wanted.
  [[nodiscard]] bool empty() const noexcept { return matrix.data == nullptr; }
  /// How many parts the input can be cut into: rows.
  [[nodiscard]] index_t parts() const noexcept { return row_count(); }
  [[nodiscard]] MatrixOperand part(const IndexRange& range) const {
    return {transposed ? matrix.block(0, range.first, matrix.rows, range.size())
                       : matrix.middle_rows(range.first, range.size()),
            transposed};
  }
};

/// Some columns of a matrix operand.
template <class T>
MatrixOperand<T> some_columns(const MatrixOperand<T>& operand, const IndexRange& range) noexcept {
  const MatrixView<T>& m = operand.matrix;
  return {operand.transposed ? m.middle_rows(range.first, range.size())
                             : m.block(0, range.first, m.rows, range.size()),
          operand.transposed, operand.update};
}

/// A matrix that is read as a factor of a product.
template <class T>
GemmFactor<T> as_factor(const MatrixOperand<const T>& operand) noexcept {
  return {operand.matrix, operand.transposed};
}

/// An output of its own for an input, one group without its neighbours, in the given memory.
template <class T>
ConvOutput<T> output_of(const ConvInput<const T>& input, index_t outputs,
                        AlignedBuffer<T>& storage) {
  const ConvGeometry& g = input.geometry;
  storage.resize(
      checked_product("output", input.images.batch, outputs, g.out_height(), g.out_width()));
  const TensorView<T> images(storage.data(), input.images.batch, outputs, g.out_height(),
                             g.out_width(), g.layout);
  return {g, images, 0};
}
template <class T>
MatrixOperand<T> output_of(const MatrixOperand<const T>& input, index_t outputs,
                           AlignedBuffer<T>& storage) {
  storage.resize(checked_product("output", input.row_count(), outputs));
  return {MatrixView<T>(storage.data(), input.row_count(), outputs)};
}

/// A gradient of the same shape, zero, in the given memory.
template <class T>
ConvInput<T> zeros_like(const ConvInput<T>& gradient, AlignedBuffer<T>& storage) {
  TensorView<T> images = gradient.images;
  images.image_stride = images.image_size();
  storage.resize(checked_product("input gradient", images.batch, images.image_size()));
  std::fill_n(storage.data(), storage.size(), T(0));
  images.data = storage.data();
  return {gradient.geometry, images, gradient.group};
}
template <class T>
MatrixOperand<T> zeros_like(const MatrixOperand<T>& gradient, AlignedBuffer<T>& storage) {
  storage.resize(checked_product("input gradient", gradient.row_count(), gradient.col_count()));
  std::fill_n(storage.data(), storage.size(), T(0));
  return {MatrixView<T>(storage.data(), gradient.row_count(), gradient.col_count())};
}

/// What the product of one group of a convolution reads and writes.
template <class T>
struct ImageDomain {
  static constexpr bool k_images = true;
  using Element = T;
  using Input = ConvInput<const T>;
  using Output = ConvOutput<T>;
  using OutputGradient = ConvOutput<const T>;
  using InputGradient = ConvInput<T>;
};

/// What a product of matrices reads and writes.
template <class T>
struct MatrixDomain {
  static constexpr bool k_images = false;
  using Element = T;
  using Input = MatrixOperand<const T>;
  using Output = MatrixOperand<T>;
  using OutputGradient = MatrixOperand<const T>;
  using InputGradient = MatrixOperand<T>;
};

ADR_NAMESPACE_END
