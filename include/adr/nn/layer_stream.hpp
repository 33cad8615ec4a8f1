// The passes of a convolution over the frames of a stream: what a Stream keeps for a layer, and
// when that can be used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "adr/adapt/report.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/fingerprint.hpp"
#include "adr/core/types.hpp"
#include "adr/core/view_checks.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/nn/conv_operands.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/product/dense_passes.hpp"
#include "adr/product/operands.hpp"
#include "adr/stream/copied_pixels.hpp"
#include "adr/stream/group_stream.hpp"
#include "adr/stream/stream.hpp"
#include "adr/stream/stream_pace.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN

/// What a stream keeps for one layer. Thread-safety: none. Source: this library.
template <class T>
class LayerStream final : public Stream::State {
  using Products = std::vector<LayerProduct<ImageDomain<T>>>;

 public:
  /// That of a stream for a layer by its number, made where there is none. Errors:
  /// std::invalid_argument for a stream that another layer's passes are kept in.
  static LayerStream& of(Stream& stream, std::uint64_t layer) {
    auto* state = static_cast<LayerStream*>(stream.state());
    if (state == nullptr) {
      auto fresh = std::make_unique<LayerStream>();
      fresh->layer = layer;
      state = fresh.get();
      stream.set_state(std::move(fresh));
    }
    detail::require(state->layer == layer,
                    "a Stream belongs to the layer that it was first given to: keep one for every "
                    "camera and layer");
    return *state;
  }

  [[nodiscard]] bool is_empty() const noexcept override { return !pace_.keeps(); }
  void reset() noexcept override { pace_.reset(); }
  void shift(index_t dy, index_t dx) override {
    if (!pace_.keeps() || !groups_.front().can_shift(dy, dx)) return pace_.reset();
    const ConvGeometry& g = key_.geometry;
    const TensorView<T> used(used_.data(), key_.batch, g.in_channels, g.in_height, g.in_width,
                             g.layout);
    const TensorView<T> y(y_.data(), key_.batch, g.out_channels, g.out_height(), g.out_width(),
                          g.layout);
    for (index_t group = 0; group < g.groups; ++group) {
      groups_[static_cast<std::size_t>(group)].shift(
          {exact::images_from_group(used, g.groups, group), 0, g.group_in_channels()},
          {exact::images_from_group(y, g.groups, group), 0, g.group_out_channels()}, dy, dx);
    }
    source_ = nullptr;
    last_pass_ = StreamPass::none;
    ++passes_;  // whoever reads the output has not seen this one
  }
  [[nodiscard]] const void* output() const noexcept override { return y_.data(); }

  /// Computes the output: into y, or where that is empty into memory of the stream, which stays as
  /// it is until the next pass. Returns where it is. Errors: std::invalid_argument for products of
  /// the user's own, and for an x that is the output of the same stream.
  TensorView<const T> forward(const ConvOperands<T>& operands, Products& products,
                              Stream::Output output, double max_error, bool inference,
                              const TensorView<T>& y, const Stream* before, Context& context) {
    const ConvGeometry& g = operands.geometry;
    const index_t batch = operands.x.batch;
    const exact::ConvolutionPasses<T>* passes = products.front().images().own_passes();
    detail::require(passes != nullptr,
                    "a stream is computed by the library's own convolutions, and this layer has "
                    "others: set_dense_convolution or set_dense_gemm");
    require_disjoint("x", operands.x, "the output of its own stream",
                     MatrixView<const T>(y_.data(), 1, y_.size()));
    const Key key = key_of(operands, products, max_error, inference);
    if (key != key_) pace_.reset();
    key_ = key;
    groups_.resize(static_cast<std::size_t>(g.groups));
    const bool is_possible = batch > 0 && stream::GroupStream<T>::is_possible(*passes, batch);
    const StreamPass pass = is_possible ? pace_.next() : StreamPass::left;
    const unsigned char* written = written_before(before, operands.x, pass);
    const bool in_place = pass == StreamPass::left && y.data != nullptr;
    TensorView<T> target = y;
    if (!in_place) {
      y_.resize(checked_product("output of a stream", batch, g.out_channels, g.out_pixels()));
      target = {y_.data(), batch, g.out_channels, g.out_height(), g.out_width(), g.layout};
    }
    double computed = 0;
    pace_.forget();  // should anything be thrown
    for (index_t group = 0; group < g.groups; ++group) {
      auto& product = products[static_cast<std::size_t>(group)];
      const ConvInput<const T> input{g, operands.x, group};
      product.forward_by(input, context, [&](Report& report) {
        report.stream_pass = pass;
        const double share =
            run(group, operands, written, target, output == Stream::Output::rectified,
                product.images(), max_error, context, report);
        computed += share / static_cast<double>(g.groups);
        return share;
      });
    }
    last_pass_ = pass;
    ++passes_;
    if (pass != StreamPass::left) pace_.kept();
    if (pass == StreamPass::compared) pace_.compared(computed < groups_.front().break_even());
    if (in_place || y.data == nullptr) return target;
    stream::copy_images<T>(target, y, context.threads());
    return y;
  }

