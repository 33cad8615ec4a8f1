// Products in the coordinates of a subspace against the unfolded product, in double precision, of
// the vectors that the coordinates stand for.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "adr/reference/shared_vectors.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/subspace/fitted_subspace.hpp"
#include "adr/subspace/packed_weights.hpp"
#include "adr/subspace/subspace_gemm.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::AlignedBuffer;
using adr::Context;
using adr::ConvGeometry;
using adr::DenseGemm;
using adr::FittedSubspace;
using adr::GemmFactor;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::NeuronVectorKind;
using adr::PixelView;
using adr::SubspaceCoordinates;
using adr::VectorMap;
using adr::VectorView;
using adr::reference::Matrix;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;

constexpr NeuronVectorKind k_kinds[] = {NeuronVectorKind::patch, NeuronVectorKind::pixel,
                                        NeuronVectorKind::strip};

/// A product that only takes what a BLAS would take.
DenseGemm<float> strict_gemm() {
  return DenseGemm<float>([](const GemmFactor<float>& a, const GemmFactor<float>& b,
                             adr::Update update, const MatrixView<float>& result) {
    const bool strides = a.matrix.row_stride >= a.matrix.cols &&
                         b.matrix.row_stride >= b.matrix.cols && result.row_stride >= result.cols;
    if (!strides) std::fill_n(result.data, 1, std::numeric_limits<float>::quiet_NaN());
    DenseGemm<float>()(a, b, update, result);
    if (!strides) std::fill_n(result.data, 1, std::numeric_limits<float>::quiet_NaN());
  });
}

Matrix absolute(Matrix m) {
  for (double& element : m.elements) element = std::abs(element);
  return m;
}
std::vector<double> absolute(std::vector<double> v) {
  for (double& element : v) element = std::abs(element);
  return v;
}

/// A value and the sum of the sizes of its terms.
struct Expected {
  Matrix value;
  Matrix magnitude;
};

std::string fault(const Matrix& actual, const Expected& expected, index_t terms) {
  Comparison comparison;
  REQUIRE(actual.elements.size() == expected.value.elements.size());
  for (std::size_t i = 0; i < actual.elements.size(); ++i) {
    comparison.expect(actual.elements[i], expected.value.elements[i],
                      adr_test::sum_tolerance<float>(terms, expected.magnitude.elements[i]));
  }
  return comparison.fault();
}

/// Weights and neuron vectors in a subspace, and what becomes of them.
template <class T>
struct Product {
  VectorMap map;
  std::vector<index_t> columns;
  index_t length;
  index_t outputs;
  bool transposed;
  GuardedBuffer<T> weights;  // outputs x K, or K x outputs
  std::vector<T> bias;
  FittedSubspace subspace;
  SubspaceCoordinates coordinates;
  AlignedBuffer<float> packed;
  AlignedBuffer<float> rotated;

  template <class Vectors>
  Product(const Vectors& vectors, std::vector<index_t> columns_, index_t outputs_, index_t kept,
          bool transposed_, Data& data)
      : map(vectors.map()),
        columns(std::move(columns_)),
        length(vectors.length()),
        outputs(outputs_),
        transposed(transposed_),
        weights(transposed_ ? outputs_ : k(), transposed_ ? k() : outputs_,
                (transposed_ ? k() : outputs_) + 5),
        bias(data.normals<T>(outputs_)),
        subspace({vectors.length(), {kept, 0.0}, 1}) {
    data.fill_normal(weights.view());
    REQUIRE(subspace.fit(vectors, MatrixView<const float>()));
    Context context;
    context.workspace().reserve(subspace.project_workspace_bytes(1));
    coordinates.resize(map.vectors(), subspace.basis().coordinates);
    REQUIRE(subspace.project(vectors, coordinates, context));
    rotate();
  }

  [[nodiscard]] index_t k() const { return static_cast<index_t>(columns.size()); }
  [[nodiscard]] index_t terms() const { return k() + length + subspace.basis().coordinates + 2; }

