// The published method: neuron vectors with equal signatures share one product.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/product/clustering.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"
#include "adr/published/cached_products.hpp"
#include "adr/published/centroid_gemm.hpp"
#include "adr/published/cluster_cache.hpp"
#include "adr/published/cluster_rows.hpp"
#include "adr/published/sampled_mean.hpp"
#include "adr/published/sign_hash.hpp"

ADR_NAMESPACE_BEGIN

/// The product of unfolded rows with one weight matrix through clusters of their neuron vectors,
/// and the published gradients. It learns where the hyperplanes of HashCenter::mean pass; with
/// cluster reuse it keeps clusters from batch to batch. Thread-safety: none. Source: Ning et al.,
/// ICDE 2019.
template <class Domain>
class PublishedProduct final : public ReusingProduct<Domain> {
 public:
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  using Output = typename Domain::Output;

  PublishedProduct(const ProductShape& shape, const Plan& plan)
      : columns_(shape.columns),
        outputs_(shape.outputs),
        plan_(plan),
        hash_(shape.columns, plan.vector_length, plan.hash_count, plan.shared_hyperplanes,
              plan.seed) {
    if (plan.cluster_reuse) {
      cache_.emplace(plan.hash_count, outputs_, plan.cluster_cache_limit, plan.max_product_age);
    }
  }

  [[nodiscard]] const SignHash<T>& hash() const noexcept { return hash_; }

  bool forward(const Input& input, const GemmFactor<T>& weights, const VectorView<const T>& bias,
               const Output& output, const PassTools<T>& tools) override {
    has_clusters_ = false;
    if (!learns_ && !can_freeze()) return false;
    const auto rows = input.rows();
    cluster(rows, weights, tools);
    tools.context.workspace().reserve(
        centroid_forward_workspace_bytes(clustering_, outputs_, tools.context.threads()));
    reused_per_slice_.assign(static_cast<index_t>(clustering_.slices.size()), 0);
    centroid_forward(
        clustering_, bias, output.rows(), tools.context,
        [&](index_t s, const MatrixView<T>& table) {
          const SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
          if (cache_) {
            reused_per_slice_[s] = cached_products(slice, s, weights, tools.gemm, *cache_, table);
          } else {
            centroid_product(slice, weights, tools.gemm, table);
          }
        },
        tools.times);
    Report& report = tools.report;
    for (index_t s = 0; s < reused_per_slice_.size(); ++s) {
      report.reused_products += static_cast<double>(reused_per_slice_[s]);
    }
    report.forward.multiply_adds_done =
        static_cast<double>(rows.rows()) * static_cast<double>(columns_) * (plan_.hash_count + 1) +
        centroid_multiply_adds(true) + additions();
    return true;
  }

