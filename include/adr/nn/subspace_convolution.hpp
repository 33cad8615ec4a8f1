// A convolution in the leading principal coordinates of its pixels: fewer channels, for the exact
// engine.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <utility>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/cluster/subspace.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/kept_weights.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/pixel_projection.hpp"
#include "adr/nn/reduced_weights.hpp"
#include "adr/nn/refit_policy.hpp"
#include "adr/nn/ridge_refit.hpp"
#include "adr/nn/weight_metric.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/neuron_vectors.hpp"

ADR_NAMESPACE_BEGIN

/// Method::subspace for the pixels of a convolution of one group, in floats.
///
/// Math: y = z * w' + bias, with z = encode^T x for every pixel x and w' the ReducedWeights. The
/// axes are those of the pixels about zero, in the metric of the output, so that padding has
/// coordinates of zero, exactly. Images are reduced a few at a time. Memory: reduced and
/// transformed weights, one copy of the weights. Determinism: by seed; the bits do not depend on
/// the threads. Thread-safety: none. Source: this library.
class SubspaceConvolution {
 public:
  SubspaceConvolution(const ConvGeometry& geometry, const Plan& config)
      : geometry_(geometry),
        winograd_(config.winograd),
        seed_(config.seed),
        refit_(config.refit_interval),
        subspace_({geometry.in_channels,
                   {std::min(config.kept_coordinates, geometry.in_channels), config.subspace_error},
                   config.seed,
                   AxesOrigin::zero}),
        weights_(geometry.out_channels, geometry.kernel_height * geometry.kernel_width,
                 geometry.layout) {}

