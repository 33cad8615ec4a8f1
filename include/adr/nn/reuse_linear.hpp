// A fully connected layer whose products are reused.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/adaptive_layer.hpp"
#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/gemm/channel_sums.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/layer_state.hpp"
#include "adr/nn/operand_checks.hpp"
#include "adr/nn/operands.hpp"
#include "adr/nn/product_shape.hpp"

ADR_NAMESPACE_BEGIN

/// A linear map with reuse: y = x w^T + bias, and its gradients.
///
/// Shapes: x N x in_features, w out_features x in_features, bias out_features or empty, y N x
/// out_features; any N. Units: strides in elements. The layer owns no weights; it keeps the
/// clusters of the last forward pass for the backward pass. Errors, memory and thread-safety: as
/// ReuseConv2d. Source: Ning et al., ICDE 2019.
template <class T = float>
class ReuseLinear final : public AdaptiveLayer {
 public:
  /// Runs with threads and scratch of the given context, which must outlive the layer.
  ReuseLinear(index_t in_features, index_t out_features, const ReuseConfig& config,
              Context& context)
      : context_(&context), product_(product_shape(in_features, out_features), config) {}
  /// Runs on one thread with scratch of its own.
  ReuseLinear(index_t in_features, index_t out_features, const ReuseConfig& config)
      : ReuseLinear(in_features, out_features, config, std::make_unique<Context>()) {}

  [[nodiscard]] index_t in_features() const noexcept { return product_.columns(); }
  [[nodiscard]] index_t out_features() const noexcept { return product_.outputs(); }
  [[nodiscard]] const ReuseConfig& config() const noexcept override { return product_.config(); }
  [[nodiscard]] const ReuseStats& stats() const noexcept override { return product_.stats(); }
  [[nodiscard]] const Clustering<T>& clustering() const noexcept { return product_.clustering(); }

  void set_config(const ReuseConfig& config) override {
    product_.set_config(product_shape(in_features(), out_features()), config);
  }
  void set_gradient_costs(const GradientCosts& costs) override {
    product_.set_gradient_costs(costs);
  }
  void set_decision(const Decision& decision) override { product_.set_decision(decision); }
  void request_measurements(std::vector<ReuseConfig> configs) override {
    product_.request_measurements(std::move(configs));
  }
  [[nodiscard]] bool awaits_measurements() const noexcept override {
    return product_.awaits_measurements();
  }
  [[nodiscard]] const std::vector<RungMeasurement>& measurements() const noexcept override {
    return product_.measurements();
  }
  [[nodiscard]] LayerShape layer_shape() const override {
    LayerShape shape = product_.layer_shape();
    shape.image_outputs = out_features();
    return shape;
  }
  void set_dense_gemm(const DenseGemm<T>& gemm) { product_.set_dense_gemm(gemm); }
  /// Forgets what earlier batches left behind; see ReuseConv2d.
  void clear_cache() { product_.clear_cache(); }
  [[nodiscard]] bool can_freeze() const noexcept { return product_.can_freeze(); }
  /// Ends learning, and goes on; see ReuseConv2d.
  void freeze() { product_.freeze(); }
  void unfreeze() noexcept { product_.unfreeze(); }
  [[nodiscard]] bool frozen() const noexcept { return product_.frozen(); }
  /// What was learned, to and from a file; see ReuseConv2d.
  void save_state(const std::string& path) const { save_products(&product_, 1, path); }
  void load_state(const std::string& path) { load_products(&product_, 1, path); }

  /// Bytes of scratch for a forward and a backward pass on that many rows; see ReuseConv2d.
  [[nodiscard]] std::size_t workspace_bytes(index_t rows) const {
    return product_.workspace_bytes(row_map(rows), true, context_->threads());
  }

  /// Computes y = x w^T + bias. Cost: as ReuseConv2d with K = in_features, M = out_features.
  void forward(const MatrixView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const MatrixView<T>& y) {
    require_shape("x", x, x.rows, in_features());
    require_shape("w", w, out_features(), in_features());
    if (!bias.empty()) require_size("bias", bias, out_features());
    require_shape("y", y, x.rows, out_features());
    require_disjoint_output(x, w, bias, y);
    if (config().check_finite) {
      require_finite("x", x);
      require_finite("w", w);
      require_finite("bias", bias);
    }
    product_.forward(MatrixOperand<const T>{plain_stride(x)}, transposed(plain_stride(w)), bias,
                     MatrixOperand<T>{plain_stride(y)}, *context_);
  }

  /// Computes the gradients from the clusters of the last forward pass, which must have had this x.
  /// Math: d_w = d_y^T x, d_bias = column sums of d_y, d_x = d_y w, with the sums and means per
  /// cluster that the config asks for. Each of d_x, d_w, d_bias may be an empty view: not computed.
  void backward(const MatrixView<const T>& x, const MatrixView<const T>& w,
                const MatrixView<const T>& d_y, const MatrixView<T>& d_x, const MatrixView<T>& d_w,
                const VectorView<T>& d_bias) {
    require_shape("x", x, x.rows, in_features());
    require_shape("w", w, out_features(), in_features());
    require_shape("d_y", d_y, x.rows, out_features());
    if (d_x.data != nullptr) require_shape("d_x", d_x, x.rows, in_features());
    if (d_w.data != nullptr) require_shape("d_w", d_w, out_features(), in_features());
    if (!d_bias.empty()) require_size("d_bias", d_bias, out_features());
    require_disjoint_gradients(x, w, d_y, d_x, d_w, d_bias);
    product_.require_clusters_of(d_y.rows);
    if (config().check_finite) {
      require_finite("w", w);
      require_finite("d_y", d_y);
    }
    const MatrixOperand<const T> input{plain_stride(x)};
    const MatrixOperand<const T> d_output{plain_stride(d_y)};
    const GemmFactor<T> weights = transposed(plain_stride(w));
    const GemmResult<T> d_weights{plain_stride(d_w), true};
    if (d_x.data != nullptr) {
      product_.backward(input, weights, d_output, d_weights, MatrixOperand<T>{plain_stride(d_x)},
                        *context_);
    } else {
      product_.backward(input, weights, d_output, d_weights, NoOperand{}, *context_);
    }
    if (!d_bias.empty()) channel_sums(d_output.pixels(), d_bias.data, context_->threads());
  }

 private:
  ReuseLinear(index_t in_features, index_t out_features, const ReuseConfig& config,
              std::unique_ptr<Context> context)
      : ReuseLinear(in_features, out_features, config, *context) {
    own_context_ = std::move(context);
  }

  std::unique_ptr<Context> own_context_;
  Context* context_;
  LayerProduct<T> product_;
};

ADR_NAMESPACE_END
