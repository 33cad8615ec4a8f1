// The exact passes of a convolution: tiles where they pay, direct products elsewhere.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/convolution_form.hpp"
#include "adr/exact/direct_forward.hpp"
#include "adr/exact/direct_input_gradient.hpp"
#include "adr/exact/direct_weight_gradient.hpp"
#include "adr/exact/streamed_results.hpp"
#include "adr/exact/tile_forward.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/exact/tile_inputs.hpp"
#include "adr/exact/tile_reuse.hpp"
#include "adr/exact/tile_weight_gradient.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// The three passes of one convolution, exact up to rounding of floats.
///
/// Math: y = x * w + bias (and its positive part with relu), d_w and d_x its gradients; results are
/// replaced. Shapes, layouts: those of DenseConvolution, any number of groups, any batch. Forms:
/// those of choose_form; Winograd::never keeps to direct products. Errors: F(4x4, ...)
/// rounds to about 1e-6 to 5e-6 of the root mean square of the result, other forms less
/// (docs/numerics.md); with tiles an input that is not finite spoils all outputs of its tiles.
/// Requires: a valid geometry, matching shapes, results that overlap no operand. Scratch: at most
/// 16 MB per thread for tiles, reserved in the context by each pass. Determinism: the bits follow
/// from shape and instruction set, not from threads. Thread-safety: reentrant with contexts of
/// their own. Source: this library; Lavin and Gray, CVPR 2016.
template <class T>
class ConvolutionPasses {
 public:
  /// The passes of one layer. Requires: a valid geometry.
  explicit ConvolutionPasses(const ConvGeometry& geometry,
                             Winograd winograd = Winograd::where_it_pays)
      : geometry_(geometry), winograd_(winograd), groups_(geometry.groups) {}
  /// Those of one of its groups: images begin at the channels of the group (images_from_group), and
  /// weights, bias and weight gradient are those of its filters alone.
  [[nodiscard]] static ConvolutionPasses of_group(const ConvGeometry& geometry, Winograd winograd) {
    ConvolutionPasses passes(geometry, winograd);
    passes.groups_ = 1;
    return passes;
  }

  /// The shape of the layer.
  [[nodiscard]] const ConvGeometry& geometry() const noexcept { return geometry_; }
  /// The form of a forward pass over that many images, with weights that were kept or not.
  [[nodiscard]] Form forward_form(index_t batch = k_large_batch, bool kept = false) const noexcept {
    return choose_form<T>(geometry_, winograd_, batch,
                          kept ? WeightTransforms::kept : WeightTransforms::of_forward);
  }
  /// The form of the weight gradient.
  [[nodiscard]] Form weight_gradient_form(index_t batch = k_large_batch) const noexcept {
    return choose_form<T>(geometry_, winograd_, batch);
  }
  /// The form of the input gradient.
  [[nodiscard]] Form input_gradient_form(index_t batch = k_large_batch) const noexcept {
    return has_flipped_convolution(geometry_)
               ? choose_form<T>(flipped_convolution(geometry_), winograd_, batch)
               : Form::direct;
  }

  /// Whether forward passes over tiles look for tiles with the same inputs, which they compute once
  /// (tile_reuse.hpp): where a sample promises a gain, unless this says otherwise.
  void set_look(Look look) noexcept { look_ = look; }

