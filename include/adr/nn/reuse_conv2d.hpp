// A convolution layer whose products are reused: unfold, cluster, multiply and adapt behind forward
// and backward.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "adr/adapt/adaptive_layer.hpp"
#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/gemm/channel_sums.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/layer_state.hpp"
#include "adr/nn/operand_checks.hpp"
#include "adr/nn/operands.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/neuron_vectors.hpp"

ADR_NAMESPACE_BEGIN

/// A 2-d convolution with reuse: y = x * w + bias, and its gradients.
///
/// Shapes: x batch x in_channels x in_height x in_width and y batch x out_channels x out_height x
/// out_width, both in the layout of the geometry; any batch. w is out_channels x K, K =
/// geometry.columns(), one filter per row: contiguous OIHW weights in layout nchw, OHWI in nhwc.
/// bias has out_channels elements or is empty. Units: strides in elements. The layer owns no
/// weights. It keeps the clusters of the last forward pass for the backward pass. Errors:
/// std::invalid_argument from the constructor for an impossible geometry or config; from forward
/// and backward for wrong shapes, strides, null pointers and overlapping memory, before anything is
/// written. Memory: workspace_bytes() of scratch in the context; ids of N x K/L integers and r_c N
/// K elements of centroids in the layer. Thread-safety: none; one layer and one context per thread
/// of control. Source: Ning et al., ICDE 2019.
template <class T = float>
class ReuseConv2d final : public AdaptiveLayer {
 public:
  /// Runs with threads and scratch of the given context, which must outlive the layer.
  ReuseConv2d(const ConvGeometry& geometry, const ReuseConfig& config, Context& context)
      : geometry_(geometry), context_(&context) {
    const std::string problem = geometry.validate();
    detail::require(problem.empty(), "ConvGeometry: ", problem);
    groups_.reserve(static_cast<std::size_t>(geometry.groups));
    for (index_t g = 0; g < geometry.groups; ++g) {
      groups_.emplace_back(product_shape(geometry, config.neuron_vectors), config);
    }
  }
  /// Runs on one thread with scratch of its own.
  ReuseConv2d(const ConvGeometry& geometry, const ReuseConfig& config)
      : ReuseConv2d(geometry, config, std::make_unique<Context>()) {}

