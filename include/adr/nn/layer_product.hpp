// One weight matrix as a layer uses it: the method of the setting, its gradients, and the dense
// product where clusters cannot be used. The layers and the drop-in functions are thin shells over
// it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "adr/adapt/adaptive_layer.hpp"
#include "adr/adapt/decision.hpp"
#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/core/context.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/dense_passes.hpp"
#include "adr/nn/operands.hpp"
#include "adr/nn/output_error_meter.hpp"
#include "adr/nn/pass_timer.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/product_state.hpp"

ADR_NAMESPACE_BEGIN

/// The product of any input with one weight matrix, and its gradients, as a ReuseConfig says: where
/// policy (ReuseConfig in, ReuseStats out) and computation meet.
///
/// Operands are those of nn/operands.hpp; shapes are checked by the callers. State: what the last
/// forward pass left for the backward pass, the subspace, the cluster cache. Memory is
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
  [[nodiscard]] const VectorShape& vectors() const noexcept { return shape_.input; }
  [[nodiscard]] NeuronVectorKind vector_kind() const noexcept { return shape_.input.kind; }
  [[nodiscard]] const ReuseConfig& config() const noexcept { return config_; }
  [[nodiscard]] const ReuseStats& stats() const noexcept { return stats_; }
  /// The clusters of the last forward pass, one slice each; without slices for the methods that
  /// have none (dense, subspace).
  [[nodiscard]] const Clustering<T>& clustering() const noexcept {
    return state_->rows.clustering();
  }
  /// What was learned and counted.
  [[nodiscard]] const ProductState<T>& state() const noexcept { return *state_; }
  /// One that has learned nothing, for the same setting.
  [[nodiscard]] ProductState<T> blank_state() const { return {shape_, config_, gemm_}; }
  /// Goes on with what another product of this setting has learned.
  void restore(ProductState<T> state) {
    state_.emplace(std::move(state));
    has_forward_ = false;
  }

  /// Changes the setting, for operands of the same columns and outputs. Clusters, cache and
  /// hyperplanes are made anew, unless it is the same setting, or one of method subspace or dense
  /// that differs in gradients and meter alone; on error nothing changes.
  void set_config(ProductShape shape, const ReuseConfig& config) {
    const std::string problem = config.validate(shape.columns);
    detail::require(problem.empty(), "ReuseConfig: ", problem);
    if (state_ && config == config_) return;
    const bool has_other_forms = !state_ || config.winograd != config_.winograd;
    if (can_change_in_place(config)) {
      state_->gradients.set_config(config);
    } else {
      ProductState<T> state(shape, config, gemm_);
      if (state_) state.continue_from(*state_);
      state_.emplace(std::move(state));
      shape_ = std::move(shape);
      has_forward_ = false;
    }
    if (has_other_forms) dense_.set_geometry(shape_.convolution, config.winograd);
    config_ = config;
  }

  void set_gradient_costs(const GradientCosts& costs) noexcept {
    state_->gradients.set_costs(costs);
  }
  void set_decision(const Decision& decision) noexcept { decision_ = decision; }

  /// Measures these settings in the next forward pass that may learn; see AdaptiveLayer.
  void request_measurements(std::vector<ReuseConfig> configs) {
    requested_ = std::move(configs);
    measurements_.clear();
  }
  [[nodiscard]] bool awaits_measurements() const noexcept { return !requested_.empty(); }
  [[nodiscard]] const std::vector<RungMeasurement>& measurements() const noexcept {
    return measurements_;
  }
  /// The sizes of the last pass, as policy sees them; what depends on the kernel is left to the
  /// layer.
  [[nodiscard]] LayerShape layer_shape() const noexcept {
    LayerShape shape;
    shape.rows = map_.rows();
    shape.columns = shape_.columns;
    shape.outputs = shape_.outputs;
    shape.image_outputs = shape_.outputs * map_.out_size();
    shape.vectors = map_.vectors();
    shape.vector_length = shape_.input.length;
    shape.offsets = shape_.input.offsets;
    shape.convolves_pixels = SharedProduct<T>::convolves(shape_);
    return shape;
  }

  /// Other products than the library's own are used for convolutions too, which are unfolded then.
  void set_dense_gemm(DenseGemm<T> gemm) {
    gemm_ = std::move(gemm);
    dense_.set_own_products(gemm_.is_users_own());
    state_->rows.set_dense_gemm(gemm_);
  }
  /// Computes the dense passes in the place of the library's own exact ones; null: those again.
  /// Requires: operands that are the images of a convolution of one group, weights with a row per
  /// output (asserted), which is the only order that a DenseConvolution knows.
  void set_dense_convolution(std::shared_ptr<DenseConvolution<T>> convolution) noexcept {
    dense_.set_convolution(std::move(convolution));
  }
  /// Whether `backward` makes d_input zero itself, where it has to be.
  [[nodiscard]] bool clears_input_gradient() const noexcept { return dense_.takes_images(); }

  /// Forgets what earlier batches left behind: the cluster cache, the estimated mean, and the
  /// subspace, which the next pass fits anew unless it is frozen.
  void clear_cache() noexcept { state_->clear(); }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return state_->can_freeze(); }
  /// A subspace stays as it is until unfreeze, other methods have none, and measurements wait until
  /// then. Errors: std::invalid_argument when nothing has been learned yet.
  void freeze() {
    if (state_->shared) state_->shared->freeze();
    measurements_wait_ = true;
  }
  void unfreeze() noexcept {
    if (state_->shared) state_->shared->unfreeze();
    measurements_wait_ = false;
  }
  [[nodiscard]] bool frozen() const noexcept { return state_->frozen(); }

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
    std::size_t bytes = state_->gradients.workspace_bytes(forward_state(map), state_->rows,
                                                          gradient_in_place, thread_count);
    if (state_->shared) {
      bytes = std::max(bytes, state_->shared->forward_workspace_bytes(map, thread_count));
    }
    const bool densely = config_.method == Method::dense || (state_->shared && !clusters_usable_);
    if (densely && dense_.take_images(map.rows())) {
      bytes = std::max(bytes, dense_.forward_workspace_bytes(map.rows(), thread_count));
    } else if (densely || !state_->shared) {
      bytes = std::max(bytes, state_->rows.forward_workspace_bytes(
                                  shape_.is_matrix ? map.rows() : 0, thread_count));
    }
    if (config_.meter_interval > 0 && config_.method != Method::dense) {
      bytes = std::max(
          bytes, OutputErrorMeter::workspace_bytes<T>(map.rows(), shape_.columns, shape_.outputs));
    }
    return bytes;
  }

  /// Computes output = input weights + bias, exactly or through clusters.
  template <class Input, class Output>
  void forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, Context& context);

  /// Computes d_weights (unless empty) and d_input (unless NoOperand): images are added to, and must
  /// be zero, unless clears_input_gradient(); a matrix is replaced. The input is read for the gradient with respect to the weights
  /// only. Errors:
  /// std::invalid_argument when the rows are not those of the last forward pass.
  template <class Input, class Output, class InputOperand>
  void backward(const Input& input, const GemmFactor<T>& weights, const Output& d_output,
                const GemmResult<T>& d_weights, const InputOperand& d_input, Context& context);

 private:
  /// The published method reads its gradients' setting where it makes its clusters.
  [[nodiscard]] bool can_change_in_place(const ReuseConfig& config) const noexcept {
    return state_ && config.clusters_as(config_) && config.method != Method::hyperplane &&
           (config.winograd == config_.winograd || config.method != Method::subspace) &&
           config.time_stages == config_.time_stages &&
           config.check_finite == config_.check_finite &&
           config.input_gradient != InputGradient::cluster_mean;
  }

  [[nodiscard]] ForwardState<T> forward_state(const VectorMap& map) const {
    return {shape_,
            state_->shared ? &*state_->shared : nullptr,
            gemm_,
            dense_.take_images(map.rows()) ? &dense_ : nullptr,
            clusters_usable_,
            map};
  }
  /// Multiplies without clusters; the work and its time are added to the statistics.
  template <class Input, class Output>
  void multiply_densely(const Input& input, const GemmFactor<T>& weights,
                        const VectorView<const T>& bias, const Output& output, Context& context) {
    const double work = shape_.dense_work(map_.rows());
    stats_.forward.multiply_adds_dense = work;
    if constexpr (k_is_images<Input>) {
      if (dense_.take_images(map_.rows())) {
        StageClock clock(config_.time_stages ? &stats_.forward_times : nullptr);
        ADR_ASSERT(weights.transposed, "a convolution's weights have a row per output");
        const double computed = dense_.forward(input, weights.matrix, bias, output, context);
        clock.finish(Stage::dense);
        stats_.set_exact_forward(work, computed);
        return;
      }
    }
    state_->rows.forward(input.rows(), weights, bias, output.rows(), context);
    stats_.forward.multiply_adds_done = state_->rows.stats().forward.multiply_adds_done;
    stats_.copied_multiply_adds = state_->rows.stats().copied_multiply_adds;
    stats_.forward_times.add(state_->rows.stats().forward_times);
  }

  template <class Input, class Output>
  void forward_shared(const Input& input, const GemmFactor<T>& weights,
                      const VectorView<const T>& bias, const Output& output, Context& context) {
    stats_.reset();
    stats_.method = config_.method;
    StageTimes* times = config_.time_stages ? &stats_.forward_times : nullptr;
    clusters_usable_ = state_->shared->forward(input.vectors(shape_.input.kind), weights, bias,
                                               output.pixels(), gemm_, context, stats_, times);
    if (!clusters_usable_) {
      multiply_densely(input, weights, bias, output, context);
      // An empty batch that nothing can be learned from is no fallback.
      stats_.dense_fallbacks = map_.rows() > 0 ? 1 : 0;
    }
    stats_.fits = state_->shared->fits_of_pass();
    stats_.forward.multiply_adds_dense = shape_.dense_work(map_.rows());
  }

  ProductShape shape_;
  ReuseConfig config_;
  DenseGemm<T> gemm_;
  DensePasses<T> dense_;
  std::optional<ProductState<T>> state_;
  VectorMap map_;
  bool has_forward_ = false;
  bool clusters_usable_ = true;
  Decision decision_;
  std::vector<ReuseConfig> requested_;
  std::vector<RungMeasurement> measurements_;
  bool measurements_wait_ = false;
  ReuseStats stats_;
};

