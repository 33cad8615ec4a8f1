// The drop-in: three functions that take the place of a matrix product and its gradients.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/core/context.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/layer_product.hpp"

ADR_NAMESPACE_BEGIN

/// What reuse_gemm keeps between calls, for one weight matrix: setting, hyperplanes, clusters,
/// caches.
///
/// `ReuseGemm reuse(config);` serves float, `ReuseGemm<double>` double. The first product fixes the
/// shape of the weights. Errors: std::invalid_argument for a config out of range. Memory: clusters
/// of the last product (ids of N x K/L integers, centroids of r_c N K elements) and scratch.
/// Thread-safety: none; one object per thread of control. Source: this library.
template <class T = float>
class ReuseGemm {
 public:
  /// Runs on one thread with scratch of its own.
  explicit ReuseGemm(const ReuseConfig& config) : ReuseGemm(config, std::make_unique<Context>()) {}
  /// Runs with threads and scratch of the given context, which must outlive this object.
  ReuseGemm(const ReuseConfig& config, Context& context) : config_(config), context_(&context) {
    const std::string problem = config.validate(std::numeric_limits<index_t>::max());
    detail::require(problem.empty(), "ReuseConfig: ", problem);
  }

  [[nodiscard]] const ReuseConfig& config() const noexcept { return config_; }
  /// The statistics of the last product and the gradients after it; empty before the first product.
  [[nodiscard]] const ReuseStats& stats() const noexcept {
    return product_ ? product_->stats() : no_stats_;
  }
  [[nodiscard]] Context& context() noexcept { return *context_; }

  void set_dense_gemm(const DenseGemm<T>& gemm) {
    gemm_ = gemm;
    if (product_) product_->set_dense_gemm(gemm);
  }
  /// Forgets what earlier products left behind; see ReuseConv2d.
  void clear_cache() {
    if (product_) product_->clear_cache();
  }
  /// Ends learning, and goes on; see ReuseConv2d. Errors: std::invalid_argument before the first
  /// product.
  void freeze() {
    detail::require(product_.has_value(), "freeze: nothing has been multiplied yet");
    product_->freeze();
  }
  void unfreeze() noexcept {
    if (product_) product_->unfreeze();
  }

  /// Bytes of scratch for a product and its gradients on that many rows; with reuse the scratch
  /// depends on the clusters found, and this is what the last product needed. 0 before the first
  /// product.
  [[nodiscard]] std::size_t workspace_bytes(index_t rows) const {
    if (!product_) return 0;
    return product_->workspace_bytes(row_map(rows), true, context_->threads());
  }

  /// The product for weights of that shape; the first call decides it.
  /// Errors: std::invalid_argument when the shape is another one, or the config does not fit it.
  LayerProduct<T>& product(index_t columns, index_t outputs) {
    if (!product_) {
      product_.emplace(product_shape(columns, outputs), config_);
      product_->set_dense_gemm(gemm_);
    }
    detail::require(product_->columns() == columns && product_->outputs() == outputs,
                    "a ReuseGemm belongs to one weight matrix: this one has ", product_->columns(),
                    " x ", product_->outputs(), ", the call has ", columns, " x ", outputs);
    return *product_;
  }

  /// The product whose gradients are wanted for that many rows. Errors: std::invalid_argument as
  /// `product`, and when the last product had other rows or there was none; a refused call does not
  /// decide the shape of the weights.
  LayerProduct<T>& last_product(index_t columns, index_t outputs, index_t rows) {
    detail::require(product_ || config_.method == Method::dense,
                    "a gradient uses the clusters of the last forward pass; run forward first");
    product(columns, outputs).require_clusters_of(rows);
    return *product_;
  }

 private:
  ReuseGemm(const ReuseConfig& config, std::unique_ptr<Context> context)
      : ReuseGemm(config, *context) {
    own_context_ = std::move(context);
  }

  ReuseConfig config_;
  std::unique_ptr<Context> own_context_;
  Context* context_;
  DenseGemm<T> gemm_;
  std::optional<LayerProduct<T>> product_;
  ReuseStats no_stats_;
};

namespace detail {

/// Keeps a parameter from taking part in deduction, so that a MatrixView<T> may become a view of
/// const.
template <class T>
struct NonDeducedType {
  using type = T;
};
template <class T>
using NonDeduced = typename NonDeducedType<T>::type;

}  // namespace detail

