// A fully connected layer whose products are reused.
#pragma once

#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/gradients.hpp"
#include "adr/gradients/bias_gradient.hpp"
#include "adr/nn/operand_checks.hpp"
#include "adr/nn/saved.hpp"
#include "adr/options.hpp"
#include "adr/product/operands.hpp"
#include "adr/reuse_gemm.hpp"

ADR_NAMESPACE_BEGIN

/// A linear map with reuse: y = x w^T + bias, and its gradients. A ReuseGemm of fixed shape with a
/// bias.
///
/// Shapes: x N x in_features, w out_features x in_features, bias out_features or empty, y N x
/// out_features; any N. Units: strides in elements. The layer owns no weights. Errors:
/// std::invalid_argument from the constructors for an option or a plan out of range; from forward
/// and backward for wrong shapes, strides, null pointers and overlapping memory,
/// std::overflow_error for sizes that do not fit index_t, before anything is written. Memory,
/// determinism, thread-safety: as ReuseGemm. Source: Ning et al., ICDE 2019; this library.
template <class T = float>
class ReuseLinear final : public ReuseGemm<T> {
 public:
  /// Where the gradients of this layer go.
  using Gradients = adr::Gradients<MatrixView<T>, MatrixView<T>, VectorView<T>>;

  /// Runs with threads and scratch of the given context, which must outlive the layer.
  ReuseLinear(index_t in_features, index_t out_features, const Options& options, Context& context)
      : ReuseLinear(in_features, out_features, ReuseGemm<T>(options, context)) {}
  /// Runs on one thread with scratch of its own.
  ReuseLinear(index_t in_features, index_t out_features, const Options& options = {})
      : ReuseLinear(in_features, out_features, ReuseGemm<T>(options)) {}
  /// One setting alone, whose method is all that is compiled, with a context as above.
  template <class Chosen, class = checks::IfSetting<Chosen>>
  ReuseLinear(index_t in_features, index_t out_features, const Chosen& setting, Context& context)
      : ReuseLinear(in_features, out_features, ReuseGemm<T>(setting, context)) {}
  /// The same on one thread.
  template <class Chosen, class = checks::IfSetting<Chosen>>
  ReuseLinear(index_t in_features, index_t out_features, const Chosen& setting)
      : ReuseLinear(in_features, out_features, ReuseGemm<T>(setting)) {}
  /// Runs a plan with threads and scratch of the given context, for those who measure plans.
  ReuseLinear(index_t in_features, index_t out_features, const Plan& plan, Context& context)
      : ReuseLinear(in_features, out_features, ReuseGemm<T>(plan, context)) {}
  /// Runs a plan on one thread with scratch of its own.
  ReuseLinear(index_t in_features, index_t out_features, const Plan& plan)
      : ReuseLinear(in_features, out_features, ReuseGemm<T>(plan)) {}

  /// K, the elements of an input row.
  [[nodiscard]] index_t in_features() const noexcept { return this->product().columns(); }
  /// M, the elements of an output row.
  [[nodiscard]] index_t out_features() const noexcept { return this->product().outputs(); }

  /// Computes y = x w^T + bias.
  ///
  /// Shapes, units, errors: those of the class; std::invalid_argument, too, for non-finite elements
  /// with check_finite. Cost: N K M multiply-adds, or less, with K = in_features, M = out_features.
  void forward(const MatrixView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const MatrixView<T>& y) {
    forward(x, w, bias, y, nullptr);
  }
  /// The same; saved keeps the pass for gradients that come after other passes.
  void forward(const MatrixView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const MatrixView<T>& y, Saved& saved) {
    forward(x, w, bias, y, &saved);
  }

  /// Computes the gradients of the last forward pass, which must have had this x.
  ///
  /// Math: d_w = d_y^T x, d_bias = column sums of d_y, d_x = d_y w; in which form, the report says.
  /// Empty views are not computed. Errors: as forward, and std::invalid_argument, unless the method
  /// is exact, where no pass came before, for another number of rows, or, where d_w is wanted,
  /// another x than the pass had. Cost: N K M multiply-adds for d_w and for d_x, or less. Memory:
  /// gradients that are added to what is there take a copy of their size.
  void backward(const MatrixView<const T>& x, const MatrixView<const T>& w,
                const MatrixView<const T>& d_y, const Gradients& gradients) {
    backward(x, w, d_y, gradients, nullptr);
  }
  /// The same of a saved pass. Errors: std::invalid_argument, too, for a `saved` that no forward
  /// pass of this layer has filled.
  void backward(const MatrixView<const T>& x, const MatrixView<const T>& w,
                const MatrixView<const T>& d_y, const Gradients& gradients, Saved& saved) {
    backward(x, w, d_y, gradients, &saved);
  }

 private:
  ReuseLinear(index_t in_features, index_t out_features, ReuseGemm<T>&& product)
      : ReuseGemm<T>(std::move(product)) {
    this->fix_shape(in_features, out_features);
  }

  void forward(const MatrixView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const MatrixView<T>& y, Saved* saved) {
    require_shape("x", x, x.rows, in_features());
    require_shape("w", w, out_features(), in_features());
    if (!bias.empty()) require_size("bias", bias, out_features());
    require_shape("y", y, x.rows, out_features());
    require_disjoint_output(x, w, bias, y);
    if (this->plan().check_finite) require_finite_operands(x, w, bias);
    this->multiply(MatrixOperand<const T>{plain_stride(x)}, transposed(plain_stride(w)), bias,
                   MatrixOperand<T>{plain_stride(y)}, {}, saved);
  }

  void backward(const MatrixView<const T>& x, const MatrixView<const T>& w,
                const MatrixView<const T>& d_y, const Gradients& gradients, Saved* saved) {
    const auto& [d_x, d_w, d_bias, add_to_d_x, add_to_d_w, add_to_d_bias] = gradients;
    require_shape("x", x, x.rows, in_features());
    require_shape("w", w, out_features(), in_features());
    require_shape("d_y", d_y, x.rows, out_features());
    if (d_x.data != nullptr) require_shape("d_x", d_x, x.rows, in_features());
    if (d_w.data != nullptr) require_shape("d_w", d_w, out_features(), in_features());
    if (!d_bias.empty()) require_size("d_bias", d_bias, out_features());
    require_disjoint_gradients(x, w, d_y, d_x, d_w, d_bias);
    const MatrixOperand<const T> input{plain_stride(x)};
    this->require_pass(in_features(), out_features(), d_y.rows,
                       d_w.data != nullptr ? &input : nullptr, saved);
    if (this->plan().check_finite) {
      require_finite("w", w);
      require_finite("d_y", d_y);
    }
    const MatrixOperand<const T> d_output{plain_stride(d_y)};
    ReuseGemm<T>::gradients(input, transposed(plain_stride(w)), d_output,
                            GemmResult<T>{plain_stride(d_w), true},
                            {T(1), add_to_d_w ? T(1) : T(0)}, MatrixOperand<T>{plain_stride(d_x)},
                            {T(1), add_to_d_x ? T(1) : T(0)}, saved);
    bias_gradient(d_output.pixels(), d_bias, add_to_d_bias, this->context().threads());
  }
};

ADR_NAMESPACE_END
