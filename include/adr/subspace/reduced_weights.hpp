// Convolution weights in the coordinates of a subspace, and what was learned to make up for the
// coordinates that are missing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/subspace/principal_axes.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// rows times a factor, in tasks of fixed size, so that the bits do not depend on the threads.
inline void multiply_rows(const MatrixView<const float>& rows, const GemmFactor<float>& right,
                          const MatrixView<float>& result, int threads) {
  constexpr index_t k_rows = 256;
  parallel_for((rows.rows + k_rows - 1) / k_rows, threads, [&](index_t task, int /*thread*/) {
    const index_t first = task * k_rows;
    const index_t count = std::min(k_rows, rows.rows - first);
    packed_gemm(as_is(rows.middle_rows(first, count)), right, Update::replace,
                result.middle_rows(first, count));
  });
}

/// Changes the order of weights of one output after the other: [rows][cols] to [cols][rows] each.
inline void transpose_each(const float* from, index_t outputs, index_t rows, index_t cols,
                           float* to) noexcept {
  for (index_t m = 0; m < outputs; ++m) {
    simd::transpose(from + m * rows * cols, cols, rows, cols, to + m * rows * cols, rows);
  }
}

}  // namespace detail

/// Weights of a convolution that reads coordinates in the place of channels.
///
/// Math: reduced = (decode of the axes) . weights of every kernel offset, plus a correction that
/// was learned for reduced weights nearby, as long as the weights have not moved far from those.
/// Shapes: outputs x (offsets * kept), in the order that the layout has for filters. Memory: four
/// times that. Thread-safety: none. Source: this library.
class ReducedWeights {
 public:
  ReducedWeights(index_t outputs, index_t offsets, Layout layout)
      : outputs_(outputs), offsets_(offsets), layout_(layout) {}

  /// Computes them. packed: [outputs * offsets][axes.length] (pack_weights). Errors:
  /// std::bad_alloc.
  void compute(const AlignedBuffer<float>& packed, const PrincipalAxes& axes, Context& context) {
    const index_t rows = outputs_ * offsets_;
    kept_ = axes.kept;
    plain_.resize(checked_product("reduced weights", rows, kept_));
    values_.resize(plain_.size());
    AlignedBuffer<float>& by_offset = layout_ == Layout::nhwc ? plain_ : values_;
    const MatrixView<const float> decode(axes.decode.data(), kept_, axes.length,
                                         axes.decode_stride);
    detail::multiply_rows({packed.data(), rows, axes.length}, transposed(decode),
                          {by_offset.data(), rows, kept_}, context.threads());
    if (layout_ == Layout::nchw) {
      detail::transpose_each(by_offset.data(), outputs_, offsets_, kept_, plain_.data());
    }
    std::copy_n(plain_.data(), plain_.size(), values_.data());
    if (has_correction() && is_near()) {
      simd::add(correction_.data(), values_.data(), values_.size());
    }
  }

  [[nodiscard]] MatrixView<const float> matrix() const noexcept { return view(values_); }
  /// Without the correction.
  [[nodiscard]] MatrixView<const float> plain() const noexcept { return view(plain_); }

  [[nodiscard]] bool has_correction() const noexcept { return correction_.size() > 0; }
  void forget_correction() noexcept { correction_.clear(); }
  /// Takes what was learned for the weights computed last, of the shape of plain().
  void set_correction(AlignedBuffer<float> correction) {
    correction_ = std::move(correction);
    corrected_.resize(plain_.size());
    std::copy_n(plain_.data(), plain_.size(), corrected_.data());
    std::copy_n(plain_.data(), plain_.size(), values_.data());
    simd::add(correction_.data(), values_.data(), values_.size());
  }

  /// Writes the correction, or reads it for that many coordinates.
  void exchange(StateArchive& archive, index_t kept) {
    bool has = has_correction();
    archive("corrected", has);
    if (!has) return;
    const index_t cols = offsets_ * kept;
    archive.rows("corrected weights", corrected_, outputs_, cols, cols);
    archive.rows("correction", correction_, outputs_, cols, cols);
  }

 private:
  [[nodiscard]] MatrixView<const float> view(const AlignedBuffer<float>& values) const noexcept {
    return {values.data(), outputs_, offsets_ * kept_};
  }
  /// A correction is proportional to the weights that it was learned for, and small: off by a
  /// quarter it still leaves out less than none at all.
  [[nodiscard]] bool is_near() const noexcept {
    constexpr double k_near = 0.25;
    double distance = 0;
    double energy = 0;
    for (index_t i = 0; i < plain_.size(); ++i) {
      const double difference = double{plain_[i]} - double{corrected_[i]};
      distance += difference * difference;
      energy += double{corrected_[i]} * double{corrected_[i]};
    }
    return distance <= k_near * k_near * energy;
  }

  index_t outputs_;
  index_t offsets_;
  Layout layout_;
  index_t kept_ = 0;
  AlignedBuffer<float> plain_;
  AlignedBuffer<float> values_;
  AlignedBuffer<float> corrected_;  // the plain weights that the correction was learned for
  AlignedBuffer<float> correction_;
};

ADR_NAMESPACE_END
