// The drop-in with the operands of cblas_sgemm: either operand transposed or similar, scaled,
// added.
#pragma once

#include <string_view>

#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/nn/saved.hpp"
#include "adr/product/operands.hpp"
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

/// The sizes and orientations of a BLAS call, and its operands by what they are to the product.
struct BlasCall {
  bool trans_a;
  bool trans_b;
  index_t m;
  index_t n;
  index_t k;
  Similar similar;

  [[nodiscard]] bool by_columns() const noexcept { return similar == Similar::columns_of_b; }
  /// Rows of op(a), columns of op(b), elements of c.
  template <class T>
  [[nodiscard]] MatrixOperand<T> left(std::string_view name, T* data, index_t ld) const {
    return operand(name, data, ld, trans_a, m, k);
  }
  template <class T>
  [[nodiscard]] MatrixOperand<T> right(std::string_view name, T* data, index_t ld) const {
    return operand(name, data, ld, trans_b, k, n);
  }
  template <class T>
  [[nodiscard]] MatrixOperand<T> result(std::string_view name, T* data, index_t ld) const {
    return operand(name, data, ld, false, m, n);
  }
  /// What lies as the input, or as the weights, of the product.
  template <class T>
  [[nodiscard]] MatrixOperand<T> input(std::string_view name, T* data, index_t ld) const {
    return by_columns() ? right(name, data, ld) : left(name, data, ld);
  }
  template <class T>
  [[nodiscard]] MatrixOperand<T> weights(std::string_view name, T* data, index_t ld) const {
    return by_columns() ? left(name, data, ld) : right(name, data, ld);
  }
  [[nodiscard]] index_t outputs() const noexcept { return by_columns() ? m : n; }

 private:
  /// op(matrix) is rows x cols; by columns its transpose is what takes part.
  template <class T>
  [[nodiscard]] MatrixOperand<T> operand(std::string_view name, T* data, index_t ld, bool trans,
                                         index_t rows, index_t cols) const {
    const MatrixView<T> view(data, trans ? cols : rows, trans ? rows : cols, ld);
    require_shape(name, view, view.rows, view.cols);
    return {plain_stride(view), trans != by_columns()};
  }
};

}  // namespace detail

/// The product with the operands of cblas_sgemm, row-major.
///
/// Math: c = alpha op(a) op(b) + beta c, op(x) = x or, with trans, x^T; with beta 0, c is not read.
/// Shapes: op(a) m x k, op(b) k x n, c m x n. Units: leading dimensions in elements. similar: which
/// operand is the input; the other one is the weights, and a ReuseGemm belongs to one shape of
/// them. saved: keeps the pass for gradients that come after other passes. Errors: as reuse_gemm of
/// views. Cost: m n k multiply-adds, or less. Memory: unless alpha is 1 and beta 0, a matrix of the
/// size of c, kept in `product`. Thread-safety: distinct ReuseGemm objects and contexts. Source:
/// this library.
template <class T>
void reuse_gemm(bool trans_a, bool trans_b, index_t m, index_t n, index_t k,
                detail::NonDeduced<T> alpha, const detail::NonDeduced<T>* a, index_t lda,
                const detail::NonDeduced<T>* b, index_t ldb, detail::NonDeduced<T> beta,
                detail::NonDeduced<T>* c, index_t ldc, ReuseGemm<T>& product,
                Similar similar = Similar::rows_of_a, Saved* saved = nullptr) {
  const detail::BlasCall call{trans_a, trans_b, m, n, k, similar};
  const MatrixOperand<const T> left = call.left("a", a, lda);
  const MatrixOperand<const T> right = call.right("b", b, ldb);
  const MatrixOperand<T> result = call.result("c", c, ldc);
  require_disjoint("c", result.matrix, "a", left.matrix);
  require_disjoint("c", result.matrix, "b", right.matrix);
  if (product.plan().check_finite) {
    require_finite("a", left.matrix);
    require_finite("b", right.matrix);
  }
  const bool by_columns = call.by_columns();
  product.multiply(by_columns ? right : left, as_factor(by_columns ? left : right), {}, result,
                   {alpha, beta}, saved);
}