  void rotate() {
    Context context(2);
    adr::pack_weights<T>({weights.view(), transposed}, columns.data(), context, packed);
    adr::rotate_weights(subspace.basis(), packed, strict_gemm(), context, rotated);
  }

  [[nodiscard]] Matrix weight_matrix() {
    const Matrix w(static_cast<const GuardedBuffer<T>&>(weights).view());
    return transposed ? adr::reference::transpose(w) : w;
  }
  /// What the coordinates stand for.
  [[nodiscard]] Matrix decoded() const {
    return adr::reference::multiply(Matrix(coordinates.matrix()),
                                    Matrix(subspace.basis().matrix()));
  }
  [[nodiscard]] Matrix decoded_sizes() const {
    return adr::reference::multiply(absolute(Matrix(coordinates.matrix())),
                                    absolute(Matrix(subspace.basis().matrix())));
  }
  [[nodiscard]] Expected output(bool with_bias) {
    std::vector<double> b;
    if (with_bias) b.assign(bias.begin(), bias.end());
    const Matrix w = weight_matrix();
    return {
        adr::reference::clustered_output(map, decoded(), columns, w, b),
        adr::reference::clustered_output(map, decoded_sizes(), columns, absolute(w), absolute(b))};
  }
  [[nodiscard]] Expected weight_gradient(const Matrix& d_y) {
    using adr::reference::multiply;
    using adr::reference::transpose;
    using adr::reference::unfold;
    return {multiply(transpose(unfold(map, decoded(), columns)), d_y),
            multiply(transpose(unfold(map, decoded_sizes(), columns)), absolute(d_y))};
  }

  void forward(const PixelView<T>& y, bool with_bias, int threads) {
    Context context(threads);
    const std::size_t bytes =
        adr::subspace_forward_workspace_bytes(map, subspace.basis().coordinates, outputs, threads);
    context.workspace().reserve(bytes);
    adr::subspace_forward<T>(
        coordinates, map, rotated,
        with_bias ? VectorView<const T>(bias.data(), outputs) : VectorView<const T>(), y,
        strict_gemm(), context);
    CHECK(context.workspace().peak_bytes() == bytes);
  }

  /// The gradients, K x outputs, of any number of threads, which must be the same to the last bit.
  Matrix gradient(const PixelView<const T>& d_y) {
    Matrix first;
    for (const int threads : {1, 2, 5}) {
      INFO(threads << " threads");
      const index_t rows = transposed ? outputs : k();
      const index_t cols = transposed ? k() : outputs;
      GuardedBuffer<T> d_weights(rows, cols, cols + 3, adr_test::Start::misaligned);
      Context context(threads);
      const std::size_t bytes =
          adr::subspace_weight_gradient_workspace_bytes(map, subspace.basis(), outputs, threads);
      context.workspace().reserve(bytes);
      adr::subspace_weight_gradient<T>(coordinates, subspace.basis(), map, columns.data(), d_y,
                                       {d_weights.view(), transposed}, strict_gemm(), context);
      CHECK(context.workspace().peak_bytes() == bytes);
      CHECK(d_weights.damage() == "");
      Matrix result(static_cast<const GuardedBuffer<T>&>(d_weights).view());
      if (transposed) result = adr::reference::transpose(result);
      if (threads == 1) first = result;
      CHECK(std::memcmp(result.elements.data(), first.elements.data(),
                        first.elements.size() * sizeof(double)) == 0);
    }
    return first;
  }
};

template <class T>
GuardedImages<T> filled_images(const ConvGeometry& g, index_t batch, Data& data) {
  GuardedImages<T> images(g, batch, 3);
  data.fill_normal(images.elements());
  return images;
}

/// The products of one group of a convolution.
template <class T>
struct Convolution {
  ConvGeometry geometry;
  index_t group;
  GuardedImages<T> x;
  adr::NeuronVectors<const T> vectors;
  Product<T> product;

  Convolution(const ConvGeometry& g, index_t group_, NeuronVectorKind kind, index_t batch,
              index_t kept, bool transposed, Data& data)
      : geometry(g),
        group(group_),
        x(filled_images<T>(g, batch, data)),
        vectors(g, x.view(), group_, kind),
        product(vectors, adr::weight_columns(g, kind), g.out_channels / g.groups, kept, transposed,
                data) {}

