// The direct forms of a convolution against the definition in double precision, for geometries of
// every kind.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "adr/core/pixel_view.hpp"
#include "adr/exact/convolution_form.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/reference/convolution.hpp"
#include "property/layer_cases.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::VectorView;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Matrix;
using adr_test::Placement;
using adr_test::Shown;
using adr_test::Start;
using adr_test::thin_out;

namespace {

ConvGeometry layer(index_t in_channels, index_t size, index_t out_channels, index_t kernel,
                   index_t padding, index_t stride = 1) {
  ConvGeometry g = adr_test::square_layer(in_channels, size, size + 1, out_channels, kernel,
                                          padding, Layout::nchw);
  g.set_stride(stride);
  return g;
}

/// What conv_cases leaves out: sums and filters of several blocks, panels that span images, layers
/// that are plain products, few windows that meet many filters, many groups, enough pixels for
/// partial sums, lines of which only a part is copied at a time, images whose pixels are several
/// blocks.
std::vector<ConvGeometry> larger_geometries() {
  std::vector<ConvGeometry> shapes = {
      layer(3, 21, 33, 5, 2),     layer(3, 19, 17, 3, 1, 2),  layer(70, 4, 40, 3, 1),
      layer(37, 5, 50, 1, 0),     layer(300, 3, 35, 1, 0),    layer(35, 2, 20, 3, 1),
      layer(2, 45, 3, 3, 1),      layer(3, 3, 600, 1, 0),     layer(35, 6, 40, 1, 0, 2),
      layer(40, 7, 300, 3, 1, 2), layer(3, 40, 24, 11, 2, 4), layer(3, 29, 64, 3, 1),
      layer(3, 70, 16, 5, 2, 2),  layer(1, 133, 32, 3, 0),    layer(20, 17, 33, 1, 0),
      layer(9, 23, 20, 2, 0, 3),  layer(280, 2, 131, 3, 1),   layer(33, 3, 129, 3, 1)};
  ConvGeometry whole = layer(30, 3, 70, 3, 0);
  whole.kernel_width = whole.in_width;
  ConvGeometry pixel = layer(290, 1, 75, 1, 0);
  pixel.in_width = 1;
  ConvGeometry padded_whole = layer(20, 3, 18, 4, 1);
  padded_whole.kernel_width = padded_whole.in_width + 2;
  padded_whole.kernel_height = padded_whole.in_height + 2;
  ConvGeometry line = layer(9, 8, 33, 1, 0);
  line.kernel_width = 7;
  line.pad_left = 3;
  line.pad_right = 2;
  ConvGeometry depthwise = layer(18, 6, 18, 3, 1);
  depthwise.groups = 18;
  ConvGeometry grouped = layer(34, 6, 54, 3, 1, 2);
  grouped.groups = 2;
  ConvGeometry dilated = layer(20, 9, 19, 3, 2);
  dilated.set_dilation(2);
  ConvGeometry tall_dilated = layer(4, 9, 16, 3, 1);
  tall_dilated.dilation_height = 2;
  tall_dilated.pad_top = 3;
  ConvGeometry long_lines = layer(2, 3, 17, 3, 1);
  long_lines.in_width = 1100;
  ConvGeometry strided_dilated = layer(12, 15, 18, 3, 2, 2);
  strided_dilated.set_dilation(3);
  strided_dilated.groups = 2;
  ConvGeometry grouped_pixels = layer(24, 5, 36, 1, 0);
  grouped_pixels.groups = 2;
  ConvGeometry few_grouped = layer(70, 2, 260, 3, 1);
  few_grouped.groups = 2;
  for (const auto& g : {whole, pixel, padded_whole, line, depthwise, grouped, dilated, tall_dilated,
                        long_lines, strided_dilated, grouped_pixels, few_grouped}) {
    shapes.push_back(g);
  }
  std::vector<ConvGeometry> all;
  for (ConvGeometry g : shapes) {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      g.layout = layout;
      all.push_back(g);
    }
  }
  return all;
}

template <class T>
void run(ConvCase<T>& c, bool with_bias, Context& context, bool relu = false) {
  const ConvGeometry& g = c.geometry;
  const adr::exact::ConvolutionPasses<T> passes(g, adr::exact::Winograd::never);
  const VectorView<const T> bias = with_bias ? c.bias.vector() : VectorView<T>();
  passes.forward(c.x_view(), c.w_view(), bias, relu, c.y_view(), context);
  passes.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view(), context);
  passes.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view(), context);
}

