// A convolution layer whose products are reused, behind forward and backward.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/fingerprint.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gradients.hpp"
#include "adr/gradients/bias_gradient.hpp"
#include "adr/nn/blend.hpp"
#include "adr/nn/conv_operands.hpp"
#include "adr/nn/layer_state.hpp"
#include "adr/nn/layer_stream.hpp"
#include "adr/nn/operand_checks.hpp"
#include "adr/nn/saved.hpp"
#include "adr/nn/tuned_layer.hpp"
#include "adr/options.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/stream/stream.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/neuron_vectors.hpp"

ADR_NAMESPACE_BEGIN

/// A 2-d convolution with reuse: y = x * w + bias, and its gradients.
///
/// Shapes: x batch x in_channels x in_height x in_width and y batch x out_channels x out_height x
/// out_width, both in the layout of the geometry; any batch. w is out_channels x K, K =
/// geometry.columns(), one filter per row: contiguous OIHW weights in layout nchw, OHWI in nhwc.
/// bias has out_channels elements or is empty. Units: strides in elements. The layer owns no
/// weights. Errors: std::invalid_argument from the constructors for an impossible geometry, option
/// or plan; from forward and backward for wrong shapes, strides, null pointers and overlapping
/// memory; std::overflow_error for sizes that do not fit index_t; before anything is written.
/// Memory: workspace_bytes() of scratch in the context; what was learned; with Published ids of N x
/// K/L integers and r_c N K elements of centroids. Determinism: same input, options, instruction
/// set: same bits at any number of threads, unless an automatic setting measures. Thread-safety:
/// none; one layer and one context per thread of control. Source: Ning et al., ICDE 2019; this
/// library.
template <class T = float>
class ReuseConv2d final : public TunedLayer<ImageDomain<T>> {
  using Base = TunedLayer<ImageDomain<T>>;

 public:
  /// Where the gradients of this layer go.
  using Gradients = adr::Gradients<TensorView<T>, MatrixView<T>, VectorView<T>>;

  /// Runs with threads and scratch of the given context, which must outlive the layer.
  ReuseConv2d(const ConvGeometry& geometry, const Options& options, Context& context)
      : Base(options, Base::Parts::all(), &context) {
    set_geometry(geometry);
  }
  /// Runs on one thread with scratch of its own.
  explicit ReuseConv2d(const ConvGeometry& geometry, const Options& options = {})
      : Base(options, Base::Parts::all(), nullptr) {
    set_geometry(geometry);
  }
  /// One setting alone, whose method is all that is compiled, with a context as above.
  template <class Chosen, class = checks::IfSetting<Chosen>>
  ReuseConv2d(const ConvGeometry& geometry, const Chosen& setting, Context& context)
      : Base(Options::with(setting), Base::Parts::template of<Chosen>(), &context) {
    set_geometry(geometry);
  }
  /// The same on one thread.
  template <class Chosen, class = checks::IfSetting<Chosen>>
  ReuseConv2d(const ConvGeometry& geometry, const Chosen& setting)
      : Base(Options::with(setting), Base::Parts::template of<Chosen>(), nullptr) {
    set_geometry(geometry);
  }
  /// Runs a plan with threads and scratch of the given context, for those who measure plans.
  ReuseConv2d(const ConvGeometry& geometry, const Plan& plan, Context& context)
      : Base(plan, Base::Parts::all(), &context) {
    set_geometry(geometry);
  }
  /// Runs a plan on one thread with scratch of its own.
  ReuseConv2d(const ConvGeometry& geometry, const Plan& plan)
      : Base(plan, Base::Parts::all(), nullptr) {
    set_geometry(geometry);
  }

  /// The shape of the layer, batch excluded.
  [[nodiscard]] const ConvGeometry& geometry() const noexcept { return geometry_; }
  /// The clusters of one group in the last forward pass; without slices where it had none. Valid
  /// until the next pass. Requires: group below the number of groups.
  [[nodiscard]] const Clustering<T>& clustering(index_t group = 0) const noexcept {
    return this->product(group).clustering();
  }
  /// The sizes of one group's product in the last pass.
  [[nodiscard]] LayerShape layer_shape() const override {
    LayerShape shape = this->product().layer_shape();
    shape.image_outputs *= geometry_.groups;
    shape.kernel_width = geometry_.kernel_width;
    shape.kernel_plane = geometry_.kernel_height * geometry_.kernel_width;
    shape.channels_last = geometry_.layout == Layout::nhwc;
    return shape;
  }

