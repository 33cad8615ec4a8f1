// The drop-in: functions that take the place of a matrix product and its gradients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/fingerprint.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/nn/blend.hpp"
#include "adr/nn/layer_state.hpp"
#include "adr/nn/saved.hpp"
#include "adr/nn/tuned_layer.hpp"
#include "adr/options.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// What reuse_gemm keeps between calls, for one weight matrix: options, what was learned, the
/// report.
///
/// `ReuseGemm<float> product(options);` The first product fixes the shape of the weights; the
/// number of rows may change from call to call. T: float or double. Errors: std::invalid_argument
/// from the constructors for an option or a plan out of range; from a product, for weights of
/// another shape than the first ones had. Memory: what was learned, a copy of the weights where a
/// method needs one, scratch in the context. Determinism: same input, options, instruction set:
/// same bits at any number of threads, unless an automatic setting measures. Thread-safety: none;
/// one object per thread of control. Source: this library.
template <class T = float>
class ReuseGemm : public TunedLayer<MatrixDomain<T>> {
  using Base = TunedLayer<MatrixDomain<T>>;

 public:
  /// Runs on one thread with scratch of its own.
  explicit ReuseGemm(const Options& options = {}) : Base(options, Base::Parts::all(), nullptr) {}
  /// Runs with threads and scratch of the given context, which must outlive this object.
  ReuseGemm(const Options& options, Context& context)
      : Base(options, Base::Parts::all(), &context) {}
  /// One setting alone, whose method is all that is compiled, on one thread.
  template <class Chosen, class = checks::IfSetting<Chosen>>
  explicit ReuseGemm(const Chosen& setting)
      : Base(Options::with(setting), Base::Parts::template of<Chosen>(), nullptr) {}
  /// The same with threads and scratch of the given context.
  template <class Chosen, class = checks::IfSetting<Chosen>>
  ReuseGemm(const Chosen& setting, Context& context)
      : Base(Options::with(setting), Base::Parts::template of<Chosen>(), &context) {}
  /// Runs a plan on one thread with scratch of its own, for those who measure plans.
  explicit ReuseGemm(const Plan& plan) : Base(plan, Base::Parts::all(), nullptr) {}
  /// Runs a plan with threads and scratch of the given context, which must outlive this object.
  ReuseGemm(const Plan& plan, Context& context) : Base(plan, Base::Parts::all(), &context) {}

  /// Bytes of scratch for a product and its gradients on that many rows, at most: scratch for
  /// leaving out zeros is counted whether the data has any or not. With reuse the scratch depends
  /// on the clusters found, and this is what the last product needed. 0 before the first product.
  [[nodiscard]] std::size_t workspace_bytes(index_t rows) const {
    if (!this->has_products()) return 0;
    return this->product().workspace_bytes(row_map(rows), true, this->threads());
  }
  /// The sizes of the last product; empty before the first.
  [[nodiscard]] LayerShape layer_shape() const override {
    if (!this->has_products()) return {};
    LayerShape shape = this->product().layer_shape();
    shape.image_outputs = shape.outputs;
    return shape;
  }
  /// The clusters of the last product, slice by slice; without slices where it had none. Valid
  /// until the next product.
  [[nodiscard]] const Clustering<T>& clustering() const noexcept {
    static const Clustering<T> none;
    return this->has_products() ? this->product().clustering() : none;
  }

  /// Writes what was learned and counted to a versioned, checked file: with it, a product of the
  /// same shape and plan goes on to the same bits as this one. What an automatic setting has
  /// measured is not in it: its file is for a product with the plan that it had chosen. Errors:
  /// std::invalid_argument before the first product; std::runtime_error when something learned is
  /// not finite or the file cannot be written, and then what was there before is there still.
  void save_state(const std::string& path) const {
    detail::require(this->has_products(), "save_state: nothing has been multiplied yet");
    save_products(this->products().data(), 1, path);
  }
  /// Reads what a product of the same shape and plan has saved. A frozen one stays frozen, and
  /// becomes so where the saved one was. Errors: std::invalid_argument before the first product,
  /// whose shape the file must have; std::runtime_error when the file cannot be read, is damaged,
  /// or is of another shape or setting: nothing has changed then.
  void load_state(const std::string& path) {
    detail::require(this->has_products(), "load_state: nothing has been multiplied yet");
    load_products(this->products().data(), 1, path);
  }

