// Convolutions in the coordinates of their pixels against loops in double precision over the same
// axes and reduced weights.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "adr/core/state_archive.hpp"
#include "adr/core/state_file.hpp"
#include "adr/product/operands.hpp"
#include "adr/reference/convolution.hpp"
#include "adr/reference/products.hpp"
#include "adr/subspace/subspace_product.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::NeuronVectorKind;
using adr::Plan;
using adr::Report;
using adr::TensorView;
using adr::VectorView;
using adr::exact::Form;
using adr::reference::Matrix;
using adr_test::Data;

using SubspaceConvolution =
    adr::SubspaceProduct<adr::ImageDomain<float>, adr::ConvolvedCoordinates>;

/// The shape of a convolution over shared pixels.
adr::ProductShape pixels_of(const ConvGeometry& g) {
  return adr::product_shape(g, NeuronVectorKind::pixel);
}

Plan keeping(index_t coordinates) {
  Plan config;
  config.method = adr::Method::subspace;
  config.kept_coordinates = coordinates;
  config.seed = 3;
  return config;
}

ConvGeometry geometry(Layout layout, index_t channels, index_t size, index_t kernel,
                      index_t outputs = 18) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = channels;
  g.out_channels = outputs;
  g.in_height = size;
  g.in_width = size + 1;
  g.set_kernel(kernel);
  g.set_padding(kernel / 2);
  return g;
}

template <class T>
TensorView<T> tensor(std::vector<float>& elements, index_t batch, index_t channels, index_t height,
                     index_t width, Layout layout) {
  elements.resize(static_cast<std::size_t>(batch * channels * height * width));
  return {elements.data(), batch, channels, height, width, layout};
}

/// Images, weights and gradients of a layer.
struct Operands {
  ConvGeometry g;
  index_t batch;
  std::vector<float> x;
  std::vector<float> w;
  std::vector<float> bias;
  std::vector<float> d_y;
  std::vector<index_t> columns;

