// The two gradients of a product, each in the form that the setting asks for or that the density of
// the output gradient makes the best: from clusters, over non-zeros, or dense.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/row_major.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/centroid_gemm.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/dense_passes.hpp"
#include "adr/nn/gradient_forms.hpp"
#include "adr/nn/operands.hpp"
#include "adr/nn/pass_timer.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/reuse_product.hpp"
#include "adr/nn/shared_product.hpp"
#include "adr/nn/sparse_gradients.hpp"

ADR_NAMESPACE_BEGIN

/// What the forward pass of a product left behind for its gradients.
template <class Domain>
struct ForwardState {
  using T = typename Domain::Element;

  const ProductShape& shape;
  const SharedProduct<Domain>* shared;  ///< null for the methods that work on unfolded rows
  const DenseGemm<T>& gemm;
  const DensePasses<T>* dense;  ///< null: exact gradients by rows
  bool clusters_usable;
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
    last_ = {choose_weight_gradient(config, costs_, usual),
             choose_input_gradient(config, costs_, usual)};
    if (config.method == Method::dense) return;
    detail::require(
        config.input_gradient != InputGradient::cluster_mean || config.method == Method::hyperplane,
        "Plan: input_gradient cluster_mean needs method hyperplane, got ",
        to_string(config.method));
  }

  /// Changes the forms.
  void set_plan(const Plan& config) noexcept { config_ = config; }
  void set_costs(const GradientCosts& costs) noexcept { costs_ = costs; }
  [[nodiscard]] const GradientCosts& costs() const noexcept { return costs_; }

  /// Starts the sequence of rounding anew.
  void clear() noexcept { passes_ = 0; }

  /// See ProductState.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    archive.bits("passes of the gradients", self.passes_);
    archive.real("cost of sparse weight gradients", self.costs_.sparse_weights);
    archive.real("cost of clustered weight gradients", self.costs_.cluster_weights);
    archive.real("cost of sparse input gradients", self.costs_.sparse_input);
    archive.real("cost of listing", self.costs_.listing);
  }

  /// Bytes of scratch that the last `compute` took, or that one over non-zeros would take.
  /// in_place: d_y is row-major.
  [[nodiscard]] std::size_t workspace_bytes(const ForwardState<Domain>& forward,
                                            const ReuseProduct<T>& rows, bool in_place,
                                            int thread_count) const {
    return scratch_bytes(last_, forward, rows, in_place, thread_count);
  }

  /// Computes d_weights (unless empty) and d_input (unless empty): a matrix, or images of which
  /// there are DensePasses, is replaced, other images are added to. Errors: std::bad_alloc, and
  /// those of a DenseConvolution.
  void compute(const ForwardState<Domain>& forward, ReuseProduct<T>& rows, const Input& input,
               const GemmFactor<T>& weights, const OutputGradient& d_output,
               const GemmResult<T>& d_weights, InputGradientOperand d_input, Context& context,
               Report& stats) {
    StageTimes* times = config_.time_stages ? &stats.backward_times : nullptr;
    const PixelView<const T> pixels = d_output.pixels();
    PassTimer timer(context);
    PassSeconds& seconds = stats.seconds;
    const GradientForms forms =
        choose(forward, pixels, !d_weights.empty(), !d_input.empty(), context, stats, times);
    seconds.gradient_listing += timer.lap();
    if constexpr (Domain::k_images) {
      if (forms.with_input() && forward.dense != nullptr && forms.input != InputGradient::exact) {
        clear(d_input.images, context.threads());
        seconds.input_gradient += timer.lap();
      }
    } else if (forms.with_input()) {
      if (forms.input == InputGradient::exact && rows_input(forms, forward)) {
        d_input.update = Update::replace;
      } else {
        clear(d_input.matrix, context.threads());
        seconds.input_gradient += timer.lap();
      }
    }
    last_ = forms;
    if (forms.with_weights()) stats.weight_gradient_form = forms.weights;
    if (forms.with_input()) stats.input_gradient_form = forms.input;
    context.workspace().reserve(
        scratch_bytes(forms, forward, rows, d_output.rows().in_place(), context.threads()));
    compute_by_rows(forms, forward, rows, input, weights, d_output, d_weights, d_input, context,
                    stats, timer);
    if constexpr (Domain::k_images) {
      compute_by_convolution(forms, forward, input, weights, d_output, d_weights, d_input, context,
                             stats, times, timer);
    }
    if (forward.shared != nullptr && forms.weights == WeightGradient::clusters) {
      forward.shared->weight_gradient(input.vectors(forward.shape.input.kind), pixels, d_weights,
                                      forward.gemm, context, times);
      stats.weight_gradient.multiply_adds_done = forward.shared->weight_gradient_multiply_adds();
      seconds.weight_gradient += timer.lap();
    }
    compute_over_non_zeros(forms, forward, input, weights, d_weights, d_input, context, stats,
                           times, timer);
    if (forms.with_weights())
      stats.weight_gradient.multiply_adds_dense = forward.shape.dense_work(forward.map.rows());
    if (forms.with_input())
      stats.input_gradient.multiply_adds_dense = forward.shape.dense_work(forward.map.rows());
    ++passes_;
  }

 private:
  /// Lists of the two gradients are rounded with the same seed in a pass, so that one serves both.
  [[nodiscard]] typename SparseGradients<T>::Rounding rounding(bool rounded) const noexcept {
    constexpr std::uint64_t k_odd = 0x9e3779b97f4a7c15u;
    return {rounded ? config_.rounding_step : 0.0, config_.seed + passes_ * k_odd};
  }

  GradientForms choose(const ForwardState<Domain>& forward, const PixelView<const T>& d_output,
                       bool with_weights, bool with_input, Context& context, Report& stats,
                       StageTimes* times) {
    GradientCase facts;
    facts.columns = forward.shape.columns;
    facts.dense_work = forward.shape.dense_work(forward.map.rows());
    facts.clusters_usable = forward.clusters_usable;
    if (forward.shared != nullptr && forward.clusters_usable) {
      facts.cluster_work = forward.shared->weight_gradient_multiply_adds();
    }
    const auto chosen = [&] {
      GradientForms forms;
      if (with_weights) forms.weights = choose_weight_gradient(config_, costs_, facts);
      if (with_input) forms.input = choose_input_gradient(config_, costs_, facts);
      return forms;
    };
    if (!depends_on_density(config_, with_weights, with_input)) {
      stats.gradient_density = 1;
      return chosen();
    }
    if (asks_sample_first(config_, with_weights, with_input)) {
      stats.gradient_density = facts.density = sampled_density(d_output);
      const GradientForms forms = chosen();
      if (!forms.sparse_weights() && !forms.sparse_input()) return forms;
    }
    stats.gradient_density = facts.density =
        sparse_.measure(d_output, forward.map, forward.shape.input, context, times).density();
    return chosen();
  }

  /// Whether the product on rows, dense or through the published clusters, computes a gradient.
  static bool rows_weights(const GradientForms& forms,
                           const ForwardState<Domain>& forward) noexcept {
    return (forms.weights == WeightGradient::exact && forward.dense == nullptr) ||
           (forms.weights == WeightGradient::clusters && forward.shared == nullptr);
  }
  static bool rows_input(const GradientForms& forms, const ForwardState<Domain>& forward) noexcept {
    return (forms.input == InputGradient::exact && forward.dense == nullptr) ||
           forms.input == InputGradient::cluster_mean;
  }

  [[nodiscard]] std::size_t scratch_bytes(const GradientForms& forms,
                                          const ForwardState<Domain>& forward,
                                          const ReuseProduct<T>& rows, bool in_place,
                                          int thread_count) const {
    const ProductShape& shape = forward.shape;
    std::size_t bytes = 0;
    if (rows_weights(forms, forward) || rows_input(forms, forward)) {
      bytes = rows.backward_workspace_bytes(forward.map.rows(), rows_input(forms, forward),
                                            thread_count);
      if (!in_place) {
        bytes += detail::row_major_bytes<T>("d_y", forward.map.rows(), shape.outputs);
      }
    }
    if (forward.shared != nullptr && forms.weights == WeightGradient::clusters) {
      bytes = std::max(bytes, forward.shared->weight_gradient_workspace_bytes(thread_count));
    }
    if constexpr (Domain::k_images) {
      const index_t row_count = forward.map.rows();
      if (forward.dense != nullptr && forms.weights == WeightGradient::exact) {
        bytes = std::max(bytes,
                         forward.dense->weight_gradient_workspace_bytes(row_count, thread_count));
      }
      if (forward.dense != nullptr && forms.input == InputGradient::exact) {
        bytes =
            std::max(bytes, forward.dense->input_gradient_workspace_bytes(row_count, thread_count));
      }
    }
    if (forms.sparse_weights()) {
      bytes = std::max(bytes, SparseGradients<T>::weight_gradient_workspace_bytes(
                                  forward.map, shape, thread_count));
    }
    if (forms.sparse_input()) {
      bytes = std::max(bytes, SparseGradients<T>::input_gradient_workspace_bytes(forward.map, shape,
                                                                                 thread_count));
    }
    return bytes;
  }

  static void compute_by_rows(const GradientForms& forms, const ForwardState<Domain>& forward,
                              ReuseProduct<T>& rows, const Input& input,
                              const GemmFactor<T>& weights, const OutputGradient& d_output,
                              const GemmResult<T>& d_weights, const InputGradientOperand& d_input,
                              Context& context, Report& stats, PassTimer& timer) {
    const bool with_weights = rows_weights(forms, forward);
    if (!with_weights && !rows_input(forms, forward)) return;
    const Workspace::Frame frame(context.workspace());
    const MatrixView<const T> gradient = detail::row_major(d_output.rows(), context);
    const auto d_input_rows = d_input.rows();
    const StageTimes before = rows.report().backward_times;
    // The published gradients share the sums per cluster; their time is all in one figure.
    const bool shares_sums = with_weights && forms.weights == WeightGradient::clusters &&
                             forms.input == InputGradient::cluster_mean;
    if (with_weights && !shares_sums) {
      rows.backward(input.rows(), weights, gradient, d_weights,
                    static_cast<decltype(&d_input_rows)>(nullptr), context);
      stats.weight_gradient = rows.report().weight_gradient;
      stats.seconds.weight_gradient += timer.lap();
    }
    if (rows_input(forms, forward)) {
      rows.backward(input.rows(), weights, gradient, shares_sums ? d_weights : GemmResult<T>{},
                    &d_input_rows, context);
      stats.input_gradient = rows.report().input_gradient;
      if (shares_sums) stats.weight_gradient = rows.report().weight_gradient;
      (shares_sums ? stats.seconds.weight_gradient : stats.seconds.input_gradient) += timer.lap();
    }
    stats.backward_times.add(rows.report().backward_times.since(before));
  }

  static void clear(const MatrixView<T>& matrix, int thread_count) {
    constexpr index_t k_rows = 256;
    const index_t blocks = blocks_of(matrix.rows, k_rows);
    parallel_for(blocks, thread_count, [&](index_t block, int) {
      const IndexRange rows = partition(matrix.rows, blocks, block);
      detail::set_zero(matrix.middle_rows(rows.first, rows.size()));
    });
  }
  static void clear(const TensorView<T>& images, int thread_count) {
    parallel_for(images.batch, thread_count,
                 [&](index_t n, int) { std::fill_n(images.image(n), images.image_size(), T(0)); });
  }

  static void compute_by_convolution(const GradientForms& forms,
                                     const ForwardState<Domain>& forward, const Input& input,
                                     const GemmFactor<T>& weights, const OutputGradient& d_output,
                                     const GemmResult<T>& d_weights,
                                     const InputGradientOperand& d_input, Context& context,
                                     Report& stats, StageTimes* times, PassTimer& timer) {
    if (forward.dense == nullptr) return;
    StageClock clock(times);
    if (forms.weights == WeightGradient::exact) {
      ADR_ASSERT(d_weights.transposed, "a convolution's weights have a row per output");
      forward.dense->weight_gradient(input, d_output, d_weights.matrix, context);
      clock.finish(Stage::dense);
      stats.weight_gradient.multiply_adds_done = forward.shape.dense_work(forward.map.rows());
      stats.seconds.weight_gradient += timer.lap();
    }
    if (forms.input == InputGradient::exact) {
      ADR_ASSERT(weights.transposed, "a convolution's weights have a row per output");
      forward.dense->input_gradient(d_output, weights.matrix, d_input, context);
      clock.finish(Stage::dense);
      stats.input_gradient.multiply_adds_done = forward.shape.dense_work(forward.map.rows());
      stats.seconds.input_gradient += timer.lap();
    }
  }

  void compute_over_non_zeros(const GradientForms& forms, const ForwardState<Domain>& forward,
                              const Input& input, const GemmFactor<T>& weights,
                              const GemmResult<T>& d_weights, const InputGradientOperand& d_input,
                              Context& context, Report& stats, StageTimes* times,
                              PassTimer& timer) {
    const VectorShape& vectors = forward.shape.input;
    const auto columns = static_cast<double>(forward.shape.columns);
    const bool one_list = forms.one_list();
    if (forms.sparse_weights()) {
      sparse_.list(rounding(forms.weights == WeightGradient::sparsified),
                   one_list ? SparseUse::both : SparseUse::weight_gradient, context, times);
      stats.seconds.gradient_listing += timer.lap();
      sparse_.weight_gradient(input.vectors(vectors.kind), vectors.columns.data(), d_weights,
                              context, times);
      stats.weight_gradient.multiply_adds_done = sparse_.listed() * columns;
      stats.seconds.weight_gradient += timer.lap();
    }
    if (!forms.sparse_input()) return;
    if (!one_list) {
      sparse_.list(rounding(forms.input == InputGradient::sparsified), SparseUse::input_gradient,
                   context, times);
      stats.seconds.gradient_listing += timer.lap();
    }
    sparse_.input_gradient(weights, vectors.columns.data(), d_input.vectors(vectors.kind), context,
                           times);
    stats.input_gradient.multiply_adds_done = sparse_.listed() * columns;
    stats.seconds.input_gradient += timer.lap();
  }

  Plan config_;
  GradientCosts costs_;
  SparseGradients<T> sparse_;
  std::uint64_t passes_ = 0;
  GradientForms last_;
};

ADR_NAMESPACE_END