/// A tensor of doubles like another one, dense.
template <class T>
struct Doubles {
  std::vector<double> elements;
  TensorView<double> view;
  explicit Doubles(const TensorView<T>& like)
      : elements(static_cast<std::size_t>(like.batch * like.image_size())),
        view(elements.data(), like.batch, like.channels, like.height, like.width, like.layout) {}
};

template <class T>
Doubles<T> absolute(const TensorView<T>& tensor) {
  Doubles<T> result(tensor);
  for (index_t n = 0; n < tensor.batch; ++n) {
    for (index_t i = 0; i < tensor.image_size(); ++i) {
      result.view.image(n)[i] = std::abs(static_cast<double>(tensor.image(n)[i]));
    }
  }
  return result;
}

template <class T>
std::string compare(const TensorView<T>& actual, const Doubles<T>& expected,
                    const Doubles<T>& magnitude, index_t terms, bool relu = false) {
  adr_test::Comparison comparison;
  for (index_t n = 0; n < actual.batch; ++n) {
    for (index_t i = 0; i < actual.image_size(); ++i) {
      const double value = expected.view.image(n)[i];
      comparison.expect(static_cast<double>(actual.image(n)[i]),
                        relu ? std::max(value, 0.0) : value,
                        adr_test::sum_tolerance<T>(terms, magnitude.view.image(n)[i]));
    }
  }
  return comparison.fault();
}

template <class T>
void check(ConvCase<T>& c, bool with_bias, bool relu = false) {
  namespace reference = adr::reference;
  const ConvGeometry& g = c.geometry;
  const Matrix w(c.w.view());
  const Matrix w_size = adr_test::absolute(w);
  const auto x_size = absolute<T>(c.input_like(c.x));
  const auto d_y_size = absolute<T>(c.output_like(c.d_y));
  const auto constant = [](const TensorView<double>& t) { return TensorView<const double>(t); };
  std::vector<double> bias = with_bias ? Matrix(c.bias.view()).elements : std::vector<double>();

  Doubles<T> y(c.y_view());
  Doubles<T> y_size(c.y_view());
  reference::convolution(g, c.x_view(), w, bias, y.view);
  for (double& element : bias) element = std::abs(element);
  reference::convolution(g, constant(x_size.view), w_size, bias, y_size.view);
  CHECK(compare<T>(c.y_view(), y, y_size, g.columns() + 1, relu) == "");

  Doubles<T> d_x(c.d_x_view());
  Doubles<T> d_x_size(c.d_x_view());
  reference::convolution_input_gradient(g, c.d_y_view(), w, d_x.view);
  reference::convolution_input_gradient(g, constant(d_y_size.view), w_size, d_x_size.view);
  CHECK(compare<T>(c.d_x_view(), d_x, d_x_size,
                   g.kernel_height * g.kernel_width * g.group_out_channels()) == "");

  const Matrix d_w = reference::convolution_weight_gradient(g, c.x_view(), c.d_y_view());
  const Matrix d_w_size =
      reference::convolution_weight_gradient(g, constant(x_size.view), constant(d_y_size.view));
  CHECK(adr_test::fault<T>(c.d_w.view(), {d_w, d_w_size, g.rows(c.batch)}) == "");
  CHECK(c.damage() == "");
}

}  // namespace

TEMPLATE_TEST_CASE("The direct forms are the convolution and its gradients", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  Context context;
  // Where builds are slow some will do. 7 and 5 share no factor with the numbers of what cases are
  // made of, so that all of that comes up.
  int turn = 0;
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    if (adr_test::k_slow_build && turn++ % 7 != 0) continue;
    ConvCase<T> c(g, 3, data, {5, Start::misaligned});
    INFO(Shown{g} << ", " << g.out_channels << " filters");
    run(c, true, context);
    check(c, true);
  }
  for (const ConvGeometry& g : larger_geometries()) {
    for (const index_t batch : {4, 1}) {
      if (adr_test::k_slow_build && turn++ % 5 != 0) continue;
      const bool with_bias = batch == 4;
      ConvCase<T> c(g, batch, data, with_bias ? Placement{} : Placement{5, Start::misaligned});
      INFO(Shown{g} << ", " << g.out_channels << " filters, batch " << batch);
      run(c, with_bias, context);
      check(c, with_bias);
    }
  }
}

