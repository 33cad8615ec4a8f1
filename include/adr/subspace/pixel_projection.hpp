// Pixels of images to their coordinates on a few axes: the images of fewer channels that a
// convolution in a subspace reads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/packed_factor.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/subspace/principal_axes.hpp"

ADR_NAMESPACE_BEGIN

/// The map of pixels to coordinates, z = encode^T x, of axes that cross in zero.
///
/// Memory: two copies of the axes. Determinism: the bits of a pixel follow from shape and
/// instruction set. Thread-safety: `project` is reentrant. Source: this library.
class PixelProjection {
 public:
  /// Takes the place of other axes. Errors: std::bad_alloc.
  void set(const PrincipalAxes& axes) {
    channels_ = axes.length;
    kept_ = axes.kept;
    const MatrixView<const float> encode(axes.encode.data(), channels_, kept_, axes.encode_stride);
    columns_.pack(as_is(encode));
    rows_.resize(kept_ * channels_);
    for (index_t k = 0; k < kept_; ++k) {
      for (index_t e = 0; e < channels_; ++e) rows_[k * channels_ + e] = encode(e, k);
    }
  }

  /// Writes the images of coordinates. Returns false when some are not finite, as they are of
  /// pixels that are not. Shapes: z like x with as many channels as axes, in the same layout.
  /// Cost: channels * axes multiply-adds a pixel.
  bool project(const TensorView<const float>& x, const TensorView<float>& z, int threads) const {
    const index_t pixels = x.height * x.width;
    const index_t parts = blocks_of(pixels, k_task_pixels);
    std::atomic<bool> finite{true};
    parallel_for(x.batch * parts, threads, [&](index_t task, int /*thread*/) {
      const index_t first = task % parts * k_task_pixels;
      const index_t count = std::min(k_task_pixels, pixels - first);
      const float* from = x.image(task / parts);
      float* to = z.image(task / parts);
      const bool good = x.layout == Layout::nhwc
                            ? project_rows(from + first * channels_, count, to + first * kept_)
                            : project_planes(from + first, pixels, count, to + first);
      if (!good) finite.store(false, std::memory_order_relaxed);
    });
    return finite.load(std::memory_order_relaxed);
  }

 private:
  /// Pixels of a task: whole blocks of rows of the packed product.
  static constexpr index_t k_task_pixels = 10 * detail::k_most_left_rows;

  bool project_rows(const float* x, index_t count, float* z) const {
    columns_.multiply(as_is(MatrixView<const float>(x, count, channels_)), Update::replace,
                      MatrixView<float>(z, count, kept_));
    return simd::all_finite(z, count * kept_);
  }
  bool project_planes(const float* x, index_t plane, index_t count, float* z) const {
    const MatrixView<float> result(z, kept_, count, plane);
    packed_gemm(as_is(MatrixView<const float>(rows_.data(), kept_, channels_)),
                as_is(MatrixView<const float>(x, channels_, count, plane)), Update::replace,
                result);
    bool finite = true;
    for (index_t k = 0; k < kept_; ++k) {
      finite = simd::all_finite(result.row(k), count) && finite;
    }
    return finite;
  }

  index_t channels_ = 0;
  index_t kept_ = 0;
  PackedFactor<float> columns_;  // of layout nhwc
  AlignedBuffer<float> rows_;    // [kept x channels], of layout nchw
};

ADR_NAMESPACE_END
