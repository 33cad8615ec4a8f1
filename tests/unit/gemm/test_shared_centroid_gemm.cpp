// Products through clusters of shared neuron vectors against the unfolded product of the centroids.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "adr/cluster/cluster_rows.hpp"
#include "adr/cluster/principal_hash.hpp"
#include "adr/cluster/sign_hash.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/gemm/shared_centroid_gemm.hpp"
#include "adr/reference/shared_vectors.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Clustering;
using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::NeuronVectorKind;
using adr::NeuronVectors;
using adr::SliceClusters;
using adr::VectorMap;
using adr::VectorView;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;

constexpr NeuronVectorKind k_kinds[] = {NeuronVectorKind::patch, NeuronVectorKind::pixel,
                                        NeuronVectorKind::strip};

/// A convolution whose neuron vectors can be clustered, multiplied and looked at.
template <class T>
struct Case {
  ConvGeometry geometry;
  NeuronVectorKind kind;
  GuardedImages<T> x;
  GuardedBuffer<T> weights;  // out_channels x K, or K x out_channels
  bool transposed;
  std::vector<T> bias;
  VectorMap map;
  std::vector<index_t> columns;

  Case(const ConvGeometry& g, NeuronVectorKind kind_, index_t batch, bool transposed_, Data& data)
      : geometry(g),
        kind(kind_),
        x(g, batch, 3),
        weights(transposed_ ? g.out_channels : g.columns(),
                transposed_ ? g.columns() : g.out_channels,
                (transposed_ ? g.columns() : g.out_channels) + 5),
        transposed(transposed_),
        bias(data.normals<T>(g.out_channels)),
        map(adr::vector_map(g, kind_, batch)),
        columns(adr::weight_columns(g, kind_)) {
    data.fill_normal(x.elements());
    data.fill_normal(weights.view());
  }

  [[nodiscard]] NeuronVectors<const T> vectors() { return {geometry, x.view(), 0, kind}; }
  [[nodiscard]] adr::GemmFactor<T> factor() { return {weights.view(), transposed}; }

  template <class Hash>
  Clustering<T> clusters(const Hash& hash) {
    Context context;
    context.workspace().reserve(adr::RowClusterer<T>::workspace_bytes(hash, 1));
    Clustering<T> result;
    adr::RowClusterer<T>().cluster(vectors(), hash, context, result);
    return result;
  }
  Clustering<T> clusters(index_t length, int bits) {
    length = std::min(length, vectors().length());
    return clusters(adr::SignHash<T>(vectors().length(), length, bits, false, 7));
  }

  /// Y = X W + bias with the given vectors, and the same of the sizes of all terms, of the outputs
  /// in the order of the images.
  struct Expected {
    Matrix value;
    Matrix magnitude;
  };
  [[nodiscard]] Expected expected(const Matrix& decoded) {
    Matrix w(static_cast<const GuardedBuffer<T>&>(weights).view());
    if (transposed) w = adr::reference::transpose(w);
    const std::vector<double> b(bias.begin(), bias.end());
    const auto sizes = [](auto values) {
      for (auto& v : values) v = std::abs(v);
      return values;
    };
    Matrix abs_decoded = decoded;
    Matrix abs_w = w;
    abs_decoded.elements = sizes(decoded.elements);
    abs_w.elements = sizes(w.elements);
    return {adr::reference::clustered_output(map, decoded, columns, w, b),
            adr::reference::clustered_output(map, abs_decoded, columns, abs_w, sizes(b))};
  }
};

/// What the clusters stand for: the centroid of every vector.
template <class T>
Matrix decoded(const Clustering<T>& clustering) {
  Matrix result(clustering.rows, clustering.columns);
  for (const SliceClusters<T>& slice : clustering.slices) {
    for (index_t v = 0; v < result.rows; ++v) {
      for (index_t e = 0; e < slice.length; ++e) {
        result(v, slice.first_column + e) =
            static_cast<double>(slice.centroid_matrix()(slice.ids[v], e));
      }
    }
  }
  return result;
}

