// One weight matrix with the clusterer, the products and the caches of the published method, which
// works on unfolded rows; without clusters it is the dense product.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/cluster/cluster_cache.hpp"
#include "adr/cluster/cluster_rows.hpp"
#include "adr/cluster/clustering.hpp"
#include "adr/cluster/sign_hash.hpp"
#include "adr/core/context.hpp"
#include "adr/core/state_fields.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/centroid_gemm.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "adr/nn/cached_products.hpp"
#include "adr/nn/sampled_mean.hpp"

ADR_NAMESPACE_BEGIN

/// The product of any input with one weight matrix, and its gradients, as a Plan says.
///
/// Methods: dense and hyperplane. Gradients: exact, or what the published method has. Inputs,
/// outputs and input gradients are rows in the sense of core/matrix_rows.hpp; shapes are checked by
/// the callers. State: the hyperplanes, the clusters of the last forward pass, and with
/// cluster reuse the cache. Memory is allocated while batches and cluster counts grow, always
/// before an output is written, and not in the steady state. Thread-safety: none; one object per
/// thread of control.
template <class T>
class ReuseProduct {
 public:
  /// Errors: std::invalid_argument when a size is below 1 or the config does not fit the columns.
  ReuseProduct(index_t columns, index_t outputs, const Plan& config)
      : columns_(columns), outputs_(outputs) {
    detail::require(columns >= 1 && outputs >= 1,
                    "the weights must have at least 1 x 1 elements, got ", columns, " x ", outputs);
    set_plan(config);
  }

  [[nodiscard]] index_t columns() const noexcept { return columns_; }
  [[nodiscard]] index_t outputs() const noexcept { return outputs_; }
  [[nodiscard]] const Plan& plan() const noexcept { return config_; }
  [[nodiscard]] const Report& report() const noexcept { return stats_; }
  /// The clusters of the last forward pass; without slices after a dense one.
  [[nodiscard]] const Clustering<T>& clustering() const noexcept { return clustering_; }
  [[nodiscard]] const std::optional<SignHash<T>>& hash() const noexcept { return hash_; }

  /// Changes the setting. Clusters, cache and hyperplanes are made anew; on error nothing changes.
  void set_plan(const Plan& config) {
    const std::string problem = config.validate(columns_);
    detail::require(problem.empty(), "Plan: ", problem);
    std::optional<SignHash<T>> hash;
    std::optional<ClusterCache<T>> cache;
    if (config.method == Method::hyperplane) {
      hash.emplace(columns_, config.sub_vector_length, config.hash_count, config.shared_hyperplanes,
                   config.seed);
      if (config.cluster_reuse) {
        cache.emplace(config.hash_count, outputs_, config.cluster_cache_limit,
                      config.max_product_age);
      }
    }
    hash_ = std::move(hash);
    cache_ = std::move(cache);
    config_ = config;
    clustering_ = Clustering<T>();
    has_clusters_ = false;
    forward_count_ = 0;
  }

  void set_dense_gemm(DenseGemm<T> gemm) { gemm_ = std::move(gemm); }

  /// Whether there are clusters to form gradients from; else they are exact.
  [[nodiscard]] bool has_clusters() const noexcept {
    return config_.method == Method::hyperplane && has_clusters_;
  }
  /// Exchanges the clusters of the last forward pass for those of another one.
  void swap_clusters(Clustering<T>& clustering, bool& has_clusters) noexcept {
    std::swap(clustering_, clustering);
    std::swap(has_clusters_, has_clusters);
  }

  /// Forgets what earlier batches left behind: the cluster cache and the estimated mean.
  void clear_cache() {
    if (cache_) cache_->clear();
    forward_count_ = 0;
  }