  /// Computes y = x * w + bias, with relu its positive part. kept: weights that keep_weights has
  /// transformed, or null; they take the place of w where the form is not direct. Returns the share
  /// of the results that was computed; the others are copies of equal ones.
  double forward(const TensorView<const T>& x, const MatrixView<const T>& w,
                 const VectorView<const T>& bias, bool relu, const TensorView<T>& y,
                 Context& context, const T* kept = nullptr) const {
    if (x.batch == 0) return 1;
    const Form form = forward_form(x.batch, kept != nullptr);
    if (form == Form::direct) {
      context.workspace().reserve(
          direct_forward_workspace_bytes<T>(geometry_, x.batch, context.threads()));
      for (index_t g = 0; g < groups_; ++g) {
        direct_forward(geometry_, from_group(x, g), rows_of(w, g), bias_of(bias, g),
                       from_group(y, g), context, relu);
      }
      return 1;
    }
    double computed = 0;
    for_each_forward(
        form, x, w, y, bias, relu, context.threads(), [&](const auto& pass, index_t group) {
          context.workspace().reserve(
              run_tiles_workspace_bytes(pass, look_, kept != nullptr, context.threads()));
          computed += run_tiles(pass, look_, context,
                                kept != nullptr ? kept + group * pass.kept_size() : nullptr);
        });
    return computed / static_cast<double>(groups_);
  }
  /// Multiply-adds of a forward pass as it is computed.
  [[nodiscard]] double forward_multiply_adds(index_t batch) const {
    const Form form = forward_form(batch);
    if (form == Form::direct) {
      return static_cast<double>(geometry_.rows(batch)) * static_cast<double>(geometry_.columns()) *
             static_cast<double>(groups_ * geometry_.group_out_channels());
    }
    double sum = 0;
    for_each_forward(form, no_images<const T>(batch), no_weights(), no_outputs<T>(batch), {}, false,
                     1, [&](const auto& pass, index_t) { sum += pass.multiply_adds(); });
    return sum;
  }
  /// What the tiles of a forward pass over x read. Requires: one group, a form of large batches
  /// that is not direct.
  [[nodiscard]] TileInputs tile_inputs(const TensorView<const T>& x) const {
    TileInputs inputs;
    for_each_forward(forward_form(), x, no_weights(), no_outputs<T>(x.batch), {}, false, 1,
                     [&](const auto& pass, index_t) { inputs = pass.inputs(); });
    return inputs;
  }
  /// The forward pass over those tiles alone, an ascending list; all else of y stays. Requires: as
  /// tile_inputs.
  void forward_tiles(const TensorView<const T>& x, const MatrixView<const T>& w,
                     const VectorView<const T>& bias, bool relu, const TensorView<T>& y,
                     const TileList& tiles, Context& context, const T* kept) const {
    for_each_forward(forward_form(), x, w, y, bias, relu, context.threads(),
                     [&](const auto& pass, index_t) {
                       context.workspace().reserve(pass.workspace_bytes(kept != nullptr));
                       pass.over(tiles).run(context, kept);
                     });
  }

  /// Computes d_w. channel_sums: null, or where the sums of d_y over all pixels go, one per
  /// channel, which first layers have at hand. Returns whether they were written.
  bool weight_gradient(const TensorView<const T>& x, const TensorView<const T>& d_y,
                       const MatrixView<T>& d_w, Context& context,
                       T* channel_sums = nullptr) const {
    if (x.batch == 0) {
      for (index_t m = 0; m < d_w.rows; ++m) std::fill_n(d_w.row(m), d_w.cols, T(0));
      return false;
    }
    if (weight_gradient_form(x.batch) == Form::direct) {
      context.workspace().reserve(
          direct_weight_gradient_workspace_bytes<T>(geometry_, x.batch, context.threads()));
      bool has_sums = false;
      for (index_t g = 0; g < groups_; ++g) {
        has_sums = direct_weight_gradient(geometry_, from_group(x, g), from_group(d_y, g),
                                          rows_of(d_w, g), channel_sums, context);
      }
      return has_sums;
    }
    for_each_weight_gradient(x, d_y, d_w, [&](const auto& pass) {
      context.workspace().reserve(pass.workspace_bytes(context.threads()));
      pass.run(context);
    });
    return false;
  }

  /// Computes d_x.
  void input_gradient(const TensorView<const T>& d_y, const MatrixView<const T>& w,
                      const TensorView<T>& d_x, Context& context) const {
    if (d_y.batch == 0) return;
    if (input_gradient_form(d_y.batch) == Form::direct) {
      context.workspace().reserve(
          direct_input_gradient_workspace_bytes<T>(geometry_, d_y.batch, context.threads()));
      for (index_t g = 0; g < groups_; ++g) {
        direct_input_gradient(geometry_, from_group(d_y, g), rows_of(w, g), from_group(d_x, g),
                              context);
      }
      return;
    }
    for_each_input_gradient(d_y, w, d_x, context.threads(), [&](const auto& pass, index_t) {
      context.workspace().reserve(pass.workspace_bytes(false));
      pass.run(context);
    });
  }