namespace {

/// Layers whose weight gradients leave out zeros: filters that fill whole panels of any instruction
/// set, runs of one register to five with AVX2 and with AVX-512, windows of which all runs or a few
/// fit the registers at once, and one whose runs are too long with AVX2.
std::vector<ConvGeometry> first_layers() {
  std::vector<ConvGeometry> shapes = {
      layer(3, 29, 64, 5, 2),    layer(3, 20, 32, 3, 1),  layer(1, 40, 96, 9, 4),
      layer(3, 40, 32, 7, 3, 2), layer(2, 33, 160, 4, 1), layer(4, 9, 32, 7, 3),
      layer(12, 12, 32, 3, 1),   layer(20, 12, 32, 3, 1), layer(24, 10, 64, 3, 1)};
  for (ConvGeometry& g : shapes) g.layout = Layout::nhwc;
  shapes.push_back(layer(3, 12, 32, 3, 2));
  shapes.back().layout = Layout::nhwc;
  shapes.back().dilation_height = 2;
  return shapes;
}

}  // namespace

TEMPLATE_TEST_CASE("Zeros of the output gradient are left out, and nothing is lost", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : first_layers()) {
    for (const double share : {0.02, 0.3}) {
      ConvCase<T> c(g, 3, data, {5, Start::misaligned});
      thin_out(c.d_y.view(), share, data);
      INFO(Shown{g} << ", " << g.out_channels << " filters, " << share << " of the gradient");
      std::vector<T> bits;
      for (const int threads : {1, 2, 3}) {
        Context context(threads);
        run(c, true, context);
        if (threads == 1) {
          bits = c.results();
          check(c, true);
        }
        CHECK(adr_test::same_bits(c.results(), bits));
      }
    }
  }
}

TEMPLATE_TEST_CASE("Weight gradients of first layers bring the sums of channels", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  ConvGeometry other = layer(70, 4, 40, 3, 1);  // windows of many columns
  other.layout = Layout::nhwc;
  std::vector<ConvGeometry> shapes = first_layers();
  shapes.push_back(other);
  for (const ConvGeometry& g : shapes) {
    const bool has_sums = &g != &shapes.back();
    for (const double share : {0.02, 1.0}) {
      INFO(Shown{g} << ", " << g.out_channels << " filters, " << share << " of the gradient");
      ConvCase<T> c(g, 3, data, {5, Start::misaligned});
      thin_out(c.d_y.view(), share, data);
      const adr::exact::ConvolutionPasses<T> passes(g, adr::exact::Winograd::never);
      adr_test::GuardedBuffer<T> sums(g.out_channels, Start::misaligned);
      std::vector<T> bits, gradient;
      for (const int threads : {1, 2, 3}) {
        Context context(threads);
        std::fill_n(sums.data(), g.out_channels, T(7));
        passes.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view(), context);
        gradient = adr_test::elements_of(c.d_w);
        const bool written =
            passes.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view(), context, sums.data());
        CHECK(adr_test::same_bits(adr_test::elements_of(c.d_w), gradient));
        CHECK(written == has_sums);
        if (threads == 1) bits = adr_test::elements_of(sums);
        CHECK(adr_test::same_bits(adr_test::elements_of(sums), bits));
      }
      adr_test::Comparison comparison;
      const auto pixels = adr::pixel_view(c.d_y_view(), 0, g.out_channels);
      for (index_t m = 0; m < g.out_channels; ++m) {
        double sum = 0;
        double size = 0;
        for (index_t n = 0; n < pixels.images; ++n) {
          for (index_t p = 0; p < pixels.pixels; ++p) {
            sum += static_cast<double>(*pixels.at(n, p, m));
            size += std::abs(static_cast<double>(*pixels.at(n, p, m)));
          }
        }
        comparison.expect(static_cast<double>(sums.data()[m]), has_sums ? sum : 7,
                          has_sums ? adr_test::sum_tolerance<T>(pixels.rows(), size) : 0);
      }
      CHECK(comparison.fault() == "");
      CHECK(sums.damage() + c.damage() == "");
    }
  }
}

