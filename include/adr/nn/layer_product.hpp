// One weight matrix as a layer uses it: the method of the setting, its gradients, and the dense
// product where clusters cannot be used. The layers and the drop-in functions are thin shells over
// it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/gradient_costs.hpp"
#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/context.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/dense_passes.hpp"
#include "adr/nn/operands.hpp"
#include "adr/nn/output_error_meter.hpp"
#include "adr/nn/pass_state.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/product_state.hpp"

ADR_NAMESPACE_BEGIN

/// The product of any input with one weight matrix, and its gradients, as a Plan says: where
/// policy (Plan in, Report out) and computation meet.
///
/// Operands are those of nn/operands.hpp; shapes are checked by the callers. State: what the last
/// forward pass left for the backward pass, the subspace, the cluster cache. Memory is
/// allocated while batches and cluster counts grow, and not in the steady state. Thread-safety:
/// none; one object per thread of control.
template <class Domain>
class LayerProduct {
 public:
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;
  using OutputGradient = typename Domain::OutputGradient;
  using InputGradientOperand = typename Domain::InputGradient;

  /// Errors: std::invalid_argument when the config does not fit the shape.
  LayerProduct(ProductShape shape, const Plan& config) { set_plan(std::move(shape), config); }

  [[nodiscard]] index_t columns() const noexcept { return shape_.columns; }
  [[nodiscard]] index_t outputs() const noexcept { return shape_.outputs; }
  [[nodiscard]] const VectorShape& vectors() const noexcept { return shape_.input; }
  [[nodiscard]] NeuronVectorKind vector_kind() const noexcept { return shape_.input.kind; }
  [[nodiscard]] const Plan& plan() const noexcept { return config_; }
  [[nodiscard]] const Report& report() const noexcept { return stats_; }
  /// The clusters of the last forward pass, one slice each; without slices for the methods that
  /// have none (dense, subspace).
  [[nodiscard]] const Clustering<T>& clustering() const noexcept {
    return state_->rows.clustering();
  }
  /// What was learned and counted.
  [[nodiscard]] const ProductState<Domain>& state() const noexcept { return *state_; }
  /// One that has learned nothing, for the same setting.
  [[nodiscard]] ProductState<Domain> blank_state() const { return {shape_, config_, gemm_}; }
  /// Goes on with what another product of this setting has learned.
  void restore(ProductState<Domain> state) {
    state_.emplace(std::move(state));
    pass_ = PassState<T>();
    ++plan_count_;
    if (!learns_) set_learning(false);
  }

  /// Exchanges what the last forward pass left behind for what another one did.
  void swap_pass(PassState<T>& other) noexcept {
    state_->rows.swap_clusters(pass_.clustering, pass_.has_clusters);
    std::swap(pass_, other);
    state_->rows.swap_clusters(pass_.clustering, pass_.has_clusters);
    // Coordinates are those of the latest pass, and of the axes that it had.
    const bool is_latest = pass_.pass == pass_count_ && pass_.plan == plan_count_;
    if (!is_latest && !state_->rows.has_clusters()) pass_.clusters_usable = false;
  }

  /// Takes images of another size from now on. What was learned stays, where neuron vectors stay
  /// what they are.
  void resize(ProductShape shape) {
    static_assert(Domain::k_images, "matrices have any number of rows");
    const bool same = shape.input.kind == shape_.input.kind &&
                      shape.input.length == shape_.input.length &&
                      shape.input.offsets == shape_.input.offsets;
    shape_ = std::move(shape);
    if (!same) state_.emplace(shape_, config_, gemm_);
    if (same && state_->shared) state_->shared->resize(shape_);
    dense_.set_geometry(shape_.convolution, config_.winograd);
    pass_ = PassState<T>();
  }

