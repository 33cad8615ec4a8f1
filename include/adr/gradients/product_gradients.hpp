// The two gradients of a product, each in the form that the setting asks for or that the density of
// the output gradient makes the best: from clusters, over non-zeros, or dense.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/row_major.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gradients/gradient_forms.hpp"
#include "adr/gradients/gradient_noise.hpp"
#include "adr/gradients/sparse_gradients.hpp"
#include "adr/product/exact_product.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/pass_timer.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"

ADR_NAMESPACE_BEGIN

/// What the gradients of a product are computed with, and what its forward pass left for them.
template <class Domain>
struct ForwardState {
  const ProductShape& shape;
  const ExactProduct<Domain>& exact;
  ReusingProduct<Domain>* method;  ///< null: the setting is exact
  bool clusters_usable;            ///< whether the method has computed the output
  VectorMap map;
};

/// The backward pass of one product. Thread-safety: none.
template <class Domain>
class ProductGradients {
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using OutputGradient = typename Domain::OutputGradient;
  using InputGradientOperand = typename Domain::InputGradient;

 public:
  /// Errors: std::invalid_argument when the gradients cannot have the forms that the config asks
  /// for.
  explicit ProductGradients(const Plan& config) : config_(config) {
    // What workspace_bytes assumes before the first pass.
    GradientCase usual;
    usual.density = 0;
    of_weights_ = of_input_ = {choose_weight_gradient(config, costs_, usual),
                               choose_input_gradient(config, costs_, usual)};
    if (config.method == Method::exact) return;
    detail::require(
        config.input_gradient != InputGradient::cluster_mean || config.method == Method::published,
        "Plan: input_gradient cluster_mean needs method published, got ", to_string(config.method));
  }

  /// Changes the forms.
  void set_plan(const Plan& config) noexcept { config_ = config; }
  /// What was timed takes the place of what is expected by the shape.
  void set_costs(const GradientCosts& costs) noexcept { costs_ = costs; }
  /// Goes on with the costs of another setting.
  void continue_from(const ProductGradients& other) noexcept { costs_ = other.costs_; }

  /// Starts the sequence of rounding anew.
  void clear() noexcept { passes_ = 0; }

  /// See ProductState.
  void exchange(StateArchive& archive) {
    archive("passes of the gradients", passes_);
    archive.optional("cost of sparse weight gradients", costs_.sparse_weights);
    archive("cost of clustered weight gradients", costs_.cluster_weights);
    archive.optional("cost of sparse input gradients", costs_.sparse_input);
    archive("cost of listing", costs_.listing);
  }

  /// Bytes of scratch that the last `compute` of either gradient took, or that one over non-zeros
  /// would take.
  /// in_place: d_y is row-major.
  [[nodiscard]] std::size_t workspace_bytes(const ForwardState<Domain>& forward, bool in_place,
                                            int thread_count) const {
    const auto bytes = [&](const GradientForms& forms) {
      return scratch_bytes(forms, forward, in_place, thread_count);
    };
    GradientForms sparse;  // what is exact may go over non-zeros
    if (may_leave_out_zeros(forward.exact.densest_non_zeros(forward.map.rows()))) {
      if (config_.weight_gradient == WeightGradient::exact) {
        sparse.weights = WeightGradient::over_non_zeros;
      }
      if (config_.input_gradient == InputGradient::exact) {
        sparse.input = InputGradient::over_non_zeros;
      }
    }
    return std::max({bytes(of_weights_), bytes(of_input_), bytes(sparse)});
  }

  /// Computes d_weights (unless empty) and d_input (unless empty): a matrix, or images that the
  /// exact product takes, is replaced, other images are added to. channel_sums: null, or where the
  /// sums of d_output over all rows go if the gradients have them at hand. Returns whether they
  /// were written. Errors: std::bad_alloc, and those of a DenseConvolution.
  bool compute(const ForwardState<Domain>& forward, const Input& input,
               const GemmFactor<T>& weights, const OutputGradient& d_output,
               const GemmResult<T>& d_weights, InputGradientOperand d_input, T* channel_sums,
               const PassTools<T>& tools) {
    Report& stats = tools.report;
    Context& context = tools.context;
    PassTimer timer(context);
    const GradientForms forms =
        choose(forward, d_output.pixels(), !d_weights.empty(), !d_input.empty(), tools);
    stats.seconds.gradient_listing += timer.lap();
    if (forms.with_input() && prepare(forms, forward, d_input, context.threads())) {
      stats.seconds.input_gradient += timer.lap();
    }
    if (std::exchange(are_assumed_, false)) of_weights_ = of_input_ = {};
    if (forms.with_weights()) {
      stats.weight_gradient_form = forms.weights;
      of_weights_ = forms;
    }
    if (forms.with_input()) {
      stats.input_gradient_form = forms.input;
      of_input_ = forms;
    }
    context.workspace().reserve(
        scratch_bytes(forms, forward, d_output.rows().in_place(), context.threads()));
    bool has_sums = false;
    {
      const Workspace::Frame frame(context.workspace());
      MatrixView<const T> rows;
      if (reads_rows(forms, forward)) rows = detail::row_major(d_output.rows(), context);
      const BackwardOperands<Domain> operands = {input, weights,   d_output,
                                                 rows,  d_weights, &d_input};
      has_sums = compute_exactly(forms, forward, operands, channel_sums, tools, timer);
      compute_from_clusters(forms, forward, operands, tools, timer);
    }
    compute_over_non_zeros(forms, forward, input, weights, d_weights, d_input, tools, timer);
    if (config_.measure_rounding && forms.weights == WeightGradient::rounded) {
      measure_weight_noise(forward.exact, input, d_output, d_weights, context, stats);
    }
    if (config_.measure_rounding && forms.input == InputGradient::rounded) {
      measure_input_noise(forward.exact, weights, d_output, d_input, context, stats);
    }
    stats.seconds.rounding_meter += timer.lap();
    const double dense_work = forward.shape.dense_work(forward.map.rows());
    if (forms.with_weights()) stats.weight_gradient.multiply_adds_dense = dense_work;
    if (forms.with_input()) stats.input_gradient.multiply_adds_dense = dense_work;
    ++passes_;
    return has_sums;
  }