  /// smooth: neighbouring pixels are alike.
  Operands(const ConvGeometry& geometry_, index_t batch_, Data& data, bool smooth = false)
      : g(geometry_),
        batch(batch_),
        w(data.normals<float>(g.out_channels * g.columns())),
        bias(data.normals<float>(g.out_channels)),
        columns(adr::weight_columns(g, NeuronVectorKind::pixel)) {
    x = data.normals<float>(batch * g.in_channels * g.in_height * g.in_width);
    if (smooth) make_smooth(data);
    tensor<float>(d_y, batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
    d_y = data.normals<float>(static_cast<index_t>(d_y.size()));
  }

  [[nodiscard]] TensorView<float> x_view() {
    return tensor<float>(x, batch, g.in_channels, g.in_height, g.in_width, g.layout);
  }
  [[nodiscard]] MatrixView<const float> w_view() const {
    return {w.data(), g.out_channels, g.columns()};
  }
  [[nodiscard]] adr::ConvInput<const float> input() { return {g, x_view(), 0}; }
  [[nodiscard]] adr::VectorMap map() { return input().vectors(NeuronVectorKind::pixel).map(); }

 private:
  /// Channels of an image are waves of one phase: what the axes leave out of a pixel, its
  /// neighbours tell.
  void make_smooth(Data& data) {
    const std::vector<double> phases = data.normals<double>(g.in_channels);
    const TensorView<float> images = x_view();
    for (index_t n = 0; n < batch; ++n) {
      const double shift = 3 * data.normal<double>();
      for (index_t row = 0; row < g.in_height; ++row) {
        for (index_t col = 0; col < g.in_width; ++col) {
          const double at = shift + 0.5 * static_cast<double>(row) + 0.3 * static_cast<double>(col);
          for (index_t c = 0; c < g.in_channels; ++c) {
            const double step = 1 + static_cast<double>(c) / 8;
            adr::reference::element(images, n, c, row, col) =
                static_cast<float>(std::sin(step * at + phases[static_cast<std::size_t>(c)]) +
                                   0.05 * data.normal<double>());
          }
        }
      }
    }
  }
};

/// A pass of a convolution: the output, or nothing where it was refused.
std::vector<float> forward(SubspaceConvolution& product, Operands& c, Context& context,
                           Report& stats) {
  std::vector<float> y;
  const TensorView<float> output =
      tensor<float>(y, c.batch, c.g.out_channels, c.g.out_height(), c.g.out_width(), c.g.layout);
  stats.reset();
  const adr::DenseGemm<float> gemm;
  const bool done =
      product.forward(c.input(), adr::transposed(c.w_view()), {c.bias.data(), c.g.out_channels},
                      adr::ConvOutput<float>{c.g, output, 0}, {gemm, context, stats, nullptr});
  if (!done) y.clear();
  return y;
}
std::vector<float> forward(SubspaceConvolution& product, Operands& c, int threads = 1) {
  Context context(threads);
  Report stats;
  return forward(product, c, context, stats);
}

/// The coordinates of all pixels, in double.
std::vector<double> coordinates(const SubspaceConvolution& product, Operands& c,
                                ConvGeometry& reduced) {
  const adr::PrincipalAxes& axes = product.subspace().axes();
  reduced = c.g;
  reduced.in_channels = axes.kept;
  std::vector<double> z(
      static_cast<std::size_t>(c.batch * axes.kept * c.g.in_height * c.g.in_width));
  const TensorView<double> to(z.data(), c.batch, axes.kept, c.g.in_height, c.g.in_width,
                              c.g.layout);
  const TensorView<float> from = c.x_view();
  for (index_t n = 0; n < c.batch; ++n) {
    for (index_t row = 0; row < c.g.in_height; ++row) {
      for (index_t col = 0; col < c.g.in_width; ++col) {
        for (index_t k = 0; k < axes.kept; ++k) {
          double sum = 0;
          for (index_t e = 0; e < axes.length; ++e) {
            sum += double{adr::reference::element(from, n, e, row, col)} *
                   double{axes.encode[e * axes.encode_stride + k]};
          }
          adr::reference::element(to, n, k, row, col) = sum;
        }
      }
    }
  }
  return z;
}

/// The output of the coordinates with those weights, in double.
std::vector<double> expected(const SubspaceConvolution& product, Operands& c,
                             const MatrixView<const float>& weights) {
  ConvGeometry reduced;
  const std::vector<double> z = coordinates(product, c, reduced);
  const TensorView<const double> images(z.data(), c.batch, reduced.in_channels, c.g.in_height,
                                        c.g.in_width, c.g.layout);
  std::vector<double> y(
      static_cast<std::size_t>(c.batch * c.g.out_channels * c.g.out_height() * c.g.out_width()));
  const TensorView<double> output(y.data(), c.batch, c.g.out_channels, c.g.out_height(),
                                  c.g.out_width(), c.g.layout);
  adr::reference::convolution(reduced, images, Matrix(weights), {c.bias.begin(), c.bias.end()},
                              output);
  return y;
}

/// The output of the weights and pixels themselves, in double.
std::vector<double> exact(Operands& c) {
  std::vector<double> y(
      static_cast<std::size_t>(c.batch * c.g.out_channels * c.g.out_height() * c.g.out_width()));
  const TensorView<double> output(y.data(), c.batch, c.g.out_channels, c.g.out_height(),
                                  c.g.out_width(), c.g.layout);
  const TensorView<const float> images = c.x_view();
  adr::reference::convolution(c.g, images, Matrix(c.w_view()), {c.bias.begin(), c.bias.end()},
                              output);
  return y;
}

template <class A, class B>
double relative_distance(const A& a, const B& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0;
  double energy = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double error = double{a[i]} - double{b[i]};
    difference += error * error;
    energy += double{b[i]} * double{b[i]};
  }
  return std::sqrt(difference / energy);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Every form of the engine, several blocks of images among them.
struct Case {
  ConvGeometry geometry;
  index_t kept;
  index_t batch;
  Form form;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    all.push_back({geometry(layout, 20, 9, 5), 9, 3, Form::tile_4x5});
    all.push_back({geometry(layout, 33, 32, 3), 17, 5, Form::tile_4x3});  // three images at once
    all.push_back({geometry(layout, 12, 9, 3), 5, 3, Form::direct});      // few coordinates
    all.push_back({geometry(layout, 18, 7, 1), 10, 3, Form::direct});
    ConvGeometry g = geometry(layout, 16, 11, 3);
    g.stride_height = 2;
    g.stride_width = 3;
    all.push_back({g, 8, 3, Form::direct});
    g = geometry(layout, 16, 11, 3);
    g.dilation_height = 2;
    g.dilation_width = 3;
    g.pad_top = 4;
    g.pad_right = 3;
    g.pad_left = 0;
    all.push_back({g, 16, 3, Form::direct});
    g = geometry(layout, 16, 11, 5);
    g.kernel_width = 2;
    all.push_back({g, 1, 2, Form::direct});
  }
  return all;
}

}  // namespace

