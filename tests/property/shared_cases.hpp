// Layers over shared neuron vectors: shapes in which every parameter counts, operands of few
// distinct vectors, and what the clusters that a layer found stand for.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "adr/nn/reuse_conv2d.hpp"
#include "adr/nn/reuse_linear.hpp"
#include "adr/reference/shared_vectors.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/decoders.hpp"

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

inline adr::ReuseConfig with_method(adr::Method method) {
  adr::ReuseConfig config;
  config.method = method;
  config.sub_vector_length = 4;
  config.hash_count = 5;
  config.codebooks = 2;
  config.codebook_size = 16;
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
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(), c.d_x_view(), c.d_w.view(),
                 c.d_bias.vector());
}
template <class T>
void backward(adr::ReuseLinear<T>& layer, LinearCase<T>& c) {
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(), c.d_x.view(), c.d_w.view(),
                 c.d_bias.vector());
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

/// The vectors that clusters stand for.
template <class T>
Matrix decoded(const adr::Clustering<T>& clustering) {
  Matrix vectors(clustering.rows, clustering.columns);
  for (const adr::SliceClusters<T>& slice : clustering.slices) {
    const Matrix centroids(slice.centroid_matrix());
    for (index_t v = 0; v < vectors.rows; ++v) {
      for (index_t l = 0; l < slice.length; ++l) {
        vectors(v, slice.first_column + l) = centroids(slice.ids[v], l);
      }
    }
  }
  return vectors;
}
template <class T>
Matrix decoded(const adr::ReuseConv2d<T>& layer, index_t group) {
  const auto* product = layer.codebook_product(group);
  return product != nullptr ? decoded(product->codebook().decoder(), product->codes())
                            : decoded(layer.clustering(group));
}
template <class T>
Matrix decoded(const adr::ReuseLinear<T>& layer) {
  const auto* product = layer.codebook_product();
  return product != nullptr ? decoded(product->codebook().decoder(), product->codes())
                            : decoded(layer.clustering());
}

/// The operands of a group with the input that its clusters stand for. Methods: codebook,
/// principal.
template <class T>
Operands decoded_operands(const adr::ReuseConv2d<T>& layer, ConvCase<T>& c, index_t group) {
  const adr::ConvGeometry& g = c.geometry;
  const NeuronVectorKind kind = adr::resolve(layer.config().neuron_vectors, g);
  Operands o = c.operands(group);
  o.x = adr::reference::unfold(adr::vector_map(g, kind, c.batch), decoded(layer, group),
                               adr::weight_columns(g, kind));
  return o;
}
template <class T>
Operands decoded_operands(const adr::ReuseLinear<T>& layer, const LinearCase<T>& c) {
  Operands o = c.operands();
  o.x = decoded(layer);
  return o;
}

/// How far looking up may be from the product, beside rounding: half a step for every group of
/// entries, and a step for every run of groups that meet vectors (one for each kernel row at most).
inline double table_tolerance(const adr::ProductTables& tables, index_t m, index_t runs) {
  double bound = 0;
  for (index_t chunk = 0; chunk < tables.chunks(); ++chunk) {
    const index_t groups = std::min(adr::ProductTables::k_chunk_groups,
                                    tables.groups() - chunk * adr::ProductTables::k_chunk_groups);
    bound += static_cast<double>(tables.scale(m, chunk)) *
             (static_cast<double>(groups) / 2 + static_cast<double>(runs));
  }
  return bound;
}

/// Empty when every output is as expected up to the rounding of the tables. share: what may be lost
/// besides, of the absolute values of the terms of an element.
inline std::string table_fault(const Matrix& actual, const Expected& expected,
                               const adr::ProductTables& tables, index_t runs, double share = 0) {
  Comparison comparison;
  for (index_t i = 0; i < actual.rows; ++i) {
    for (index_t j = 0; j < actual.cols; ++j) {
      const double magnitude = expected.magnitude(i, j);
      comparison.expect(actual(i, j), expected.value(i, j),
                        table_tolerance(tables, j, runs) + share * magnitude +
                            4 * sum_tolerance<float>(expected.terms, magnitude));
    }
  }
  return comparison.fault();
}

/// Empty when every element is as expected up to that share of the largest sum of absolute values
/// of terms: what axes and tables are rounded to does not go by the single element.
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
