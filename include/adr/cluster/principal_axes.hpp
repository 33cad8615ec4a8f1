// Principal axes of neuron vectors: the few coordinates that carry most of what a product depends
// on, and the way back.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "adr/cluster/leading_axes.hpp"
#include "adr/cluster/product_metric.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/one_eigen_thread.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

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

/// Fits principal axes to a sample of vectors in the metric of the products that they enter.
///
/// Math: with G = R R^T the gram matrix (sum over kernel offsets of W_o W_o^T; identity if empty),
/// the axes are the leading eigenvectors U of the covariance of R^T (x - mean); encode = R U,
/// decode = U^T R^-1. An error of x counts by what it does to the output, at no cost when the axes
/// are used. Directions of G weaker than 1e-4 of the strongest are strengthened, so that R^-1
/// exists. Shapes: sample n x length, gram length x length or empty. Requires: n >= 1, finite
/// values, 1 <= kept.count <= length or 0. Cost: n length^2 + O(length^3); above 1024 elements, for
/// at most a quarter as many coordinates, 12 n length (count + 16), and with a gram matrix n
/// length^2 + length^3 / 3 for Cholesky's factor of it. Memory: two matrices of length^2. Errors:
/// std::bad_alloc. Thread-safety: reentrant. Source: principal component analysis; the metric is
/// this library's. A template of the kind of view, so that Eigen's solver, which takes a compiler
/// seconds, is compiled only by those who fit.
template <class T>
PrincipalAxes fit_principal_axes(const MatrixView<T>& sample, const MatrixView<const float>& gram,
                                 const KeptCoordinates& kept,
                                 AxesOrigin origin = AxesOrigin::mean) {
  using Scalar = std::remove_const_t<T>;
  static_assert(std::is_same_v<Scalar, float>, "axes are fitted to floats");
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
  using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  const detail::OneEigenThread guard;
  const index_t n = sample.rows;
  const index_t length = sample.cols;
  const Eigen::Map<const RowMajor, Eigen::Unaligned, Stride> x(sample.data, n, length,
                                                               Stride(sample.row_stride));
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  Row mean = Row::Zero(length);
  if (origin == AxesOrigin::mean) {
    mean = x.template cast<double>().colwise().mean().template cast<Scalar>();
  }
  detail::ProductMetric<Matrix> metric;
  if (gram.data != nullptr) {
    const Eigen::Map<const RowMajor, Eigen::Unaligned, Stride> g(gram.data, length, length,
                                                                 Stride(gram.row_stride));
    metric = detail::ProductMetric<Matrix>(Matrix(g));
  }
  const Matrix centred = metric.weighted(x.rowwise() - mean);
  const detail::LeadingAxes<Matrix> leading = detail::leading_axes<Matrix>(centred, kept.count);

  const double mean_energy = metric.weighted(mean).squaredNorm();
  const double total = mean_energy + double{centred.squaredNorm()} / static_cast<double>(n);
  const auto variance = [&](index_t d) { return std::max(0.0, double{leading.variances[d]}); };
  double left = total - mean_energy;
  index_t count = 0;
  const auto enough = [&] {
    return kept.count > 0 ? count == kept.count
                          : count > 0 && left <= kept.error * kept.error * total;
  };
  while (count < length && !enough()) left -= variance(count++);

  PrincipalAxes axes;
  axes.length = length;
  axes.kept = count;
  axes.left_out = total > 0 ? std::sqrt(std::max(0.0, left) / total) : 0.0;
  axes.encode_stride = simd::padded(count);
  axes.decode_stride = simd::padded(length);
  axes.mean.resize(length);
  std::copy_n(mean.data(), length, axes.mean.data());
  axes.variances.resize(count);
  for (index_t d = 0; d < count; ++d) axes.variances[d] = static_cast<float>(variance(d));
  const Matrix u = leading.directions.leftCols(count);
  const Matrix encode = metric.encoding(u);
  const Matrix decode = metric.decoding(u);
  axes.encode.assign(length * axes.encode_stride, 0.0F);
  axes.decode.assign(count * axes.decode_stride, 0.0F);
  for (index_t e = 0; e < length; ++e) {
    for (index_t d = 0; d < count; ++d) {
      axes.encode[e * axes.encode_stride + d] = encode(e, d);
      axes.decode[d * axes.decode_stride + e] = decode(e, d);
    }
  }
  return axes;
}

ADR_NAMESPACE_END
