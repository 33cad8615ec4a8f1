// What the last passes of a reusing product did: plain data that policies, tables and users read.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/stage_times.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// Multiply-adds of one pass; an addition of a product row counts as one per element, as in the
/// papers.
struct PassWork {
  double multiply_adds_done = 0;   ///< of the pass as it ran
  double multiply_adds_dense = 0;  ///< of the same pass with every product computed

  /// The saved share of the dense work; negative when the pass did more than the dense one.
  [[nodiscard]] double saved_share() const noexcept {
    return multiply_adds_dense > 0 ? 1.0 - multiply_adds_done / multiply_adds_dense : 0.0;
  }
  /// Adds both counts.
  void add(const PassWork& other) noexcept {
    multiply_adds_done += other.multiply_adds_done;
    multiply_adds_dense += other.multiply_adds_dense;
  }
};

/// Seconds of the passes by the clock of the context; 0 where it has none or nothing ran.
struct PassSeconds {
  double forward = 0;          ///< with everything that belongs to it: fits, rotated weights
  double weight_gradient = 0;  ///< without listing
  double input_gradient = 0;   ///< without listing
  /// Counting and listing non-zeros, which may serve both gradients.
  double gradient_listing = 0;
  /// The error meter and measurements of other settings, not part of `forward`.
  double meter = 0;
  double rounding_meter = 0;  ///< measuring what rounding adds, not part of the gradients

  /// The sum of all.
  [[nodiscard]] double total() const noexcept {
    return forward + weight_gradient + input_gradient + gradient_listing + meter + rounding_meter;
  }
  /// Adds one by one.
  void add(const PassSeconds& other) noexcept {
    forward += other.forward;
    weight_gradient += other.weight_gradient;
    input_gradient += other.input_gradient;
    gradient_listing += other.gradient_listing;
    meter += other.meter;
    rounding_meter += other.rounding_meter;
  }
};

/// What a forward pass did as one of a stream (adr::Stream).
enum class StreamPass {
  none,      ///< it was none
  first,     ///< everything was computed, and is kept
  compared,  ///< what has changed was computed
  left,      ///< everything was computed and nothing kept: too little stays what it was to compare
};

/// What a forward pass and the backward pass after it did.
///
/// The fields are counts and sums, so that `add` can merge groups, batches or layers; the ratios of
/// the papers are functions of them. Units: seconds, multiply-adds, bytes where a name ends in
/// `_bytes`; errors are relative, ||Y - Y_exact|| / ||Y_exact||. Thread-safety: that of plain data.
/// Source: Ning et al., ICDE 2019, for the ratios; this library.
struct Report {
  /// What multiplied in the forward pass.
  Method method = Method::exact;
  /// What runs: the method and the forms of the gradients.
  Plan plan;
  index_t passes_of_plan = 0;  ///< forward passes that were computed so, without a change
  double max_error = 0;        ///< what an automatic setting may have
  /// The relative error of the output as last measured under the plan; 0 where it is exact, NaN
  /// where it was not measured yet.
  double measured_error = 0;
  /// Of the exact passes, as an automatic setting has timed them; 0 where it has not.
  PassSeconds exact_seconds;
  std::size_t workspace_bytes = 0;  ///< the most scratch that the context has held

  double neuron_vectors = 0;  ///< rows times slices
  double clusters = 0;        ///< over all slices
  /// Neuron vectors whose cluster was known from an earlier batch (cluster reuse).
  double known_vectors = 0;
  /// Clusters whose product row came from an earlier batch (cluster reuse).
  double reused_products = 0;
  /// Neuron vectors that hold a NaN or an infinity, or whose projections overflow.
  double non_finite_vectors = 0;
  /// Sums of ||v||^2 and of ||v - centroid||^2 over the neuron vectors that are finite and not far
  /// from all others.
  double total_energy = 0;
  double within_cluster_energy = 0;  ///< the second of the two sums

  /// Of the last pass: clusters / rows per slice; not merged.
  std::vector<double> remaining_ratio_per_slice;