  void backward(const BackwardOperands<Domain>& operands, const PassTools<T>& tools) override {
    const bool with_weights = !operands.d_weights.empty();
    Report& report = tools.report;
    if (with_weights) report.weight_gradient.multiply_adds_done = weight_gradient_multiply_adds();
    if (operands.d_input != nullptr) {
      // The sums per cluster serve both gradients.
      report.input_gradient.multiply_adds_done =
          centroid_multiply_adds(false) + (with_weights ? 0.0 : additions());
      const auto d_input = operands.d_input->rows();
      centroid_backward(clustering_, operands.weights, operands.d_output_rows, operands.d_weights,
                        &d_input, tools.gemm, tools.context, tools.times);
    } else {
      const auto* const none = static_cast<decltype(operands.d_input->rows())*>(nullptr);
      centroid_backward(clustering_, operands.weights, operands.d_output_rows, operands.d_weights,
                        none, tools.gemm, tools.context, tools.times);
    }
  }
  [[nodiscard]] double weight_gradient_multiply_adds() const override {
    return additions() + centroid_multiply_adds(false);
  }
  [[nodiscard]] bool reads_gradient_rows() const noexcept override { return true; }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& /*map*/,
                                                    int thread_count) const override {
    return std::max(RowClusterer<T>::workspace_bytes(hash_, thread_count),
                    centroid_forward_workspace_bytes(clustering_, outputs_, thread_count));
  }
  [[nodiscard]] std::size_t backward_workspace_bytes(const VectorMap& /*map*/,
                                                     bool /*with_weights*/, bool with_input,
                                                     int thread_count) const override {
    return centroid_backward_workspace_bytes(clustering_, outputs_, with_input, thread_count);
  }

  [[nodiscard]] bool can_freeze() const noexcept override {
    return plan_.hash_center == HashCenter::origin || forward_count_ > 0;
  }
  void freeze() override {
    detail::require(can_freeze(),
                    "freeze: no mean has been estimated yet; run a forward pass first");
    learns_ = false;
  }
  void set_learning(bool learns) override { learns_ = learns; }
  /// The cluster cache, and the estimated mean unless learning has ended.
  void clear() noexcept override {
    if (cache_) cache_->clear();
    if (learns_) forward_count_ = 0;
  }
  void resize(const ProductShape& /*shape*/) override {}

  void exchange(StateArchive& archive) override {
    archive("forward passes", forward_count_);
    if (plan_.hash_center == HashCenter::mean && forward_count_ > 0) {
      archive.rows("mean of the input", mean_, 1, columns_, columns_);
      if (archive.is_reading()) hash_.set_center(VectorView<const T>(mean_.data(), columns_));
    }
    if (cache_) {
      cache_->exchange(archive, hash_.slice_count(),
                       [&](index_t s) { return hash_.slice_length(s); });
    }
  }

  void swap_clusters(Clustering<T>& clustering, bool& has_clusters) noexcept override {
    std::swap(clustering_, clustering);
    std::swap(has_clusters_, has_clusters);
  }
  [[nodiscard]] const Clustering<T>* clusters() const noexcept override {
    return has_clusters_ ? &clustering_ : nullptr;
  }

 private:
  /// Of vectors to their clusters, or of output gradients.
  [[nodiscard]] double additions() const noexcept {
    return static_cast<double>(clustering_.rows) * static_cast<double>(clustering_.slices.size()) *
           static_cast<double>(outputs_);
  }
  /// Multiply-adds of centroids with weights; in the forward pass, rows from the cache are free.
  [[nodiscard]] double centroid_multiply_adds(bool forward) const noexcept {
    double elements = 0;
    for (index_t s = 0; s < static_cast<index_t>(clustering_.slices.size()); ++s) {
      const SliceClusters<T>& slice = clustering_.slices[static_cast<std::size_t>(s)];
      const index_t reused = forward ? reused_per_slice_[s] : 0;
      elements +=
          static_cast<double>(slice.cluster_count - reused) * static_cast<double>(slice.length);
    }
    return elements * static_cast<double>(outputs_);
  }

  template <class Rows>
  void cluster(const Rows& rows, const GemmFactor<T>& weights, const PassTools<T>& tools) {
    tools.context.workspace().reserve(
        RowClusterer<T>::workspace_bytes(hash_, tools.context.threads()));
    const bool has_rows = rows.rows() > 0;
    if (plan_.hash_center == HashCenter::mean && has_rows && learns_ &&
        forward_count_ % plan_.refit_interval == 0) {
      sampled_mean(rows, mean_);
      hash_.set_center(VectorView<const T>(mean_.data(), mean_.size()));
      if (cache_) cache_->clear();
    }
    if (has_rows && learns_) ++forward_count_;
    clusterer_.cluster(rows, hash_, tools.context, clustering_, tools.times);
    has_clusters_ = true;
    if (cache_) recall_clusters(weights, tools);
    note(tools.report);
  }

  void note(Report& report) const {
    report.remaining_ratio_per_slice.reserve(clustering_.slices.size());
    for (const SliceClusters<T>& slice : clustering_.slices) {
      report.clusters += static_cast<double>(slice.cluster_count);
      report.total_energy += slice.total_energy;
      report.within_cluster_energy += slice.within_cluster_energy;
      report.remaining_ratio_per_slice.push_back(clustering_.rows > 0
                                                     ? static_cast<double>(slice.cluster_count) /
                                                           static_cast<double>(clustering_.rows)
                                                     : 0.0);
    }
    report.neuron_vectors =
        static_cast<double>(clustering_.rows) * static_cast<double>(clustering_.slices.size());
    report.non_finite_vectors = static_cast<double>(clustering_.non_finite_vectors());
  }

  void recall_clusters(const GemmFactor<T>& weights, const PassTools<T>& tools) {
    StageClock clock(tools.times);
    const auto slice_count = static_cast<index_t>(clustering_.slices.size());
    cache_->set_weights(fingerprint(weights));
    cache_->prepare(slice_count);
    known_per_slice_.assign(slice_count, 0);
    parallel_for(slice_count, tools.context.threads(), [&](index_t s, int) {
      known_per_slice_[s] = cache_->recall(s, clustering_.slices[static_cast<std::size_t>(s)]);
    });
    for (index_t s = 0; s < slice_count; ++s) {
      tools.report.known_vectors += static_cast<double>(known_per_slice_[s]);
    }
    clock.finish(Stage::cluster_reuse);
  }

  index_t columns_;
  index_t outputs_;
  Plan plan_;
  SignHash<T> hash_;
  std::optional<ClusterCache<T>> cache_;
  RowClusterer<T> clusterer_;
  Clustering<T> clustering_;
  bool has_clusters_ = false;
  bool learns_ = true;
  AlignedBuffer<T> mean_;
  AlignedBuffer<index_t> known_per_slice_;
  AlignedBuffer<index_t> reused_per_slice_;
  index_t forward_count_ = 0;
};

ADR_NAMESPACE_END