  /// What reuse_gemm calls: y = alpha (x w + bias) + beta y. Requires: checked operands.
  void multiply(const MatrixOperand<const T>& x, const GemmFactor<T>& w,
                const VectorView<const T>& bias, const MatrixOperand<T>& y,
                const detail::Blend<T>& blend, Saved* saved) {
    fix_shape(w.rows(), w.cols());
    this->begin_forward();
    detail::blended(blend, y.matrix, buffer_, [&](const MatrixView<T>& target) {
      this->product().forward(x, w, bias, MatrixOperand<T>{target, y.transposed}, this->context());
    });
    this->end_forward([&] { return input_of(x); }, saved);
  }

  /// What gradients call first: throws std::invalid_argument unless gradients of a product with
  /// that many rows can be formed: the shape is that of the products before, and there was a
  /// forward pass where a method needs one. x: null where it is not read.
  void require_pass(index_t columns, index_t outputs, index_t rows, const MatrixOperand<const T>* x,
                    Saved* saved) {
    detail::require(this->has_products() || this->plan().method == Method::exact,
                    "a gradient uses the clusters of the last forward pass; run forward first");
    fix_shape(columns, outputs);
    this->with_pass(saved, [&] { this->product().require_clusters_of(rows); });
    if (x != nullptr) this->require_input([&] { return input_of(*x); }, saved);
  }

  /// What gradients call: d_w = alpha x^T d_y + beta d_w, unless empty, and d_x = alpha d_y w^T +
  /// beta d_x, unless empty. Requires: checked operands, require_pass.
  void gradients(const MatrixOperand<const T>& x, const GemmFactor<T>& w,
                 const MatrixOperand<const T>& d_y, const GemmResult<T>& d_w,
                 const detail::Blend<T>& blend_w, const MatrixOperand<T>& d_x,
                 const detail::Blend<T>& blend_x, Saved* saved) {
    this->with_pass(saved, [&] {
      detail::blended(blend_w, d_w.matrix, buffer_, [&](const MatrixView<T>& w_target) {
        detail::blended(blend_x, d_x.matrix, input_buffer_, [&](const MatrixView<T>& x_target) {
          this->product().backward(x, w, d_y, GemmResult<T>{w_target, d_w.transposed},
                                   MatrixOperand<T>{x_target, d_x.transposed}, nullptr,
                                   this->context());
        });
      });
    });
    this->end_backward();
  }

 protected:
  /// The shape of the weights, which the first product decides. Errors: std::invalid_argument when
  /// it is another one.
  void fix_shape(index_t columns, index_t outputs) {
    if (!this->has_products()) this->make_products(product_shape(columns, outputs), 1);
    const auto& product = this->product();
    detail::require(product.columns() == columns && product.outputs() == outputs,
                    "a ReuseGemm belongs to one weight matrix: this one has ", product.columns(),
                    " x ", product.outputs(), ", the call has ", columns, " x ", outputs);
  }

 private:
  [[nodiscard]] ProductShape shape_for(const Plan& /*plan*/) const override {
    return product_shape(this->product().columns(), this->product().outputs());
  }
  static std::uint64_t input_of(const MatrixOperand<const T>& x) noexcept {
    return sampled_fingerprint(x.matrix);
  }

