// What a search for clusters costs and what it may save: estimates from shapes, so that what is
// decided does not depend on the clock.
#pragma once

#include <algorithm>
#include <type_traits>

#include "adr/core/types.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN

/// Estimated shares of vectors that take the product of another one.
struct SampledShare {
  double all = 0;
  double equal = 0;  ///< bit for bit
};

/// Nanoseconds of one thread of a usual core.
struct SearchCosts {
  double pass = 0;      ///< the exact product
  double search = 0;    ///< signatures and comparisons of all vectors
  double overhead = 0;  ///< what else a pass through clusters does
  double sampled = 0;   ///< one row of a sample
  /// The share of equal vectors from which the exact product copies their results itself.
  double copied_from = 2;

  /// in_place: rows are read where they lie. exact_copies: the exact product may copy the
  /// results of equal rows of a matrix.
  template <class T>
  static SearchCosts of(const ProductShape& shape, index_t rows, index_t slices, bool in_place,
                        bool exact_copies) noexcept {
    constexpr double k_multiply_adds = 6.0 * simd::Batch<T>::size;
    constexpr double k_bytes = 12;         // that are read or written
    constexpr double k_unfolded = 4;       // bytes of rows that are unfolded, or transposed
    constexpr double k_vector = 40;        // to hash it and to look it up
    constexpr double k_first_touch = 150;  // of a vector that is read for the sample alone
    const auto n = static_cast<double>(rows);
    const auto k_size = static_cast<double>(shape.columns) * sizeof(T);
    const auto m_size = static_cast<double>(shape.outputs) * sizeof(T);
    const auto vectors = static_cast<double>(slices);
    SearchCosts costs;
    costs.pass = shape.dense_work(rows) / k_multiply_adds / saved_by_tiles<T>(shape);
    costs.search = n * (k_size / k_bytes + vectors * k_vector);
    costs.overhead = n * (2 * vectors * m_size / k_bytes + (in_place ? 0 : k_size / k_unfolded));
    costs.sampled = vectors * k_first_touch + (in_place ? 0 : k_size / k_unfolded);
    if (exact_copies && in_place && !shape.convolution && slices == 1 &&
        looks_for_equal_rows<T>(rows, shape.columns, shape.outputs)) {
      costs.copied_from = detail::RowCosts::of<T>(rows, shape.columns, shape.outputs).break_even();
    }
    return costs;
  }
  /// The share of vectors without a product of their own from which clusters pay.
  [[nodiscard]] double break_even() const noexcept {
    return pass > 0 ? (search + overhead) / pass : 2.0;
  }
  /// Whether a search is worth it. Equal rows alone are not: the exact product finds them with less
  /// work.
  [[nodiscard]] bool pays(const SampledShare& share) const noexcept {
    return share.all > break_even() &&
           (share.equal < copied_from || (share.all - share.equal) * pass > search);
  }

 private:
  /// How many times fewer multiply-adds the exact engine has than the unfolded product.
  template <class T>
  static double saved_by_tiles(const ProductShape& shape) noexcept {
    if (!shape.convolution || !std::is_same_v<T, float>) return 1;
    const ConvGeometry& g = *shape.convolution;
    const bool tiled = g.kernel_height == g.kernel_width && g.stride_height == 1 &&
                       g.stride_width == 1 && (g.kernel_height == 3 || g.kernel_height == 5);
    return tiled ? 3 : 1;
  }
};

/// How often the clusters of a sample were met.
struct SampledClusters {
  index_t once = 0;
  index_t twice = 0;
  index_t more = 0;
};

/// Estimates which share of `all` vectors has the product of another one, from a sample of them.
///
/// Math: 1 - clusters / all, with clusters = once + twice + more + once^2 / (2 twice + once q / (1
/// - q)), q the sampled part. A few large clusters among vectors that are all different are so not
/// taken for many small ones. Thread-safety: reentrant. Source: Chao and Lin 2012, for samples
/// without replacement.
inline double estimated_share(index_t all, index_t sampled, const SampledClusters& found) noexcept {
  const auto n = static_cast<double>(all);
  const auto once = static_cast<double>(found.once);
  const auto twice = static_cast<double>(found.twice);
  double clusters = once + twice + static_cast<double>(found.more);
  if (found.once > 0 && all > sampled) {
    const auto s = static_cast<double>(sampled);
    clusters += once * once / (2 * twice + once * s / (n - s));
  }
  return std::max(0.0, 1.0 - clusters / n);
}

ADR_NAMESPACE_END
