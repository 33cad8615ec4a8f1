// Principal axes of neuron vectors: the few coordinates that carry most of what a product depends
// on, and the way back.
#pragma once

#include <algorithm>
#include <cmath>

#include "adr/algebra/matrix.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/subspace/leading_axes.hpp"
#include "adr/subspace/product_metric.hpp"

ADR_NAMESPACE_BEGIN

/// An affine map of vectors to fewer coordinates, and back:
///   z = encode^T (x - mean),  x ~ mean + decode^T z.
struct PrincipalAxes {
  index_t length = 0;
  index_t kept = 0;
  index_t encode_stride = 0;
  index_t decode_stride = 0;
  AlignedBuffer<float> mean;       ///< [length]
  AlignedBuffer<float> encode;     ///< [length x encode_stride]
  AlignedBuffer<float> decode;     ///< [kept x decode_stride]
  AlignedBuffer<float> variances;  ///< [kept], of the coordinates, falling
  /// What the axes leave out of the output, relative to the output: an estimate from the sample.
  double left_out = 0;

  /// The coordinates of the mean, which `encode` alone does not take off.
  void encoded_mean(float* z) const noexcept {
    for (index_t d = 0; d < kept; ++d) {
      double total = 0;
      for (index_t e = 0; e < length; ++e) {
        total += double{mean[e]} * double{encode[e * encode_stride + d]};
      }
      z[d] = static_cast<float>(total);
    }
  }

  /// False where products of huge elements were beyond the range of a float.
  [[nodiscard]] bool is_finite() const noexcept {
    const auto all_finite = [](const AlignedBuffer<float>& values) {
      return std::all_of(values.data(), values.data() + values.size(),
                         [](float value) { return std::isfinite(value); });
    };
    return all_finite(mean) && all_finite(encode) && all_finite(decode);
  }
};

/// How many coordinates to keep: `count` of them, or, with count 0, the fewest that leave out at
/// most `error` of the output.
struct KeptCoordinates {
  index_t count = 0;
  double error = 0.1;
};

/// Where the axes of a fit cross.
enum class AxesOrigin {
  mean,  ///< of the sample: the axes of its variance
  zero,  ///< a vector of zeros has coordinates of zero, as padding needs it; the mean is 0
};

namespace detail {

/// The mean of every column, summed in double precision.
inline void column_means(const MatrixView<const float>& rows, float* mean) {
  AlignedBuffer<double> sums;
  sums.assign(rows.cols, 0.0);
  for (index_t i = 0; i < rows.rows; ++i) {
    for (index_t e = 0; e < rows.cols; ++e) sums[e] += double{rows(i, e)};
  }
  for (index_t e = 0; e < rows.cols; ++e) {
    mean[e] = static_cast<float>(sums[e] / static_cast<double>(rows.rows));
  }
}

/// What to divide by, so that the largest element is near 1; 1 where all are zero.
inline double scale_of(const MatrixView<const float>& matrix) noexcept {
  const double size = algebra::largest(matrix);
  return size > 0 ? size : 1.0;
}
inline algebra::Matrix scaled_to_one(const MatrixView<const float>& matrix) {
  algebra::Matrix scaled(matrix);
  algebra::divide(scaled, scale_of(matrix));
  return scaled;
}

}  // namespace detail

/// Fits principal axes to a sample of vectors in the metric of the products that they enter.
///
/// Math: with G = R R^T the gram matrix (sum over kernel offsets of W_o W_o^T; identity if empty),
/// the axes are the leading eigenvectors U of the covariance of R^T (x - mean); encode = R U,
/// decode = U^T R^-1. An error of x counts by what it does to the output, at no cost when the axes
/// are used. Directions of G weaker than 1e-4 of the strongest are strengthened, so that R^-1
/// exists. Shapes: sample n x length, gram length x length or empty. Requires: n >= 1, finite
/// values, 1 <= kept.count <= length or 0. Cost: n length^2 + O(length^3); above 1024 elements, for
/// at most a quarter as many coordinates, 12 n length (count + 16), and with a gram matrix n
/// length^2 + length^3 / 3 for Cholesky's factor of it. Memory: four matrices of length^2. Errors:
/// std::bad_alloc. Thread-safety: reentrant. Source: principal component analysis; the metric is
/// this library's.
inline PrincipalAxes fit_principal_axes(const MatrixView<const float>& sample,
                                        const MatrixView<const float>& gram,
                                        const KeptCoordinates& kept,
                                        AxesOrigin origin = AxesOrigin::mean) {
  const index_t n = sample.rows;
  const index_t length = sample.cols;
  PrincipalAxes axes;
  axes.length = length;
  axes.mean.assign(length, 0.0F);
  if (origin == AxesOrigin::mean) detail::column_means(sample, axes.mean.data());
  // Axes do not depend on the scale of sample and weights, squares of floats do.
  const detail::ProductMetric metric =
      gram.data != nullptr ? detail::ProductMetric(detail::scaled_to_one(gram).view())
                           : detail::ProductMetric();
  algebra::Matrix centred(sample);
  for (index_t i = 0; i < n; ++i) {
    simd::add_scaled(-1.0F, axes.mean.data(), centred.row(i), length);
  }
  algebra::Matrix mean(MatrixView<const float>(axes.mean.data(), 1, length));
  const double scale = detail::scale_of(sample);
  for (algebra::Matrix* rows : {&centred, &mean}) algebra::divide(*rows, scale);
  metric.weigh(centred);
  const detail::LeadingAxes leading = detail::leading_axes(centred, kept.count);

  metric.weigh(mean);
  const double spread = algebra::energy(centred) / static_cast<double>(n);
  const double total = algebra::energy(mean) + spread;
  const auto variance = [&](index_t d) { return std::max(0.0, leading.variances[d]); };
  double left = spread;
  const auto enough = [&] {
    return kept.count > 0 ? axes.kept == kept.count
                          : axes.kept > 0 && left <= kept.error * kept.error * total;
  };
  while (axes.kept < length && !enough()) left -= variance(axes.kept++);
  axes.left_out = total > 0 ? std::sqrt(std::max(0.0, left) / total) : 0.0;
  axes.variances.resize(axes.kept);
  for (index_t d = 0; d < axes.kept; ++d)
    axes.variances[d] = static_cast<float>(scale * scale * variance(d));

  const MatrixView<const float> directions = leading.directions.view().middle_rows(0, axes.kept);
  algebra::Matrix encode(directions);
  metric.encode(encode);
  axes.encode_stride = simd::padded(axes.kept);
  axes.encode.assign(length * axes.encode_stride, 0.0F);
  simd::transpose(encode.row(0), length, axes.kept, length, axes.encode.data(), axes.encode_stride);
  algebra::Matrix decode(directions);
  metric.decode(decode);
  axes.decode_stride = simd::padded(length);
  axes.decode.assign(axes.kept * axes.decode_stride, 0.0F);
  for (index_t d = 0; d < axes.kept; ++d) {
    std::copy_n(decode.row(d), length, axes.decode.data() + d * axes.decode_stride);
  }
  return axes;
}

ADR_NAMESPACE_END