  /// Writes what earlier batches left behind, or reads it; see ProductState.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    archive.count("forward passes", self.forward_count_, 0, k_most_counted);
    const bool centred =
        self.hash_ && self.config_.hash_center == HashCenter::mean && self.forward_count_ > 0;
    if (centred) {
      archive.rows("mean of the input", self.mean_, 1, self.columns_, self.columns_);
      if constexpr (Archive::k_reads) {
        self.hash_->set_center(VectorView<const T>(self.mean_.data(), self.columns_));
      }
    }
    if (self.cache_) {
      ClusterCache<T>::exchange(archive, *self.cache_, self.hash_->slice_count(),
                                [&](index_t s) { return self.hash_->slice_length(s); });
    }
  }

  /// Throws std::invalid_argument unless a gradient for that many rows can be formed now.
  void require_clusters_of(index_t rows) const {
    if (config_.method == Method::dense) return;
    detail::require(has_clusters_,
                    "a gradient uses the clusters of the last forward pass; run forward first");
    detail::require(clustering_.rows == rows,
                    "a gradient uses the clusters of the last forward pass, which had ",
                    clustering_.rows, " rows; the output gradient has ", rows);
  }

  /// Bytes of scratch that the last forward pass needed and that a backward pass on it would need.
  /// rows: of the input where it is a plain matrix, else 0.
  [[nodiscard]] std::size_t forward_workspace_bytes(index_t rows, int thread_count) const {
    if (config_.method == Method::dense) {
      return dense_forward_once_workspace_bytes<T>(rows, columns_, outputs_, thread_count);
    }
    return std::max(RowClusterer<T>::workspace_bytes(*hash_, thread_count),
                    centroid_forward_workspace_bytes(clustering_, outputs_, thread_count));
  }
  [[nodiscard]] std::size_t backward_workspace_bytes(index_t rows, bool with_input_gradient,
                                                     int thread_count) const {
    std::size_t bytes = 0;
    const bool clustered = has_clusters();
    const bool exact_input =
        with_input_gradient && (!clustered || config_.input_gradient == InputGradient::exact);
    if (clustered) {
      bytes = centroid_backward_workspace_bytes(clustering_, outputs_,
                                                with_input_gradient && !exact_input, thread_count);
    }
    if (!clusters_weight_gradient()) {
      bytes = std::max(
          bytes, dense_weight_gradient_workspace_bytes<T>(rows, columns_, outputs_, thread_count));
    }
    if (exact_input) {
      bytes = std::max(bytes, dense_input_gradient_workspace_bytes<T>(columns_, thread_count));
    }
    return bytes;
  }

  /// Computes output = input weights + bias, exactly or through clusters.
  template <class Input, class Output>
  void forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, Context& context) {
    stats_.reset();
    stats_.method = config_.method;
    StageTimes* times = config_.time_stages ? &stats_.forward_times : nullptr;
    const double dense_work = dense_multiply_adds(input.rows());
    stats_.forward.multiply_adds_dense = dense_work;
    if (config_.method == Method::dense) {
      StageClock clock(times);
      stats_.set_exact_forward(dense_work, forward_dense(input, weights, bias, output, context));
      clock.finish(Stage::dense);
      return;
    }
    cluster(input, weights, context, times);
    context.workspace().reserve(
        centroid_forward_workspace_bytes(clustering_, outputs_, context.threads()));
    double reused_products = 0;
    if (cache_) {
      reused_per_slice_.assign(static_cast<index_t>(clustering_.slices.size()), 0);
      centroid_forward(
          clustering_, bias, output, context,
          [&](index_t s, const MatrixView<T>& table) {
            reused_per_slice_[s] = cached_products(clustering_.slices[static_cast<std::size_t>(s)],
                                                   s, weights, gemm_, *cache_, table);
          },
          times);
      for (index_t s = 0; s < reused_per_slice_.size(); ++s) {
        reused_products += static_cast<double>(reused_per_slice_[s]);
      }
    } else {
      centroid_forward(
          clustering_, bias, output, context,
          [&](index_t s, const MatrixView<T>& table) {
            centroid_product(clustering_.slices[static_cast<std::size_t>(s)], weights, gemm_,
                             table);
          },
          times);
    }
    stats_.reused_products = reused_products;
    const double rows = static_cast<double>(input.rows());
    stats_.forward.multiply_adds_done =
        rows * static_cast<double>(columns_) * (config_.hash_count + 1) +
        centroid_multiply_adds(true) + stats_.neuron_vectors * static_cast<double>(outputs_);
  }

  /// Computes d_weights (unless empty) and adds to d_input (unless null).
  /// Without clusters both are exact. Errors: std::invalid_argument when the rows are not those of
  /// the last forward pass.
  template <class Input, class InputGradientRows>
  void backward(const Input& input, const GemmFactor<T>& weights,
                const MatrixView<const T>& d_output, const GemmResult<T>& d_weights,
                const InputGradientRows* d_input, Context& context) {
    const bool with_input = d_input != nullptr;
    const bool clustered = has_clusters();
    if (clustered) require_clusters_of(d_output.rows);
    context.workspace().reserve(
        backward_workspace_bytes(d_output.rows, with_input, context.threads()));
    StageTimes* times = config_.time_stages ? &stats_.backward_times : nullptr;
    const double dense_work = dense_multiply_adds(d_output.rows);
    const double sums = stats_.neuron_vectors * static_cast<double>(outputs_);
    const bool exact_input =
        with_input && (!clustered || config_.input_gradient == InputGradient::exact);
    const GemmResult<T> from_clusters = clusters_weight_gradient() ? d_weights : GemmResult<T>{};
    if (!d_weights.empty()) {
      stats_.weight_gradient.multiply_adds_dense = dense_work;
      stats_.weight_gradient.multiply_adds_done =
          clusters_weight_gradient() ? sums + centroid_multiply_adds(false) : dense_work;
    }
    if (with_input) {
      stats_.input_gradient.multiply_adds_dense = dense_work;
      stats_.input_gradient.multiply_adds_done =
          exact_input ? dense_work
                      : centroid_multiply_adds(false) + (from_clusters.empty() ? sums : 0.0);
    }
    if (!clusters_weight_gradient() && !d_weights.empty()) {
      StageClock clock(times);
      dense_weight_gradient(input, d_output, d_weights, gemm_, context);
      clock.finish(Stage::dense);
    }
    const InputGradientRows* d_input_from_clusters = clustered && !exact_input ? d_input : nullptr;
    if (d_input_from_clusters != nullptr || !from_clusters.empty()) {
      centroid_backward(clustering_, weights, d_output, from_clusters, d_input_from_clusters, gemm_,
                        context, times);
    }
    if (exact_input) {
      StageClock clock(times);
      dense_input_gradient(d_output, weights, *d_input, gemm_, context);
      clock.finish(Stage::dense);
    }
  }

 private:
  /// Returns the share of the rows that was computed, and not copied from those of equal inputs.
  template <class Input, class Output>
  double forward_dense(const Input& input, const GemmFactor<T>& weights,
                       const VectorView<const T>& bias, const Output& output, Context& context) {
    constexpr bool k_matrices =
        std::is_same_v<Input, MatrixRows<const T>> && std::is_same_v<Output, MatrixRows<T>>;
    const index_t rows = input.rows();
    context.workspace().reserve(forward_workspace_bytes(k_matrices ? rows : 0, context.threads()));
    if constexpr (k_matrices) {
      if (input.in_place() && output.in_place()) {
        return dense_forward_once(input.view(0, rows, nullptr), weights, bias,
                                  output.target(0, rows, nullptr, Keep::nothing), gemm_, context);
      }
    }
    dense_forward(input, weights, bias, output, gemm_, context);
    return 1;
  }

  [[nodiscard]] bool clusters_weight_gradient() const noexcept {
    return has_clusters() && config_.weight_gradient != WeightGradient::exact;
  }

  [[nodiscard]] double dense_multiply_adds(index_t rows) const noexcept {
    return static_cast<double>(rows) * static_cast<double>(columns_) *
           static_cast<double>(outputs_);
  }

  /// Multiply-adds of centroids with weights; in the forward pass, rows from the cache are free.
  [[nodiscard]] double centroid_multiply_adds(bool forward) const noexcept {
    double elements = 0;
    for (index_t s = 0; s < static_cast<index_t>(clustering_.slices.size()); ++s) {
      const SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
      const index_t reused = forward && cache_ ? reused_per_slice_[s] : 0;
      elements +=
          static_cast<double>(slice.cluster_count - reused) * static_cast<double>(slice.length);
    }
    return elements * static_cast<double>(outputs_);
  }

  template <class Input>
  void cluster(const Input& input, const GemmFactor<T>& weights, Context& context,
               StageTimes* times) {
    context.workspace().reserve(RowClusterer<T>::workspace_bytes(*hash_, context.threads()));
    const bool has_rows = input.rows() > 0;
    if (config_.hash_center == HashCenter::mean && has_rows &&
        forward_count_ % config_.refit_interval == 0) {
      sampled_mean(input, mean_);
      hash_->set_center(VectorView<const T>(mean_.data(), mean_.size()));
      if (cache_) cache_->clear();
    }
    if (has_rows) ++forward_count_;
    has_clusters_ = false;
    clusterer_.cluster(input, *hash_, context, clustering_, times);
    has_clusters_ = true;
    if (cache_) recall_clusters(weights, context, times);
    stats_.remaining_ratio_per_slice.reserve(clustering_.slices.size());
    for (const SliceClusters<T>& slice : clustering_.slices) {
      stats_.clusters += static_cast<double>(slice.cluster_count);
      stats_.total_energy += slice.total_energy;
      stats_.within_cluster_energy += slice.within_cluster_energy;
      stats_.remaining_ratio_per_slice.push_back(clustering_.rows > 0
                                                     ? static_cast<double>(slice.cluster_count) /
                                                           static_cast<double>(clustering_.rows)
                                                     : 0.0);
    }
    stats_.neuron_vectors =
        static_cast<double>(clustering_.rows) * static_cast<double>(clustering_.slices.size());
    stats_.non_finite_vectors = static_cast<double>(clustering_.non_finite_vectors());
  }

  void recall_clusters(const GemmFactor<T>& weights, Context& context, StageTimes* times) {
    StageClock clock(times);
    const auto slice_count = static_cast<index_t>(clustering_.slices.size());
    cache_->set_weights(fingerprint(weights));
    cache_->prepare(slice_count);
    known_per_slice_.assign(slice_count, 0);
    parallel_for(slice_count, context.threads(), [&](index_t s, int) {
      known_per_slice_[s] = cache_->recall(s, clustering_.slices[static_cast<std::size_t>(s)]);
    });
    for (index_t s = 0; s < slice_count; ++s) {
      stats_.known_vectors += static_cast<double>(known_per_slice_[s]);
    }
    clock.finish(Stage::cluster_reuse);
  }

  index_t columns_;
  index_t outputs_;
  Plan config_;
  DenseGemm<T> gemm_;
  std::optional<SignHash<T>> hash_;
  std::optional<ClusterCache<T>> cache_;
  RowClusterer<T> clusterer_;
  Clustering<T> clustering_;
  bool has_clusters_ = false;
  AlignedBuffer<T> mean_;
  AlignedBuffer<index_t> known_per_slice_;
  AlignedBuffer<index_t> reused_per_slice_;
  index_t forward_count_ = 0;
  Report stats_;
};

ADR_NAMESPACE_END
