// oneDNN's product of matrices as a DenseGemm. Optional: adr.hpp does not include it; include it
// where oneDNN is linked.
#pragma once

#include <dnnl.h>

#include <dnnl.hpp>

#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/onednn_threads.hpp"

ADR_NAMESPACE_BEGIN

/// Returns a DenseGemm that calls dnnl_sgemm with one thread per call (with ADR_OPENMP; else oneDNN
/// decides).
///
/// Math, shapes, units: those of DenseGemm. Errors: dnnl::error, when it is run. Cost,
/// thread-safety, determinism: those of oneDNN. Source: oneDNN.
inline DenseGemm<float> onednn_gemm() {
  return DenseGemm<float>([](const GemmFactor<float>& a, const GemmFactor<float>& b, Update update,
                             const MatrixView<float>& result) {
    if (result.rows == 0 || result.cols == 0) return;
    const detail::OneDnnThreads limit(1);
    const float beta = update == Update::accumulate ? 1.0f : 0.0f;
    const auto order = [](const GemmFactor<float>& f) { return f.transposed ? 'T' : 'N'; };
    dnnl::error::wrap_c_api(dnnl_sgemm(order(a), order(b), a.rows(), b.cols(), a.cols(), 1.0f,
                                       a.matrix.data, a.matrix.row_stride, b.matrix.data,
                                       b.matrix.row_stride, beta, result.data, result.row_stride),
                            "oneDNN could not multiply");
  });
}

ADR_NAMESPACE_END
