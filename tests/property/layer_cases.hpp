// The operands of a linear or convolution layer in guarded memory, and the same widened for the
// reference. Weights are out x in, as the layers take them.
#pragma once

#include <string>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "property/reuse_reference.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"

namespace adr_test {

/// How operands lie in memory.
struct Placement {
  index_t gap = 0;  ///< elements between the end of a row or image and the next one
  Start start = Start::aligned;
};

/// The operands and results of a linear layer.
template <class T>
struct LinearCase {
  index_t rows, columns, outputs;
  GuardedBuffer<T> x, w, bias, y, d_y, d_x, d_w, d_bias;

  LinearCase(index_t rows_, index_t columns_, index_t outputs_, Data& data, Placement at = {})
      : rows(rows_),
        columns(columns_),
        outputs(outputs_),
        x(rows, columns, columns + at.gap, at.start),
        w(outputs, columns, columns + at.gap, at.start),
        bias(outputs, at.start),
        y(rows, outputs, outputs + at.gap, at.start),
        d_y(rows, outputs, outputs + at.gap, at.start),
        d_x(rows, columns, columns + at.gap, at.start),
        d_w(outputs, columns, columns + at.gap, at.start),
        d_bias(outputs, at.start) {
    for (auto* operand : {&x, &w, &bias, &d_y}) data.fill_normal(operand->view());
  }

  [[nodiscard]] adr::MatrixView<const T> x_view() const { return x.view(); }
  [[nodiscard]] adr::MatrixView<const T> w_view() const { return w.view(); }
  [[nodiscard]] adr::MatrixView<const T> d_y_view() const { return d_y.view(); }

  [[nodiscard]] Operands operands(bool with_bias = true) const {
    Operands o;
    o.x = Matrix(x.view());
    o.w = adr::reference::transpose(Matrix(w.view()));
    if (with_bias) o.bias = Matrix(bias.view()).elements;
    o.d_y = Matrix(d_y.view());
    return o;
  }
  [[nodiscard]] Matrix output() const { return Matrix(y.view()); }
  /// As K x M.
  [[nodiscard]] Matrix weight_gradient() const {
    return adr::reference::transpose(Matrix(d_w.view()));
  }
  [[nodiscard]] Matrix input_gradient() const { return Matrix(d_x.view()); }

