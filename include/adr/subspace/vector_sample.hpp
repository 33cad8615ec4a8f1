// Samples of the neuron vectors of a batch, and what stand-ins for the vectors leave out of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Squared norms ||x||^2 and ||x - decoded x||^2, measured on a sample and scaled to the batch.
struct SampledEnergy {
  double total = 0;
  double within_clusters = 0;

  /// False when vectors were too large for their squares.
  [[nodiscard]] bool is_finite() const noexcept {
    return std::isfinite(total) && std::isfinite(within_clusters);
  }
  [[nodiscard]] double relative_error() const noexcept {
    return total > 0 ? std::sqrt(within_clusters / total) : 0.0;
  }
};

/// Neighbouring vectors that a sample takes together.
inline constexpr index_t k_sample_run = 16;

/// Vectors in runs of neighbours, one run at a random place in each of equal parts of a batch:
/// evenly spaced ones would always meet the same columns of images. Keeps its memory, so that
/// sampling every batch allocates nothing in the steady state. Thread-safety: none.
class VectorSample {
 public:
  /// Chooses at most `most` of that many vectors. Errors: std::bad_alloc.
  void choose(index_t vectors, index_t most, std::uint64_t seed) {
    const index_t available = blocks_of(vectors, k_sample_run);
    const index_t count = std::min(available, most / k_sample_run);
    Random random(seed);
    runs_.clear();
    for (index_t r = 0; r < count; ++r) {
      const IndexRange part = partition(available, count, r);
      runs_.push_back((part.first + random.below(part.size())) * k_sample_run);
    }
  }

  /// The first vector of every run; the last run of a batch may be shorter than k_sample_run.
  [[nodiscard]] const std::vector<index_t>& runs() const noexcept { return runs_; }
  /// No fewer vectors than were chosen.
  [[nodiscard]] index_t most_rows() const noexcept {
    return static_cast<index_t>(runs_.size()) * k_sample_run;
  }

  /// Loads the run of vectors from `first` on as rows of padded length, the padding 0.
  /// Errors: std::bad_alloc.
  template <class Vectors>
  MatrixView<float> load(const Vectors& vectors, index_t first, float* to) {
    const index_t length = vectors.length();
    const index_t stride = simd::padded(length);
    const index_t count = std::min(k_sample_run, vectors.map().vectors() - first);
    columns_.resize(length * k_sample_run);
    vectors.load_columns(first, 0, MatrixView<float>(columns_.data(), length, count));
    const MatrixView<float> rows(to, count, length, stride);
    for (index_t i = 0; i < count; ++i) {
      for (index_t e = 0; e < length; ++e) rows(i, e) = columns_[e * count + i];
      std::fill_n(rows.row(i) + length, stride - length, 0.0F);
    }
    return rows;
  }

 private:
  std::vector<index_t> runs_;
  AlignedBuffer<float> columns_;
};

/// Loads the finite ones, of norm below 1e14, of a sample of at most `most` vectors; returns how
/// many they are. Shapes: sample rows x padded(vectors.length()), padding 0. Errors:
/// std::bad_alloc.
template <class Vectors>
index_t load_finite_sample(const Vectors& vectors, index_t most, std::uint64_t seed,
                           AlignedBuffer<float>& sample) {
  // Sums of squares over the whole sample, times the squares of weights, must stay in range.
  constexpr float k_largest_square = 1e28F;
  const index_t stride = simd::padded(vectors.length());
  VectorSample chosen;
  chosen.choose(vectors.map().vectors(), most, seed);
  sample.resize(chosen.most_rows() * stride);
  index_t rows = 0;
  for (const index_t first : chosen.runs()) {
    const MatrixView<float> run = chosen.load(vectors, first, sample.data() + rows * stride);
    for (index_t i = 0; i < run.rows; ++i) {
      if (!(simd::dot(run.row(i), run.row(i), run.cols) < k_largest_square)) continue;
      std::copy_n(run.row(i), stride, sample.data() + rows * stride);
      ++rows;
    }
  }
  return rows;
}

ADR_NAMESPACE_END