  /// How often the subspace was fitted anew in the forward pass.
  int fits = 0;
  /// Forward passes that were computed densely because the input holds a NaN or an infinity, which
  /// no subspace can stand for, or because a sample of it promised no clusters within the radius.
  int dense_fallbacks = 0;
  /// Multiply-adds of exact forward passes that were left out because their results are copies of
  /// those of equal inputs, or, in a stream, are what they were.
  double copied_multiply_adds = 0;
  /// Multiply-adds of exact forward passes that were left out because a factor is zero.
  double zero_multiply_adds = 0;

  /// What the last backward pass did; where the plan says automatic, what was chosen. With groups
  /// or several layers, these three are those of the last one.
  WeightGradient weight_gradient_form = WeightGradient::automatic;
  /// The same for the input gradient.
  InputGradient input_gradient_form = InputGradient::automatic;
  /// The share of the output gradient that is not zero; 1 where nobody looked.
  double gradient_density = 1;

  /// Sums of ||y - y_exact||^2 and ||y_exact||^2, without bias, over the rows that the error meter
  /// sampled; 0 in passes that it left out.
  double output_error_energy = 0;
  double sampled_output_energy = 0;  ///< the second of the two sums

  /// Of rounded gradients, with Plan::measure_rounding: sums of squares of what rounding has added
  /// to the weight gradient, and what that varies from batch to batch; sums of squares of what it
  /// has added to the input gradient, and of the exact one, on a part of the batch.
  double weight_noise_energy = 0;
  double weight_gradient_variance = 0;  ///< see weight_noise_energy
  double input_noise_energy = 0;        ///< see weight_noise_energy
  double input_gradient_energy = 0;     ///< see weight_noise_energy

  /// With Method::clustered, over the passes that it computed: what ||y - y_exact||^2 is at most,
  /// and ||y||^2, both without bias.
  double bounded_error_energy = 0;
  double output_energy = 0;  ///< the second of the two
  /// What the pass did as one of a stream.
  StreamPass stream_pass = StreamPass::none;
  /// Of a stream: the largest change of a window whose results stayed, relative to the root mean
  /// square of all windows.
  double stream_threshold = 0;

  /// Why the setting was chosen, where a ReuseScheduler or the layer's own tuner did.
  Decision decision;

  PassSeconds seconds;       ///< by the clock of the context
  PassWork forward;          ///< multiply-adds of the forward pass
  PassWork weight_gradient;  ///< of the weight gradient
  PassWork input_gradient;   ///< of the input gradient

  StageTimes forward_times;   ///< by stage, when Plan::time_stages is on
  StageTimes backward_times;  ///< by stage, when Plan::time_stages is on