/// The outputs of any number of threads, which must be the same to the last bit: images of two
/// channels more than the layer has, whose first and last channel must stay.
template <class T>
Matrix forward(Case<T>& c, const Clustering<T>& clustering, bool with_bias = true) {
  const ConvGeometry& g = c.geometry;
  Matrix first;
  for (const int threads : {1, 2, 5}) {
    INFO(threads << " threads");
    GuardedImages<T> y(c.map.images, g.out_channels + 2, g.out_height(), g.out_width(), g.layout,
                       2);
    for (index_t i = 0; i < y.elements().rows; ++i) {
      std::fill_n(y.elements().row(i), y.elements().cols, T(17));
    }
    Context context(threads);
    const std::size_t bytes =
        adr::shared_centroid_forward_workspace_bytes(clustering, c.map, g.out_channels, threads);
    context.workspace().reserve(bytes);
    adr::shared_centroid_forward<T>(
        clustering, c.map, c.columns.data(), c.factor(),
        with_bias ? VectorView<const T>(c.bias.data(), g.out_channels) : VectorView<const T>(),
        adr::pixel_view(y.view(), 1, g.out_channels), adr::DenseGemm<T>(), context);
    CHECK(context.workspace().peak_bytes() == bytes);
    CHECK(y.damage() == "");
    Matrix outputs(c.map.rows(), g.out_channels);
    bool others_stay = true;
    for (index_t n = 0; n < outputs.rows; ++n) {
      const index_t pixel = n % c.map.out_size();
      const auto at = [&](index_t channel) {
        return static_cast<double>(adr::reference::element(
            y.view(), n / c.map.out_size(), channel, pixel / g.out_width(), pixel % g.out_width()));
      };
      for (index_t m = 0; m < g.out_channels; ++m) outputs(n, m) = at(1 + m);
      others_stay = others_stay && at(0) == 17 && at(g.out_channels + 1) == 17;
    }
    CHECK(others_stay);
    if (threads == 1) first = outputs;
    const std::size_t size = outputs.elements.size() * sizeof(double);
    CHECK((size == 0 || std::memcmp(outputs.elements.data(), first.elements.data(), size) == 0));
  }
  return first;
}

template <class T>
std::string fault(const Matrix& actual, const typename Case<T>::Expected& expected, index_t terms) {
  adr_test::Comparison comparison;
  for (std::size_t i = 0; i < actual.elements.size(); ++i) {
    comparison.expect(actual.elements[i], expected.value.elements[i],
                      adr_test::sum_tolerance<T>(terms + 1, expected.magnitude.elements[i]));
  }
  return comparison.fault();
}

ConvGeometry geometry(Layout layout, index_t in, index_t size, index_t out) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = in;
  g.out_channels = out;
  g.in_height = size;
  g.in_width = size + 1;
  g.set_kernel(3);
  g.set_padding(1);
  return g;
}

std::vector<ConvGeometry> geometries() {
  std::vector<ConvGeometry> all;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    all.push_back(geometry(layout, 6, 8, 33));  // blocks of outputs cross images
    all.push_back(geometry(layout, 3, 18, 5));  // images of more than a block
    ConvGeometry g = geometry(layout, 5, 9, 1);
    g.set_stride(2);
    g.set_padding(0);
    all.push_back(g);
    g = geometry(layout, 4, 7, 20);
    g.kernel_height = 5;
    g.kernel_width = 2;
    g.stride_height = 3;
    g.stride_width = 2;
    g.pad_top = 4;
    g.pad_left = 3;
    g.pad_right = 0;
    g.dilation_width = 3;
    all.push_back(g);
    g = geometry(layout, 7, 5, 17);
    g.set_kernel(1);
    g.set_padding(0);
    all.push_back(g);
    g = geometry(layout, 2, 1, 8);  // one pixel a row, and padding on all sides
    g.in_width = 1;
    all.push_back(g);
  }
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("shared_centroid_forward is the product of the centroids", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      for (const bool transposed : {false, true}) {
        INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind) << ", out " << g.out_channels
                                << (transposed ? ", transposed" : ""));
        Case<T> c(g, kind, 3, transposed, data);
        const Clustering<T> clustering = c.clusters(4, 3);
        CHECK(fault<T>(forward(c, clustering), c.expected(decoded(clustering)), g.columns()) == "");
        CHECK(c.x.damage() + c.weights.damage() == "");
      }
    }
  }
}

