// Weights as forward passes over tiles want them, transformed once for many passes.
#pragma once

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/convolution_passes.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// What ConvolutionPasses::forward takes for its argument `kept`. Memory: 4 times the weights for
/// kernels of 3 x 3, 2.56 for 5 x 5, nothing where every batch is direct. Thread-safety: none.
template <class T>
class KeptWeights {
 public:
  /// Errors: std::bad_alloc.
  void keep(const ConvolutionPasses<T>& passes, const MatrixView<const T>& w, int threads) {
    transformed_.resize(passes.kept_size());
    passes.keep_weights(w, transformed_.data(), threads);
  }
  void forget() noexcept { transformed_.clear(); }
  /// Null where nothing is kept.
  [[nodiscard]] const T* data() const noexcept {
    return transformed_.size() > 0 ? transformed_.data() : nullptr;
  }

 private:
  AlignedBuffer<T> transformed_;
};

}  // namespace exact
ADR_NAMESPACE_END