  [[nodiscard]] index_t first_channel() const { return 1 + group * product.outputs; }
  /// Images of two channels more than the layer has.
  [[nodiscard]] GuardedImages<T> images() const {
    return {product.map.images,   geometry.out_channels + 2, geometry.out_height(),
            geometry.out_width(), geometry.layout,           2};
  }
  [[nodiscard]] T& element(GuardedImages<T>& y, index_t n, index_t channel) const {
    const index_t pixel = n % product.map.out_size();
    const index_t pixels = product.map.out_size();
    const index_t at = geometry.layout == Layout::nchw ? channel * pixels + pixel
                                                       : pixel * y.view().channels + channel;
    return y.view().image(n / pixels)[at];
  }

  /// The outputs of any number of threads, which must be the same to the last bit; other channels
  /// must stay.
  Matrix forward(bool with_bias) {
    Matrix first;
    for (const int threads : {1, 2, 5}) {
      INFO(threads << " threads");
      GuardedImages<T> y = images();
      for (index_t i = 0; i < y.elements().rows; ++i) {
        std::fill_n(y.elements().row(i), y.elements().cols, T(17));
      }
      product.forward(adr::pixel_view(y.view(), first_channel(), product.outputs), with_bias,
                      threads);
      CHECK(y.damage() == "");
      Matrix outputs(product.map.rows(), product.outputs);
      bool others_stay = true;
      for (index_t n = 0; n < outputs.rows; ++n) {
        for (index_t c = 0; c < geometry.out_channels + 2; ++c) {
          const index_t m = c - first_channel();
          if (m >= 0 && m < product.outputs) {
            outputs(n, m) = static_cast<double>(element(y, n, c));
          } else {
            others_stay = others_stay && element(y, n, c) == T(17);
          }
        }
      }
      CHECK(others_stay);
      if (threads == 1) first = outputs;
      CHECK(std::memcmp(outputs.elements.data(), first.elements.data(),
                        first.elements.size() * sizeof(double)) == 0);
    }
    return first;
  }

  Matrix gradient(Matrix& d_y, Data& data) {
    GuardedImages<T> images_of_d_y = images();
    d_y = Matrix(product.map.rows(), product.outputs);
    for (index_t n = 0; n < d_y.rows; ++n) {
      for (index_t m = 0; m < d_y.cols; ++m) {
        element(images_of_d_y, n, first_channel() + m) = data.normal<T>();
        d_y(n, m) = static_cast<double>(element(images_of_d_y, n, first_channel() + m));
      }
    }
    // Channels that are not of this group are poison: reading them shows.
    const adr::TensorView<const T> view = images_of_d_y.view();
    return product.gradient(adr::pixel_view(view, first_channel(), product.outputs));
  }
};

ConvGeometry geometry(Layout layout, index_t in, index_t size, index_t out, index_t groups = 1) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = in * groups;
  g.out_channels = out * groups;
  g.groups = groups;
  g.in_height = size;
  g.in_width = size + 1;
  g.set_kernel(3);
  g.set_padding(1);
  return g;
}

