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
#include "adr/nn/output_error_meter.hpp"
#include "adr/nn/pass_state.hpp"
#include "adr/nn/product_state.hpp"
#include "adr/product/dense_passes.hpp"
#include "adr/product/exact_product.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/pass_timer.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"

ADR_NAMESPACE_BEGIN

/// The product of any input with one weight matrix, and its gradients, as a Plan says: where
/// policy (Plan in, Report out) and computation meet.
///
/// Operands are those of product/operands.hpp; shapes are checked by the callers. State: what the
/// last forward pass left for the backward pass, the subspace, the cluster cache. Memory is
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

  /// make: makes the products of the plans to come. Errors: std::invalid_argument when the plan
  /// does not fit the shape, and those of make.
  LayerProduct(ProductShape shape, const Plan& config, MakeProduct<Domain> make) : make_(make) {
    set_plan(std::move(shape), config);
  }

  [[nodiscard]] index_t columns() const noexcept { return shape_.columns; }
  [[nodiscard]] index_t outputs() const noexcept { return shape_.outputs; }
  [[nodiscard]] const VectorShape& vectors() const noexcept { return shape_.input; }
  [[nodiscard]] const Plan& plan() const noexcept { return config_; }
  [[nodiscard]] const Report& report() const noexcept { return stats_; }
  /// The clusters of the last forward pass, one slice each; without slices for the methods that
  /// have none (dense, subspace).
  [[nodiscard]] const Clustering<T>& clustering() const noexcept {
    static const Clustering<T> none;
    const Clustering<T>* clusters = state_->method ? state_->method->clusters() : nullptr;
    return clusters != nullptr ? *clusters : none;
  }
  /// What was learned and counted.
  [[nodiscard]] const ProductState<Domain>& state() const noexcept { return *state_; }
  /// One that has learned nothing, for the same setting.
  [[nodiscard]] ProductState<Domain> blank_state() const { return {shape_, config_, make_}; }
  /// Goes on with what another product of this setting has learned.
  void restore(ProductState<Domain> state) {
    state_.emplace(std::move(state));
    pass_ = PassState<T>();
    ++plan_count_;
    if (!learns_) set_learning(false);
  }

  /// Exchanges what the last forward pass left behind for what another one did.
  void swap_pass(PassState<T>& other) noexcept {
    swap_clusters();
    std::swap(pass_, other);
    swap_clusters();
    // Clusters are those of a method and its setting; coordinates also those of the latest pass.
    const bool has_clusters = state_->method && state_->method->clusters() != nullptr;
    const bool is_kept = has_clusters || pass_.pass == pass_count_;
    if (pass_.plan != plan_count_ || !is_kept) pass_.clusters_usable = false;
  }

  /// Takes images of another size from now on. What was learned stays. Requires: neuron vectors
  /// that stay what they are.
  void resize(ProductShape shape) {
    static_assert(Domain::k_images, "matrices have any number of rows");
    ADR_ASSERT(shape.input.kind == shape_.input.kind && shape.input.length == shape_.input.length &&
                   shape.input.offsets == shape_.input.offsets,
               "images of another size have other neuron vectors");
    shape_ = std::move(shape);
    if (state_->method) state_->method->resize(shape_);
    exact_.set_shape(shape_, config_.winograd);
    pass_ = PassState<T>();
    ++plan_count_;
  }

  /// Changes the setting, for operands of the same columns and outputs. Clusters, cache and
  /// hyperplanes are made anew, unless the settings differ in gradients and meter alone; on error
  /// nothing changes.
  void set_plan(ProductShape shape, const Plan& config) {
    const std::string problem = config.validate(shape.columns);
    detail::require(problem.empty(), "Plan: ", problem);
    if (state_ && config == config_) return;
    const bool has_other_forms = !state_ || config.winograd != config_.winograd;
    if (can_change_in_place(config)) {
      state_->gradients.set_plan(config);
    } else {
      ProductState<Domain> state(shape, config, make_);
      if (state_) state.continue_from(*state_);
      state_.emplace(std::move(state));
      if (state_->method) state_->method->set_learning(learns_);
      shape_ = std::move(shape);
      pass_ = PassState<T>();
      ++plan_count_;
    }
    if (has_other_forms) {
      exact_.set_shape(shape_, config.winograd);
      ++form_count_;
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
    shape.convolves_pixels = convolves_coordinates<Domain>(shape_);
    return shape;
  }

  /// Other products than the library's own are used for convolutions too, which are unfolded then.
  void set_dense_gemm(DenseGemm<T> gemm) {
    gemm_ = std::move(gemm);
    exact_.set_gemm(gemm_);
  }
  /// Computes the dense passes in the place of the library's own exact ones; null: those again.
  /// Requires: operands that are the images of a convolution of one group, weights with a row per
  /// output (asserted), which is the only order that a DenseConvolution knows.
  void set_dense_convolution(std::shared_ptr<DenseConvolution<T>> convolution) noexcept {
    exact_.set_convolution(std::move(convolution));
  }
  /// Whether `backward` makes d_input zero itself, where it has to be.
  [[nodiscard]] bool clears_input_gradient() const noexcept {
    return !Domain::k_images || exact_.takes_images();
  }

  /// Forgets what earlier batches left behind: the cluster cache, the estimated mean, and the
  /// subspace, which the next pass fits anew unless it is frozen.
  void clear_cache() noexcept { state_->clear(); }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return state_->can_freeze(); }
  /// Ends learning where something was learned, or there is nothing to learn. Errors:
  /// std::invalid_argument when nothing has been learned yet.
  void freeze() {
    if (state_->method) state_->method->freeze();
    set_learning(false);
  }
  /// Without learning, what was learned stays as it is, and where nothing was, products are dense.
  void set_learning(bool learns) {
    learns_ = learns;
    ++form_count_;
    exact_.set_inference(!learns);
    if (state_->method) state_->method->set_learning(learns);
  }
  [[nodiscard]] bool frozen() const noexcept { return state_->frozen(); }

  /// Throws std::invalid_argument unless a gradient for that many rows can be formed now.
  void require_clusters_of(index_t rows) const {
    if (config_.method == Method::exact) return;
    detail::require(pass_.has_forward,
                    "a gradient uses the clusters of the last forward pass; run forward first");
    detail::require(pass_.map.rows() == rows,
                    "a gradient uses the clusters of the last forward pass, which had ",
                    pass_.map.rows(), " rows; the output gradient has ", rows);
  }

  /// Bytes of scratch for a pass in each direction over that map, at most: that for leaving out
  /// zeros is counted. The scratch depends on the clusters found and on the forms of the gradients;
  /// then this is what the last pass needed.
  /// gradient_in_place: d_y is row-major.
  [[nodiscard]] std::size_t workspace_bytes(const VectorMap& map, bool gradient_in_place,
                                            int thread_count) const {
    std::size_t bytes =
        state_->gradients.workspace_bytes(forward_state(map), gradient_in_place, thread_count);
    if (state_->method) {
      bytes = std::max(bytes, state_->method->forward_workspace_bytes(map, thread_count));
    }
    if (!state_->method || !pass_.clusters_usable) {
      bytes = std::max(bytes, exact_.forward_workspace_bytes(map.rows(), thread_count));
    }
    if (config_.meter_interval > 0 && config_.method != Method::exact) {
      bytes = std::max(
          bytes, OutputErrorMeter::workspace_bytes<T>(map.rows(), shape_.columns, shape_.outputs));
    }
    return bytes;
  }

  /// Counts what changes the bits of exact passes besides operands: settings, modes, sizes.
  [[nodiscard]] std::uint64_t version() const noexcept { return plan_count_ + form_count_; }
  /// The exact passes over images.
  [[nodiscard]] DensePasses<T>& images() noexcept { return exact_.images(); }
  /// Lets compute(report) compute an exact forward pass, whatever the setting;
  /// gradients after it are those of the exact product. compute returns the share that it computed.
  template <class Compute>
  void forward_by(const Input& input, Context& context, const Compute& compute) {
    PassTimer timer(context);
    begin_pass(input);
    pass_.clusters_usable = false;
    stats_.method = Method::exact;
    const double computed = compute(stats_);
    stats_.set_exact_forward(shape_.dense_work(pass_.map.rows()), computed);
    end_pass(timer);
  }

  /// Computes output = input weights + bias, exactly or through clusters.
  void forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, Context& context);

  /// Computes d_weights (unless empty) and d_input (unless empty): images are added to, and must be
  /// zero, unless clears_input_gradient(); a matrix is replaced. The input is read for the gradient
  /// with respect to the weights only. channel_sums: as ProductGradients::compute. Errors:
  /// std::invalid_argument when the rows are not those of the last forward pass.
  bool backward(const Input& input, const GemmFactor<T>& weights, const OutputGradient& d_output,
                const GemmResult<T>& d_weights, const InputGradientOperand& d_input,
                T* channel_sums, Context& context);

 private:
  [[nodiscard]] bool can_change_in_place(const Plan& config) const noexcept {
    return state_ && config.clusters_as(config_) &&
           (config.winograd == config_.winograd || config.method != Method::subspace) &&
           (config.input_gradient != InputGradient::cluster_mean ||
            config.method == Method::published);
  }

  void swap_clusters() noexcept {
    if (state_->method) state_->method->swap_clusters(pass_.clustering, pass_.has_clusters);
  }

  [[nodiscard]] ForwardState<Domain> forward_state(const VectorMap& map) const {
    return {shape_, exact_, state_->method.get(), pass_.clusters_usable, map};
  }
  [[nodiscard]] PassTools<T> tools(Context& context, StageTimes& times) noexcept {
    return {gemm_, context, stats_, config_.time_stages ? &times : nullptr};
  }

  void begin_pass(const Input& input) {
    pass_.has_forward = false;
    pass_.clusters_usable = true;
    pass_.pass = ++pass_count_;
    pass_.plan = plan_count_;
    pass_.map = last_map_ = input.vectors(shape_.input.kind).map();
    stats_.reset();
    stats_.method = config_.method;
  }
  void end_pass(PassTimer& timer) {
    pass_.has_forward = true;
    stats_.seconds.forward = timer.lap();
    stats_.decision = decision_;
  }

  void multiply_exactly(const Input& input, const GemmFactor<T>& weights,
                        const VectorView<const T>& bias, const Output& output, Context& context) {
    StageClock clock(config_.time_stages ? &stats_.forward_times : nullptr);
    const ComputedShares computed = exact_.forward(input, weights, bias, output, context);
    clock.finish(Stage::dense);
    stats_.set_exact_forward(shape_.dense_work(pass_.map.rows()), computed.rows, computed.terms);
  }

  ProductShape shape_;
  Plan config_;
  DenseGemm<T> gemm_;
  MakeProduct<Domain> make_;
  ExactProduct<Domain> exact_;
  std::optional<ProductState<Domain>> state_;
  PassState<T> pass_;
  VectorMap last_map_;  // also of a pass that was swapped away
  std::uint64_t pass_count_ = 0;
  std::uint64_t plan_count_ = 0;
  std::uint64_t form_count_ = 0;  // modes and forms of the exact passes
  Decision decision_;
  std::vector<Plan> requested_;
  std::vector<RungMeasurement> measurements_;
  bool learns_ = true;
  Report stats_;
};

ADR_NAMESPACE_END