 private:
  /// What must stay the same for outputs to stay.
  struct Key {
    ConvGeometry geometry;
    index_t batch = 0;
    std::uint64_t weights = 0;
    std::uint64_t bias = 0;
    std::uint64_t version = 0;
    bool lossless = true;

    friend bool operator!=(const Key& a, const Key& b) noexcept {
      return a.geometry != b.geometry || a.batch != b.batch || a.weights != b.weights ||
             a.bias != b.bias || a.version != b.version || a.lossless != b.lossless;
    }
  };

  static Key key_of(const ConvOperands<T>& operands, const Products& products, double max_error,
                    bool inference) noexcept {
    const VectorView<const T>& bias = operands.bias;
    Key key;
    key.geometry = operands.geometry;
    key.batch = operands.x.batch;
    // In inference weights are recognised as transformed ones are.
    key.weights = inference ? sampled_fingerprint(operands.w) : fingerprint(operands.w);
    key.bias = fingerprint(MatrixView<const T>(bias.data, bias.empty() ? 0 : 1, bias.size));
    key.version = products.front().version();
    key.lossless = max_error == 0;
    return key;
  }

  [[nodiscard]] bool has_output_of(const TensorView<const T>& x) const noexcept {
    const ConvGeometry& g = key_.geometry;
    return key_.batch == x.batch && g.out_channels == x.channels && g.out_height() == x.height &&
           g.out_width() == x.width;
  }

  /// Marks of the pixels of x that were written since this stream's last pass, where x is the
  /// output that the stream before it has just returned; null where that is not known.
  const unsigned char* written_before(const Stream* before, const TensorView<const T>& x,
                                      StreamPass pass) {
    Stream::State* state = before != nullptr ? before->state() : nullptr;
    // Of elements of this type, then.
    auto* source =
        state != nullptr && state->output() == x.data ? static_cast<LayerStream*>(state) : nullptr;
    const bool is_output = source != nullptr && source->has_output_of(x);
    const bool is_next = is_output && source == source_ && source->passes_ == source_pass_ + 1;
    source_ = is_output && pass != StreamPass::left ? source : nullptr;
    source_pass_ = is_output ? source->passes_ : 0;
    if (!is_next || source->last_pass_ != StreamPass::compared) return nullptr;
    source->written_.assign(x.batch * x.height * x.width, static_cast<unsigned char>(0));
    for (const auto& group : source->groups_) group.mark_written(source->written_.data());
    return source->written_.data();
  }

  /// Runs the pass that the report names over one group. Returns the share that was computed.
  double run(index_t group, const ConvOperands<T>& operands, const unsigned char* written,
             const TensorView<T>& y, bool relu, DensePasses<T>& engine, double max_error,
             Context& context, Report& report) {
    const ConvGeometry& g = operands.geometry;
    const index_t inputs = g.group_in_channels();
    const index_t outputs = g.group_out_channels();
    const auto from_group = [&](const auto& images) {
      return exact::images_from_group(images, g.groups, group);
    };
    TensorView<T> used(used_.data(), operands.x.batch, g.in_channels, g.in_height, g.in_width,
                       g.layout);
    stream::StreamOperands<T> o;
    o.x = {from_group(operands.x), 0, inputs};
    o.y = {from_group(y), 0, outputs};
    o.w = operands.group_weights(group);
    o.bias = operands.group_bias(group);
    o.relu = relu;
    o.written = written;
    o.kept_weights = engine.kept_weights(o.w, context.threads());
    const exact::ConvolutionPasses<T>& passes = *engine.own_passes();
    auto& state = groups_[static_cast<std::size_t>(group)];
    if (report.stream_pass == StreamPass::compared) {
      o.used = {from_group(used), 0, inputs};
      const stream::Comparison done = state.compare(passes, o, max_error, context);
      report.stream_threshold = done.threshold;
      report.output_error_energy = done.error_energy;
      report.sampled_output_energy = done.output_energy;
      return done.computed;
    }
    const double computed =
        passes.forward(o.x.images, o.w, o.bias, relu, o.y.images, context, o.kept_weights);
    if (report.stream_pass == StreamPass::first) {
      used_.resize(operands.x.batch * operands.x.image_size());
      used.data = used_.data();
      o.used = {from_group(used), 0, inputs};
      state.keep(passes, o, context.threads());
    }
    return computed;
  }

  stream::StreamPace pace_;
  Key key_;
  AlignedBuffer<T> used_;
  AlignedBuffer<T> y_;
  std::vector<stream::GroupStream<T>> groups_;
  StreamPass last_pass_ = StreamPass::none;
  std::uint64_t passes_ = 0;
  AlignedBuffer<unsigned char> written_;  ///< outputs, for the stream that comes next
  const LayerStream* source_ = nullptr;   ///< whose output the last x was; compared, never read
  std::uint64_t source_pass_ = 0;
};

ADR_NAMESPACE_END
