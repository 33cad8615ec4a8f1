// Coordinates of pixels, convolved by the exact engine in the place of channels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/kept_weights.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/subspace/fitted_subspace.hpp"
#include "adr/subspace/pixel_projection.hpp"
#include "adr/subspace/reduced_weights.hpp"
#include "adr/subspace/ridge_refit.hpp"
#include "adr/subspace/weight_metric.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/neuron_vectors.hpp"

ADR_NAMESPACE_BEGIN

/// The coordinates of the pixels of a convolution of one group, in floats.
///
/// Math: y = z * w' + bias, with z = encode^T x for every pixel x and w' the ReducedWeights. The
/// axes are those of the pixels about zero, in the metric of the output, so that padding has
/// coordinates of zero, exactly. Images are reduced a few at a time. Memory: reduced and
/// transformed weights. Determinism: by seed; the bits do not depend on the threads. Thread-safety:
/// none. Source: this library.
class ConvolvedCoordinates {
 public:
  static constexpr AxesOrigin k_origin = AxesOrigin::zero;

  ConvolvedCoordinates(const ProductShape& shape, const Plan& plan)
      : geometry_(*shape.convolution),
        winograd_(plan.winograd),
        seed_(plan.seed),
        weights_(geometry_.out_channels, geometry_.kernel_height * geometry_.kernel_width,
                 geometry_.layout) {}

  /// Those of the last forward pass.
  [[nodiscard]] const ReducedWeights& weights() const noexcept { return weights_; }
  /// The convolution of coordinates. Requires: a fitted subspace.
  [[nodiscard]] const exact::ConvolutionPasses<float>& passes() const noexcept { return *passes_; }

  void weights_changed() noexcept { reduced_version_ = k_no_version; }
  /// Learns what corrects the weights for these axes, too.
  void axes_changed(const NeuronVectors<const float>& vectors, const GemmFactor<float>& weights,
                    const FittedSubspace& subspace, const WeightMetric<float>& metric,
                    Context& context) {
    follow_axes(subspace);
    weights_.forget_correction();
    weights_.compute(metric.packed(), subspace.axes(), context);
    const ConvGeometry& reduced = passes_->geometry();
    AlignedBuffer<float> correction;
    const RidgeRefit<float> refit{geometry_,   reduced, vectors.images(), weights, weights_.plain(),
                                  projection_, seed_};
    if (refit.fit(correction)) weights_.set_correction(std::move(correction));
    keep_weights(subspace, context);
  }
  /// Takes images of another size from now on.
  void resize(const ProductShape& shape, const FittedSubspace& subspace) {
    geometry_ = *shape.convolution;
    if (!subspace.fitted()) return;
    follow_axes(subspace);
    reduced_version_ = k_no_version;
  }
  void exchange(StateArchive& archive, const FittedSubspace& subspace) {
    weights_.exchange(archive, subspace.kept());
    if (archive.is_reading()) follow_axes(subspace);
  }

