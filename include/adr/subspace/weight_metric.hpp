// Weights as subspaces want them: packed offset by offset, and the metric in which errors of neuron
// vectors count by what they do to the output.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

#include "adr/algebra/matrix.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/subspace/packed_weights.hpp"

ADR_NAMESPACE_BEGIN

/// A packed copy of one weight matrix and its metric, brought up to date by what the weights hold.
/// Memory: one copy of the weights and length^2 floats. Thread-safety: none.
template <class T>
class WeightMetric {
 public:
  /// Packs the weights unless they are those packed already. Returns whether they had changed.
  /// frozen: a sample of their elements decides whether all are looked at.
  bool pack(const GemmFactor<T>& weights, const index_t* columns, Context& context,
            bool frozen = false) {
    const std::uint64_t sample = sampled_fingerprint(weights);
    if (frozen && sample_ == sample) return false;
    sample_ = sample;
    const std::uint64_t version = fingerprint(weights);
    if (packed_.size() > 0 && version == version_) return false;
    pack_weights(weights, columns, context, packed_);
    return std::exchange(version_, version) != version;
  }
  /// The next pass looks at all weights.
  void look_again() noexcept { sample_.reset(); }
  /// Packs the weights and computes their metric for neuron vectors of that length.
  void measure(const GemmFactor<T>& weights, const index_t* columns, index_t length,
               Context& context) {
    pack(weights, columns, context);
    weights_gram(packed_, length, DenseGemm<float>(), gram_);
    length_ = length;
  }

  [[nodiscard]] const AlignedBuffer<float>& packed() const noexcept { return packed_; }
  /// What was measured last; empty where it is zero or not finite, and so says nothing about which
  /// errors matter.
  [[nodiscard]] MatrixView<const float> gram() const noexcept {
    const MatrixView<const float> gram(gram_.data(), length_, length_);
    const double size = algebra::largest(gram);
    return size > 0 && std::isfinite(size) ? gram : MatrixView<const float>();
  }

 private:
  AlignedBuffer<float> packed_;
  AlignedBuffer<float> gram_;
  index_t length_ = 0;
  std::uint64_t version_ = 0;
  std::optional<std::uint64_t> sample_;
};

ADR_NAMESPACE_END
