// Which neuron vectors a product can share: the same numbers for convolutions and plain products.
#pragma once

#include <optional>
#include <type_traits>
#include <vector>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "adr/unfold/neuron_vectors.hpp"

ADR_NAMESPACE_BEGIN

/// One way of cutting an operand into neuron vectors.
struct VectorShape {
  NeuronVectorKind kind = NeuronVectorKind::patch;
  index_t length = 0;            ///< elements of a vector
  index_t offsets = 1;           ///< kernel offsets that share it
  bool pointwise = false;        ///< each output reads one vector, whose element e meets weight e
  std::vector<index_t> columns;  ///< weights that meet element e at offset o: [o * length + e]
};

/// The neuron vectors of one group of a convolution input.
inline VectorShape vector_shape(const ConvGeometry& geometry, NeuronVectorKind wanted) {
  VectorShape shape;
  shape.kind = resolve(wanted, geometry);
  shape.length = vector_length(geometry, shape.kind);
  const VectorMap map = vector_map(geometry, shape.kind, 1);
  shape.offsets = map.offsets();
  shape.pointwise = !map.has_padding() && geometry.columns() == geometry.group_in_channels();
  shape.columns = weight_columns(geometry, shape.kind);
  return shape;
}

/// The rows of a matrix, unshared.
inline VectorShape vector_shape(index_t columns) {
  VectorShape shape;
  shape.length = columns;
  shape.pointwise = true;
  shape.columns = weight_columns(columns);
  return shape;
}

/// The shapes of a product and of its input's neuron vectors.
struct ProductShape {
  index_t columns = 0;  ///< K of the unfolded product
  index_t outputs = 0;  ///< M
  VectorShape input;
  /// The convolution that this is a group of; none: a plain product.
  std::optional<ConvGeometry> convolution;

  /// Multiply-adds of the dense product.
  [[nodiscard]] double dense_work(index_t rows) const noexcept {
    return static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(outputs);
  }
};

/// Whether the exact engine multiplies the coordinates: the pixels of a convolution of one group,
/// in floats.
template <class Domain>
bool convolves_coordinates(const ProductShape& shape) noexcept {
  return Domain::k_images && std::is_same_v<typename Domain::Element, float> && shape.convolution &&
         shape.convolution->groups == 1 && shape.input.kind == NeuronVectorKind::pixel;
}

/// One group of a convolution.
inline ProductShape product_shape(const ConvGeometry& geometry, NeuronVectorKind wanted) {
  ProductShape shape;
  shape.columns = geometry.columns();
  shape.outputs = geometry.group_out_channels();
  shape.input = vector_shape(geometry, wanted);
  shape.convolution = geometry;
  return shape;
}

/// A plain product. Requires: sizes of at least 1, else std::invalid_argument.
inline ProductShape product_shape(index_t columns, index_t outputs) {
  detail::require(columns >= 1 && outputs >= 1,
                  "the weights must have at least 1 x 1 elements, got ", columns, " x ", outputs);
  ProductShape shape;
  shape.columns = columns;
  shape.outputs = outputs;
  shape.input = vector_shape(columns);
  return shape;
}

ADR_NAMESPACE_END
