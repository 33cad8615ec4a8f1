// One weight matrix as a layer uses it: the method of the setting, its gradients, and the dense
// product where clusters cannot be used. The layers and the drop-in functions are thin shells over
// it.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/product_gradients.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/reuse_product.hpp"
#include "adr/nn/shared_product.hpp"

ADR_NAMESPACE_BEGIN

/// The product of any input with one weight matrix, and its gradients, as a ReuseConfig says: where
/// policy (ReuseConfig in, ReuseStats out) and computation meet.
///
/// Operands are those of nn/operands.hpp; shapes are checked by the callers. State: what the last
/// forward pass left for the backward pass, learned clusters, the cluster cache. Memory is
/// allocated while batches and cluster counts grow, and not in the steady state. Thread-safety:
/// none; one object per thread of control.
template <class T>
class LayerProduct {
 public:
  /// Errors: std::invalid_argument when the config does not fit the shape.
  LayerProduct(ProductShape shape, const ReuseConfig& config) {
    set_config(std::move(shape), config);
  }

  [[nodiscard]] index_t columns() const noexcept { return shape_.columns; }
  [[nodiscard]] index_t outputs() const noexcept { return shape_.outputs; }
  [[nodiscard]] NeuronVectorKind vector_kind() const noexcept { return shape_.input.kind; }
  [[nodiscard]] const ReuseConfig& config() const noexcept { return config_; }
  [[nodiscard]] const ReuseStats& stats() const noexcept { return stats_; }
  /// The clusters of the last forward pass, one slice each; without slices for the methods that
  /// have none of this kind (dense, codebook, subspace).
  [[nodiscard]] const Clustering<T>& clustering() const noexcept {
    const PrincipalProduct<T>* principal = shared_ ? shared_->principal_product() : nullptr;
    return principal != nullptr ? principal->clustering() : rows_->clustering();
  }
  /// The codebooks and their tables; null unless the method is codebook.
  [[nodiscard]] const CodebookProduct<T>* codebook_product() const noexcept {
    return shared_ ? shared_->codebook_product() : nullptr;
  }
  /// Puts saved codebooks in place. Requires: method codebook, a state of this shape.
  void restore_codebooks(CodebookState state) {
    shared_->codebook_product()->restore(std::move(state));
    has_forward_ = false;
  }

  /// Changes the setting, for operands of the same columns and outputs. Clusters, cache and
  /// hyperplanes are made anew; on error nothing changes.
  void set_config(ProductShape shape, const ReuseConfig& config) {
    const std::string problem = config.validate(shape.columns);
    detail::require(problem.empty(), "ReuseConfig: ", problem);
    const bool learned = config.method != Method::dense && config.method != Method::hyperplane;
    ReuseConfig by_rows = config;
    if (learned) by_rows.method = Method::dense;
    // What the published method does not have, it is never asked for.
    const bool exact = config.input_gradient == InputGradient::exact ||
                       config.input_gradient == InputGradient::own_clusters;
    by_rows.input_gradient = exact ? InputGradient::exact : InputGradient::cluster_mean;
    ReuseProduct<T> rows(shape.columns, shape.outputs, by_rows);
    rows.set_dense_gemm(gemm_);
    std::optional<SharedProduct<T>> shared;
    if (learned) shared.emplace(shape.input, shape.outputs, config);
    ProductGradients<T> gradients(shape, config);
    rows_.emplace(std::move(rows));
    shared_ = std::move(shared);
    gradients_.emplace(std::move(gradients));
    shape_ = std::move(shape);
    config_ = config;
    has_forward_ = false;
  }

  void set_dense_gemm(DenseGemm<T> gemm) {
    gemm_ = std::move(gemm);
    rows_->set_dense_gemm(gemm_);
  }