/// See nn/rung_measurements.hpp.
template <class T, class Input>
std::vector<RungMeasurement> measure_rungs(const ProductShape& shape,
                                           const std::vector<ReuseConfig>& configs,
                                           const Input& input, const GemmFactor<T>& weights,
                                           const DenseGemm<T>& gemm, Context& context);

// Outside the class and not inline, so that a program can compile the passes once: behind
// `extern template` declarations of these two, a file that uses a layer compiles in a third of the
// time.

template <class T>
template <class Input, class Output>
void LayerProduct<T>::forward(const Input& input, const GemmFactor<T>& weights,
                              const VectorView<const T>& bias, const Output& output,
                              Context& context) {
  PassTimer timer(context);
  has_forward_ = false;
  clusters_usable_ = true;
  map_ = input.vectors(shape_.input.kind).map();
  if (state_->shared) {
    forward_shared(input, weights, bias, output, context);
  } else if (config_.method == Method::dense) {
    stats_.reset();
    multiply_densely(input, weights, bias, output, context);
  } else {
    state_->rows.forward(input.rows(), weights, bias, output.rows(), context);
    stats_ = state_->rows.stats();
  }
  has_forward_ = true;
  stats_.seconds.forward = timer.lap();
  stats_.decision = decision_;
  if (config_.method == Method::dense && requested_.empty()) return;
  if (config_.method != Method::dense && state_->meter.is_due(config_.meter_interval)) {
    context.workspace().reserve(
        OutputErrorMeter::workspace_bytes<T>(map_.rows(), shape_.columns, shape_.outputs));
    state_->meter.measure(input.rows(), weights, bias, output.rows(), config_.seed, gemm_, context,
                          stats_);
  }
  if (!requested_.empty() && !measurements_wait_ && !frozen()) {
    measurements_ = measure_rungs(shape_, requested_, input, weights, gemm_, context);
    requested_.clear();
  }
  stats_.seconds.meter = timer.lap();
}

template <class T>
template <class Input, class Output, class InputOperand>
void LayerProduct<T>::backward(const Input& input, const GemmFactor<T>& weights,
                               const Output& d_output, const GemmResult<T>& d_weights,
                               const InputOperand& d_input, Context& context) {
  require_clusters_of(d_output.pixels().rows());
  if (config_.method == Method::dense) map_ = input.vectors(shape_.input.kind).map();
  state_->gradients.compute(forward_state(map_), state_->rows, input, weights, d_output, d_weights,
                            d_input, context, stats_);
}

ADR_NAMESPACE_END

#include "adr/nn/rung_measurements.hpp"