  AlignedBuffer<T> buffer_;
  AlignedBuffer<T> input_buffer_;
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
/// Math: c = a b; what approximates, and by how much, follows from the options of `product`.
/// Shapes: a N x K (the input, whose rows resemble each other), b K x M (the weights), c N x M; any
/// of them may have no rows. Units: strides in elements, that of a single row any. saved: keeps the
/// pass for gradients that come after other passes. Errors: std::invalid_argument for wrong shapes,
/// strides below the row length, null pointers, a c that overlaps a or b, weights of another shape
/// than the first ones of `product`, or non-finite elements with check_finite; std::overflow_error
/// for sizes whose product does not fit index_t; nothing is written then. Cost: N K M
/// multiply-adds, or less. Memory: scratch of the context, kept from call to call. Thread-safety:
/// distinct ReuseGemm objects and contexts. Source: Ning et al., ICDE 2019; this library.
template <class T>
void reuse_gemm(const detail::NonDeduced<MatrixView<const T>>& a,
                const detail::NonDeduced<MatrixView<const T>>& b,
                const detail::NonDeduced<MatrixView<T>>& c, ReuseGemm<T>& product,
                Saved* saved = nullptr) {
  require_shape("a", a, a.rows, a.cols);
  require_shape("b", b, a.cols, b.cols);
  require_shape("c", c, a.rows, b.cols);
  require_disjoint("c", c, "a", a);
  require_disjoint("c", c, "b", b);
  if (product.plan().check_finite) {
    require_finite("a", a);
    require_finite("b", b);
  }
  product.multiply(MatrixOperand<const T>{plain_stride(a)}, as_is(plain_stride(b)), {},
                   MatrixOperand<T>{plain_stride(c)}, {}, saved);
}

/// Computes the gradient of the last reuse_gemm with respect to b, or of a saved one.
///
/// Math: d_b = a^T d_c; over rounded values with gradient_rounding, else from clusters with
/// Published unless exact_gradients, else exact. Shapes: a N x K, the same as in reuse_gemm, d_c N
/// x M, d_b K x M. Units: strides in elements. saved: the pass that is meant; null: the last one.
/// Errors: those of reuse_gemm, and std::invalid_argument, unless the method is exact, where no
/// pass came before, or for another a or another number of rows than the pass had; for a `saved`
/// that no pass of `product` has filled. check_finite looks at d_c. Cost: N K M multiply-adds, or
/// less. Thread-safety: as reuse_gemm. Source: Ning et al., ICDE 2019; this library.
template <class T>
void reuse_gemm_weight_gradient(const detail::NonDeduced<MatrixView<const T>>& a,
                                const detail::NonDeduced<MatrixView<const T>>& d_c,
                                const detail::NonDeduced<MatrixView<T>>& d_b, ReuseGemm<T>& product,
                                Saved* saved = nullptr) {
  require_shape("a", a, a.rows, a.cols);
  require_shape("d_c", d_c, a.rows, d_c.cols);
  require_shape("d_b", d_b, a.cols, d_c.cols);
  require_disjoint("d_b", d_b, "a", a);
  require_disjoint("d_b", d_b, "d_c", d_c);
  const MatrixOperand<const T> x{plain_stride(a)};
  product.require_pass(a.cols, d_c.cols, d_c.rows, &x, saved);
  if (product.plan().check_finite) require_finite("d_c", d_c);
  // The weights take no part in their own gradient.
  product.gradients(x, GemmFactor<T>{}, MatrixOperand<const T>{plain_stride(d_c)},
                    GemmResult<T>{plain_stride(d_b), false}, {}, MatrixOperand<T>{}, {}, saved);
}

/// Computes the gradient of the last reuse_gemm with respect to a, or of a saved one.
///
/// Math: d_a = d_c b^T; over rounded values with gradient_rounding, else the means of clusters with
/// Published unless exact_gradients, else exact. Shapes: d_c N x M, b K x M, d_a N x K. Units:
/// strides in elements. saved: the pass that is meant; null: the last one. Errors: as
/// reuse_gemm_weight_gradient, but for a, which is not read. check_finite looks at d_c and b. Cost:
/// N K M multiply-adds, or less. Thread-safety: as reuse_gemm. Source: Ning et al., ICDE 2019; this
/// library.
template <class T>
void reuse_gemm_input_gradient(const detail::NonDeduced<MatrixView<const T>>& d_c,
                               const detail::NonDeduced<MatrixView<const T>>& b,
                               const detail::NonDeduced<MatrixView<T>>& d_a, ReuseGemm<T>& product,
                               Saved* saved = nullptr) {
  require_shape("b", b, b.rows, b.cols);
  require_shape("d_c", d_c, d_c.rows, b.cols);
  require_shape("d_a", d_a, d_c.rows, b.rows);
  require_disjoint("d_a", d_a, "d_c", d_c);
  require_disjoint("d_a", d_a, "b", b);
  product.require_pass(b.rows, b.cols, d_c.rows, nullptr, saved);
  if (product.plan().check_finite) {
    require_finite("d_c", d_c);
    require_finite("b", b);
  }
  // The input takes no part in its own gradient.
  const MatrixOperand<const T> x{MatrixView<const T>(nullptr, d_a.rows, d_a.cols)};
  product.gradients(x, as_is(plain_stride(b)), MatrixOperand<const T>{plain_stride(d_c)},
                    GemmResult<T>{}, {}, MatrixOperand<T>{plain_stride(d_a)}, {}, saved);
}

ADR_NAMESPACE_END