 private:
  /// Lists of the two gradients are rounded with the same seed in a pass, so that one serves both.
  [[nodiscard]] typename SparseGradients<T>::Rounding rounding(bool rounded) const noexcept {
    constexpr std::uint64_t k_odd = 0x9e3779b97f4a7c15u;
    return {rounded ? config_.gradient_rounding : 0.0, config_.seed + passes_ * k_odd};
  }

  /// Whether an exact gradient may go over non-zeros, of a shape that bears that density.
  [[nodiscard]] bool may_leave_out_zeros(double densest) const noexcept {
    return costs_.sparse_weights || costs_.sparse_input || densest > 0;
  }

  GradientForms choose(const ForwardState<Domain>& forward, const PixelView<const T>& d_output,
                       bool with_weights, bool with_input, const PassTools<T>& tools) {
    GradientCase facts;
    facts.columns = forward.shape.columns;
    facts.dense_work = forward.shape.dense_work(forward.map.rows());
    facts.clusters_usable = forward.clusters_usable;
    facts.densest = forward.exact.densest_non_zeros(forward.map.rows());
    if (forward.method != nullptr && forward.clusters_usable) {
      facts.cluster_work = forward.method->weight_gradient_multiply_adds();
    }
    const auto chosen = [&] {
      GradientForms forms;
      if (with_weights) forms.weights = choose_weight_gradient(config_, costs_, facts);
      if (with_input) forms.input = choose_input_gradient(config_, costs_, facts);
      return forms;
    };
    double& density = tools.report.gradient_density;
    density = 1;
    if (!depends_on_density(config_, with_weights, with_input)) return chosen();
    if (asks_sample_first(config_, with_weights, with_input)) {
      if (!may_leave_out_zeros(facts.densest)) return chosen();
      density = facts.density = sampled_density(d_output);
      const GradientForms forms = chosen();
      if (!forms.sparse_weights() && !forms.sparse_input()) return forms;
    }
    density = facts.density =
        sparse_.measure(d_output, forward.map, forward.shape.input, tools.context, tools.times)
            .density();
    constexpr double k_counted = 1.1;  // what has been paid for does not count any more
    facts.densest *= k_counted;
    return chosen();
  }

  /// Which gradients the method computes.
  static bool clusters_weights(const GradientForms& forms) noexcept {
    return forms.weights == WeightGradient::clusters;
  }
  static bool clusters_input(const GradientForms& forms) noexcept {
    return forms.input == InputGradient::cluster_mean;
  }
  /// Whether something reads the output gradient by rows.
  static bool reads_rows(const GradientForms& forms, const ForwardState<Domain>& forward) noexcept {
    const bool exactly =
        forms.weights == WeightGradient::dense || forms.input == InputGradient::dense;
    const bool from_clusters = clusters_weights(forms) || clusters_input(forms);
    return (exactly && !forward.exact.takes_images(forward.map.rows())) ||
           (from_clusters && forward.method->reads_gradient_rows());
  }

  /// Makes the input gradient ready for what adds to it; returns whether that took a pass over it.
  bool prepare(const GradientForms& forms, const ForwardState<Domain>& forward,
               InputGradientOperand& d_input, int thread_count) const {
    if (forms.sparse_input() && sparse_.replaces(d_input.vectors(forward.shape.input.kind))) {
      return false;
    }
    if constexpr (Domain::k_images) {
      if (!forward.exact.takes_images(forward.map.rows())) return false;  // the caller did it
      if (forms.input == InputGradient::dense) return false;
      set_zero(d_input.pixels(), thread_count);
    } else {
      if (forms.input == InputGradient::dense) {
        d_input.update = Update::replace;
        return false;
      }
      set_zero(d_input.matrix, thread_count);
    }
    return true;
  }

