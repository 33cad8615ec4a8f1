// Weights in floats, packed offset by offset, and the metric that they put on neuron vectors.
#pragma once

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"

ADR_NAMESPACE_BEGIN

/// Weights as one row per output and offset, which is what rotating them wants:
/// packed[(m * offsets + o) * length + e] = weights(columns[o * length + e], m).
template <class T>
void pack_weights(const GemmFactor<T>& weights, const index_t* columns, Context& context,
                  AlignedBuffer<float>& packed) {
  const index_t rows = weights.rows();
  const index_t outputs = weights.cols();
  packed.resize(checked_product("packed weights", outputs, rows));
  const index_t step = weights.transposed ? 1 : weights.matrix.row_stride;
  parallel_for(outputs, context.threads(), [&](index_t m, int) {
    const T* from = weights.matrix.data + (weights.transposed ? m * weights.matrix.row_stride : m);
    float* to = packed.data() + m * rows;
    for (index_t k = 0; k < rows; ++k) to[k] = static_cast<float>(from[columns[k] * step]);
  });
}

/// The metric in which an error of a neuron vector counts by what it does to the output:
/// gram = sum over offsets of W_o W_o^T, length x length, of packed weights.
inline void weights_gram(const AlignedBuffer<float>& packed, index_t length,
                         const DenseGemm<float>& gemm, AlignedBuffer<float>& gram) {
  gram.resize(length * length);
  const MatrixView<const float> rows(packed.data(), packed.size() / length, length);
  gemm(transposed(rows), as_is(rows), Update::replace,
       MatrixView<float>(gram.data(), length, length));
}

ADR_NAMESPACE_END