  /// Changes the setting, for operands of the same columns and outputs. Clusters, cache and
  /// hyperplanes are made anew, unless it is the same setting, or one of method subspace or dense
  /// that differs in gradients and meter alone; on error nothing changes.
  void set_plan(ProductShape shape, const Plan& config) {
    const std::string problem = config.validate(shape.columns);
    detail::require(problem.empty(), "Plan: ", problem);
    if (state_ && config == config_) return;
    const bool has_other_forms = !state_ || config.winograd != config_.winograd;
    if (can_change_in_place(config)) {
      state_->gradients.set_plan(config);
    } else {
      ProductState<Domain> state(shape, config, gemm_);
      if (state_) state.continue_from(*state_);
      state_.emplace(std::move(state));
      shape_ = std::move(shape);
      pass_ = PassState<T>();
      ++plan_count_;
    }
    if constexpr (Domain::k_images) {
      if (has_other_forms) dense_.set_geometry(shape_.convolution, config.winograd);
    }
    config_ = config;
  }

  void set_gradient_costs(const GradientCosts& costs) noexcept {
    state_->gradients.set_costs(costs);
  }
  void set_decision(const Decision& decision) noexcept { decision_ = decision; }

  /// Measures these settings in the next forward pass that may learn; see Tunable.
  void request_measurements(std::vector<Plan> configs) {
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
    shape.rows = last_map_.rows();
    shape.columns = shape_.columns;
    shape.outputs = shape_.outputs;
    shape.image_outputs = shape_.outputs * last_map_.out_size();
    shape.vectors = last_map_.vectors();
    shape.vector_length = shape_.input.length;
    shape.offsets = shape_.input.offsets;
    shape.convolves_pixels = SharedProduct<Domain>::convolves(shape_);
    return shape;
  }

  /// Other products than the library's own are used for convolutions too, which are unfolded then.
  void set_dense_gemm(DenseGemm<T> gemm) {
    gemm_ = std::move(gemm);
    if constexpr (Domain::k_images) dense_.set_own_products(gemm_.is_users_own());
    state_->rows.set_dense_gemm(gemm_);
  }
  /// Computes the dense passes in the place of the library's own exact ones; null: those again.
  /// Requires: operands that are the images of a convolution of one group, weights with a row per
  /// output (asserted), which is the only order that a DenseConvolution knows.
  void set_dense_convolution(std::shared_ptr<DenseConvolution<T>> convolution) noexcept {
    static_assert(Domain::k_images, "matrices are not convolved");
    dense_.set_convolution(std::move(convolution));
  }
  /// Whether `backward` makes d_input zero itself, where it has to be.
  [[nodiscard]] bool clears_input_gradient() const noexcept {
    if constexpr (Domain::k_images) return dense_.takes_images();
    return true;
  }

