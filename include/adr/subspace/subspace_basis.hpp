// Neuron vectors in coordinates of a subspace.
#pragma once

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A subspace that neuron vectors are taken to lie in: vector v stands for
///   sum over k of z_k(v) basis row k,
/// where row 0 is the mean and z_0 = 1. Padding, whose vector is exactly zero, has z = 0.
struct SubspaceBasis {
  index_t length = 0;         ///< elements of a neuron vector
  index_t coordinates = 0;    ///< per vector, z_0 included
  index_t stride = 0;         ///< from row to row, in elements
  AlignedBuffer<float> rows;  ///< [coordinates x stride], the columns from length on are 0

  /// The rows, coordinates x length.
  [[nodiscard]] MatrixView<const float> matrix() const noexcept {
    return {rows.data(), coordinates, length, stride};
  }
};

/// The coordinates of every vector of a batch in a subspace, z_0 = 1 included. Those of neighbours
/// follow each other without a gap, so that what the offsets of a kernel row meet is one copy.
struct SubspaceCoordinates {
  index_t vectors = 0;          ///< of the batch
  index_t coordinates = 0;      ///< per vector
  AlignedBuffer<float> values;  ///< [vectors x coordinates]

  /// Makes room; the coordinates themselves are uninitialised.
  void resize(index_t vector_count, index_t coordinate_count) {
    vectors = vector_count;
    coordinates = coordinate_count;
    values.resize(checked_product("coordinates", vectors, coordinates));
  }
  /// The coordinates, vectors x coordinates.
  [[nodiscard]] MatrixView<const float> matrix() const noexcept {
    return {values.data(), vectors, coordinates};
  }
};

ADR_NAMESPACE_END