  /// See SubspaceProduct, here and below.
  void freeze() {
    detail::require(subspace_.fitted(),
                    "freeze: no subspace has been fitted yet; run a forward pass first");
    frozen_ = true;
    metric_.look_again();
  }
  void unfreeze() noexcept { frozen_ = false; }
  [[nodiscard]] bool frozen() const noexcept { return frozen_; }
  [[nodiscard]] bool fitted() const noexcept { return subspace_.fitted(); }
  void clear() noexcept { refit_.demand(); }
  [[nodiscard]] int fits_of_pass() const noexcept { return refit_.fits_of_pass(); }
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    FittedSubspace::exchange(archive, self.subspace_);
    RefitPolicy::exchange(archive, self.refit_);
    if (!self.subspace_.fitted()) return;
    ReducedWeights::exchange(archive, self.weights_, self.subspace_.kept());
    if constexpr (Archive::k_reads) self.follow_axes();
  }

  /// Takes images of another size from now on.
  void resize(const ConvGeometry& geometry) {
    geometry_ = geometry;
    if (!fitted()) return;
    follow_axes();
    reduced_version_ = k_no_version;
  }
  [[nodiscard]] const PrincipalAxes& axes() const noexcept { return subspace_.axes(); }
  /// Those of the last forward pass.
  [[nodiscard]] const ReducedWeights& weights() const noexcept { return weights_; }
  /// The convolution of coordinates. Requires: fitted().
  [[nodiscard]] const exact::ConvolutionPasses<float>& passes() const noexcept { return *passes_; }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map, int thread_count) const {
    return workspace_bytes(map.images, k_forward_floats, {}, [&](index_t images) {
      return passes_->forward_workspace_bytes(images, thread_count, passes_->kept_size() > 0);
    });
  }

  /// Computes the output. Returns false where the input is not finite; then the output is to be
  /// computed in another way.
  bool forward(const NeuronVectors<const float>& vectors, const GemmFactor<float>& weights,
               const index_t* columns, const VectorView<const float>& bias,
               const PixelView<float>& output, Context& context, Report& stats, StageTimes* times) {
    StageClock clock(times);
    const TensorView<const float>& x = vectors.images();
    if (metric_.pack(weights, columns, context, frozen_)) reduced_version_ = k_no_version;
    const bool too_few = vectors.map().vectors() < geometry_.in_channels;
    if (refit_.begin_pass(subspace_.fitted(), frozen_ || (too_few && fitted())) &&
        !fit(vectors, weights, columns, context)) {
      return false;
    }
    clock.finish(Stage::fit);
    SampledEnergy energy = measure(vectors);
    clock.finish(Stage::measure);
    if (!energy.is_finite()) return false;
    if (!frozen_ && !too_few &&
        refit_.has_drifted(energy.relative_error(), subspace_.fit_error())) {
      if (!fit(vectors, weights, columns, context)) return false;
      clock.finish(Stage::fit);
      energy = measure(vectors);
      if (!energy.is_finite()) return false;
    }
    if (reduced_version_ != subspace_.version()) {
      weights_.compute(metric_.packed(), subspace_.axes(), context);
      keep_weights(context);
      clock.finish(Stage::rotate_weights);
    }
    if (!convolve(x, bias, output, context, clock)) return false;
    note(vectors.map(), energy, stats);
    return true;
  }

  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                            int thread_count) const {
    const index_t reduced = geometry_.out_channels * geometry_.kernel_height *
                            geometry_.kernel_width * subspace_.kept();
    const index_t whole = geometry_.out_channels * geometry_.columns();
    return workspace_bytes(map.images, k_gradient_floats, {2 * reduced, whole},
                           [&](index_t images) {
                             return passes_->weight_gradient_workspace_bytes(images, thread_count);
                           });
  }
  /// Computes the gradient with respect to the weights as if the input were what its coordinates
  /// stand for, from coordinates that are computed anew, which costs less than to keep them.
  /// Requires: the input of the last forward pass, which has returned true.
  void weight_gradient(const NeuronVectors<const float>& vectors, const index_t* columns,
                       const PixelView<const float>& d_output, const GemmResult<float>& d_weights,
                       Context& context, StageTimes* times) const {
    StageClock clock(times);
    const TensorView<const float>& x = vectors.images();
    const index_t outputs = geometry_.out_channels;
    const index_t offsets = geometry_.kernel_height * geometry_.kernel_width;
    const index_t cols = offsets * subspace_.kept();
    const index_t block = images_at_once(x.batch, k_gradient_floats);
    Workspace& workspace = context.workspace();
    const Workspace::Frame frame(workspace);
    float* memory = workspace.take<float>(block * reduced_image());
    float* sums = workspace.take<float>(2 * outputs * cols);
    float* whole = workspace.take<float>(outputs * geometry_.columns());
    float* part = sums + outputs * cols;
    for (index_t first = 0; first < x.batch; first += block) {
      const index_t count = std::min(block, x.batch - first);
      const TensorView<float> z = reduced_images(memory, count);
      projection_.project(some_images(x, first, count), z, context.threads());
      clock.finish(Stage::encode);
      const MatrixView<float> result(first == 0 ? sums : part, outputs, cols);
      passes_->weight_gradient(z, output_images(d_output, first, count), result, context);
      if (first > 0) simd::add(part, sums, outputs * cols);
      clock.finish(Stage::weight_gradient);
    }
    if (x.batch == 0) std::fill_n(sums, outputs * cols, 0.0F);
    const float* by_offset = sums;
    if (geometry_.layout == Layout::nchw) {
      detail::transpose_each(sums, outputs, subspace_.kept(), offsets, part);
      by_offset = part;
    }
    const PrincipalAxes& axes = subspace_.axes();
    detail::multiply_rows({by_offset, outputs * offsets, axes.kept},
                          as_is(MatrixView<const float>(axes.decode.data(), axes.kept, axes.length,
                                                        axes.decode_stride)),
                          {whole, outputs * offsets, axes.length}, context.threads());
    for (index_t m = 0; m < outputs; ++m) {
      const float* from = whole + m * geometry_.columns();
      for (index_t k = 0; k < geometry_.columns(); ++k) {
        (d_weights.transposed ? d_weights.matrix(m, columns[k]) : d_weights.matrix(columns[k], m)) =
            from[k];
      }
    }
    clock.finish(Stage::weight_gradient);
  }
  [[nodiscard]] double weight_gradient_multiply_adds(index_t rows) const noexcept {
    const index_t images = rows / geometry_.out_pixels();
    return products(static_cast<double>(rows + geometry_.in_channels)) + projections(images);
  }

 private:
  static constexpr std::uint64_t k_no_version = ~std::uint64_t{0};
  /// Coordinates that are computed at once: few enough to be read from the second cache by a
  /// forward pass; a weight gradient adds up one part for as many.
  static constexpr index_t k_forward_floats = index_t{1} << 16;
  static constexpr index_t k_gradient_floats = index_t{1} << 20;

  /// A function of the shape alone, because blocks of a weight gradient are sums.
  [[nodiscard]] index_t images_at_once(index_t batch, index_t floats) const noexcept {
    return std::clamp<index_t>(floats / reduced_image(), 1, std::max<index_t>(batch, 1));
  }
  [[nodiscard]] index_t reduced_image() const noexcept {
    return subspace_.kept() * geometry_.in_height * geometry_.in_width;
  }
  [[nodiscard]] TensorView<float> reduced_images(float* memory, index_t count) const {
    return {memory,          count, subspace_.kept(), geometry_.in_height, geometry_.in_width,
            geometry_.layout};
  }
  static TensorView<const float> some_images(TensorView<const float> images, index_t first,
                                             index_t count) noexcept {
    images.data = images.image(first);
    images.batch = count;
    return images;
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
  [[nodiscard]] std::size_t workspace_bytes(index_t batch, index_t floats,
                                            std::initializer_list<index_t> more,
                                            const OfPass& of_pass) const {
    if (!subspace_.fitted()) return 0;
    const index_t block = images_at_once(batch, floats);
    WorkspaceSize size;
    size.add<float>(checked_product("coordinates", block, reduced_image()));
    for (const index_t count : more) size.add<float>(count);
    const index_t last = batch % block;
    const std::size_t of_last = last > 0 ? of_pass(last) : 0;
    return size.bytes() + std::max(of_pass(block), of_last);
  }

  bool fit(const NeuronVectors<const float>& vectors, const GemmFactor<float>& weights,
           const index_t* columns, Context& context) {
    metric_.measure(weights, columns, geometry_.in_channels, context);
    if (!subspace_.fit(vectors, metric_.gram())) return false;
    refit_.note_fit();
    follow_axes();
    weights_.forget_correction();
    weights_.compute(metric_.packed(), subspace_.axes(), context);
    const ConvGeometry& reduced = passes_->geometry();
    AlignedBuffer<float> correction;
    const RidgeRefit<float> refit{geometry_,   reduced, vectors.images(), weights, weights_.plain(),
                                  projection_, seed_};
    if (refit.fit(correction)) weights_.set_correction(std::move(correction));
    keep_weights(context);
    return true;
  }

  /// Makes what follows from the axes.
  void follow_axes() {
    ConvGeometry reduced = geometry_;
    reduced.in_channels = subspace_.kept();
    passes_.emplace(reduced, exact::winograd_of(winograd_));
    // A look would cost more of a pass over a few coordinates than of one over all channels.
    passes_->set_look(exact::Look::never);
    projection_.set(subspace_.axes());
  }
  void keep_weights(const Context& context) {
    kept_.keep(*passes_, weights_.matrix(), context.threads());
    reduced_version_ = subspace_.version();
  }

  SampledEnergy measure(const NeuronVectors<const float>& vectors) {
    const SampledEnergy energy = subspace_.measure(vectors);
    if (energy.is_finite()) refit_.note_error(energy.relative_error(), subspace_.fit_error());
    return energy;
  }

  bool convolve(const TensorView<const float>& x, const VectorView<const float>& bias,
                const PixelView<float>& output, Context& context, StageClock& clock) const {
    const index_t block = images_at_once(x.batch, k_forward_floats);
    Workspace& workspace = context.workspace();
    workspace.reserve(workspace_bytes(x.batch, k_forward_floats, {}, [&](index_t images) {
      return passes_->forward_workspace_bytes(images, context.threads(), kept_.data() != nullptr);
    }));
    const Workspace::Frame frame(workspace);
    float* memory = workspace.take<float>(block * reduced_image());
    for (index_t first = 0; first < x.batch; first += block) {
      const index_t count = std::min(block, x.batch - first);
      const TensorView<float> z = reduced_images(memory, count);
      const bool finite = projection_.project(some_images(x, first, count), z, context.threads());
      clock.finish(Stage::encode);
      if (!finite) return false;
      passes_->forward(z, weights_.matrix(), bias, false, output_images(output, first, count),
                       context, kept_.data());
      clock.finish(Stage::subspace_product);
    }
    return true;
  }

  /// Multiply-adds of that many rows of unfolded coordinates with the reduced weights.
  [[nodiscard]] double products(double rows) const noexcept {
    return rows * static_cast<double>(geometry_.kernel_height * geometry_.kernel_width) *
           static_cast<double>(subspace_.kept() * geometry_.out_channels);
  }
  [[nodiscard]] double projections(index_t images) const noexcept {
    return static_cast<double>(images) * static_cast<double>(reduced_image()) *
           static_cast<double>(geometry_.in_channels);
  }

  void note(const VectorMap& map, const SampledEnergy& energy, Report& stats) const {
    // No vectors are clustered: every one keeps its own product.
    stats.neuron_vectors = static_cast<double>(map.vectors());
    stats.clusters = stats.neuron_vectors;
    stats.total_energy = energy.total;
    stats.within_cluster_energy = energy.within_clusters;
    stats.remaining_ratio_per_slice.push_back(1.0);
    stats.forward.multiply_adds_done =
        products(static_cast<double>(map.rows())) + projections(map.images);
  }

  ConvGeometry geometry_;
  bool winograd_;
  std::uint64_t seed_;
  RefitPolicy refit_;
  FittedSubspace subspace_;
  WeightMetric<float> metric_;
  PixelProjection projection_;
  ReducedWeights weights_;
  exact::KeptWeights<float> kept_;  // the reduced weights as the engine transforms them
  std::optional<exact::ConvolutionPasses<float>> passes_;
  bool frozen_ = false;
  std::uint64_t reduced_version_ = k_no_version;
};

ADR_NAMESPACE_END