  /// Nothing: images are encoded a few at a time, right before they are convolved.
  bool encode(const NeuronVectors<const float>& /*vectors*/, const FittedSubspace& /*subspace*/,
              Context& /*context*/, StageClock& /*clock*/) const noexcept {
    return true;
  }
  /// Reduces the weights, if they or the axes are others than before.
  void follow_weights(const FittedSubspace& subspace, const WeightMetric<float>& metric,
                      const PassTools<float>& tools, StageClock& clock) {
    if (reduced_version_ == subspace.version()) return;
    weights_.compute(metric.packed(), subspace.axes(), tools.context);
    keep_weights(subspace, tools.context);
    clock.finish(Stage::rotate_weights);
  }
  /// Returns false where a pixel is not finite.
  bool multiply(const NeuronVectors<const float>& vectors, const FittedSubspace& subspace,
                const VectorView<const float>& bias, const PixelView<float>& output,
                const PassTools<float>& tools, StageClock& clock) const {
    const TensorView<const float>& x = vectors.images();
    Context& context = tools.context;
    const index_t block = images_at_once(x.batch, subspace, k_forward_floats);
    Workspace& workspace = context.workspace();
    workspace.reserve(forward_workspace_bytes(vectors.map(), subspace, context.threads()));
    const Workspace::Frame frame(workspace);
    const ForwardScratch scratch(workspace, block, reduced_image(subspace));
    for (index_t first = 0; first < x.batch; first += block) {
      const index_t count = std::min(block, x.batch - first);
      const TensorView<float> z = reduced_images(scratch.images, count, subspace);
      const bool finite =
          projection_.project(some_images(x, {first, first + count}), z, context.threads());
      clock.finish(Stage::encode);
      if (!finite) return false;
      passes_->forward(z, weights_.matrix(), bias, false, output_images(output, first, count),
                       context, kept_.data());
      clock.finish(Stage::subspace_product);
    }
    return true;
  }
  /// Computes the gradient with respect to the weights as if the input were what its coordinates
  /// stand for, from coordinates that are computed anew, which costs less than to keep them.
  void weight_gradient(const NeuronVectors<const float>& vectors, const FittedSubspace& subspace,
                       const index_t* columns, const PixelView<const float>& d_output,
                       const GemmResult<float>& d_weights, const PassTools<float>& tools,
                       StageClock& clock) const {
    const TensorView<const float>& x = vectors.images();
    const index_t outputs = geometry_.out_channels;
    const index_t offsets = geometry_.kernel_height * geometry_.kernel_width;
    const index_t cols = offsets * subspace.kept();
    const index_t block = images_at_once(x.batch, subspace, k_gradient_floats);
    Context& context = tools.context;
    Workspace& workspace = context.workspace();
    const Workspace::Frame frame(workspace);
    const GradientScratch scratch(workspace, block, reduced_image(subspace), outputs * cols,
                                  outputs * geometry_.columns());
    float* sums = scratch.sums;
    float* part = sums + outputs * cols;
    for (index_t first = 0; first < x.batch; first += block) {
      const index_t count = std::min(block, x.batch - first);
      const TensorView<float> z = reduced_images(scratch.images, count, subspace);
      projection_.project(some_images(x, {first, first + count}), z, context.threads());
      clock.finish(Stage::encode);
      const MatrixView<float> result(first == 0 ? sums : part, outputs, cols);
      passes_->weight_gradient(z, output_images(d_output, first, count), result, context);
      if (first > 0) simd::add(part, sums, outputs * cols);
      clock.finish(Stage::weight_gradient);
    }
    if (x.batch == 0) std::fill_n(sums, outputs * cols, 0.0F);
    const float* by_offset = sums;
    if (geometry_.layout == Layout::nchw) {
      detail::transpose_each(sums, outputs, subspace.kept(), offsets, part);
      by_offset = part;
    }
    const PrincipalAxes& axes = subspace.axes();
    detail::multiply_rows({by_offset, outputs * offsets, axes.kept},
                          as_is(MatrixView<const float>(axes.decode.data(), axes.kept, axes.length,
                                                        axes.decode_stride)),
                          {scratch.whole, outputs * offsets, axes.length}, context.threads());
    for (index_t m = 0; m < outputs; ++m) {
      const float* from = scratch.whole + m * geometry_.columns();
      for (index_t k = 0; k < geometry_.columns(); ++k) {
        (d_weights.transposed ? d_weights.matrix(m, columns[k]) : d_weights.matrix(columns[k], m)) =
            from[k];
      }
    }
    clock.finish(Stage::weight_gradient);
  }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map,
                                                    const FittedSubspace& subspace,
                                                    int thread_count) const {
    const index_t block = images_at_once(map.images, subspace, k_forward_floats);
    return scratch_bytes<ForwardScratch>(block, reduced_image(subspace)) +
           most_of_blocks(map.images, block, [&](index_t images) {
             return passes_->forward_workspace_bytes(images, thread_count,
                                                     passes_->kept_size() > 0);
           });
  }
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                            const FittedSubspace& subspace,
                                                            int thread_count) const {
    const index_t reduced =
        geometry_.out_channels * geometry_.kernel_height * geometry_.kernel_width * subspace.kept();
    const index_t whole = geometry_.out_channels * geometry_.columns();
    const index_t block = images_at_once(map.images, subspace, k_gradient_floats);
    return scratch_bytes<GradientScratch>(block, reduced_image(subspace), reduced, whole) +
           most_of_blocks(map.images, block, [&](index_t images) {
             return passes_->weight_gradient_workspace_bytes(images, thread_count);
           });
  }
  [[nodiscard]] double forward_multiply_adds(const VectorMap& map,
                                             const PrincipalAxes& axes) const noexcept {
    return products(map.rows(), axes) + projections(map, axes);
  }
  [[nodiscard]] double weight_gradient_multiply_adds(const VectorMap& map,
                                                     const PrincipalAxes& axes) const noexcept {
    return products(map.rows() + axes.length, axes) + projections(map, axes);
  }

 private:
  static constexpr std::uint64_t k_no_version = ~std::uint64_t{0};
  /// Coordinates that are computed at once: few enough to be read from the second cache by a
  /// forward pass; a weight gradient adds up one part for as many.
  static constexpr index_t k_forward_floats = index_t{1} << 16;
  static constexpr index_t k_gradient_floats = index_t{1} << 20;

  struct ForwardScratch {
    float* images;  ///< coordinates of a block of images

    template <class Memory>
    ForwardScratch(Memory& memory, index_t block, index_t image)
        : images(memory.template take<float>(checked_product("coordinates", block, image))) {}
  };
  struct GradientScratch {
    float* images;  ///< coordinates of a block of images
    float* sums;    ///< the gradient of the reduced weights, then that of one block
    float* whole;   ///< the gradient of the weights

    template <class Memory>
    GradientScratch(Memory& memory, index_t block, index_t image, index_t reduced_weights,
                    index_t weights)
        : images(memory.template take<float>(checked_product("coordinates", block, image))),
          sums(memory.template take<float>(2 * reduced_weights)),
          whole(memory.template take<float>(weights)) {}
  };

  /// A function of the shape alone, because blocks of a weight gradient are sums.
  [[nodiscard]] index_t images_at_once(index_t batch, const FittedSubspace& subspace,
                                       index_t floats) const noexcept {
    return std::clamp<index_t>(floats / reduced_image(subspace), 1, std::max<index_t>(batch, 1));
  }
  [[nodiscard]] index_t reduced_image(const FittedSubspace& subspace) const noexcept {
    return subspace.kept() * geometry_.in_height * geometry_.in_width;
  }
  [[nodiscard]] TensorView<float> reduced_images(float* memory, index_t count,
                                                 const FittedSubspace& subspace) const {
    return {memory,          count, subspace.kept(), geometry_.in_height, geometry_.in_width,
            geometry_.layout};
  }
  template <class Element>
  [[nodiscard]] TensorView<Element> output_images(const PixelView<Element>& pixels, index_t first,
                                                  index_t count) const noexcept {
    return {pixels.at(first, 0, 0), count,
            geometry_.out_channels, geometry_.out_height(),
            geometry_.out_width(),  geometry_.layout,
            pixels.image_stride};
  }
  /// Scratch of passes over blocks of images, the last of which may be smaller and still need more.
  template <class OfPass>
  static std::size_t most_of_blocks(index_t batch, index_t block, const OfPass& of_pass) {
    const index_t last = batch % block;
    const std::size_t of_last = last > 0 ? of_pass(last) : 0;
    return std::max(of_pass(block), of_last);
  }

  /// Makes what follows from the axes.
  void follow_axes(const FittedSubspace& subspace) {
    ConvGeometry reduced = geometry_;
    reduced.in_channels = subspace.kept();
    passes_.emplace(reduced, exact::winograd_of(winograd_));
    // A look would cost more of a pass over a few coordinates than of one over all channels.
    passes_->set_look(exact::Look::never);
    projection_.set(subspace.axes());
  }
  void keep_weights(const FittedSubspace& subspace, const Context& context) {
    kept_.keep(*passes_, weights_.matrix(), context.threads());
    reduced_version_ = subspace.version();
  }

  /// Multiply-adds of that many rows of unfolded coordinates with the reduced weights.
  [[nodiscard]] double products(index_t rows, const PrincipalAxes& axes) const noexcept {
    return static_cast<double>(rows) *
           static_cast<double>(geometry_.kernel_height * geometry_.kernel_width) *
           static_cast<double>(axes.kept * geometry_.out_channels);
  }
  static double projections(const VectorMap& map, const PrincipalAxes& axes) noexcept {
    return static_cast<double>(map.vectors()) * static_cast<double>(axes.length * axes.kept);
  }

  ConvGeometry geometry_;
  bool winograd_;
  std::uint64_t seed_;
  PixelProjection projection_;
  ReducedWeights weights_;
  exact::KeptWeights<float> kept_;  // the reduced weights as the engine transforms them
  std::optional<exact::ConvolutionPasses<float>> passes_;
  std::uint64_t reduced_version_ = k_no_version;
};

ADR_NAMESPACE_END