std::vector<ConvGeometry> geometries() {
  std::vector<ConvGeometry> all;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    all.push_back(geometry(layout, 6, 8, 33));    // blocks of outputs cross images
    all.push_back(geometry(layout, 3, 18, 5));    // images of more than a block
    all.push_back(geometry(layout, 5, 6, 150));   // outputs are cut into tasks, too
    all.push_back(geometry(layout, 6, 7, 4, 2));  // groups
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
    g = geometry(layout, 40, 5, 3);  // the columns of a weight gradient are cut inside an offset
    g.set_kernel(5);
    g.set_padding(2);
    all.push_back(g);
    g.set_dilation(2);
    g.set_padding(4);
    all.push_back(g);
  }
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("the output is that of the vectors that coordinates stand for", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      for (const index_t batch : {1, 3}) {
        const bool transposed = batch == 1;
        for (index_t group = 0; group < g.groups; ++group) {
          const index_t length = adr::vector_length(g, kind);
          if (length > 200) continue;  // axes of long patches take a second, and show no more
          for (const index_t kept : {index_t{1}, std::min<index_t>(length, 30)}) {
            INFO(adr_test::Shown{g} << ", group " << group << ", kind " << static_cast<int>(kind)
                                    << ", out " << g.out_channels << ", batch " << batch
                                    << ", kept " << kept << (transposed ? ", transposed" : ""));
            Convolution<T> c(g, group, kind, batch, kept, transposed, data);
            for (const bool with_bias : {true, false}) {
              CHECK(fault(c.forward(with_bias), c.product.output(with_bias), c.product.terms()) ==
                    "");
            }
            Matrix d_y;
            const Matrix d_w = c.gradient(d_y, data);
            CHECK(fault(d_w, c.product.weight_gradient(d_y),
                        c.product.map.rows() + c.product.subspace.basis().coordinates + 2) == "");
            CHECK(c.x.damage() + c.product.weights.damage() == "");
          }
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("with all coordinates the products are the dense ones", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    for (const NeuronVectorKind kind : {NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
      for (index_t group = 0; group < g.groups; ++group) {
        INFO(adr_test::Shown{g} << ", group " << group << ", kind " << static_cast<int>(kind));
        const index_t length = adr::vector_length(g, kind);
        Convolution<T> c(g, group, kind, 2, length, false, data);
        // The reference does not know neuron vectors: the unfolded images and the weights.
        const Matrix unfolded = adr::reference::im2col(g, c.x.view(), group);
        Matrix d_y;
        const Matrix y = c.forward(false);
        const Matrix d_w = c.gradient(d_y, data);
        const auto close = [&](const Matrix& actual, const Matrix& expected) {
          double difference = 0;
          double size = 0;
          REQUIRE(actual.elements.size() == expected.elements.size());
          for (std::size_t i = 0; i < actual.elements.size(); ++i) {
            difference += std::pow(actual.elements[i] - expected.elements[i], 2);
            size += std::pow(expected.elements[i], 2);
          }
          // Axes of floats are orthogonal up to a few roundings per element.
          const double epsilon{std::numeric_limits<float>::epsilon()};
          return size > 0 &&
                 std::sqrt(difference / size) < 8 * static_cast<double>(length + 4) * epsilon;
        };
        CHECK(close(y, adr::reference::multiply(unfolded, c.product.weight_matrix())));
        CHECK(close(d_w, adr::reference::multiply(adr::reference::transpose(unfolded), d_y)));
      }
    }
  }
}

TEMPLATE_TEST_CASE("plain products read and write the rows of matrices", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t rows : {1, 97, 300, 3000}) {
    for (const bool transposed : {false, true}) {
      const index_t length = 33;
      const index_t outputs = 1 + rows % 200;
      INFO(rows << " rows, " << outputs << " outputs");
      GuardedBuffer<T> x(rows, length, length + 1, adr_test::Start::misaligned);
      data.fill_normal(x.view());
      const adr::MatrixVectors<const T> vectors(static_cast<const GuardedBuffer<T>&>(x).view());
      Product<T> product(vectors, adr::weight_columns(length), outputs, 9, transposed, data);
      GuardedBuffer<T> y(rows, outputs, outputs + 4, adr_test::Start::misaligned);
      product.forward(adr::pixel_view(y.view()), true, 2);
      CHECK(fault(Matrix(y.view()), product.output(true), product.terms()) == "");
      CHECK(y.damage() + x.damage() == "");
      data.fill_normal(y.view());
      const Matrix d_w =
          product.gradient(adr::pixel_view(static_cast<const GuardedBuffer<T>&>(y).view()));
      CHECK(fault(d_w, product.weight_gradient(Matrix(y.view())), rows + 12) == "");
    }
  }
}

TEST_CASE("the weight gradient is the derivative of the output") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    INFO(adr_test::Shown{g});
    Convolution<double> c(g, 0, NeuronVectorKind::pixel, 2, 2, false, data);
    Matrix d_y;
    const Matrix d_w = c.gradient(d_y, data);
    // The output is linear in the weights: <d_y, forward(V)> = <d_w, V> for any V, here d_w itself.
    for (index_t k = 0; k < d_w.rows; ++k) {
      for (index_t m = 0; m < d_w.cols; ++m) c.product.weights(k, m) = d_w(k, m);
    }
    c.product.rotate();
    const Matrix y = c.forward(false);
    double of_outputs = 0;
    double of_weights = 0;
    double size = 0;
    for (std::size_t i = 0; i < y.elements.size(); ++i) {
      of_outputs += y.elements[i] * d_y.elements[i];
      size += std::abs(y.elements[i] * d_y.elements[i]);
    }
    for (const double w : d_w.elements) of_weights += w * w;
    CHECK_THAT(of_weights, Catch::Matchers::WithinAbs(of_outputs, 1e-6 * size));
    CHECK(of_weights > 1e-3 * size);
  }
}

