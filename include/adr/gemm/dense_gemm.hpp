// The dense matrix product: the library's own unless the user brings another one.
//
// Everything that multiplies dense blocks in this library goes through DenseGemm, so that the
// baseline, the fallback and the products of centroids all profit from a better GEMM.
#pragma once

#include <functional>
#include <utility>

#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/packed_gemm.hpp"

ADR_NAMESPACE_BEGIN

/// A user's own product: result = a b, or result += a b.
///
/// Shapes: a n x k, b k x m, result n x m, any of them 0. Requires of it: it may be called from
/// several threads at once, uses one thread per call, and gives the same bits for the same operands
/// where results have to repeat. Errors: what it throws is passed on.
template <class T>
using GemmFunction = std::function<void(const GemmFactor<T>& a, const GemmFactor<T>& b,
                                        Update update, const MatrixView<T>& result)>;

/// One dense product on the calling thread.
///
/// Math: result = a b or result += a b. Shapes: a n x k, b k x m, result n x m (asserted). Units:
/// strides in elements.
/// Requires: result overlaps no factor. Cost: n k m multiply-adds. Memory: that of packed_gemm,
/// kept per thread. Thread-safety: reentrant. Source: exact/packed_gemm.hpp, or the user's
/// callable.
template <class T>
class DenseGemm {
 public:
  /// Multiplies with packed_gemm.
  DenseGemm() = default;
  /// Multiplies with the given callable.
  explicit DenseGemm(GemmFunction<T> function) : function_(std::move(function)) {}

  /// Whether the user brought the product.
  [[nodiscard]] bool is_users_own() const noexcept { return static_cast<bool>(function_); }

  /// Multiplies into a result that is written as it is or transposed.
  void operator()(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                  const GemmResult<T>& result) const {
    if (result.transposed) {
      (*this)(b.transpose(), a.transpose(), update, result.matrix);
    } else {
      (*this)(a, b, update, result.matrix);
    }
  }

  /// Multiplies into a result.
  void operator()(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                  const MatrixView<T>& result) const {
    ADR_ASSERT(a.cols() == b.rows() && a.rows() == result.rows && b.cols() == result.cols,
               "DenseGemm: shapes do not match");
    if (function_) {
      function_(a, b, update, result);
    } else {
      packed_gemm(a, b, update, result);
    }
  }

 private:
  GemmFunction<T> function_;
};

ADR_NAMESPACE_END