  [[nodiscard]] const ConvGeometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] const ReuseConfig& config() const noexcept override {
    return groups_.front().config();
  }
  /// The statistics of the last forward pass and the backward passes after it, over all groups.
  [[nodiscard]] const ReuseStats& stats() const noexcept override { return stats_; }
  /// The clusters of one group in the last forward pass.
  [[nodiscard]] const Clustering<T>& clustering(index_t group = 0) const noexcept {
    return groups_[static_cast<std::size_t>(group)].clustering();
  }

  /// Changes the setting for the passes to come; clusters, cache and hyperplanes are made anew,
  /// unless the settings differ in gradients and meter alone.
  void set_config(const ReuseConfig& config) override {
    for (auto& group : groups_) {
      group.set_config(product_shape(geometry_, config.neuron_vectors), config);
    }
  }
  void set_gradient_costs(const GradientCosts& costs) override {
    for (auto& group : groups_) group.set_gradient_costs(costs);
  }
  void set_decision(const Decision& decision) override {
    for (auto& group : groups_) group.set_decision(decision);
  }
  /// Settings are measured on the first group.
  void request_measurements(std::vector<ReuseConfig> configs) override {
    groups_.front().request_measurements(std::move(configs));
  }
  [[nodiscard]] bool awaits_measurements() const noexcept override {
    return groups_.front().awaits_measurements();
  }
  [[nodiscard]] const std::vector<RungMeasurement>& measurements() const noexcept override {
    return groups_.front().measurements();
  }
  [[nodiscard]] LayerShape layer_shape() const override {
    LayerShape shape = groups_.front().layer_shape();
    shape.image_outputs *= geometry_.groups;
    shape.kernel_width = geometry_.kernel_width;
    shape.kernel_plane = geometry_.kernel_height * geometry_.kernel_width;
    shape.channels_last = geometry_.layout == Layout::nhwc;
    return shape;
  }
  /// Other products than the library's own; convolutions are unfolded for them.
  void set_dense_gemm(const DenseGemm<T>& gemm) {
    for (auto& group : groups_) group.set_dense_gemm(gemm);
  }
  /// Lets the given implementation compute the dense passes of a convolution of one group: those of
  /// Method::dense, those that others fall back to, and with any method the gradients that are
  /// dense (InputGradient::exact, WeightGradient::exact). Null: the library's own exact
  /// convolution, as at first. With several groups and for an empty batch images are unfolded.
  void set_dense_convolution(std::shared_ptr<DenseConvolution<T>> convolution) {
    if (geometry_.groups == 1) groups_.front().set_dense_convolution(std::move(convolution));
  }
  /// Forgets what earlier batches left behind: the cluster cache, the estimated mean, and the
  /// subspace, which the next forward pass fits anew unless it is frozen.
  void clear_cache() {
    for (auto& group : groups_) group.clear_cache();
  }

  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return groups_.front().can_freeze(); }
  /// Ends learning: from now on a forward pass multiplies in the subspace as it is, and weights are
  /// rotated again only when they change. For inference. Methods that learn nothing (dense,
  /// hyperplane) go on as before. Errors: std::invalid_argument when nothing has been learned yet.
  void freeze() {
    // The first group that cannot is asked first, so that none is frozen when one refuses.
    for (auto& group : groups_) {
      if (!group.can_freeze()) return group.freeze();
    }
    for (auto& group : groups_) group.freeze();
  }
  /// Goes on learning.
  void unfreeze() noexcept {
    for (auto& group : groups_) group.unfreeze();
  }
  [[nodiscard]] bool frozen() const noexcept { return groups_.front().frozen(); }

  /// Writes what was learned and counted to a versioned, checked file: with it, a layer of the same
  /// shape and setting goes on to the same bits as this one. The clusters of the last forward pass
  /// are not in it. Errors: std::runtime_error when something learned is not finite or the file
  /// cannot be written, and then what was there before is there still.
  void save_state(const std::string& path) const {
    save_products(groups_.data(), geometry_.groups, path);
  }
  /// Reads what a layer of the same shape and setting has saved; the weights are the caller's, and
  /// a gradient needs a forward pass first. A frozen layer stays frozen, and a layer that was saved
  /// frozen is. Errors: std::runtime_error when the file cannot be read, is damaged, belongs to
  /// another layer or setting, or has nothing learned for a frozen layer: nothing has changed then.
  void load_state(const std::string& path) {
    load_products(groups_.data(), geometry_.groups, path);
  }

  /// Bytes of scratch for a forward and a backward pass on that many images. With reuse the scratch
  /// depends on the clusters found; then this is what the last batch needed.
  [[nodiscard]] std::size_t workspace_bytes(index_t batch) const {
    std::size_t bytes = 0;
    for (const auto& group : groups_) {
      const VectorMap map = vector_map(geometry_, group.vector_kind(), batch);
      // An output gradient in layout nhwc is copied where there are groups or gaps between images.
      bytes = std::max(bytes, group.workspace_bytes(map, false, context_->threads()));
    }
    return bytes;
  }

  /// Computes y = x * w + bias.
  /// Cost: dense N K M; with reuse about N K H + r_c N K M + N M K/L multiply-adds.
  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y) {
    require_operands(x, w, bias, "y", y);
    require_disjoint_output(x, w, bias, y);
    if (config().check_finite) {
      require_finite("x", x);
      require_finite("w", w);
      require_finite("bias", bias);
    }
    for (index_t g = 0; g < geometry_.groups; ++g) {
      groups_[static_cast<std::size_t>(g)].forward(
          ConvInput<const T>{geometry_, plain_stride(x), g}, group_weights(w, g),
          group_bias(bias, g), ConvOutput<T>{geometry_, plain_stride(y), g}, *context_);
    }
    collect_stats();
  }

  /// Computes the gradients from the clusters of the last forward pass, which must have had this x.
  ///
  /// Math: d_w = d_y^T X, d_bias = column sums of d_y, d_x = col2im(d_y w), with the sums and means
  /// per cluster that the config asks for. Each of d_x, d_w, d_bias may be an empty view: not
  /// computed. Cost: d_w N M K/L + r_c N K M, d_x r_c N K M + N K multiply-adds; dense N K M each.
  void backward(const TensorView<const T>& x, const MatrixView<const T>& w,
                const TensorView<const T>& d_y, const TensorView<T>& d_x, const MatrixView<T>& d_w,
                const VectorView<T>& d_bias) {
    require_gradients(x, w, d_y, d_x, d_w, d_bias);
    if (!groups_.front().clears_input_gradient()) {
      parallel_for(d_x.batch, context_->threads(),
                   [&](index_t n, int) { std::fill_n(d_x.image(n), d_x.image_size(), T(0)); });
    }
    const index_t outputs = geometry_.group_out_channels();
    for (index_t g = 0; g < geometry_.groups; ++g) {
      auto& group = groups_[static_cast<std::size_t>(g)];
      const ConvInput<const T> input{geometry_, plain_stride(x), g};
      const ConvOutput<const T> d_output{geometry_, plain_stride(d_y), g};
      const GemmResult<T> d_weights{d_w.data != nullptr
                                        ? plain_stride(d_w.middle_rows(g * outputs, outputs))
                                        : MatrixView<T>(),
                                    true};
      if (d_x.data != nullptr) {
        group.backward(input, group_weights(w, g), d_output, d_weights,
                       ConvInput<T>{geometry_, plain_stride(d_x), g}, *context_);
      } else {
        group.backward(input, group_weights(w, g), d_output, d_weights, NoOperand{}, *context_);
      }
      if (!d_bias.empty()) {
        channel_sums(d_output.pixels(), d_bias.data + g * outputs, context_->threads());
      }
    }
    collect_stats();
  }

 private:
  ReuseConv2d(const ConvGeometry& geometry, const ReuseConfig& config,
              std::unique_ptr<Context> context)
      : ReuseConv2d(geometry, config, *context) {
    own_context_ = std::move(context);
  }

  void require_operands(const TensorView<const T>& x, const MatrixView<const T>& w,
                        const VectorView<const T>& bias, std::string_view y_name,
                        const TensorView<const T>& y) const {
    const ConvGeometry& g = geometry_;
    require_shape("x", x, x.batch, g.in_channels, g.in_height, g.in_width, g.layout);
    require_shape("w", w, g.out_channels, g.columns());
    if (!bias.empty()) require_size("bias", bias, g.out_channels);
    require_shape(y_name, y, x.batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
    checked_product("rows x columns", x.batch, g.out_height(), g.out_width(), g.columns());
  }

  void require_gradients(const TensorView<const T>& x, const MatrixView<const T>& w,
                         const TensorView<const T>& d_y, const TensorView<T>& d_x,
                         const MatrixView<T>& d_w, const VectorView<T>& d_bias) const {
    const ConvGeometry& g = geometry_;
    require_operands(x, w, VectorView<const T>(), "d_y", d_y);
    if (d_x.data != nullptr) {
      require_shape("d_x", d_x, x.batch, g.in_channels, g.in_height, g.in_width, g.layout);
    }
    if (d_w.data != nullptr) require_shape("d_w", d_w, g.out_channels, g.columns());
    if (!d_bias.empty()) require_size("d_bias", d_bias, g.out_channels);
    require_disjoint_gradients(x, w, d_y, d_x, d_w, d_bias);
    groups_.front().require_clusters_of(g.rows(x.batch));
    if (config().check_finite) {
      require_finite("w", w);
      require_finite("d_y", d_y);
    }
  }

  [[nodiscard]] GemmFactor<T> group_weights(const MatrixView<const T>& w,
                                            index_t g) const noexcept {
    const index_t outputs = geometry_.group_out_channels();
    return transposed(plain_stride(w.middle_rows(g * outputs, outputs)));
  }
  [[nodiscard]] VectorView<const T> group_bias(const VectorView<const T>& bias,
                                               index_t g) const noexcept {
    const index_t outputs = geometry_.group_out_channels();
    if (bias.empty()) return bias;
    return {bias.data + g * outputs, outputs};
  }

  void collect_stats() {
    stats_.reset();
    for (const auto& group : groups_) {
      const ReuseStats& part = group.stats();
      stats_.add(part);
      stats_.remaining_ratio_per_slice.insert(stats_.remaining_ratio_per_slice.end(),
                                              part.remaining_ratio_per_slice.begin(),
                                              part.remaining_ratio_per_slice.end());
    }
  }

  ConvGeometry geometry_;
  std::unique_ptr<Context> own_context_;
  Context* context_;
  std::vector<LayerProduct<T>> groups_;
  ReuseStats stats_;
};

ADR_NAMESPACE_END
