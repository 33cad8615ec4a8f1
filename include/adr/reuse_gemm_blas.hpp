// The drop-in with the operands of cblas_sgemm: either operand transposed or similar, scaled,
// added.
#pragma once

#include <string_view>

#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/nn/operands.hpp"
#include "adr/nn/saved.hpp"
#include "adr/reuse_gemm.hpp"

ADR_NAMESPACE_BEGIN

/// Which operand's vectors resemble each other, so that their products can be reused; the other
/// operand is the weights.
enum class Similar {
  rows_of_a,     ///< rows of op(a): one input per row
  columns_of_b,  ///< columns of op(b): one input per column, as in an unfolded image (darknet,
                 ///< Caffe)
};

namespace detail {

/// The operands of a BLAS call by what they are to the product.
template <class T>
struct BlasRoles {
  MatrixView<T> view;
  bool transposed;

  /// op(matrix) is rows x cols; by_columns: of its transpose.
  static BlasRoles of(std::string_view name, T* data, index_t ld, bool trans, index_t rows,
                      index_t cols, bool by_columns) {
    const MatrixView<T> view(data, trans ? cols : rows, trans ? rows : cols, ld);
    require_shape(name, view, view.rows, view.cols);
    return {plain_stride(view), trans != by_columns};
  }
};

}  // namespace detail

/// The product with the operands of cblas_sgemm, row-major.
///
/// Math: c = alpha op(a) op(b) + beta c, op(x) = x or, with trans, x^T. Shapes: op(a) m x k, op(b)
/// k x n, c m x n. Units: leading dimensions in elements. similar: which operand is the input; the
/// other one is the weights, and a ReuseGemm belongs to one shape of them. With beta 0, c is not
/// read. Errors: as reuse_gemm. Memory: unless alpha is 1 and beta 0, a matrix of the size of c,
/// kept in `product`.
template <class T>
void reuse_gemm(bool trans_a, bool trans_b, index_t m, index_t n, index_t k,
                detail::NonDeduced<T> alpha, const detail::NonDeduced<T>* a, index_t lda,
                const detail::NonDeduced<T>* b, index_t ldb, detail::NonDeduced<T> beta,
                detail::NonDeduced<T>* c, index_t ldc, ReuseGemm<T>& product,
                Similar similar = Similar::rows_of_a, Saved* saved = nullptr) {
  const bool by_columns = similar == Similar::columns_of_b;
  using In = detail::BlasRoles<const T>;
  const In left = In::of("a", a, lda, trans_a, m, k, by_columns);
  const In right = In::of("b", b, ldb, trans_b, k, n, by_columns);
  const auto result = detail::BlasRoles<T>::of("c", c, ldc, false, m, n, by_columns);
  require_disjoint("c", result.view, "a", left.view);
  require_disjoint("c", result.view, "b", right.view);
  if (product.plan().check_finite) {
    require_finite("a", left.view);
    require_finite("b", right.view);
  }
  const In& x = by_columns ? right : left;
  const In& w = by_columns ? left : right;
  product.multiply(MatrixOperand<const T>{x.view, x.transposed},
                   GemmFactor<T>{w.view, w.transposed}, {},
                   MatrixOperand<T>{result.view, result.transposed}, {alpha, beta}, saved);
}

/// The gradient of that product with respect to the weights: d_w = alpha (...) + beta d_w, where x
/// is the similar operand of the product and d_w lies as the weights did; trans_a, trans_b, m, n, k
/// and similar are those of the product. Errors: as reuse_gemm_weight_gradient.
template <class T>
void reuse_gemm_weight_gradient(bool trans_a, bool trans_b, index_t m, index_t n, index_t k,
                                detail::NonDeduced<T> alpha, const detail::NonDeduced<T>* x,
                                index_t ldx, const detail::NonDeduced<T>* d_c, index_t ldc,
                                detail::NonDeduced<T> beta, detail::NonDeduced<T>* d_w, index_t ldw,
                                ReuseGemm<T>& product, Similar similar = Similar::rows_of_a,
                                Saved* saved = nullptr) {
  const bool by_columns = similar == Similar::columns_of_b;
  using In = detail::BlasRoles<const T>;
  const In input = by_columns ? In::of("x", x, ldx, trans_b, k, n, true)
                              : In::of("x", x, ldx, trans_a, m, k, false);
  const In gradient = In::of("d_c", d_c, ldc, false, m, n, by_columns);
  const auto result = by_columns ? detail::BlasRoles<T>::of("d_w", d_w, ldw, trans_a, m, k, true)
                                 : detail::BlasRoles<T>::of("d_w", d_w, ldw, trans_b, k, n, false);
  require_disjoint("d_w", result.view, "x", input.view);
  require_disjoint("d_w", result.view, "d_c", gradient.view);
  const MatrixOperand<const T> operand{input.view, input.transposed};
  const MatrixOperand<const T> d_y{gradient.view, gradient.transposed};
  product.require_pass(k, by_columns ? m : n, d_y.row_count(), &operand, saved);
  if (product.plan().check_finite) require_finite("d_c", gradient.view);
  product.gradients(operand, GemmFactor<T>{}, d_y, GemmResult<T>{result.view, result.transposed},
                    {alpha, beta}, MatrixOperand<T>{}, {}, saved);
}

/// The gradient of that product with respect to the similar operand: d_x = alpha (...) + beta d_x,
/// where w is the weights and d_x lies as the operand did. Errors: as reuse_gemm_input_gradient.
template <class T>
void reuse_gemm_input_gradient(bool trans_a, bool trans_b, index_t m, index_t n, index_t k,
                               detail::NonDeduced<T> alpha, const detail::NonDeduced<T>* d_c,
                               index_t ldc, const detail::NonDeduced<T>* w, index_t ldw,
                               detail::NonDeduced<T> beta, detail::NonDeduced<T>* d_x, index_t ldx,
                               ReuseGemm<T>& product, Similar similar = Similar::rows_of_a,
                               Saved* saved = nullptr) {
  const bool by_columns = similar == Similar::columns_of_b;
  using In = detail::BlasRoles<const T>;
  const In gradient = In::of("d_c", d_c, ldc, false, m, n, by_columns);
  const In weights = by_columns ? In::of("w", w, ldw, trans_a, m, k, true)
                                : In::of("w", w, ldw, trans_b, k, n, false);
  const auto result = by_columns ? detail::BlasRoles<T>::of("d_x", d_x, ldx, trans_b, k, n, true)
                                 : detail::BlasRoles<T>::of("d_x", d_x, ldx, trans_a, m, k, false);
  require_disjoint("d_x", result.view, "d_c", gradient.view);
  require_disjoint("d_x", result.view, "w", weights.view);
  const MatrixOperand<const T> d_y{gradient.view, gradient.transposed};
  product.require_pass(k, by_columns ? m : n, d_y.row_count(), nullptr, saved);
  if (product.plan().check_finite) {
    require_finite("d_c", gradient.view);
    require_finite("w", weights.view);
  }
  const MatrixOperand<T> d_input{result.view, result.transposed};
  // The input takes no part in its own gradient.
  const MatrixOperand<const T> x{
      MatrixView<const T>(nullptr, d_input.row_count(), d_input.col_count())};
  product.gradients(x, GemmFactor<T>{weights.view, weights.transposed}, d_y, GemmResult<T>{}, {},
                    d_input, {alpha, beta}, saved);
}

ADR_NAMESPACE_END
