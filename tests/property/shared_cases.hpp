// Layers over shared neuron vectors: shapes in which every parameter counts, and operands of few
// distinct vectors.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/tolerance.hpp"

namespace adr_test {

using adr::NeuronVectorKind;

struct NamedGeometry {
  std::string name;
  adr::ConvGeometry geometry;
};

/// Few channels with even padding, groups with uneven strides, dilations and paddings, the same
/// with a stride of 1, and single pixels; each in both layouts.
inline std::vector<NamedGeometry> shared_geometries() {
  adr::ConvGeometry plain;
  plain.in_channels = 3;
  plain.in_height = 7;
  plain.in_width = 6;
  plain.out_channels = 5;
  plain.set_kernel(3);
  plain.set_padding(1);

  adr::ConvGeometry strided = plain;
  strided.in_channels = 8;
  strided.out_channels = 6;
  strided.groups = 2;
  strided.kernel_width = 2;
  strided.stride_height = 2;
  strided.stride_width = 3;
  strided.dilation_height = 2;
  strided.dilation_width = 3;
  strided.pad_left = 4;
  strided.pad_bottom = 0;

  adr::ConvGeometry dilated = strided;
  dilated.in_channels = 18;
  dilated.out_channels = 10;
  dilated.set_stride(1);
  dilated.pad_top = 1;
  dilated.pad_bottom = 3;
  dilated.pad_left = 2;
  dilated.pad_right = 0;

  adr::ConvGeometry pointwise = plain;
  pointwise.in_channels = 17;
  pointwise.set_kernel(1);
  pointwise.set_padding(0);

  std::vector<NamedGeometry> all;
  for (const adr::Layout layout : {adr::Layout::nchw, adr::Layout::nhwc}) {
    for (NamedGeometry named :
         {NamedGeometry{"plain", plain}, NamedGeometry{"strided", strided},
          NamedGeometry{"dilated", dilated}, NamedGeometry{"pointwise", pointwise}}) {
      named.geometry.layout = layout;
      named.name += layout == adr::Layout::nchw ? ", nchw" : ", nhwc";
      all.push_back(named);
    }
  }
  return all;
}

inline adr::Plan with_method(adr::Method method) {
  adr::Plan config;
  config.method = method;
  config.vector_length = 4;
  config.hash_count = 5;
  config.seed = 3;
  return config;
}

/// Apart, so that a test with passes of its own is not offered these for its cases.
namespace passes {

template <class T>
void forward(adr::ReuseConv2d<T>& layer, ConvCase<T>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
}
template <class T>
void forward(adr::ReuseLinear<T>& layer, LinearCase<T>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
}
template <class T>
void backward(adr::ReuseConv2d<T>& layer, ConvCase<T>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x_view(), c.d_w.view(), c.d_bias.vector()});
}
template <class T>
void backward(adr::ReuseLinear<T>& layer, LinearCase<T>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
}

}  // namespace passes

/// Gives every pixel one of a few colours that are exact in float; whole rows have one colour for
/// strips and whole images for patches, so that there are few neuron vectors of that kind.
template <class T>
void paint(const adr::TensorView<T>& images, NeuronVectorKind kind, index_t colours, Data& data) {
  const std::vector<float> palette = data.normals<float>(colours * images.channels);
  index_t colour = 0;
  for (index_t n = 0; n < images.batch; ++n) {
    for (index_t y = 0; y < images.height; ++y) {
      for (index_t x = 0; x < images.width; ++x) {
        const bool row_begins = x == 0;
        const bool image_begins = row_begins && y == 0;
        if (kind == NeuronVectorKind::pixel || image_begins ||
            (row_begins && kind == NeuronVectorKind::strip)) {
          colour = data.between(0, colours - 1);
        }
        for (index_t c = 0; c < images.channels; ++c) {
          adr::reference::element(images, n, c, y, x) =
              static_cast<T>(palette[static_cast<std::size_t>(colour * images.channels + c)]);
        }
      }
    }
  }
}
/// The same for the rows of a matrix.
template <class T>
void paint(const adr::MatrixView<T>& matrix, index_t colours, Data& data) {
  const std::vector<float> palette = data.normals<float>(colours * matrix.cols);
  for (index_t i = 0; i < matrix.rows; ++i) {
    const index_t colour = data.between(0, colours - 1);
    for (index_t j = 0; j < matrix.cols; ++j) {
      matrix(i, j) = static_cast<T>(palette[static_cast<std::size_t>(colour * matrix.cols + j)]);
    }
  }
}

/// Empty when every element is as expected up to that share of the largest sum of absolute values
/// of terms: what axes are rounded to does not go by the single element.
inline std::string share_fault(const Matrix& actual, const Expected& expected, double share) {
  Comparison comparison;
  const std::vector<double>& magnitudes = expected.magnitude.elements;
  const double tolerance = share * *std::max_element(magnitudes.begin(), magnitudes.end());
  for (index_t i = 0; i < actual.rows; ++i) {
    for (index_t j = 0; j < actual.cols; ++j) {
      comparison.expect(actual(i, j), expected.value(i, j), tolerance);
    }
  }
  return comparison.fault();
}

}  // namespace adr_test