TEST_CASE("a convolution in a subspace is that of coordinates with reduced weights") {
  Data data;
  INFO(data);
  for (const Case& one : cases()) {
    INFO(adr_test::Shown{one.geometry} << ", kept " << one.kept);
    Operands c(one.geometry, one.batch, data);
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      SubspaceConvolution product(pixels_of(one.geometry), keeping(one.kept));
      Context context(threads);
      Report stats;
      const std::vector<float> y = forward(product, c, context, stats);
      CHECK(product.coordinates().passes().forward_form() == one.form);
      CHECK(stats.fits == 1);
      CHECK(context.workspace().peak_bytes() <= product.forward_workspace_bytes(c.map(), threads));
      // Direct products state the most that any layout of their operands takes.
      if (one.form != Form::direct) {
        CHECK(context.workspace().peak_bytes() ==
              product.forward_workspace_bytes(c.map(), threads));
      }
      if (threads == 1) first = y;
      CHECK(same_bits(y, first));
      CHECK(relative_distance(y, expected(product, c, product.coordinates().weights().matrix())) <
            1e-5);
      // Without the correction: the axes' part of the weights at every kernel offset.
      const adr::PrincipalAxes& axes = product.subspace().axes();
      const MatrixView<const float> plain = product.coordinates().weights().plain();
      const index_t offsets = one.geometry.kernel_height * one.geometry.kernel_width;
      double worst = 0;
      for (index_t m = 0; m < plain.rows; ++m) {
        for (index_t o = 0; o < offsets; ++o) {
          for (index_t k = 0; k < axes.kept; ++k) {
            double sum = 0;
            for (index_t e = 0; e < axes.length; ++e) {
              sum +=
                  double{axes.decode[k * axes.decode_stride + e]} *
                  double{c.w_view()(m, c.columns[static_cast<std::size_t>(o * axes.length + e)])};
            }
            const bool nhwc = one.geometry.layout == Layout::nhwc;
            const double got = plain(m, nhwc ? o * axes.kept + k : k * offsets + o);
            worst = std::max(worst, std::abs(got - sum) / (1 + std::abs(sum)));
          }
        }
      }
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("all coordinates give the exact convolution, with padding") {
  Data data;
  INFO(data);
  for (const Case& one : cases()) {
    INFO(adr_test::Shown{one.geometry});
    SubspaceConvolution product(pixels_of(one.geometry), keeping(one.geometry.in_channels));
    Operands c(one.geometry, one.batch, data);
    CHECK(relative_distance(forward(product, c), exact(c)) < 1e-4);
    // Others than were fitted, and fewer of them.
    product.freeze();
    Operands other(one.geometry, 2, data);
    other.w = c.w;
    CHECK(relative_distance(forward(product, other), exact(other)) < 1e-4);
  }
}

TEST_CASE("pixels of zero, like padding, add nothing at all") {
  Data data;
  INFO(data);
  for (const Case& one : cases()) {
    INFO(adr_test::Shown{one.geometry});
    SubspaceConvolution product(pixels_of(one.geometry), keeping(one.kept));
    Operands c(one.geometry, one.batch, data);
    forward(product, c);
    product.freeze();
    std::fill(c.x.begin(), c.x.end(), 0.0F);
    std::vector<float> y = forward(product, c);
    const TensorView<float> view(y.data(), c.batch, c.g.out_channels, c.g.out_height(),
                                 c.g.out_width(), c.g.layout);
    bool all_bias = true;
    for (index_t n = 0; n < view.batch; ++n) {
      for (index_t m = 0; m < view.channels; ++m) {
        for (index_t row = 0; row < view.height; ++row) {
          for (index_t col = 0; col < view.width; ++col) {
            all_bias = all_bias && adr::reference::element(view, n, m, row, col) ==
                                       c.bias[static_cast<std::size_t>(m)];
          }
        }
      }
    }
    CHECK(all_bias);
  }
}

TEST_CASE("the weight gradient is that of the pixels that coordinates stand for") {
  Data data;
  INFO(data);
  for (const Case& one : cases()) {
    INFO(adr_test::Shown{one.geometry} << ", kept " << one.kept);
    SubspaceConvolution product(pixels_of(one.geometry), keeping(one.kept));
    Operands c(one.geometry, one.batch, data);
    forward(product, c);
    ConvGeometry reduced;
    const std::vector<double> z = coordinates(product, c, reduced);
    const TensorView<const double> z_view(z.data(), c.batch, reduced.in_channels, c.g.in_height,
                                          c.g.in_width, c.g.layout);
    const std::vector<double> d_y(c.d_y.begin(), c.d_y.end());
    const TensorView<const double> d_y_view(d_y.data(), c.batch, c.g.out_channels, c.g.out_height(),
                                            c.g.out_width(), c.g.layout);
    const Matrix of_coordinates =
        adr::reference::convolution_weight_gradient(reduced, z_view, d_y_view);
    const adr::PrincipalAxes& axes = product.subspace().axes();
    const index_t offsets = c.g.kernel_height * c.g.kernel_width;
    std::vector<double> wanted(c.w.size());
    for (index_t m = 0; m < c.g.out_channels; ++m) {
      for (index_t o = 0; o < offsets; ++o) {
        for (index_t e = 0; e < axes.length; ++e) {
          double sum = 0;
          for (index_t k = 0; k < axes.kept; ++k) {
            const index_t row = c.g.layout == Layout::nhwc ? o * axes.kept + k : k * offsets + o;
            sum += double{axes.decode[k * axes.decode_stride + e]} * of_coordinates(m, row);
          }
          const index_t column = c.columns[static_cast<std::size_t>(o * axes.length + e)];
          wanted[static_cast<std::size_t>(m * c.g.columns() + column)] = sum;
        }
      }
    }
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      for (const bool by_rows : {true, false}) {
        Context context(threads);
        const std::size_t bytes = product.backward_workspace_bytes(c.map(), true, false, threads);
        context.workspace().reserve(bytes);
        std::vector<float> d_w(c.w.size());
        const index_t rows = by_rows ? c.g.out_channels : c.g.columns();
        const index_t cols = by_rows ? c.g.columns() : c.g.out_channels;
        const TensorView<const float> gradient(c.d_y.data(), c.batch, c.g.out_channels,
                                               c.g.out_height(), c.g.out_width(), c.g.layout);
        const adr::DenseGemm<float> gemm;
        Report stats;
        product.backward({c.input(),
                          adr::transposed(c.w_view()),
                          adr::ConvOutput<const float>{c.g, gradient, 0},
                          {},
                          {MatrixView<float>(d_w.data(), rows, cols), by_rows},
                          nullptr},
                         {gemm, context, stats, nullptr});
        CHECK(context.workspace().peak_bytes() <= bytes);
        if (!by_rows) {
          const Matrix turned =
              adr::reference::transpose(Matrix(MatrixView<const float>(d_w.data(), rows, cols)));
          d_w.assign(turned.elements.begin(), turned.elements.end());
        }
        CHECK(relative_distance(d_w, wanted) < 1e-4);
        if (first.empty()) first = d_w;
        CHECK(same_bits(d_w, first));
      }
    }
  }
}

TEST_CASE("reduced weights are corrected where that helps on images apart") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = geometry(layout, 16, 12, 3);
    SubspaceConvolution product(pixels_of(g), keeping(4));
    Operands c(g, 40, data, true);
    std::vector<float> y = forward(product, c);
    REQUIRE(product.coordinates().weights().has_correction());
    product.freeze();
    Operands unseen(g, 20, data, true);
    // The waves of the same phases, shifted: images of the batch, turned about.
    unseen.x.assign(c.x.begin(), c.x.begin() + static_cast<std::ptrdiff_t>(unseen.x.size()));
    unseen.w = c.w;
    y = forward(product, unseen);
    const double corrected = relative_distance(y, exact(unseen));
    const double plain = relative_distance(
        expected(product, unseen, product.coordinates().weights().plain()), exact(unseen));
    CHECK(corrected < 0.95 * plain);

    // Other weights are another matter, and nearby ones are not.
    for (float& weight : c.w) weight *= 1.1F;
    forward(product, c);
    const auto differs = [&] {
      const MatrixView<const float> used = product.coordinates().weights().matrix();
      const MatrixView<const float> bare = product.coordinates().weights().plain();
      return !std::equal(used.data, used.data + used.rows * used.cols, bare.data);
    };
    CHECK(differs());
    for (float& weight : c.w) weight *= -1;
    y = forward(product, c);
    CHECK_FALSE(differs());
    CHECK(relative_distance(y, expected(product, c, product.coordinates().weights().plain())) <
          1e-5);
  }
  // There is nothing to learn from white noise, and nothing to judge by in a few images.
  SubspaceConvolution noisy(pixels_of(geometry(Layout::nhwc, 16, 12, 3)), keeping(4));
  Operands noise(geometry(Layout::nhwc, 16, 12, 3), 40, data);
  forward(noisy, noise);
  CHECK_FALSE(noisy.coordinates().weights().has_correction());
  SubspaceConvolution few(pixels_of(geometry(Layout::nhwc, 16, 12, 3)), keeping(4));
  Operands three(geometry(Layout::nhwc, 16, 12, 3), 3, data, true);
  forward(few, three);
  CHECK_FALSE(few.coordinates().weights().has_correction());
}