TEST_CASE("shared_centroid_forward with every vector a cluster is the dense product") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const NeuronVectorKind kind : k_kinds) {
      Case<float> c(geometry(layout, 16, 9, 24), kind, 2, true, data);
      INFO(adr_test::Shown{c.geometry} << ", kind " << static_cast<int>(kind));
      const Clustering<float> clustering = c.clusters(16, 64);
      GuardedBuffer<float> rows(c.map.vectors(), c.vectors().length(), c.vectors().length());
      c.vectors().load_rows(0, 0, rows.view());
      const Matrix vectors(rows.view());
      // Only equal vectors share a cluster: slices of patches that lie in the padding.
      REQUIRE(decoded(clustering).elements == vectors.elements);
      auto expected = c.expected(vectors);
      CHECK(fault<float>(forward(c, clustering), expected, c.geometry.columns()) == "");
      // The reference itself, by another way: the unfolded images times the weights.
      const Matrix unfolded = adr::reference::im2col(c.geometry, c.x.view(), 0);
      expected.value =
          adr::reference::multiply(unfolded, adr::reference::transpose(Matrix(c.weights.view())));
      CHECK(fault<float>(forward(c, clustering, false), expected, c.geometry.columns()) == "");
    }
  }
}

TEST_CASE("shared_centroid_forward makes tables beyond their budget in several groups") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    Case<float> c(geometry(layout, 8, 25, 150), NeuronVectorKind::pixel, 1, layout == Layout::nchw,
                  data);
    const Clustering<float> clustering = c.clusters(4, 64);
    const adr::detail::TablePairs<float> pairs(clustering, c.map, c.geometry.out_channels);
    index_t groups = 0;
    for (index_t first = 0; first < pairs.count(); ++groups) first = pairs.group(first).last;
    REQUIRE(groups >= 2);
    REQUIRE(clustering.slices[0].cluster_count > adr::detail::k_table_task_rows);
    CHECK(fault<float>(forward(c, clustering), c.expected(decoded(clustering)),
                       c.geometry.columns()) == "");
  }
}

TEST_CASE("shared_centroid_forward takes any hash and no bias") {
  Data data;
  INFO(data);
  Case<float> c(geometry(Layout::nchw, 12, 20, 40), NeuronVectorKind::pixel, 2, true, data);
  GuardedBuffer<float> sample(c.map.vectors(), 12, 12);
  c.vectors().load_rows(0, 0, sample.view());
  adr::PrincipalHash<float> hash(12, 5, 9);
  hash.fit(sample.view(), {});
  const Clustering<float> clustering = c.clusters(hash);
  CHECK(clustering.slices[0].cluster_count > 256);
  auto expected = c.expected(decoded(clustering));
  for (index_t n = 0; n < expected.value.rows; ++n) {
    for (index_t m = 0; m < expected.value.cols; ++m) {
      expected.value(n, m) -= static_cast<double>(c.bias[static_cast<std::size_t>(m)]);
    }
  }
  CHECK(fault<float>(forward(c, clustering, false), expected, c.geometry.columns()) == "");
}

