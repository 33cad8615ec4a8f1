// What principal axes are in a state (core/state_archive.hpp), field by field:
//   count             elements, L
//   count             kept coordinates, D
//   f64               what the axes leave out
//   rows 1 x L        mean
//   rows L x D        axes that encode
//   rows D x L        axes that decode
//   rows 1 x D        variances
#pragma once

#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/subspace/principal_axes.hpp"

ADR_NAMESPACE_BEGIN

/// Writes axes of vectors of `length` elements, or reads them. Errors: those of the archive.
inline void exchange(StateArchive& archive, PrincipalAxes& axes, index_t length) {
  archive.count("elements of a vector", axes.length, length, length);
  archive.count("kept coordinates", axes.kept, 1, length);
  archive("left_out", axes.left_out);
  axes.encode_stride = simd::padded(axes.kept);
  axes.decode_stride = simd::padded(length);
  archive.rows("mean", axes.mean, 1, length, length);
  archive.rows("encode", axes.encode, length, axes.kept, axes.encode_stride);
  archive.rows("decode", axes.decode, axes.kept, length, axes.decode_stride);
  archive.rows("variances", axes.variances, 1, axes.kept, axes.kept);
}

ADR_NAMESPACE_END