TEST_CASE("what a convolution in a subspace has learned is saved and loaded") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometry(Layout::nchw, 16, 12, 3);
  for (const bool smooth : {true, false}) {
    SubspaceConvolution product(pixels_of(g), keeping(4));
    Operands c(g, 40, data, smooth);
    forward(product, c);
    for (float& weight : c.w) weight *= 1.05F;
    const std::vector<float> y = forward(product, c);
    CHECK(product.coordinates().weights().has_correction() == smooth);
    const adr_test::TemporaryFolder folder;
    const std::string path = folder.file("state");
    adr::StateWriter writer;
    adr::StateArchive saver(writer);
    product.exchange(saver);
    writer.save(path);
    SubspaceConvolution loaded(pixels_of(g), keeping(4));
    adr::StateReader reader(path);
    adr::StateArchive loader(reader);
    loaded.exchange(loader);
    CHECK_NOTHROW(reader.require_end());
    Context context(1);
    Report stats;
    CHECK(same_bits(forward(loaded, c, context, stats), y));
    CHECK(stats.fits == 0);
  }
}

TEST_CASE("images that are not finite are refused, in every pass and block") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = geometry(layout, 33, 32, 3);
    Operands c(g, 5, data);
    SubspaceConvolution product(pixels_of(g), keeping(17));
    REQUIRE_FALSE(forward(product, c).empty());
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const std::size_t at : {std::size_t{0}, c.x.size() / 2 + 5, c.x.size() - 1}) {
        const float good = c.x[at];
        c.x[at] = bad;
        CHECK(forward(product, c).empty());
        c.x[at] = good;
      }
    }
    CHECK_FALSE(forward(product, c).empty());
    std::fill(c.x.begin(), c.x.end(), std::numeric_limits<float>::quiet_NaN());
    SubspaceConvolution never(pixels_of(g), keeping(17));
    CHECK(forward(never, c).empty());
    CHECK_FALSE(never.fitted());
  }
}

TEST_CASE("a setting without Winograd keeps a convolution in a subspace direct") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometry(Layout::nhwc, 20, 9, 5);
  Plan config = keeping(9);
  config.winograd = false;
  SubspaceConvolution product(pixels_of(g), config);
  Operands c(g, 3, data);
  const std::vector<float> y = forward(product, c);
  CHECK(product.coordinates().passes().forward_form() == Form::direct);
  CHECK(relative_distance(y, expected(product, c, product.coordinates().weights().matrix())) <
        1e-6);
}

TEST_CASE("an empty batch is no input to learn from, and none to refuse later") {
  Data data;
  INFO(data);
  const ConvGeometry g = geometry(Layout::nhwc, 20, 9, 5);
  SubspaceConvolution product(pixels_of(g), keeping(9));
  Operands none(g, 0, data);
  Context context(1);
  Report stats;
  forward(product, none, context, stats);
  CHECK_FALSE(product.fitted());
  Operands c(g, 3, data);
  REQUIRE_FALSE(forward(product, c).empty());
  none.w = c.w;
  forward(product, none, context, stats);
  CHECK(stats.neuron_vectors == 0);
}