  [[nodiscard]] std::size_t scratch_bytes(const GradientForms& forms,
                                          const ForwardState<Domain>& forward, bool in_place,
                                          int thread_count) const {
    const ProductShape& shape = forward.shape;
    const index_t rows = forward.map.rows();
    std::size_t bytes = 0;
    const auto at_least = [&](std::size_t more) { bytes = std::max(bytes, more); };
    if (forms.weights == WeightGradient::dense) {
      at_least(forward.exact.weight_gradient_workspace_bytes(rows, thread_count));
    }
    if (forms.input == InputGradient::dense) {
      at_least(forward.exact.input_gradient_workspace_bytes(rows, thread_count));
    }
    if (clusters_weights(forms) || clusters_input(forms)) {
      at_least(forward.method->backward_workspace_bytes(forward.map, clusters_weights(forms),
                                                        clusters_input(forms), thread_count));
    }
    if (!in_place && reads_rows(forms, forward)) {
      bytes += detail::row_major_bytes<T>("d_y", rows, shape.outputs);
    }
    if (forms.sparse_weights()) {
      at_least(
          SparseGradients<T>::weight_gradient_workspace_bytes(forward.map, shape, thread_count));
    }
    if (forms.sparse_input()) {
      at_least(
          SparseGradients<T>::input_gradient_workspace_bytes(forward.map, shape, thread_count));
    }
    return bytes;
  }

  static bool compute_exactly(const GradientForms& forms, const ForwardState<Domain>& forward,
                              const BackwardOperands<Domain>& operands, T* channel_sums,
                              const PassTools<T>& tools, PassTimer& timer) {
    const double work = forward.shape.dense_work(forward.map.rows());
    Report& stats = tools.report;
    StageClock clock(tools.times);
    bool has_sums = false;
    if (forms.weights == WeightGradient::dense) {
      const ComputedGradient computed =
          forward.exact.weight_gradient(operands.input, operands.d_output, operands.d_output_rows,
                                        operands.d_weights, channel_sums, tools.context);
      clock.finish(Stage::dense);
      has_sums = computed.channel_sums;
      stats.weight_gradient.multiply_adds_done = work * computed.share;
      stats.seconds.weight_gradient += timer.lap();
    }
    if (forms.input == InputGradient::dense) {
      const double share =
          forward.exact.input_gradient(operands.d_output, operands.d_output_rows, operands.weights,
                                       *operands.d_input, tools.context);
      clock.finish(Stage::dense);
      stats.input_gradient.multiply_adds_done = work * share;
      stats.seconds.input_gradient += timer.lap();
    }
    return has_sums;
  }

  /// Where a method has both gradients, they share sums, and their time is all in one figure.
  static void compute_from_clusters(const GradientForms& forms, const ForwardState<Domain>& forward,
                                    BackwardOperands<Domain> operands, const PassTools<T>& tools,
                                    PassTimer& timer) {
    const bool with_weights = clusters_weights(forms);
    if (!with_weights && !clusters_input(forms)) return;
    if (!with_weights) operands.d_weights = {};
    if (!clusters_input(forms)) operands.d_input = nullptr;
    forward.method->backward(operands, tools);
    PassSeconds& seconds = tools.report.seconds;
    (with_weights ? seconds.weight_gradient : seconds.input_gradient) += timer.lap();
  }

  void compute_over_non_zeros(const GradientForms& forms, const ForwardState<Domain>& forward,
                              const Input& input, const GemmFactor<T>& weights,
                              const GemmResult<T>& d_weights, const InputGradientOperand& d_input,
                              const PassTools<T>& tools, PassTimer& timer) {
    Report& stats = tools.report;
    const VectorShape& vectors = forward.shape.input;
    const auto columns = static_cast<double>(forward.shape.columns);
    const bool one_list = forms.one_list();
    if (forms.sparse_weights()) {
      sparse_.list(rounding(forms.weights == WeightGradient::rounded),
                   one_list ? SparseUse::both : SparseUse::weight_gradient, tools.context,
                   tools.times);
      stats.seconds.gradient_listing += timer.lap();
      sparse_.weight_gradient(input.vectors(vectors.kind), vectors.columns.data(), d_weights,
                              tools.context, tools.times);
      stats.weight_gradient.multiply_adds_done = sparse_.listed() * columns;
      stats.seconds.weight_gradient += timer.lap();
    }
    if (!forms.sparse_input()) return;
    if (!one_list) {
      sparse_.list(rounding(forms.input == InputGradient::rounded), SparseUse::input_gradient,
                   tools.context, tools.times);
      stats.seconds.gradient_listing += timer.lap();
    }
    sparse_.input_gradient(weights, vectors.columns.data(), d_input.vectors(vectors.kind),
                           tools.context, tools.times);
    stats.input_gradient.multiply_adds_done = sparse_.listed() * columns;
    stats.seconds.input_gradient += timer.lap();
  }

  Plan config_;
  GradientCosts costs_;
  SparseGradients<T> sparse_;
  std::uint64_t passes_ = 0;
  GradientForms of_weights_;  // of the last pass that computed it
  GradientForms of_input_;
  bool are_assumed_ = true;
};

ADR_NAMESPACE_END
