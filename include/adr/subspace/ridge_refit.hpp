// A better fit of reduced weights: least squares on outputs of the batch that axes were fitted to,
// kept only where it helps on images that it did not see.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "adr/algebra/cholesky.hpp"
#include "adr/algebra/matrix.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/packed_factor.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/subspace/pixel_projection.hpp"
#include "adr/subspace/vector_sample.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"

ADR_NAMESPACE_BEGIN

/// What reduced weights are refitted to: images, exact weights, and the same in coordinates.
template <class T>
struct RidgeRefit {
  static_assert(std::is_same_v<T, float>, "corrections are fitted to floats");

  const ConvGeometry& geometry;
  const ConvGeometry& reduced;  ///< with coordinates for channels
  TensorView<const T> images;
  GemmFactor<T> weights;         ///< K x M
  MatrixView<const T> unfitted;  ///< M x K of the reduced convolution
  const PixelProjection& projection;
  std::uint64_t seed;

  /// Finds what to add to the reduced weights, M x K of the reduced convolution. Returns false
  /// where nothing was found that makes the error of images apart smaller by a twentieth.
  ///
  /// Math: with A the unfolded coordinates of sampled outputs and E what reduced weights W' leave
  /// out of them, (A^T A + lambda) C = A^T E, lambda a hundredth of the mean of the diagonal. Of
  /// four sampled images one is kept apart to judge. Cost: 10 columns^3 + 10 columns K M, nothing
  /// above k_most_columns. Memory: 11 columns^2. Errors: std::bad_alloc. Source: ridge regression;
  /// the use of it is this library's.
  bool fit(AlignedBuffer<T>& correction) const {
    if (unfitted.cols > k_most_columns || images.batch < k_apart) return false;
    const index_t count = std::min(images.batch, k_most_images);
    const index_t apart = count / k_apart;
    const index_t wanted = (k_rows_per_column * unfitted.cols + count - 1) / count;
    Sample learned(*this, (count - apart) * rows_of_image(wanted));
    Sample judged(*this, apart * rows_of_image(wanted));
    const PackedFactor<T> exact(weights);
    AlignedBuffer<T> coordinates(reduced.in_channels * images.height * images.width);
    for (index_t i = 0; i < count; ++i) {
      const bool is_apart = i % k_apart == k_apart - 1;
      const index_t image = i * images.batch / count;
      add_image(image, wanted, exact, coordinates.data(), is_apart ? judged : learned);
    }
    if (!solve(learned, correction)) return false;
    const double before = judged.energy();
    judged.predict(MatrixView<const T>(correction.data(), unfitted.rows, unfitted.cols));
    return judged.energy() <= k_most_error * k_most_error * before;
  }

 private:
  static constexpr index_t k_most_columns = 512;
  static constexpr index_t k_rows_per_column = 10;
  static constexpr index_t k_most_images = 64;
  static constexpr index_t k_apart = 4;
  static constexpr double k_most_error = 0.95;

  /// Outputs in coordinates, and what is left of them.
  struct Sample {
    AlignedBuffer<T> unfolded;  // [most rows x columns]
    AlignedBuffer<T> left;      // [most rows x outputs]
    index_t columns;
    index_t outputs;
    index_t rows = 0;

    Sample(const RidgeRefit& refit, index_t most_rows)
        : unfolded(checked_product("unfolded coordinates", most_rows, refit.unfitted.cols)),
          left(checked_product("outputs", most_rows, refit.unfitted.rows)),
          columns(refit.unfitted.cols),
          outputs(refit.unfitted.rows) {}

    [[nodiscard]] MatrixView<T> unfolded_rows(index_t first, index_t count) {
      return {unfolded.data() + first * columns, count, columns};
    }
    [[nodiscard]] MatrixView<T> left_rows(index_t first, index_t count) {
      return {left.data() + first * outputs, count, outputs};
    }
    /// Takes what weights make of the coordinates off.
    void predict(const MatrixView<const T>& reduced_weights, index_t first = 0) {
      AlignedBuffer<T> negated(reduced_weights.rows * reduced_weights.cols);
      for (index_t i = 0; i < negated.size(); ++i) negated[i] = -reduced_weights.data[i];
      const MatrixView<const T> w(negated.data(), outputs, columns);
      packed_gemm(as_is(MatrixView<const T>(unfolded_rows(first, rows - first))), transposed(w),
                  Update::accumulate, left_rows(first, rows - first));
    }
    [[nodiscard]] double energy() const noexcept {
      double total = 0;
      for (index_t i = 0; i < rows * outputs; ++i) total += double{left[i]} * double{left[i]};
      return total;
    }
  };

  /// The rows that add_image takes at most.
  [[nodiscard]] index_t rows_of_image(index_t wanted) const noexcept {
    const index_t run = k_sample_run;
    return (std::min(wanted, geometry.out_pixels()) + run - 1) / run * run;
  }

  void add_image(index_t image, index_t wanted, const PackedFactor<T>& exact, T* coordinates,
                 Sample& sample) const {
    const TensorView<const T> one(images.image(image), 1, images.channels, images.height,
                                  images.width, images.layout);
    const TensorView<T> z(coordinates, 1, reduced.in_channels, images.height, images.width,
                          images.layout);
    projection.project(one, z, 1);
    const index_t pixels = geometry.out_pixels();
    VectorSample chosen;
    chosen.choose(pixels, rows_of_image(wanted), seed + static_cast<std::uint64_t>(image));
    const index_t first = sample.rows;
    AlignedBuffer<T> patches(chosen.most_rows() * geometry.columns());
    for (const index_t pixel : chosen.runs()) {
      const index_t count = std::min(k_sample_run, pixels - pixel);
      im2col<T>(reduced, z, 0, pixel, 0, sample.unfolded_rows(sample.rows, count));
      im2col<T>(
          geometry, one, 0, pixel, 0,
          {patches.data() + (sample.rows - first) * geometry.columns(), count, geometry.columns()});
      sample.rows += count;
    }
    const index_t added = sample.rows - first;
    exact.multiply(as_is(MatrixView<const T>(patches.data(), added, geometry.columns())),
                   Update::replace, sample.left_rows(first, added));
    sample.predict(unfitted, first);
  }

  bool solve(Sample& learned, AlignedBuffer<T>& correction) const {
    constexpr double k_ridge = 1e-2;
    const MatrixView<const T> a = learned.unfolded_rows(0, learned.rows);
    const MatrixView<const T> left = learned.left_rows(0, learned.rows);
    algebra::Matrix solutions = algebra::product(transposed(left), as_is(a));
    if (!algebra::solve_ridge(algebra::product(transposed(a), as_is(a)), k_ridge, solutions)) {
      return false;
    }
    correction.resize(solutions.size());
    std::copy_n(solutions.row(0), solutions.size(), correction.data());
    return true;
  }
};

ADR_NAMESPACE_END