  [[nodiscard]] std::string damage() const {
    std::string all;
    for (const auto* buffer : {&x, &w, &bias, &y, &d_y, &d_x, &d_w, &d_bias}) {
      all += buffer->damage();
    }
    return all;
  }
  /// The bits of every result.
  [[nodiscard]] std::vector<T> results() const {
    std::vector<T> all;
    for (const auto* buffer : {&y, &d_x, &d_w, &d_bias}) {
      const std::vector<T> part = elements_of(*buffer);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
};

/// The pixels of some channels as rows: element (n, c) is channel first + c of pixel n.
template <class T>
Matrix pixel_matrix(const adr::TensorView<T>& images, index_t first_channel, index_t channels) {
  Matrix result(images.batch * images.height * images.width, channels);
  index_t n = 0;
  for (index_t image = 0; image < images.batch; ++image) {
    for (index_t oy = 0; oy < images.height; ++oy) {
      for (index_t ox = 0; ox < images.width; ++ox, ++n) {
        for (index_t c = 0; c < channels; ++c) {
          result(n, c) = static_cast<double>(
              adr::reference::element(images, image, first_channel + c, oy, ox));
        }
      }
    }
  }
  return result;
}

/// The operands and results of a convolution layer.
template <class T>
struct ConvCase {
  adr::ConvGeometry geometry;
  index_t batch;
  GuardedBuffer<T> x, w, bias, y, d_y, d_x, d_w, d_bias;

  ConvCase(const adr::ConvGeometry& g, index_t batch_, Data& data, Placement at = {})
      : geometry(g),
        batch(batch_),
        x(batch, in_size(g), in_size(g) + at.gap, at.start),
        w(g.out_channels, g.columns(), g.columns() + at.gap, at.start),
        bias(g.out_channels, at.start),
        y(batch, out_size(g), out_size(g) + at.gap, at.start),
        d_y(batch, out_size(g), out_size(g) + at.gap, at.start),
        d_x(batch, in_size(g), in_size(g) + at.gap, at.start),
        d_w(g.out_channels, g.columns(), g.columns() + at.gap, at.start),
        d_bias(g.out_channels, at.start) {
    for (auto* operand : {&x, &w, &bias, &d_y}) data.fill_normal(operand->view());
  }

  [[nodiscard]] adr::TensorView<T> input_like(GuardedBuffer<T>& buffer) const {
    const auto& g = geometry;
    return {buffer.data(), batch,    g.in_channels,           g.in_height,
            g.in_width,    g.layout, buffer.view().row_stride};
  }
  [[nodiscard]] adr::TensorView<T> output_like(GuardedBuffer<T>& buffer) const {
    const auto& g = geometry;
    return {buffer.data(), batch,    g.out_channels,          g.out_height(),
            g.out_width(), g.layout, buffer.view().row_stride};
  }
  [[nodiscard]] adr::TensorView<const T> x_view() { return input_like(x); }
  [[nodiscard]] adr::TensorView<const T> d_y_view() { return output_like(d_y); }
  [[nodiscard]] adr::TensorView<T> y_view() { return output_like(y); }
  [[nodiscard]] adr::TensorView<T> d_x_view() { return input_like(d_x); }
  [[nodiscard]] adr::MatrixView<const T> w_view() const { return w.view(); }

  /// The unfolded product of a group.
  [[nodiscard]] Operands operands(index_t group, bool with_bias = true) {
    const index_t outputs = geometry.group_out_channels();
    const index_t first = group * outputs;
    Operands o;
    o.x = adr::reference::im2col(geometry, x_view(), group);
    o.w = adr::reference::transpose(adr::reference::rows_of(Matrix(w.view()), first, outputs));
    if (with_bias) {
      const std::vector<double> all = Matrix(bias.view()).elements;
      o.bias.assign(all.begin() + first, all.begin() + first + outputs);
    }
    o.d_y = pixel_matrix(d_y_view(), first, outputs);
    return o;
  }
  [[nodiscard]] Matrix output(index_t group) {
    const index_t outputs = geometry.group_out_channels();
    return pixel_matrix(y_view(), group * outputs, outputs);
  }
  /// As K x M.
  [[nodiscard]] Matrix weight_gradient(index_t group) const {
    const index_t outputs = geometry.group_out_channels();
    return adr::reference::transpose(
        adr::reference::rows_of(Matrix(d_w.view()), group * outputs, outputs));
  }
  /// Unfolded input gradients, one per group, folded back: batch x image.
  [[nodiscard]] Matrix folded(const std::vector<Matrix>& unfolded) const {
    Matrix images(batch, in_size(geometry));
    const adr::TensorView<double> view(images.elements.data(), batch, geometry.in_channels,
                                       geometry.in_height, geometry.in_width, geometry.layout);
    for (std::size_t g = 0; g < unfolded.size(); ++g) {
      adr::reference::col2im_add(geometry, unfolded[g], static_cast<index_t>(g), view);
    }
    return images;
  }
  /// The same for results with bounds.
  [[nodiscard]] Expected folded(const std::vector<Expected>& groups) const {
    std::vector<Matrix> values;
    std::vector<Matrix> magnitudes;
    index_t terms = geometry.kernel_height * geometry.kernel_width;
    for (const Expected& group : groups) {
      values.push_back(group.value);
      magnitudes.push_back(group.magnitude);
      terms = std::max(terms, group.terms + geometry.kernel_height * geometry.kernel_width);
    }
    return {folded(values), folded(magnitudes), terms};
  }

  [[nodiscard]] std::string damage() const {
    std::string all;
    for (const auto* buffer : {&x, &w, &bias, &y, &d_y, &d_x, &d_w, &d_bias}) {
      all += buffer->damage();
    }
    return all;
  }
  /// The bits of every result.
  [[nodiscard]] std::vector<T> results() const {
    std::vector<T> all;
    for (const auto* buffer : {&y, &d_x, &d_w, &d_bias}) {
      const std::vector<T> part = elements_of(*buffer);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

 private:
  static index_t in_size(const adr::ConvGeometry& g) {
    return g.in_channels * g.in_height * g.in_width;
  }
  static index_t out_size(const adr::ConvGeometry& g) {
    return g.out_channels * g.out_height() * g.out_width();
  }
};

}  // namespace adr_test