  /// Forgets what earlier batches left behind: the cluster cache, the estimated mean, and learned
  /// clusters, which the next pass fits anew unless they are frozen.
  void clear_cache() {
    rows_->clear_cache();
    if (shared_) shared_->clear();
    gradients_->clear();
  }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return !shared_ || shared_->fitted(); }
  /// Learned clusters stay as they are until unfreeze; other methods have none. Errors:
  /// std::invalid_argument when nothing has been learned yet.
  void freeze() {
    if (shared_) shared_->freeze();
  }
  void unfreeze() noexcept {
    if (shared_) shared_->unfreeze();
  }
  [[nodiscard]] bool frozen() const noexcept { return shared_ && shared_->frozen(); }

  /// Throws std::invalid_argument unless a gradient for that many rows can be formed now.
  void require_clusters_of(index_t rows) const {
    if (config_.method == Method::dense) return;
    detail::require(has_forward_,
                    "a gradient uses the clusters of the last forward pass; run forward first");
    detail::require(map_.rows() == rows,
                    "a gradient uses the clusters of the last forward pass, which had ",
                    map_.rows(), " rows; the output gradient has ", rows);
  }

  /// Bytes of scratch for a pass in each direction over that map. The scratch depends on the
  /// clusters found and on the forms of the gradients; then this is what the last pass needed.
  /// gradient_in_place: d_y is row-major.
  [[nodiscard]] std::size_t workspace_bytes(const VectorMap& map, bool gradient_in_place,
                                            int thread_count) const {
    std::size_t bytes =
        gradients_->workspace_bytes(forward_state(map), *rows_, gradient_in_place, thread_count);
    if (shared_) bytes = std::max(bytes, shared_->forward_workspace_bytes(map, thread_count));
    if (!shared_ || !clusters_usable_) {
      bytes = std::max(bytes, rows_->forward_workspace_bytes(thread_count));
    }
    return bytes;
  }

  /// Computes output = input weights + bias, exactly or through clusters.
  template <class Input, class Output>
  void forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, Context& context);

  /// Computes d_weights (unless empty) and adds to d_input (unless NoOperand), which must be zero.
  /// The input is read for the gradient with respect to the weights only. Errors:
  /// std::invalid_argument when the rows are not those of the last forward pass.
  template <class Input, class Output, class InputOperand>
  void backward(const Input& input, const GemmFactor<T>& weights, const Output& d_output,
                const GemmResult<T>& d_weights, const InputOperand& d_input, Context& context);

 private:
  [[nodiscard]] ForwardState<T> forward_state(const VectorMap& map) const {
    return {shape_, shared_ ? &*shared_ : nullptr, gemm_, clusters_usable_, map};
  }

  template <class Input, class Output>
  void forward_shared(const Input& input, const GemmFactor<T>& weights,
                      const VectorView<const T>& bias, const Output& output, Context& context) {
    stats_.reset();
    stats_.method = config_.method;
    StageTimes* times = config_.time_stages ? &stats_.forward_times : nullptr;
    clusters_usable_ = shared_->forward(input.vectors(shape_.input.kind), weights, bias,
                                        output.pixels(), gemm_, context, stats_, times);
    if (!clusters_usable_) {
      rows_->forward(input.rows(), weights, bias, output.rows(), context);
      stats_.forward.multiply_adds_done = rows_->stats().forward.multiply_adds_done;
      stats_.forward_times.add(rows_->stats().forward_times);
      // An empty batch that nothing can be learned from is no fallback.
      stats_.dense_fallbacks = map_.rows() > 0 ? 1 : 0;
    }
    stats_.fits = shared_->fits_of_pass();
    stats_.forward.multiply_adds_dense = static_cast<double>(map_.rows()) *
                                         static_cast<double>(shape_.columns) *
                                         static_cast<double>(shape_.outputs);
  }

  ProductShape shape_;
  ReuseConfig config_;
  DenseGemm<T> gemm_;
  std::optional<ReuseProduct<T>> rows_;
  std::optional<SharedProduct<T>> shared_;
  std::optional<ProductGradients<T>> gradients_;
  VectorMap map_;
  bool has_forward_ = false;
  bool clusters_usable_ = true;
  ReuseStats stats_;
};

// Outside the class and not inline, so that a program can compile the passes once: behind
// `extern template` declarations of these two, a file that uses a layer compiles in a third of the
// time.

template <class T>
template <class Input, class Output>
void LayerProduct<T>::forward(const Input& input, const GemmFactor<T>& weights,
                              const VectorView<const T>& bias, const Output& output,
                              Context& context) {
  has_forward_ = false;
  clusters_usable_ = true;
  map_ = input.vectors(shape_.input.kind).map();
  if (shared_) {
    forward_shared(input, weights, bias, output, context);
  } else {
    rows_->forward(input.rows(), weights, bias, output.rows(), context);
    stats_ = rows_->stats();
  }
  has_forward_ = true;
}

template <class T>
template <class Input, class Output, class InputOperand>
void LayerProduct<T>::backward(const Input& input, const GemmFactor<T>& weights,
                               const Output& d_output, const GemmResult<T>& d_weights,
                               const InputOperand& d_input, Context& context) {
  require_clusters_of(d_output.pixels().rows());
  if (config_.method == Method::dense) map_ = input.vectors(shape_.input.kind).map();
  gradients_->compute(forward_state(map_), *rows_, input, weights, d_output, d_weights, d_input,
                      context, stats_);
}

ADR_NAMESPACE_END