  /// Elements of the transformed weights; 0 where every batch is direct, which keeps none.
  [[nodiscard]] index_t kept_size() const {
    index_t size = 0;
    for_each_kept(no_weights(), 1, [&](const auto& pass, index_t) { size += pass.kept_size(); });
    return size;
  }
  /// Transforms the weights for forward passes to come into kept[0 ... kept_size()).
  void keep_weights(const MatrixView<const T>& w, T* kept, int threads) const {
    for_each_kept(w, threads, [&](const auto& pass, index_t group) {
      pass.keep_weights(kept + group * pass.kept_size());
    });
  }

  /// Bytes of scratch of the context that a forward pass takes.
  [[nodiscard]] std::size_t forward_workspace_bytes(index_t batch, int threads,
                                                    bool kept = false) const {
    if (batch == 0) return 0;
    const Form form = forward_form(batch, kept);
    if (form == Form::direct) {
      return direct_forward_workspace_bytes<T>(geometry_, batch, threads);
    }
    std::size_t bytes = 0;
    for_each_forward(form, no_images<const T>(batch), no_weights(), no_outputs<T>(batch), {}, false,
                     threads, [&](const auto& pass, index_t) {
                       bytes =
                           std::max(bytes, run_tiles_workspace_bytes(pass, look_, kept, threads));
                     });
    return bytes;
  }
  /// Those of a weight gradient.
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(index_t batch, int threads) const {
    if (batch == 0) return 0;
    if (weight_gradient_form(batch) == Form::direct) {
      return direct_weight_gradient_workspace_bytes<T>(geometry_, batch, threads);
    }
    std::size_t bytes = 0;
    const MatrixView<T> no_gradient(nullptr, groups_ * geometry_.group_out_channels(),
                                    geometry_.columns());
    for_each_weight_gradient(
        no_images<const T>(batch), no_outputs<const T>(batch), no_gradient,
        [&](const auto& pass) { bytes = std::max(bytes, pass.workspace_bytes(threads)); });
    return bytes;
  }
  /// Those of an input gradient.
  [[nodiscard]] std::size_t input_gradient_workspace_bytes(index_t batch, int threads) const {
    if (batch == 0) return 0;
    if (input_gradient_form(batch) == Form::direct) {
      return direct_input_gradient_workspace_bytes<T>(geometry_, batch, threads);
    }
    std::size_t bytes = 0;
    for_each_input_gradient(
        no_outputs<const T>(batch), no_weights(), no_images<T>(batch), threads,
        [&](const auto& pass, index_t) { bytes = std::max(bytes, pass.workspace_bytes(false)); });
    return bytes;
  }
  /// That of the most demanding one.
  [[nodiscard]] std::size_t workspace_bytes(index_t batch, int threads) const {
    return std::max({forward_workspace_bytes(batch, threads),
                     kept_size() > 0 ? forward_workspace_bytes(batch, threads, true) : 0,
                     weight_gradient_workspace_bytes(batch, threads),
                     input_gradient_workspace_bytes(batch, threads)});
  }

 private:
  template <class Element>
  [[nodiscard]] TensorView<Element> no_images(index_t batch = 0) const {
    return {nullptr,         batch, geometry_.in_channels, geometry_.in_height, geometry_.in_width,
            geometry_.layout};
  }
  template <class Element>
  [[nodiscard]] TensorView<Element> no_outputs(index_t batch) const {
    return {nullptr,
            batch,
            geometry_.out_channels,
            geometry_.out_height(),
            geometry_.out_width(),
            geometry_.layout};
  }
  [[nodiscard]] MatrixView<const T> no_weights() const noexcept {
    return {nullptr, groups_ * geometry_.group_out_channels(), geometry_.columns()};
  }