/// Computes the gradient of that product with respect to the weights, with the operands of
/// cblas_sgemm.
///
/// Math: with similar = rows_of_a, op(d_w) = alpha op(x)^T d_c + beta op(d_w); with columns_of_b,
/// op(d_w) = alpha d_c op(x)^T + beta op(d_w). Shapes: x lies as the similar operand of the product
/// did, d_w as the weights did, d_c as c did; trans_a, trans_b, m, n, k and similar are those of
/// the product. Units, errors, cost, thread-safety: as reuse_gemm_weight_gradient of views. Memory:
/// unless alpha is 1 and beta 0, a matrix of the size of d_w, kept in `product`. Source: Ning et
/// al., ICDE 2019; this library.
template <class T>
void reuse_gemm_weight_gradient(bool trans_a, bool trans_b, index_t m, index_t n, index_t k,
                                detail::NonDeduced<T> alpha, const detail::NonDeduced<T>* x,
                                index_t ldx, const detail::NonDeduced<T>* d_c, index_t ldc,
                                detail::NonDeduced<T> beta, detail::NonDeduced<T>* d_w, index_t ldw,
                                ReuseGemm<T>& product, Similar similar = Similar::rows_of_a,
                                Saved* saved = nullptr) {
  const detail::BlasCall call{trans_a, trans_b, m, n, k, similar};
  const MatrixOperand<const T> input = call.input("x", x, ldx);
  const MatrixOperand<const T> d_y = call.result("d_c", d_c, ldc);
  const MatrixOperand<T> d_weights = call.weights("d_w", d_w, ldw);
  require_disjoint("d_w", d_weights.matrix, "x", input.matrix);
  require_disjoint("d_w", d_weights.matrix, "d_c", d_y.matrix);
  product.require_pass(k, call.outputs(), d_y.row_count(), &input, saved);
  if (product.plan().check_finite) require_finite("d_c", d_y.matrix);
  product.gradients(input, GemmFactor<T>{}, d_y,
                    GemmResult<T>{d_weights.matrix, d_weights.transposed}, {alpha, beta},
                    MatrixOperand<T>{}, {}, saved);
}

/// Computes the gradient of that product with respect to the similar operand, with the operands of
/// cblas_sgemm.
///
/// Math: with similar = rows_of_a, op(d_x) = alpha d_c op(w)^T + beta op(d_x); with columns_of_b,
/// op(d_x) = alpha op(w)^T d_c + beta op(d_x). Shapes: d_x lies as the similar operand of the
/// product did, w as the weights did, d_c as c did; trans_a, trans_b, m, n, k and similar are those
/// of the product. Units, errors, cost, thread-safety: as reuse_gemm_input_gradient of views.
/// Memory: unless alpha is 1 and beta 0, a matrix of the size of d_x, kept in `product`. Source:
/// Ning et al., ICDE 2019; this library.
template <class T>
void reuse_gemm_input_gradient(bool trans_a, bool trans_b, index_t m, index_t n, index_t k,
                               detail::NonDeduced<T> alpha, const detail::NonDeduced<T>* d_c,
                               index_t ldc, const detail::NonDeduced<T>* w, index_t ldw,
                               detail::NonDeduced<T> beta, detail::NonDeduced<T>* d_x, index_t ldx,
                               ReuseGemm<T>& product, Similar similar = Similar::rows_of_a,
                               Saved* saved = nullptr) {
  const detail::BlasCall call{trans_a, trans_b, m, n, k, similar};
  const MatrixOperand<const T> d_y = call.result("d_c", d_c, ldc);
  const MatrixOperand<const T> weights = call.weights("w", w, ldw);
  const MatrixOperand<T> d_input = call.input("d_x", d_x, ldx);
  require_disjoint("d_x", d_input.matrix, "d_c", d_y.matrix);
  require_disjoint("d_x", d_input.matrix, "w", weights.matrix);
  product.require_pass(k, call.outputs(), d_y.row_count(), nullptr, saved);
  if (product.plan().check_finite) {
    require_finite("d_c", d_y.matrix);
    require_finite("w", weights.matrix);
  }
  // The input takes no part in its own gradient.
  const MatrixOperand<const T> x{
      MatrixView<const T>(nullptr, d_input.row_count(), d_input.col_count())};
  product.gradients(x, as_factor(weights), d_y, GemmResult<T>{}, {}, d_input, {alpha, beta}, saved);
}

ADR_NAMESPACE_END