/// Multiplies two matrices, reusing products among similar rows of the first.
///
/// Math: c = a b, or with clusters c[n,:] = sum over slices s of (C_s b_s)[id_s(n),:].
/// Shapes: a N x K (the input, clustered), b K x M (the weights), c N x M. Units: strides in
/// elements, that of a single row any. Errors: std::invalid_argument for wrong shapes, strides
/// below the row length, null pointers, a c that overlaps a or b, a sub_vector_length above K, or
/// non-finite elements with check_finite; nothing is written then. Cost: dense N K M; with reuse N
/// K H + r_c N K M + N M K/L multiply-adds. Thread-safety: distinct ReuseGemm objects and contexts.
/// Source: Ning et al., ICDE 2019.
template <class T>
void reuse_gemm(const detail::NonDeduced<MatrixView<const T>>& a,
                const detail::NonDeduced<MatrixView<const T>>& b,
                const detail::NonDeduced<MatrixView<T>>& c, ReuseGemm<T>& reuse) {
  require_shape("a", a, a.rows, a.cols);
  require_shape("b", b, a.cols, b.cols);
  require_shape("c", c, a.rows, b.cols);
  require_disjoint("c", c, "a", a);
  require_disjoint("c", c, "b", b);
  if (reuse.config().check_finite) {
    require_finite("a", a);
    require_finite("b", b);
  }
  reuse.product(a.cols, b.cols)
      .forward(MatrixOperand<const T>{plain_stride(a)}, as_is(plain_stride(b)),
               VectorView<const T>(), MatrixOperand<T>{plain_stride(c)}, reuse.context());
}

/// Computes the gradient of the last reuse_gemm with respect to b.
///
/// Math: d_b = a^T d_c, or with clusters d_b_s = C_s^T D_s, D_s the sums of d_c per cluster.
/// Shapes: a N x K, the same as in reuse_gemm (not read by gradients from clusters), d_c N x M, d_b
/// K x M. Errors: std::invalid_argument as reuse_gemm, and when d_c has other rows than the last
/// product. Cost: dense N K M; with reuse N M K/L + r_c N K M multiply-adds. Source: ICDE 2019.
template <class T>
void reuse_gemm_weight_gradient(const detail::NonDeduced<MatrixView<const T>>& a,
                                const detail::NonDeduced<MatrixView<const T>>& d_c,
                                const detail::NonDeduced<MatrixView<T>>& d_b, ReuseGemm<T>& reuse) {
  require_shape("a", a, a.rows, a.cols);
  require_shape("d_c", d_c, a.rows, d_c.cols);
  require_shape("d_b", d_b, a.cols, d_c.cols);
  require_disjoint("d_b", d_b, "a", a);
  require_disjoint("d_b", d_b, "d_c", d_c);
  LayerProduct<T>& product = reuse.last_product(a.cols, d_c.cols, d_c.rows);
  if (reuse.config().check_finite) require_finite("d_c", d_c);
  // The weights take no part in their own gradient.
  const GemmFactor<T> no_weights{};
  product.backward(MatrixOperand<const T>{plain_stride(a)}, no_weights,
                   MatrixOperand<const T>{plain_stride(d_c)},
                   GemmResult<T>{plain_stride(d_b), false}, NoOperand{}, reuse.context());
}

/// Computes the gradient of the last reuse_gemm with respect to a.
///
/// Math: d_a = d_c b^T, or with clusters d_a[n, s] = ((D_s / count) b_s^T)[id_s(n),:] (the
/// published cluster means; InputGradient::exact asks for the dense product). Shapes: d_c N x M, b
/// K x M, d_a N x K. Errors and cost: as reuse_gemm_weight_gradient, plus N K to write. Source:
/// ICDE 2019.
template <class T>
void reuse_gemm_input_gradient(const detail::NonDeduced<MatrixView<const T>>& d_c,
                               const detail::NonDeduced<MatrixView<const T>>& b,
                               const detail::NonDeduced<MatrixView<T>>& d_a, ReuseGemm<T>& reuse) {
  require_shape("b", b, b.rows, b.cols);
  require_shape("d_c", d_c, d_c.rows, b.cols);
  require_shape("d_a", d_a, d_c.rows, b.rows);
  require_disjoint("d_a", d_a, "d_c", d_c);
  require_disjoint("d_a", d_a, "b", b);
  LayerProduct<T>& product = reuse.last_product(b.rows, b.cols, d_c.rows);
  if (reuse.config().check_finite) {
    require_finite("d_c", d_c);
    require_finite("b", b);
  }
  const MatrixOperand<T> d_input{plain_stride(d_a)};
  product.backward(d_input, as_is(plain_stride(b)), MatrixOperand<const T>{plain_stride(d_c)},
                   GemmResult<T>{}, d_input, reuse.context());
}

ADR_NAMESPACE_END