  /// The channels of one group of an input or output, which may have no others.
  template <class Element>
  static GroupImages<Element> group_of(const TensorView<Element>& images, index_t group,
                                       index_t channels) noexcept {
    return {images, group * channels, channels};
  }
  template <class Element>
  [[nodiscard]] Filters<Element> filters_of(const MatrixView<Element>& w,
                                            index_t group) const noexcept {
    return {rows_of(w, group), geometry_.group_in_channels(), geometry_.layout};
  }
  template <class Element>
  [[nodiscard]] MatrixView<Element> rows_of(const MatrixView<Element>& w,
                                            index_t group) const noexcept {
    const index_t filters = geometry_.group_out_channels();
    return {w.data == nullptr ? nullptr : w.row(group * filters), filters, w.cols, w.row_stride};
  }
  [[nodiscard]] VectorView<const T> bias_of(const VectorView<const T>& bias,
                                            index_t group) const noexcept {
    const index_t filters = geometry_.group_out_channels();
    if (bias.empty()) return {};
    return {bias.data + group * filters, filters};
  }
  template <class Element>
  [[nodiscard]] TensorView<Element> from_group(const TensorView<Element>& images,
                                               index_t group) const noexcept {
    return images_from_group(images, geometry_.groups, group);
  }

  static bool streams_results(const TensorView<T>& y, index_t group_channels) noexcept {
    return y.layout == Layout::nhwc && y.image_stride % simd::Batch<T>::size == 0 &&
           is_streamed<T>(y.data, y.channels, group_channels, y.batch * y.image_size());
  }

  template <class Use>
  void for_each_tile_pass(Form form, const ConvGeometry& geometry, WeightUse weight_use,
                          const TensorView<const T>& x, const MatrixView<const T>& w,
                          const TensorView<T>& y, const VectorView<const T>& bias, bool relu,
                          int threads, const Use& use) const {
    with_algorithm<T>(form, [&](auto algorithm) {
      using Algorithm = decltype(algorithm);
      const TileGrid grid = tile_grid<Algorithm>(geometry);
      for (index_t group = 0; group < groups_; ++group) {
        const GroupImages<T> target = group_of(y, group, geometry.group_out_channels());
        const Finish<T> finish = {bias_of(bias, group).data, relu,
                                  streams_results(y, target.channels)};
        use(TileForward<Algorithm, T>(grid, {nullptr, x.batch * grid.per_image()},
                                      group_of(x, group, geometry.group_in_channels()),
                                      filters_of(w, group), weight_use, finish, target, threads),
            group);
      }
    });
  }
  template <class Use>
  void for_each_forward(Form form, const TensorView<const T>& x, const MatrixView<const T>& w,
                        const TensorView<T>& y, const VectorView<const T>& bias, bool relu,
                        int threads, const Use& use) const {
    for_each_tile_pass(form, geometry_, WeightUse::forward, x, w, y, bias, relu, threads, use);
  }
  /// The form of kept weights is that of large batches.
  template <class Use>
  void for_each_kept(const MatrixView<const T>& w, int threads, const Use& use) const {
    for_each_forward(forward_form(), no_images<const T>(k_large_batch), w,
                     no_outputs<T>(k_large_batch), {}, false, threads, use);
  }
  template <class Use>
  void for_each_input_gradient(const TensorView<const T>& d_y, const MatrixView<const T>& w,
                               const TensorView<T>& d_x, int threads, const Use& use) const {
    for_each_tile_pass(input_gradient_form(d_y.batch), flipped_convolution(geometry_),
                       WeightUse::input_gradient, d_y, w, d_x, {}, false, threads, use);
  }
  template <class Use>
  void for_each_weight_gradient(const TensorView<const T>& x, const TensorView<const T>& d_y,
                                const MatrixView<T>& d_w, const Use& use) const {
    with_algorithm<T>(weight_gradient_form(x.batch), [&](auto algorithm) {
      using Algorithm = decltype(algorithm);
      for (index_t group = 0; group < groups_; ++group) {
        use(TileWeightGradient<Algorithm, T>(
            tile_grid<Algorithm>(geometry_), group_of(x, group, geometry_.group_in_channels()),
            group_of(d_y, group, geometry_.group_out_channels()), filters_of(d_w, group)));
      }
    });
  }

  ConvGeometry geometry_;
  Winograd winograd_;
  index_t groups_;
  Look look_ = Look::sampled;
};

}  // namespace exact
ADR_NAMESPACE_END
