// DenseGemm on any CBLAS (OpenBLAS, BLIS, MKL, ...). Not part of adr.hpp: include it where a CBLAS
// is linked. Set the BLAS to one thread (OPENBLAS_NUM_THREADS=1); this library starts its own.
#pragma once

#include <cblas.h>

#include <limits>
#include <type_traits>

#include "adr/core/errors.hpp"
#include "adr/gemm/dense_gemm.hpp"

ADR_NAMESPACE_BEGIN

/// Returns a DenseGemm that calls cblas_sgemm or cblas_dgemm.
///
/// Math, shapes, units: those of DenseGemm. T: float or double. Requires: a BLAS of one thread,
/// because this library calls it from threads of its own. Errors: std::invalid_argument, when it is
/// run, for a size or stride beyond int. Cost, thread-safety, determinism: those of the BLAS.
/// Source: the BLAS.
template <class T>
DenseGemm<T> cblas_gemm() {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  return DenseGemm<T>([](const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                         const MatrixView<T>& result) {
    if (result.rows == 0 || result.cols == 0) return;
    for (const index_t size : {a.rows(), a.cols(), b.cols(), a.matrix.row_stride,
                               b.matrix.row_stride, result.row_stride}) {
      detail::require(size <= std::numeric_limits<int>::max(),
                      "cblas_gemm: sizes and strides must be at most ",
                      std::numeric_limits<int>::max(), ", got ", size);
    }
    const auto as_int = [](index_t value) { return static_cast<int>(value); };
    const auto order = [](const GemmFactor<T>& f) {
      return f.transposed ? CblasTrans : CblasNoTrans;
    };
    const auto call = [&](auto gemm) {
      gemm(CblasRowMajor, order(a), order(b), as_int(a.rows()), as_int(b.cols()), as_int(a.cols()),
           T(1), a.matrix.data, as_int(a.matrix.row_stride), b.matrix.data,
           as_int(b.matrix.row_stride), update == Update::accumulate ? T(1) : T(0), result.data,
           as_int(result.row_stride));
    };
    if constexpr (std::is_same_v<T, float>) {
      call(cblas_sgemm);
    } else {
      call(cblas_dgemm);
    }
  });
}

ADR_NAMESPACE_END