  /// The share of an exact forward pass that was computed, and not copied from the results of equal
  /// inputs or, in a stream, left as it was; 1 for passes that approximate otherwise.
  [[nodiscard]] double computed_share() const noexcept {
    return copied_multiply_adds > 0 ? 1.0 - copied_multiply_adds / forward.multiply_adds_dense
                                    : 1.0;
  }
  /// r_c in the papers: clusters / rows, averaged over slices; 1 for dense.
  [[nodiscard]] double remaining_ratio() const noexcept {
    return neuron_vectors > 0 ? clusters / neuron_vectors : 1.0;
  }
  /// ||X - X_clustered|| / ||X||, from the within-cluster energy: a free estimate of the relative
  /// error of the output; 0 for dense.
  [[nodiscard]] double relative_input_error() const noexcept {
    return total_energy > 0 ? std::sqrt(within_cluster_energy / total_energy) : 0.0;
  }
  /// Whether the error meter looked at the output of the pass.
  [[nodiscard]] bool has_output_error() const noexcept { return sampled_output_energy > 0; }
  /// ||Y - Y_exact|| / ||Y_exact|| over the sampled rows; 0 where there are none.
  [[nodiscard]] double relative_output_error() const noexcept {
    return has_output_error() ? std::sqrt(output_error_energy / sampled_output_energy) : 0.0;
  }
  /// Whether the backward pass has measured what rounding adds.
  [[nodiscard]] bool has_gradient_noise() const noexcept {
    return weight_gradient_variance != 0 || weight_noise_energy != 0 || input_gradient_energy != 0;
  }
  /// The variance that rounding adds to the weight gradient as a share of its own over batches,
  /// infinite where that is 0; 0 where it was not measured.
  [[nodiscard]] double weight_gradient_noise() const noexcept {
    return weight_noise_energy != 0 ? weight_noise_energy / weight_gradient_variance : 0.0;
  }
  /// The energy that rounding adds to the input gradient as a share of its own; likewise.
  [[nodiscard]] double input_gradient_noise() const noexcept {
    return input_noise_energy != 0 ? input_noise_energy / input_gradient_energy : 0.0;
  }
  /// What ||Y - Y_exact|| / ||Y|| is at most, with Method::clustered; 0 where nothing guarantees
  /// it or needs to. Math: ||X - X_clustered|| ||W|| / ||Y|| in Frobenius norms, without bias.
  [[nodiscard]] double output_error_bound() const noexcept {
    return output_energy > 0 ? std::sqrt(bounded_error_energy / output_energy) : 0.0;
  }
  /// R in the papers: the share of neuron vectors whose cluster was known.
  [[nodiscard]] double cluster_reuse_rate() const noexcept {
    return neuron_vectors > 0 ? known_vectors / neuron_vectors : 0.0;
  }
  /// The share of clusters whose product was not computed.
  [[nodiscard]] double product_reuse_rate() const noexcept {
    return clusters > 0 ? reused_products / clusters : 0.0;
  }

  /// Whether nothing was lost but rounding, and nothing had to be measured.
  [[nodiscard]] bool is_exact() const noexcept {
    return method == Method::exact && !(stream_threshold > 0);
  }

  /// The work of an exact forward pass of which the share `computed` was not copied, and of that
  /// the share `terms` of the multiply-adds done.
  void set_exact_forward(double dense_work, double computed, double terms = 1) noexcept {
    copied_multiply_adds = dense_work * (1.0 - computed);
    zero_multiply_adds = dense_work * computed * (1.0 - terms);
    forward = {dense_work * computed * terms, dense_work};
  }

  /// Empties everything and keeps the memory, so that a steady state allocates nothing.
  void reset() {
    std::vector<double> ratios = std::move(remaining_ratio_per_slice);
    ratios.clear();
    *this = Report();
    remaining_ratio_per_slice = std::move(ratios);
  }

  /// Merges the counts, sums, work and times of another pass, group or layer into this one.
  void add(const Report& other) {
    method = other.method;
    neuron_vectors += other.neuron_vectors;
    clusters += other.clusters;
    known_vectors += other.known_vectors;
    reused_products += other.reused_products;
    non_finite_vectors += other.non_finite_vectors;
    total_energy += other.total_energy;
    within_cluster_energy += other.within_cluster_energy;
    fits += other.fits;
    dense_fallbacks += other.dense_fallbacks;
    copied_multiply_adds += other.copied_multiply_adds;
    zero_multiply_adds += other.zero_multiply_adds;
    weight_gradient_form = other.weight_gradient_form;
    input_gradient_form = other.input_gradient_form;
    gradient_density = other.gradient_density;
    output_error_energy += other.output_error_energy;
    sampled_output_energy += other.sampled_output_energy;
    weight_noise_energy += other.weight_noise_energy;
    weight_gradient_variance += other.weight_gradient_variance;
    input_noise_energy += other.input_noise_energy;
    input_gradient_energy += other.input_gradient_energy;
    bounded_error_energy += other.bounded_error_energy;
    output_energy += other.output_energy;
    stream_pass = other.stream_pass;
    stream_threshold = std::max(stream_threshold, other.stream_threshold);
    decision = other.decision;
    seconds.add(other.seconds);
    forward.add(other.forward);
    weight_gradient.add(other.weight_gradient);
    input_gradient.add(other.input_gradient);
    forward_times.add(other.forward_times);
    backward_times.add(other.backward_times);
  }
};

}  // namespace adr