TEST_CASE("shared_centroid_forward spoils the outputs that read a NaN and no others") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    Case<float> c(geometry(layout, 6, 8, 10), NeuronVectorKind::pixel, 2, true, data);
    const index_t bad = layout == Layout::nchw ? 2 * 72 + 4 * 9 + 5 : (4 * 9 + 5) * 6 + 2;
    c.x.elements()(1, bad) = std::numeric_limits<float>::quiet_NaN();
    const Clustering<float> clustering = c.clusters(3, 4);
    const Matrix y = forward(c, clustering);
    Matrix clean = decoded(clustering);
    for (double& element : clean.elements) {
      if (std::isnan(element)) element = 0;
    }
    const auto expected = c.expected(clean);
    adr_test::Comparison comparison;
    index_t spoiled = 0;
    bool others_are_clean = true;
    for (index_t n = 0; n < y.rows; ++n) {
      const index_t oy = n % 72 / 9;
      const index_t ox = n % 9;
      const bool reads = n >= 72 && std::abs(oy - 4) <= 1 && std::abs(ox - 5) <= 1;
      for (index_t m = 0; m < y.cols; ++m) {
        if (reads) {
          spoiled += std::isnan(y(n, m)) ? 1 : 0;
          continue;
        }
        others_are_clean = others_are_clean && !std::isnan(y(n, m));
        comparison.expect(y(n, m), expected.value(n, m),
                          adr_test::sum_tolerance<float>(55, expected.magnitude(n, m)));
      }
    }
    CHECK(spoiled == 9 * 10);
    CHECK(others_are_clean);
    CHECK(comparison.fault() == "");
  }
}

TEST_CASE("shared_centroid_forward of no images writes nothing") {
  Data data;
  Case<float> c(geometry(Layout::nhwc, 6, 8, 10), NeuronVectorKind::pixel, 0, false, data);
  CHECK(forward(c, c.clusters(3, 4)).rows == 0);
}

TEST_CASE("shared_centroid_forward over the rows of a matrix is the product of the centroids") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 300;
  constexpr index_t k_columns = 20;
  constexpr index_t k_outputs = 21;
  GuardedBuffer<float> x(k_rows, k_columns, k_columns + 1);
  GuardedBuffer<float> w(k_columns, k_outputs, k_outputs + 2);
  GuardedBuffer<float> y(k_rows, k_outputs, k_outputs + 3, adr_test::Start::misaligned);
  data.fill_normal(x.view());
  data.fill_normal(w.view());
  const adr::SignHash<float> hash(k_columns, 8, 5, true, 3);
  VectorMap map;
  map.images = k_rows;
  std::vector<index_t> columns;
  for (index_t k = 0; k < k_columns; ++k) columns.push_back(k_columns - 1 - k);
  Context context(2);
  context.workspace().reserve(adr::RowClusterer<float>::workspace_bytes(hash, 2));
  Clustering<float> clustering;
  adr::RowClusterer<float>().cluster(adr::MatrixRows<float>(x.view()), hash, context, clustering);
  context.workspace().reserve(
      adr::shared_centroid_forward_workspace_bytes(clustering, map, k_outputs, 2));
  adr::shared_centroid_forward<float>(clustering, map, columns.data(), adr::as_is(w.view()), {},
                                      adr::pixel_view(y.view()), adr::DenseGemm<float>(), context);
  const Matrix v = decoded(clustering);
  adr_test::Comparison comparison;
  for (index_t n = 0; n < k_rows; ++n) {
    for (index_t m = 0; m < k_outputs; ++m) {
      double sum = 0;
      double magnitude = 0;
      for (index_t k = 0; k < k_columns; ++k) {
        const double term = v(n, k) * static_cast<double>(w(k_columns - 1 - k, m));
        sum += term;
        magnitude += std::abs(term);
      }
      comparison.expect(y(n, m), sum, adr_test::sum_tolerance<float>(k_columns, magnitude));
    }
  }
  CHECK(comparison.fault() == "");
  CHECK(y.damage() == "");
}