  /// Takes images of another size from now on; what was learned stays. Errors:
  /// std::invalid_argument or std::overflow_error for an impossible geometry: nothing has changed
  /// then.
  void resize(index_t height, index_t width) {
    ConvGeometry geometry = geometry_;
    geometry.in_height = height;
    geometry.in_width = width;
    require_valid(geometry);
    geometry_ = geometry;
    for (auto& group : this->products()) group.resize(shape_for(this->plan()));
  }

  /// Lets the given implementation compute the exact passes of a convolution of one group: those of
  /// Exact, those that others fall back to, and with any setting the gradients that are exact.
  /// Null: the library's own, as at first. An empty batch is unfolded. Errors:
  /// std::invalid_argument for a layer of several groups.
  void set_dense_convolution(std::shared_ptr<DenseConvolution<T>> convolution) {
    detail::require(geometry_.groups == 1 || convolution == nullptr,
                    "set_dense_convolution needs a convolution of 1 group, this layer has ",
                    geometry_.groups);
    if (geometry_.groups == 1) this->product().set_dense_convolution(std::move(convolution));
  }

  /// Writes what was learned and counted to a versioned, checked file: with it, a layer of the same
  /// geometry and plan goes on to the same bits as this one. The clusters of the last forward pass
  /// are not in it, nor what an automatic setting has measured. Errors: std::runtime_error when
  /// something learned is not finite or the file cannot be written, and then what was there before
  /// is there still.
  void save_state(const std::string& path) const {
    save_products(this->products().data(), geometry_.groups, path, &geometry_);
  }
  /// Reads what a layer of the same geometry and plan has saved; the weights are the caller's,
  /// and a gradient needs a forward pass first. A frozen layer stays frozen, and a layer that was
  /// saved frozen is. Errors: std::runtime_error when the file cannot be read, is damaged, belongs
  /// to another layer or setting, or has nothing learned for a frozen layer: nothing has changed
  /// then.
  void load_state(const std::string& path) {
    load_products(this->products().data(), geometry_.groups, path, &geometry_);
  }

  /// Bytes of scratch for a forward and a backward pass on that many images. With reuse the scratch
  /// depends on the clusters found; then this is what the last batch needed.
  [[nodiscard]] std::size_t workspace_bytes(index_t batch) const {
    std::size_t bytes = 0;
    for (const auto& group : this->products()) {
      const VectorMap map = vector_map(geometry_, group.vectors().kind, batch);
      // An output gradient in layout nhwc is copied where there are groups or gaps between images.
      bytes = std::max(bytes, group.workspace_bytes(map, false, this->threads()));
    }
    return bytes;
  }

