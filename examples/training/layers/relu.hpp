// y = max(x, 0), element by element, and in place: one memory for x and y is read and written once.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "adr/core/context.hpp"
#include "training/layers/layer.hpp"

namespace training {

template <class T>
class Relu final : public Layer<T> {
 public:
  Relu(std::string name, const ImageShape& shape, adr::Context& context)
      : Layer<T>(std::move(name)), shape_(shape), context_(context) {}

  [[nodiscard]] ImageShape output_shape() const override { return shape_; }
  [[nodiscard]] bool works_in_place() const override { return true; }

  void forward(const adr::TensorView<const T>& x, const adr::TensorView<T>& y) override {
    adr::parallel_for(x.batch, threads(x.batch), [&](index_t image, int) {
      T* to = taken_over(x.image(image), y.image(image));
      // Written so that a NaN passes: a diverged network must not look like a dead one.
      for (index_t i = 0; i < shape_.size(); ++i) to[i] = to[i] < T(0) ? T(0) : to[i];
    });
  }

  void backward(const adr::TensorView<const T>&, const adr::TensorView<const T>& y,
                const adr::TensorView<const T>& d_y, const adr::TensorView<T>& d_x) override {
    adr::parallel_for(y.batch, threads(y.batch), [&](index_t image, int) {
      const T* output = y.image(image);
      T* to = taken_over(d_y.image(image), d_x.image(image));
      for (index_t i = 0; i < shape_.size(); ++i) to[i] = output[i] > T(0) ? to[i] : T(0);
    });
  }

 private:
  /// Loops over one array in place of two that may be the same are what compilers vectorise.
  T* taken_over(const T* from, T* to) const {
    if (from != to) std::copy_n(from, shape_.size(), to);
    return to;
  }
  /// Waking threads takes longer than a small batch of features.
  [[nodiscard]] int threads(index_t batch) const {
    constexpr index_t k_worth_threads = 131072;
    return batch * shape_.size() < k_worth_threads ? 1 : context_.threads();
  }

  ImageShape shape_;
  adr::Context& context_;
};

}  // namespace training
