// The operands and results of a layer's passes in one layout, and views of them.
#pragma once

#include <adr/core/types.hpp>
#include <adr/unfold/conv_geometry.hpp>
#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <vector>

#include "bench/support/layer_data.hpp"

namespace adr_bench {

/// Memory that begins with a cache line, as frameworks allocate their tensors: a register's load
/// that crosses a line takes twice as long.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t k_cache_line{64};

  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>& /*other*/) noexcept {}

  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), k_cache_line));
  }
  void deallocate(T* memory, std::size_t /*count*/) noexcept {
    ::operator delete(memory, k_cache_line);
  }
  friend bool operator==(const CacheLineAllocator& /*a*/, const CacheLineAllocator& /*b*/) {
    return true;
  }
  friend bool operator!=(const CacheLineAllocator& /*a*/, const CacheLineAllocator& /*b*/) {
    return false;
  }
};

class LayerTensors {
 public:
  using Tensor = std::vector<float, CacheLineAllocator<float>>;

  /// Copies the data into the layout of the geometry; the results are zeros.
  LayerTensors(const adr::ConvGeometry& geometry, const LayerData& data)
      : geometry_(geometry),
        batch_(data.batch),
        input_(laid_out(data.input, batch_, geometry.in_channels)),
        weights_(laid_out(data.weights, geometry.out_channels, geometry.group_in_channels())),
        output_gradient_(laid_out(data.output_gradient, batch_, geometry.out_channels)),
        output_(output_gradient_.size()),
        weight_gradient_(weights_.size()),
        input_gradient_(input_.size()) {}

  [[nodiscard]] const adr::ConvGeometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] index_t batch() const noexcept { return batch_; }

  [[nodiscard]] adr::TensorView<const float> input() const { return inputs(input_.data()); }
  [[nodiscard]] adr::MatrixView<const float> weights() const {
    return {weights_.data(), geometry_.out_channels, geometry_.columns()};
  }
  [[nodiscard]] adr::TensorView<const float> output_gradient() const {
    return outputs(output_gradient_.data());
  }
  [[nodiscard]] adr::TensorView<float> output() { return outputs(output_.data()); }
  [[nodiscard]] adr::MatrixView<float> weight_gradient() {
    return {weight_gradient_.data(), geometry_.out_channels, geometry_.columns()};
  }
  [[nodiscard]] adr::TensorView<float> input_gradient() { return inputs(input_gradient_.data()); }

  /// The results as they lie in memory.
  [[nodiscard]] const Tensor& output_values() const noexcept { return output_; }
  [[nodiscard]] const Tensor& weight_gradient_values() const noexcept { return weight_gradient_; }
  [[nodiscard]] const Tensor& input_gradient_values() const noexcept { return input_gradient_; }

  /// Fills the results with NaN, so that an engine that computes none cannot be taken for exact.
  void forget_results() {
    for (Tensor* result : {&output_, &weight_gradient_, &input_gradient_}) {
      std::fill(result->begin(), result->end(), std::numeric_limits<float>::quiet_NaN());
    }
  }

 private:
  /// A tensor of layout nchw (filters: OIHW) in the layout of the geometry.
  [[nodiscard]] Tensor laid_out(const std::vector<float>& nchw, index_t outer,
                                index_t channels) const {
    const std::vector<float> values = in_layout(geometry_.layout, nchw, outer, channels);
    return {values.begin(), values.end()};
  }
  template <class T>
  [[nodiscard]] adr::TensorView<T> inputs(T* data) const {
    const adr::ConvGeometry& g = geometry_;
    return {data, batch_, g.in_channels, g.in_height, g.in_width, g.layout};
  }
  template <class T>
  [[nodiscard]] adr::TensorView<T> outputs(T* data) const {
    const adr::ConvGeometry& g = geometry_;
    return {data, batch_, g.out_channels, g.out_height(), g.out_width(), g.layout};
  }

  adr::ConvGeometry geometry_;
  index_t batch_;
  Tensor input_;
  Tensor weights_;
  Tensor output_gradient_;
  Tensor output_;
  Tensor weight_gradient_;
  Tensor input_gradient_;
};

}  // namespace adr_bench
