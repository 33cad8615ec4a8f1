// What a method that reuses products is to a layer: one interface for all of them.
#pragma once

#include <cstddef>
#include <memory>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/product/clustering.hpp"
#include "adr/product/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// What every pass works with.
template <class T>
struct PassTools {
  const DenseGemm<T>& gemm;
  Context& context;
  Report& report;
  StageTimes* times;  ///< null: not measured
};

/// What the gradients that a method has of its own are computed from.
template <class Domain>
struct BackwardOperands {
  using T = typename Domain::Element;

  const typename Domain::Input& input;
  const GemmFactor<T>& weights;
  const typename Domain::OutputGradient& d_output;
  /// d_output by rows, for methods that read them.
  MatrixView<const T> d_output_rows;
  GemmResult<T> d_weights;                        ///< empty: not wanted
  const typename Domain::InputGradient* d_input;  ///< null: not wanted; added to
};

/// The product of any input with one weight matrix under one setting of a method, and the gradients
/// that the method has of its own.
///
/// Shapes are checked by the callers. State: what was learned, and what the last forward pass left
/// for its gradients. Memory is allocated while batches grow, before an output is written, and not
/// in the steady state. Thread-safety: none; one object per thread of control.
template <class Domain>
class ReusingProduct {
 public:
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;

  ReusingProduct() = default;
  virtual ~ReusingProduct() = default;
  ReusingProduct(const ReusingProduct&) = delete;
  ReusingProduct& operator=(const ReusingProduct&) = delete;

  /// Computes output = input weights + bias and reports its work. Returns false where it cannot:
  /// the input is not finite, nothing was learned and there is too little to learn from, or
  /// learning has ended before. The output is to be computed in another way then.
  virtual bool forward(const Input& input, const GemmFactor<T>& weights,
                       const VectorView<const T>& bias, const Output& output,
                       const PassTools<T>& tools) = 0;
  /// Computes the gradients that are wanted, from what the last forward pass left, and reports
  /// their work. Requires: that pass returned true and had this input; scratch reserved.
  virtual void backward(const BackwardOperands<Domain>& operands, const PassTools<T>& tools) = 0;
  /// Multiply-adds of the weight gradient after the last forward pass, additions included.
  [[nodiscard]] virtual double weight_gradient_multiply_adds() const = 0;
  /// Whether backward reads d_output_rows.
  [[nodiscard]] virtual bool reads_gradient_rows() const noexcept { return false; }

  /// Bytes of scratch for passes over that map; of the last pass where it depends on what was
  /// found.
  [[nodiscard]] virtual std::size_t forward_workspace_bytes(const VectorMap& map,
                                                            int thread_count) const = 0;
  [[nodiscard]] virtual std::size_t backward_workspace_bytes(const VectorMap& map,
                                                             bool with_weights, bool with_input,
                                                             int thread_count) const = 0;

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] virtual bool can_freeze() const noexcept { return true; }
  /// Ends learning. Errors: std::invalid_argument unless can_freeze.
  virtual void freeze() {}
  [[nodiscard]] virtual bool frozen() const noexcept { return false; }
  /// Without learning, what was learned stays as it is.
  virtual void set_learning(bool learns) = 0;
  /// Forgets what earlier batches left behind; what is learned is learned anew unless frozen.
  virtual void clear() noexcept = 0;
  /// Takes images of another size, of whose neuron vectors what was learned serves as well.
  virtual void resize(const ProductShape& shape) = 0;
  /// Writes everything that passes to come depend on, or reads it; not what the last pass left.
  /// Requires: to read, a product that has learned nothing, which an error leaves unusable.
  virtual void exchange(StateArchive& archive) = 0;

  /// Exchanges the clusters that gradients of the last pass come from for those of another one.
  virtual void swap_clusters(Clustering<T>& /*clustering*/, bool& /*has_clusters*/) noexcept {}
  /// The clusters of the last forward pass; null for methods that have none.
  [[nodiscard]] virtual const Clustering<T>* clusters() const noexcept { return nullptr; }
};

/// Makes the product of a plan; null: the plan is exact. Errors: std::invalid_argument when the
/// plan is none of those that a layer was made for.
template <class Domain>
using MakeProduct = std::unique_ptr<ReusingProduct<Domain>> (*)(const ProductShape& shape,
                                                                const Plan& plan);

ADR_NAMESPACE_END