TEST_CASE("A window that is no number stays one beside output gradients of zero", "") {
  Data data;
  INFO(data);
  Context context;
  for (const float strange : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (const ConvGeometry& g : first_layers()) {
      ConvCase<float> c(g, 3, data);
      thin_out(c.d_y.view(), 0.0, data);
      const TensorView<float> x = c.input_like(c.x);
      *adr::pixel_view(x, 0, x.channels).at(1, (x.height / 2) * x.width + x.width / 2, 0) = strange;
      INFO(Shown{g});
      run(c, true, context);
      const auto d_w = adr_test::elements_of(c.d_w);
      CHECK(std::any_of(d_w.begin(), d_w.end(), [](float w) { return std::isnan(w); }));
    }
  }
}

TEST_CASE("Results that no cache holds go past all of them") {
  Data data;
  INFO(data);
  Context context;
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    for (const Start start : {Start::aligned, Start::misaligned}) {
      // Planes of whole cache lines.
      ConvGeometry g = layer(2, 160, 32, 3, 1);
      g.layout = layout;
      ConvCase<float> c(g, 3, data, {0, start});
      REQUIRE(c.y_view().batch * c.y_view().image_size() * index_t{sizeof(float)} > index_t{8}
                                                                                        << 20);
      run(c, true, context);
      check(c, true);
    }
    // Blocks that begin anywhere in such planes: lines are long, and no whole cache lines.
    ConvGeometry g = layer(3, 16, 64, 3, 1);
    g.in_width = 1102;
    g.layout = layout;
    ConvCase<float> c(g, 2, data);
    REQUIRE(c.y_view().batch * c.y_view().image_size() * index_t{sizeof(float)} > index_t{8} << 20);
    run(c, true, context);
    check(c, true);
  }
}

TEST_CASE("Layers over images of one pixel at every kind of batch", "") {
  Data data;
  INFO(data);
  Context context;
  for (const index_t batch : {1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 70, 600}) {
    for (const index_t outputs : {1, 10, 65, 530}) {
      ConvGeometry g = layer(131, 1, outputs, 1, 0);
      g.in_width = 1;
      ConvCase<float> c(g, batch, data, {batch % 2 == 0 ? 3 : 0, Start::misaligned});
      INFO("batch " << batch << ", " << outputs << " outputs");
      run(c, true, context);
      check(c, true);
    }
  }
}

TEST_CASE("A rectified convolution is the positive part, and keeps NaN", "") {
  Data data;
  INFO(data);
  Context context;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (ConvGeometry g : {layer(3, 9, 33, 3, 1), layer(40, 2, 19, 3, 1), layer(7, 2, 20, 2, 0)}) {
      g.layout = layout;
      for (const bool with_bias : {true, false}) {
        ConvCase<float> c(g, 3, data);
        INFO(Shown{g});
        run(c, with_bias, context, true);
        check(c, with_bias, true);
        c.input_like(c.x).image(1)[0] = std::nanf("");
        run(c, with_bias, context, true);
        const auto y = c.y_view();
        CHECK(std::any_of(y.image(1), y.image(1) + y.image_size(),
                          [](float value) { return std::isnan(value); }));
      }
    }
  }
}

TEST_CASE("No image is no work, and a gradient of zero", "") {
  Data data;
  Context context;
  for (const ConvGeometry& g : larger_geometries()) {
    ConvCase<float> c(g, 0, data);
    INFO(Shown{g});
    run(c, true, context);
    for (const float element : adr_test::elements_of(c.d_w)) REQUIRE(element == 0);
    CHECK(c.damage() == "");
  }
}

TEST_CASE("The direct forms have the same bits for any number of threads", "") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : larger_geometries()) {
    ConvCase<float> c(g, 4, data);
    INFO(Shown{g});
    std::vector<float> bits;
    for (const int threads : {1, 2, 3}) {
      Context context(threads);
      run(c, true, context);
      if (threads == 1) bits = c.results();
      CHECK(adr_test::same_bits(c.results(), bits));
    }
  }
}

TEST_CASE("The direct forms allocate nothing in the steady state", "") {
  Data data;
  Context context;
  for (const ConvGeometry& g : larger_geometries()) {
    ConvCase<float> c(g, 2, data);
    run(c, true, context);
    const long before = adr_test::allocations;
    run(c, true, context);
    const long after = adr_test::allocations;
    INFO(Shown{g});
    CHECK(after == before);
  }
}
