// The input gradient from clusters of the output gradient itself: a look-up product of d_y with the
// flipped kernel.
#pragma once

#include <cstddef>
#include <utility>

#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/codebook_product.hpp"
#include "adr/nn/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// d_x as the product of the codebook-encoded pixels of d_y with the flipped weights. Biased, as
/// every clustered product is: the error is that of the codebooks of d_y. Thread-safety: none.
/// Source: this library.
template <class T>
class OwnClusterGradient {
 public:
  /// forward: the vectors of the input, by pixels; flipped: the vectors of d_y.
  OwnClusterGradient(VectorShape forward, VectorShape flipped, const ReuseConfig& config)
      : forward_(std::move(forward)),
        flipped_(std::move(flipped)),
        product_(flipped_, forward_.length, config) {}

  /// The next gradient has its codebooks fitted anew.
  void clear() noexcept { product_.clear(); }
  /// See ProductState.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    CodebookProduct<T>::exchange(archive, self.product_);
  }
  /// Of the last `compute`.
  [[nodiscard]] double multiply_adds() const noexcept { return stats_.forward.multiply_adds_done; }
  [[nodiscard]] std::size_t workspace_bytes(int thread_count) const {
    return product_.forward_workspace_bytes(VectorMap(), thread_count);
  }

  /// Writes d_input. Returns false, and writes nothing, when d_y is not finite. Shapes: d_output
  /// the flipped vectors, weights K x M, d_input pixels of K / offsets channels.
  template <class Vectors>
  bool compute(const Vectors& d_output, const GemmFactor<T>& weights, const PixelView<T>& d_input,
               Context& context, StageTimes* times) {
    flip(weights);
    const MatrixView<const T> flipped(flipped_weights_.data(), forward_.length,
                                      forward_.offsets * flipped_.length);
    return product_.forward(d_output, transposed(flipped), flipped_.columns.data(), {}, d_input,
                            DenseGemm<T>(), context, stats_, times);
  }

 private:
  /// Row c of the flipped weights has what input channel c receives from every output and offset:
  /// the offsets run backwards.
  void flip(const GemmFactor<T>& weights) {
    const index_t offsets = forward_.offsets;
    const index_t channels = forward_.length;
    const index_t outputs = weights.cols();
    flipped_weights_.resize(checked_product("flipped weights", channels, offsets, outputs));
    for (index_t o = 0; o < offsets; ++o) {
      for (index_t c = 0; c < channels; ++c) {
        const index_t row =
            forward_.columns[static_cast<std::size_t>((offsets - 1 - o) * channels + c)];
        T* to = flipped_weights_.data() + c * offsets * outputs;
        for (index_t m = 0; m < outputs; ++m) {
          const index_t column = flipped_.columns[static_cast<std::size_t>(o * outputs + m)];
          to[column] = weights.transposed ? weights.matrix(m, row) : weights.matrix(row, m);
        }
      }
    }
  }

  VectorShape forward_;
  VectorShape flipped_;
  CodebookProduct<T> product_;
  ReuseStats stats_;
  AlignedBuffer<T> flipped_weights_;  // [input channels x (offsets * outputs)]
};

ADR_NAMESPACE_END