  /// Computes y = x * w + bias.
  ///
  /// Shapes, units, errors: those of the class; std::invalid_argument, too, for non-finite elements
  /// with check_finite. Cost: N K M multiply-adds, or less: N = geometry().rows(batch), K =
  /// geometry().columns(), M = out_channels.
  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y) {
    forward(x, w, bias, y, nullptr);
  }
  /// The same; saved keeps the pass for gradients that come after other passes.
  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y, Saved& saved) {
    forward(x, w, bias, y, &saved);
  }

  /// The same for the next frame of a stream: computes what has changed (docs/streams.md), into
  /// memory of the stream, which is valid until its next pass. before: the stream whose output x
  /// is, as it was returned, or null. Gradients are those of the exact product. Errors: as above,
  /// and without Options::stream, for another layer's Stream, and for products of the user's own.
  TensorView<const T> forward(const TensorView<const T>& x, const MatrixView<const T>& w,
                              const VectorView<const T>& bias, Stream& stream,
                              const Stream* before = nullptr) {
    require_inputs(x, w, bias);
    return forward_stream(x, w, bias, {}, stream, before);
  }
  /// The same with an output of the caller's.
  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y, Stream& stream) {
    require_operands(x, w, bias, "y", y);
    require_disjoint_output(x, w, bias, y);
    forward_stream(x, w, bias, plain_stride(y), stream, nullptr);
  }

  /// Computes the gradients of the last forward pass, which must have had this x.
  ///
  /// Math: d_w = d_y^T X, d_bias = column sums of d_y, d_x = col2im(d_y w); in which form, the
  /// report says. Empty views are not computed. Errors: as forward, and std::invalid_argument,
  /// unless the method is exact, where no pass came before, for another batch, or, where d_w is
  /// wanted, another x than the pass had. Cost: N K M multiply-adds for d_w and for d_x, or less.
  /// Memory: gradients that are added to what is there take a copy of their size.
  void backward(const TensorView<const T>& x, const MatrixView<const T>& w,
                const TensorView<const T>& d_y, const Gradients& gradients) {
    backward(x, w, d_y, gradients, nullptr);
  }
  /// The same of a saved pass. Errors: std::invalid_argument, too, for a `saved` that no forward
  /// pass of this layer has filled.
  void backward(const TensorView<const T>& x, const MatrixView<const T>& w,
                const TensorView<const T>& d_y, const Gradients& gradients, Saved& saved) {
    backward(x, w, d_y, gradients, &saved);
  }

 private:
  static void require_valid(const ConvGeometry& geometry) {
    const std::string problem = geometry.validate();
    detail::require(problem.empty(), "ConvGeometry: ", problem);
  }
  void set_geometry(const ConvGeometry& geometry) {
    require_valid(geometry);
    geometry_ = geometry;
    this->make_products(shape_for(this->plan()), geometry.groups);
  }
  [[nodiscard]] ProductShape shape_for(const Plan& plan) const override {
    return product_shape(geometry_, plan.neuron_vectors);
  }
  static std::uint64_t input_of(const TensorView<const T>& x) noexcept {
    const TensorView<const T> images = plain_stride(x);
    return sampled_fingerprint(
        MatrixView<const T>(images.data, images.batch, images.image_size(), images.image_stride));
  }

  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y, Saved* saved) {
    require_operands(x, w, bias, "y", y);
    require_disjoint_output(x, w, bias, y);
    if (this->plan().check_finite) require_finite_operands(x, w, bias);
    this->begin_forward();
    const ConvOperands<T> operands{geometry_, x, w, bias};
    for (index_t g = 0; g < geometry_.groups; ++g) {
      this->product(g).forward(ConvInput<const T>{geometry_, plain_stride(x), g},
                               transposed(operands.group_weights(g)), operands.group_bias(g),
                               ConvOutput<T>{geometry_, plain_stride(y), g}, this->context());
    }
    this->end_forward([&] { return input_of(x); }, saved);
  }

  TensorView<const T> forward_stream(const TensorView<const T>& x, const MatrixView<const T>& w,
                                     const VectorView<const T>& bias, const TensorView<T>& y,
                                     Stream& stream, const Stream* before) {
    detail::require(this->options().stream, "a Stream needs Options::stream");
    if (this->plan().check_finite) require_finite_operands(x, w, bias);
    const auto result = LayerStream<T>::of(stream, this->number())
                            .forward({geometry_, plain_stride(x), plain_stride(w), bias},
                                     this->products(), stream.output(), this->options().max_error,
                                     this->mode() == Mode::inference, y, before, this->context());
    this->end_forward([&] { return input_of(x); }, nullptr);
    return result;
  }

  void backward(const TensorView<const T>& x, const MatrixView<const T>& w,
                const TensorView<const T>& d_y, const Gradients& gradients, Saved* saved) {
    const auto& [d_x, d_w, d_bias, add_to_d_x, add_to_d_w, add_to_d_bias] = gradients;
    require_gradients(x, w, d_y, d_x, d_w, d_bias, saved);
    T* const channel_sums = add_to_d_bias || geometry_.groups > 1 ? nullptr : d_bias.data;
    bool has_d_bias = false;
    this->with_pass(saved, [&] {
      const TensorView<T> plain = plain_stride(d_x);
      const MatrixView<T> input_gradient(plain.data, plain.batch, plain.image_size(),
                                         plain.image_stride);
      const detail::Blend<T> w_blend{T(1), add_to_d_w ? T(1) : T(0)};
      detail::blended(w_blend, plain_stride(d_w), weight_buffer_, [&](const MatrixView<T>& w_to) {
        const detail::Blend<T> x_blend{T(1), add_to_d_x ? T(1) : T(0)};
        detail::blended(x_blend, input_gradient, input_buffer_, [&](const MatrixView<T>& x_to) {
          TensorView<T> images = plain;
          images.data = x_to.data;
          images.image_stride = x_to.row_stride;
          has_d_bias = compute_gradients(x, w, d_y, images, w_to, channel_sums);
        });
      });
    });
    if (!has_d_bias) {
      const auto pixels = pixel_view(plain_stride(d_y), 0, geometry_.out_channels);
      bias_gradient(pixels, d_bias, add_to_d_bias, this->threads());
    }
    this->end_backward();
  }

  /// Returns whether channel_sums, unless null, were written: the gradient of the bias.
  bool compute_gradients(const TensorView<const T>& x, const MatrixView<const T>& w,
                         const TensorView<const T>& d_y, const TensorView<T>& d_x,
                         const MatrixView<T>& d_w, T* channel_sums) {
    if (d_x.data != nullptr && !this->product().clears_input_gradient()) {
      set_zero(pixel_view(d_x, 0, geometry_.in_channels), this->threads());
    }
    bool has_sums = false;
    const index_t outputs = geometry_.group_out_channels();
    const ConvOperands<T> operands{geometry_, x, w, {}};
    for (index_t g = 0; g < geometry_.groups; ++g) {
      const GemmResult<T> d_weights{
          d_w.data != nullptr ? d_w.middle_rows(g * outputs, outputs) : MatrixView<T>(), true};
      has_sums = this->product(g).backward(
          ConvInput<const T>{geometry_, plain_stride(x), g}, transposed(operands.group_weights(g)),
          ConvOutput<const T>{geometry_, plain_stride(d_y), g}, d_weights,
          ConvInput<T>{geometry_, d_x, g}, channel_sums, this->context());
    }
    return has_sums;
  }

  void require_inputs(const TensorView<const T>& x, const MatrixView<const T>& w,
                      const VectorView<const T>& bias) const {
    const ConvGeometry& g = geometry_;
    require_shape("x", x, x.batch, g.in_channels, g.in_height, g.in_width, g.layout);
    require_shape("w", w, g.out_channels, g.columns());
    if (!bias.empty()) require_size("bias", bias, g.out_channels);
    checked_product("rows x columns", x.batch, g.out_height(), g.out_width(), g.columns());
  }
  void require_operands(const TensorView<const T>& x, const MatrixView<const T>& w,
                        const VectorView<const T>& bias, std::string_view y_name,
                        const TensorView<const T>& y) const {
    const ConvGeometry& g = geometry_;
    require_inputs(x, w, bias);
    require_shape(y_name, y, x.batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
  }

  void require_gradients(const TensorView<const T>& x, const MatrixView<const T>& w,
                         const TensorView<const T>& d_y, const TensorView<T>& d_x,
                         const MatrixView<T>& d_w, const VectorView<T>& d_bias, Saved* saved) {
    const ConvGeometry& g = geometry_;
    require_operands(x, w, VectorView<const T>(), "d_y", d_y);
    if (d_x.data != nullptr) {
      require_shape("d_x", d_x, x.batch, g.in_channels, g.in_height, g.in_width, g.layout);
    }
    if (d_w.data != nullptr) require_shape("d_w", d_w, g.out_channels, g.columns());
    if (!d_bias.empty()) require_size("d_bias", d_bias, g.out_channels);
    require_disjoint_gradients(x, w, d_y, d_x, d_w, d_bias);
    this->with_pass(saved, [&] { this->product().require_clusters_of(g.rows(x.batch)); });
    if (d_w.data != nullptr) this->require_input([&] { return input_of(x); }, saved);
    if (this->plan().check_finite) {
      require_finite("w", w);
      require_finite("d_y", d_y);
    }
  }

  ConvGeometry geometry_;
  AlignedBuffer<T> weight_buffer_;
  AlignedBuffer<T> input_buffer_;
};

ADR_NAMESPACE_END