TEST_CASE("padding adds exactly nothing") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    ConvGeometry g = geometry(layout, 4, 3, 6);
    g.set_padding(3);
    INFO(adr_test::Shown{g});
    Convolution<float> c(g, 0, NeuronVectorKind::pixel, 2, 3, false, data);
    // Far from the origin, so that a mean that is not taken off shows.
    const MatrixView<float> elements = c.x.elements();
    for (index_t i = 0; i < elements.rows; ++i) {
      for (index_t j = 0; j < elements.cols; ++j) elements(i, j) += 100;
    }
    c.product.subspace.fit(c.vectors, MatrixView<const float>());
    Context context;
    context.workspace().reserve(c.product.subspace.project_workspace_bytes(1));
    REQUIRE(c.product.subspace.project(c.vectors, c.product.coordinates, context));
    c.product.rotate();
    const Matrix y = c.forward(true);
    bool corners_are_bias = true;
    const index_t width = c.product.map.out_width;
    for (const index_t n : {index_t{0}, width - 1, c.product.map.out_size() - 1}) {
      for (index_t m = 0; m < 6; ++m) {
        corners_are_bias =
            corners_are_bias && y(n, m) == double{c.product.bias[static_cast<std::size_t>(m)]};
      }
    }
    CHECK(corners_are_bias);
    const index_t centre = c.product.map.out_height / 2 * width + width / 2;
    CHECK(std::abs(y(centre, 0)) > 1);
  }
}

TEST_CASE("a NaN among the coordinates reaches the outputs that meet it and no other") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = geometry(layout, 4, 6, 3);
    Convolution<float> c(g, 0, NeuronVectorKind::pixel, 2, 2, false, data);
    const index_t vector = c.product.map.grid_size() + 2 * c.product.map.grid_width + 3;
    c.product.coordinates.values[vector * 3 + 1] = std::numeric_limits<float>::quiet_NaN();
    const Matrix y = c.forward(true);
    bool right = true;
    for (index_t n = 0; n < y.rows; ++n) {
      const index_t oy = n / c.product.map.out_width % c.product.map.out_height;
      const index_t ox = n % c.product.map.out_width;
      const bool meets =
          n >= c.product.map.out_size() && std::abs(oy - 2) <= 1 && std::abs(ox - 3) <= 1;
      for (index_t m = 0; m < y.cols; ++m) right = right && std::isnan(y(n, m)) == meets;
    }
    CHECK(right);
  }
}

TEST_CASE("without images there are no outputs and gradients are zero") {
  Data data;
  INFO(data);
  Convolution<float> c(geometry(Layout::nhwc, 4, 6, 3), 0, NeuronVectorKind::pixel, 1, 2, true,
                       data);
  c.product.map.images = 0;
  c.product.coordinates.resize(0, 3);
  c.product.forward(PixelView<float>{nullptr, 0, 42, 3, 126, 3, 1}, true, 2);
  const Matrix d_w = c.product.gradient({nullptr, 0, 42, 3, 126, 3, 1});
  CHECK(std::all_of(d_w.elements.begin(), d_w.elements.end(), [](double w) { return w == 0; }));
}