  /// Forgets what earlier batches left behind: the cluster cache, the estimated mean, and the
  /// subspace, which the next pass fits anew unless it is frozen.
  void clear_cache() noexcept { state_->clear(); }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return state_->can_freeze(); }
  /// Ends learning where something was learned, or there is nothing to learn. Errors:
  /// std::invalid_argument when nothing has been learned yet.
  void freeze() {
    if (state_->shared) state_->shared->freeze();
    set_learning(false);
  }
  /// Without learning, what was learned stays as it is, and where nothing was, products are dense.
  void set_learning(bool learns) {
    learns_ = learns;
    if constexpr (Domain::k_images) dense_.set_inference(!learns);
    if (!state_->shared) return;
    if (learns) {
      state_->shared->unfreeze();
    } else if (state_->shared->fitted()) {
      state_->shared->freeze();
    }
  }
  [[nodiscard]] bool frozen() const noexcept { return state_->frozen(); }

  /// Throws std::invalid_argument unless a gradient for that many rows can be formed now.
  void require_clusters_of(index_t rows) const {
    if (config_.method == Method::dense) return;
    detail::require(pass_.has_forward,
                    "a gradient uses the clusters of the last forward pass; run forward first");
    detail::require(pass_.map.rows() == rows,
                    "a gradient uses the clusters of the last forward pass, which had ",
                    pass_.map.rows(), " rows; the output gradient has ", rows);
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
    const bool densely =
        config_.method == Method::dense || (state_->shared && !pass_.clusters_usable);
    if (densely && dense_passes(map) != nullptr) {
      if constexpr (Domain::k_images) {
        bytes = std::max(bytes, dense_.forward_workspace_bytes(map.rows(), thread_count));
      }
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
  void forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, Context& context);

  /// Computes d_weights (unless empty) and d_input (unless empty): images are added to, and must be
  /// zero, unless clears_input_gradient(); a matrix is replaced. The input is read for the gradient
  /// with respect to the weights only. Errors: std::invalid_argument when the rows are not those of
  /// the last forward pass.
  void backward(const Input& input, const GemmFactor<T>& weights, const OutputGradient& d_output,
                const GemmResult<T>& d_weights, const InputGradientOperand& d_input,
                Context& context);

 private:
  /// The published method reads its gradients' setting where it makes its clusters.
  [[nodiscard]] bool can_change_in_place(const Plan& config) const noexcept {
    return state_ && config.clusters_as(config_) && config.method != Method::hyperplane &&
           (config.winograd == config_.winograd || config.method != Method::subspace) &&
           config.time_stages == config_.time_stages &&
           config.check_finite == config_.check_finite &&
           config.input_gradient != InputGradient::cluster_mean;
  }

  /// What convolves images of that map as they are; null: nothing does.
  [[nodiscard]] const DensePasses<T>* dense_passes(const VectorMap& map) const noexcept {
    if constexpr (Domain::k_images) return dense_.take_images(map.rows()) ? &dense_ : nullptr;
    return nullptr;
  }
  [[nodiscard]] ForwardState<Domain> forward_state(const VectorMap& map) const {
    return {shape_,
            state_->shared ? &*state_->shared : nullptr,
            gemm_,
            dense_passes(map),
            pass_.clusters_usable,
            map};
  }
  /// Multiplies without clusters; the work and its time are added to the statistics.
  void multiply_densely(const Input& input, const GemmFactor<T>& weights,
                        const VectorView<const T>& bias, const Output& output, Context& context) {
    const double work = shape_.dense_work(pass_.map.rows());
    stats_.forward.multiply_adds_dense = work;
    if constexpr (Domain::k_images) {
      if (dense_.take_images(pass_.map.rows())) {
        StageClock clock(config_.time_stages ? &stats_.forward_times : nullptr);
        ADR_ASSERT(weights.transposed, "a convolution's weights have a row per output");
        const double computed = dense_.forward(input, weights.matrix, bias, output, context);
        clock.finish(Stage::dense);
        stats_.set_exact_forward(work, computed);
        return;
      }
    }
    state_->rows.forward(input.rows(), weights, bias, output.rows(), context);
    stats_.forward.multiply_adds_done = state_->rows.report().forward.multiply_adds_done;
    stats_.copied_multiply_adds = state_->rows.report().copied_multiply_adds;
    stats_.forward_times.add(state_->rows.report().forward_times);
  }

  void forward_shared(const Input& input, const GemmFactor<T>& weights,
                      const VectorView<const T>& bias, const Output& output, Context& context) {
    stats_.reset();
    stats_.method = config_.method;
    StageTimes* times = config_.time_stages ? &stats_.forward_times : nullptr;
    SharedProduct<Domain>& shared = *state_->shared;
    pass_.clusters_usable = (learns_ || shared.fitted()) &&
                            shared.forward(input.vectors(shape_.input.kind), weights, bias,
                                           output.pixels(), gemm_, context, stats_, times);
    if (!pass_.clusters_usable) {
      multiply_densely(input, weights, bias, output, context);
      // An empty batch that nothing can be learned from is no fallback.
      stats_.dense_fallbacks = pass_.map.rows() > 0 ? 1 : 0;
    }
    stats_.fits = learns_ ? shared.fits_of_pass() : 0;
    stats_.forward.multiply_adds_dense = shape_.dense_work(pass_.map.rows());
  }

  ProductShape shape_;
  Plan config_;
  DenseGemm<T> gemm_;
  /// Matrices have none.
  struct NoDensePasses {};
  std::conditional_t<Domain::k_images, DensePasses<T>, NoDensePasses> dense_;
  std::optional<ProductState<Domain>> state_;
  PassState<T> pass_;
  VectorMap last_map_;  // also of a pass that was swapped away
  std::uint64_t pass_count_ = 0;
  std::uint64_t plan_count_ = 0;
  Decision decision_;
  std::vector<Plan> requested_;
  std::vector<RungMeasurement> measurements_;
  bool learns_ = true;
  Report stats_;
};

ADR_NAMESPACE_END
