// What computes the passes of a convolution in which nothing is reused: the user's own
// implementation, or the library's exact one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "adr/core/context.hpp"
#include "adr/core/fingerprint.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/kept_weights.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/product/operands.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// The dense passes over one group of images. Where there are none (a DenseGemm of the user's own),
/// the product works on rows. Thread-safety: none.
template <class T>
class DensePasses {
 public:
  /// What the library's own passes compute a group of. Requires: one, before anything else is
  /// asked.
  void set_geometry(const ConvGeometry& geometry, bool allow_winograd) {
    forget_weights();
    exact_.emplace(
        exact::ConvolutionPasses<T>::of_group(geometry, exact::winograd_of(allow_winograd)));
  }
  /// Null: the library's own. Requires: a convolution of one group.
  void set_convolution(std::shared_ptr<DenseConvolution<T>> convolution) noexcept {
    user_ = std::move(convolution);
  }
  /// Whether the user has products of his own, for which images are unfolded.
  void set_own_products(bool own) noexcept { own_products_ = own; }

  /// Whether images are convolved as they are. An empty batch never is, because an implementation
  /// need not know it.
  [[nodiscard]] bool take_images(index_t rows) const noexcept { return rows > 0 && takes_images(); }
  [[nodiscard]] bool takes_images() const noexcept { return user_ != nullptr || !own_products_; }

  /// Bytes of scratch of the context that passes of `rows` rows take.
  [[nodiscard]] std::size_t forward_workspace_bytes(index_t rows, int threads) const {
    return of_exact(rows, [&](index_t batch) {
      return exact_->forward_workspace_bytes(batch, threads, keeps_weights_);
    });
  }
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(index_t rows, int threads) const {
    return of_exact(rows, [&](index_t batch) {
      return exact_->weight_gradient_workspace_bytes(batch, threads);
    });
  }
  [[nodiscard]] std::size_t input_gradient_workspace_bytes(index_t rows, int threads) const {
    return of_exact(rows, [&](index_t batch) {
      return exact_->input_gradient_workspace_bytes(batch, threads);
    });
  }

  /// The density of an output gradient up to which gradients over its non-zeros are faster than
  /// these; 0: never.
  [[nodiscard]] double densest_non_zeros(index_t rows) const noexcept {
    const auto* own = own_passes();
    if (own == nullptr || rows == 0) return 0;
    const ConvGeometry& g = own->geometry();
    const index_t batch = rows / g.out_pixels();
    return std::min(exact::densest_non_zeros(g, own->weight_gradient_form(batch), batch),
                    exact::densest_non_zeros(g, own->input_gradient_form(batch), batch));
  }

  /// In inference, transformed weights are kept from pass to pass for as long as a sample of the
  /// weights stays what it was, once a batch has tiles enough to use them. Memory: that of
  /// exact::KeptWeights.
  void set_inference(bool inference) noexcept {
    keeps_weights_ = inference;
    forget_weights();
  }

  /// The library's own passes; null where the user's take their place.
  [[nodiscard]] const exact::ConvolutionPasses<T>* own_passes() const noexcept {
    return user_ == nullptr && !own_products_ ? &*exact_ : nullptr;
  }
  /// The weights as forward passes take them in inference; null in training.
  const T* kept_weights(const MatrixView<const T>& weights, int threads) {
    if (keeps_weights_) keep(weights, threads);
    return kept_.data();
  }

  /// Requires, for all passes: take_images. Returns the share of the results that was computed, and
  /// not copied from those of equal inputs.
  double forward(const ConvInput<const T>& input, const MatrixView<const T>& weights,
                 const VectorView<const T>& bias, const ConvOutput<T>& output, Context& context) {
    if (user_ != nullptr) {
      user_->forward(input.images, weights, bias, output.images);
      return 1;
    }
    const bool of_tiles =
        exact_->forward_form(input.images.batch, keeps_weights_) != exact::Form::direct;
    return exact_->forward(group_of(input), weights, bias, false, group_of(output), context,
                           of_tiles ? kept_weights(weights, context.threads()) : nullptr);
  }
  /// channel_sums: as ConvolutionPasses::weight_gradient.
  bool weight_gradient(const ConvInput<const T>& input, const ConvOutput<const T>& d_output,
                       const MatrixView<T>& d_weights, T* channel_sums, Context& context) const {
    if (user_ != nullptr) {
      user_->weight_gradient(input.images, d_output.images, d_weights);
      return false;
    }
    return exact_->weight_gradient(group_of(input), group_of(d_output), d_weights, context,
                                   channel_sums);
  }
  void input_gradient(const ConvOutput<const T>& d_output, const MatrixView<const T>& weights,
                      const ConvInput<T>& d_input, Context& context) const {
    if (user_ != nullptr) {
      return user_->input_gradient(d_output.images, weights, d_input.images);
    }
    exact_->input_gradient(group_of(d_output), weights, group_of(d_input), context);
  }

 private:
  template <class Operand>
  static auto group_of(const Operand& operand) noexcept {
    return exact::images_from_group(operand.images, operand.geometry.groups, operand.group);
  }

  /// An implementation of the user's has scratch of its own.
  template <class Bytes>
  [[nodiscard]] std::size_t of_exact(index_t rows, const Bytes& bytes) const {
    if (user_ != nullptr || !take_images(rows)) return 0;
    return bytes(rows / exact_->geometry().out_pixels());
  }

  void keep(const MatrixView<const T>& weights, int threads) {
    const std::uint64_t sample = sampled_fingerprint(weights);
    if (kept_sample_ == sample) return;
    kept_.keep(*exact_, weights, threads);
    kept_sample_ = sample;
  }
  void forget_weights() noexcept {
    kept_.forget();
    kept_sample_.reset();
  }

  std::shared_ptr<DenseConvolution<T>> user_;
  std::optional<exact::ConvolutionPasses<T>> exact_;
  bool own_products_ = false;
  bool keeps_weights_ = false;
  exact::KeptWeights<T> kept_;
  std::optional<std::uint64_t> kept_sample_;
};

ADR_NAMESPACE_END
