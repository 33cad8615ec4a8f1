// Exact convolutions at the ends of what floats can hold: large ranges, tiny and denormal numbers,
// zeros, constants, and what an infinity or a NaN spoils.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "adr/exact/convolution_form.hpp"
#include "adr/exact/tile_forward.hpp"
#include "adr/nn/exact_convolution.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/exact_case.hpp"
#include "support/fenced_array.hpp"

using adr::ConvGeometry;
using adr::ExactConvolution;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::VectorView;
using adr::exact::Form;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Fence;
using adr_test::FencedArray;
using adr_test::Matrix;
using adr_test::Shown;

namespace {

constexpr float k_infinity = std::numeric_limits<float>::infinity();
constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();

struct Layer {
  ConvGeometry geometry;
  bool winograd;
  Form form;
};

/// A layer of every form in both layouts; several tiles and images, borders that cut tiles.
std::vector<Layer> layers() {
  std::vector<Layer> all;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    struct Shape {
      index_t size, taps, padding, groups;
      bool winograd;
      Form form;
    };
    for (const Shape& shape :
         {Shape{11, 3, 1, 1, true, Form::tile_4x3}, Shape{6, 3, 1, 2, true, Form::tile_2x3},
          Shape{2, 3, 1, 1, true, Form::map_2x3}, Shape{10, 5, 2, 1, true, Form::tile_4x5},
          Shape{9, 3, 1, 2, false, Form::direct}, Shape{8, 5, 2, 1, false, Form::direct}}) {
      ConvGeometry g;
      g.in_channels = 9 * shape.groups;
      g.out_channels = 19 * shape.groups;
      g.groups = shape.groups;
      g.in_height = shape.size;
      g.in_width = shape.form == Form::map_2x3 ? 2 : shape.size + 1;
      // The width of 6 x 7 pixels would make larger tiles cheaper.
      if (shape.form == Form::tile_2x3) g.in_width = 6;
      g.set_kernel(shape.taps);
      g.set_padding(shape.padding);
      g.layout = layout;
      all.push_back({g, shape.winograd, shape.form});
    }
  }
  return all;
}

constexpr index_t k_batch = 3;

/// One layer with its operands.
struct Run {
  Layer layer;
  ConvCase<float> c;
  ExactConvolution<float> convolution;

  Run(const Layer& one, Data& data)
      : layer(one),
        c(one.geometry, k_batch, data, {3, adr_test::Start::misaligned}),
        convolution(one.geometry, 1, adr_test::tiles(one.winograd)) {
    REQUIRE(convolution.passes().forward_form() == one.form);
  }
  void passes(bool with_bias = false) {
    convolution.forward(c.x_view(), c.w_view(), with_bias ? c.bias.vector() : VectorView<float>(),
                        c.y_view());
    convolution.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view());
    convolution.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view());
  }
  void check(bool with_bias = false) {
    const auto& p = convolution.passes();
    CHECK(adr_test::forward_errors(c, p.forward_form(), with_bias, false).fault() == "");
    CHECK(adr_test::weight_gradient_errors(c, p.weight_gradient_form()).fault() == "");
    CHECK(adr_test::input_gradient_errors(c, p.input_gradient_form()).fault() == "");
    CHECK(c.damage() == "");
  }
};

template <class Change>
void for_each_element(adr_test::GuardedBuffer<float>& buffer, const Change& change) {
  for (index_t i = 0; i < buffer.view().rows; ++i) {
    for (index_t j = 0; j < buffer.view().cols; ++j) change(buffer(i, j));
  }
}

std::vector<float> scaled(std::vector<float> elements, int exponent) {
  for (float& element : elements) element = std::ldexp(element, exponent);
  return elements;
}

bool all_finite(const std::vector<float>& elements) {
  return std::all_of(elements.begin(), elements.end(), [](float e) { return std::isfinite(e); });
}

/// One element of a batch of images.
struct Spot {
  index_t image, channel, y, x;
};

}  // namespace

TEST_CASE("Results scale with their operands to the bit, far from the ends of floats", "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    Run run(layer, data);
    run.passes();
    const auto y = adr_test::elements_of(run.c.y);
    const auto d_w = adr_test::elements_of(run.c.d_w);
    const auto d_x = adr_test::elements_of(run.c.d_x);
    // 1e30 and 1e-30 at the same weights.
    for (const int exponent : {99, -80, -99}) {
      const auto scale = [exponent](float& e) { e = std::ldexp(e, exponent); };
      const auto back = [exponent](float& e) { e = std::ldexp(e, -exponent); };
      for_each_element(run.c.x, scale);
      run.passes();
      CHECK(adr_test::same_bits(adr_test::elements_of(run.c.y), scaled(y, exponent)));
      CHECK(adr_test::same_bits(adr_test::elements_of(run.c.d_w), scaled(d_w, exponent)));
      for_each_element(run.c.x, back);
      for_each_element(run.c.d_y, scale);
      run.passes();
      CHECK(adr_test::same_bits(adr_test::elements_of(run.c.d_x), scaled(d_x, exponent)));
      CHECK(adr_test::same_bits(adr_test::elements_of(run.c.d_w), scaled(d_w, exponent)));
      for_each_element(run.c.d_y, back);
    }
  }
}

TEST_CASE("Weights of very different sizes keep the bounds", "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    // Element by element, and filter by filter, so that small results stand beside large ones.
    for (const bool by_filter : {false, true}) {
      Run run(layer, data);
      for (index_t m = 0; m < layer.geometry.out_channels; ++m) {
        float size = std::pow(10.0F, static_cast<float>(data.between(-12, 6)));
        for (index_t k = 0; k < layer.geometry.columns(); ++k) {
          if (!by_filter) size = std::pow(10.0F, static_cast<float>(data.between(-12, 6)));
          run.c.w(m, k) *= size;
        }
      }
      run.passes();
      run.check();
    }
  }
}

TEST_CASE("Denormal operands are not taken for zero", "") {
  Data data;
  INFO(data);
  constexpr auto k_unit = static_cast<double>(std::numeric_limits<float>::denorm_min());
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    Run run(layer, data);
    for_each_element(run.c.x, [](float& e) { e *= 1e-39F; });
    for_each_element(run.c.d_y, [](float& e) { e *= 1e-39F; });
    run.passes();
    const Matrix w(run.c.w.view());
    adr_test::DoubleImages y(run.c.y_view());
    adr::reference::convolution<float>(layer.geometry, run.c.x_view(), w, {}, y.view());
    adr_test::DoubleImages d_x(run.c.d_x_view());
    adr::reference::convolution_input_gradient<float>(layer.geometry, run.c.d_y_view(), w,
                                                      d_x.view());
    // A step of the transforms loses half a unit, which what follows makes larger: by less than a
    // thousand times per channel.
    const auto check = [&](const TensorView<float>& actual, const adr_test::DoubleImages& expected,
                           index_t channels) {
      double largest = 0;
      double most = 0;
      for (index_t n = 0; n < k_batch; ++n) {
        for (index_t i = 0; i < actual.image_size(); ++i) {
          const double value = expected.view().image(n)[i];
          largest = std::max(largest, std::abs(value - static_cast<double>(actual.image(n)[i])));
          most = std::max(most, std::abs(value));
        }
      }
      CHECK(largest <= 1000 * k_unit * static_cast<double>(channels) + 1e-5 * most);
      CHECK(most > 1e6 * k_unit);
    };
    check(run.c.y_view(), y, layer.geometry.group_in_channels());
    check(run.c.d_x_view(), d_x, layer.geometry.group_out_channels());
    for (const float element : adr_test::elements_of(run.c.d_w)) REQUIRE(element == 0);
  }
}

TEST_CASE("Zeros give the bias and gradients of zero", "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    Run run(layer, data);
    for_each_element(run.c.x, [](float& e) { e = 0; });
    run.passes(true);
    const ConvGeometry& g = layer.geometry;
    for (index_t n = 0; n < k_batch; ++n) {
      for (index_t m = 0; m < g.out_channels; ++m) {
        for (index_t oy = 0; oy < g.out_height(); ++oy) {
          for (index_t ox = 0; ox < g.out_width(); ++ox) {
            REQUIRE(adr::reference::element(run.c.y_view(), n, m, oy, ox) == run.c.bias(0, m));
          }
        }
      }
    }
    for (const float element : adr_test::elements_of(run.c.d_w)) REQUIRE(element == 0);
    for_each_element(run.c.d_y, [](float& e) { e = 0; });
    data.fill_normal(run.c.x.view());
    run.passes();
    for (const float element : adr_test::elements_of(run.c.d_w)) REQUIRE(element == 0);
    for (const float element : adr_test::elements_of(run.c.d_x)) REQUIRE(element == 0);
  }
}

TEST_CASE("Images of one colour keep the bounds, and whole numbers are exact", "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    Run run(layer, data);
    const float colour = data.normal<float>();
    for_each_element(run.c.x, [&](float& e) { e = colour; });
    for_each_element(run.c.d_y, [&](float& e) { e = -3 * colour; });
    run.passes(true);
    run.check(true);
    // Where the transforms of weights only halve, nothing is rounded at all.
    if (layer.form != Form::direct && layer.form != Form::tile_2x3 && layer.form != Form::map_2x3) {
      continue;
    }
    for (auto* operand : {&run.c.x, &run.c.w, &run.c.d_y}) data.fill_whole(operand->view());
    run.passes();
    if (run.convolution.passes().input_gradient_form() == Form::tile_4x3) continue;
    const Matrix w(run.c.w.view());
    adr_test::DoubleImages y(run.c.y_view());
    adr::reference::convolution<float>(layer.geometry, run.c.x_view(), w, {}, y.view());
    adr_test::DoubleImages d_x(run.c.d_x_view());
    adr::reference::convolution_input_gradient<float>(layer.geometry, run.c.d_y_view(), w,
                                                      d_x.view());
    const Matrix d_w = adr::reference::convolution_weight_gradient<float>(
        layer.geometry, run.c.x_view(), run.c.d_y_view());
    for (index_t n = 0; n < k_batch; ++n) {
      for (index_t i = 0; i < run.c.y_view().image_size(); ++i) {
        REQUIRE(static_cast<double>(run.c.y_view().image(n)[i]) == y.view().image(n)[i]);
      }
      for (index_t i = 0; i < run.c.d_x_view().image_size(); ++i) {
        REQUIRE(static_cast<double>(run.c.d_x_view().image(n)[i]) == d_x.view().image(n)[i]);
      }
    }
    CHECK(Matrix(run.c.d_w.view()).elements == d_w.elements);
  }
}

namespace {

/// Whether a tile that computes output (oy, ox) reads input (y, x): for the direct form its window.
bool reads(const ConvGeometry& g, Form form, index_t oy, index_t ox, index_t y, index_t x) {
  bool result = false;
  if (form == Form::direct) {
    const index_t ky = y + g.pad_top - oy;
    const index_t kx = x + g.pad_left - ox;
    return ky >= 0 && ky < g.kernel_height && kx >= 0 && kx < g.kernel_width;
  }
  adr::exact::with_algorithm<float>(form, [&](auto algorithm) {
    using Algorithm = decltype(algorithm);
    const auto grid = adr::exact::tile_grid<Algorithm>(g);
    const index_t first_y = oy / Algorithm::outputs * Algorithm::outputs - grid.before_y;
    const index_t first_x = ox / Algorithm::outputs * Algorithm::outputs - grid.before_x;
    result = y >= first_y && y < first_y + Algorithm::inputs && x >= first_x &&
             x < first_x + Algorithm::inputs;
  });
  return result;
}

/// Compares a result with that of sound operands: what may be spoiled, what must be, and the rest.
struct Spoiled {
  index_t wrongly = 0;  ///< changed though nothing bad was read
  index_t hidden = 0;   ///< finite though the definition says otherwise
  index_t count = 0;    ///< not finite

  void see(float actual, float sound, bool may, bool must) {
    const bool finite = std::isfinite(actual);
    count += !finite;
    hidden += must && finite;
    wrongly += !may && !(actual == sound);
  }
  void check() const {
    CHECK(wrongly == 0);
    CHECK(hidden == 0);
    CHECK(count > 0);
  }
};

void check_images(const TensorView<const float>& actual, const std::vector<float>& sound,
                  const ConvGeometry& g, Form form, const Spot& spot) {
  // Sound elements are image after image, without gaps.
  const TensorView<const float> before(sound.data(), actual.batch, actual.channels, actual.height,
                                       actual.width, actual.layout);
  Spoiled spoiled;
  const index_t group = spot.channel / g.group_in_channels();
  for (index_t n = 0; n < actual.batch; ++n) {
    for (index_t m = 0; m < actual.channels; ++m) {
      const bool here = n == spot.image && m / g.group_out_channels() == group;
      for (index_t oy = 0; oy < actual.height; ++oy) {
        for (index_t ox = 0; ox < actual.width; ++ox) {
          spoiled.see(adr::reference::element(actual, n, m, oy, ox),
                      adr::reference::element(before, n, m, oy, ox),
                      here && reads(g, form, oy, ox, spot.y, spot.x),
                      here && reads(g, Form::direct, oy, ox, spot.y, spot.x));
        }
      }
    }
  }
  spoiled.check();
}

}  // namespace

TEST_CASE("What is not finite spoils the tiles or windows that hold it, and nothing else", "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    Run run(layer, data);
    const ConvGeometry& g = layer.geometry;
    run.passes(true);
    const auto& passes = run.convolution.passes();
    const auto y = adr_test::elements_of(run.c.y);
    const auto d_w = adr_test::elements_of(run.c.d_w);
    const auto d_x = adr_test::elements_of(run.c.d_x);
    const Matrix sound_d_w(run.c.d_w.view());
    for (const float bad : {k_nan, k_infinity, -k_infinity}) {
      INFO(Shown{g} << ", " << adr::exact::to_string(layer.form) << ", " << bad);
      const auto spot_in = [&](const TensorView<float>& images) {
        return Spot{data.between(0, k_batch - 1), data.between(0, images.channels - 1),
                    data.between(0, images.height - 1), data.between(0, images.width - 1)};
      };
      const TensorView<float> x = run.c.input_like(run.c.x);
      const TensorView<float> gradient = run.c.output_like(run.c.d_y);
      {
        const Spot spot = spot_in(x);
        float& place = adr::reference::element(x, spot.image, spot.channel, spot.y, spot.x);
        const float good = std::exchange(place, bad);
        run.passes(true);
        check_images(run.c.y_view(), y, g, passes.forward_form(), spot);
        // The weights that meet its channel, and in the direct form its pixel.
        Spoiled spoiled;
        const index_t channels = g.group_in_channels();
        for (index_t m = 0; m < g.out_channels; ++m) {
          for (index_t k = 0; k < g.columns(); ++k) {
            const index_t taps = g.kernel_height;
            const index_t channel = g.layout == Layout::nchw ? k / (taps * taps) : k % channels;
            const index_t tap = g.layout == Layout::nchw ? k % (taps * taps) : k / channels;
            const index_t oy = spot.y + g.pad_top - tap / taps;
            const index_t ox = spot.x + g.pad_left - tap % taps;
            const bool of_channel = m / g.group_out_channels() * channels + channel == spot.channel;
            const bool meets =
                of_channel && oy >= 0 && oy < g.out_height() && ox >= 0 && ox < g.out_width();
            const bool direct = passes.weight_gradient_form() == Form::direct;
            spoiled.see(run.c.d_w(m, k), static_cast<float>(sound_d_w(m, k)),
                        direct ? meets : of_channel, meets);
          }
        }
        spoiled.check();
        place = good;
      }
      {
        const Spot spot = spot_in(gradient);
        float& place = adr::reference::element(gradient, spot.image, spot.channel, spot.y, spot.x);
        const float good = std::exchange(place, bad);
        run.passes(true);
        check_images(run.c.d_x_view(), d_x, adr::flipped_convolution(g),
                     passes.input_gradient_form(), spot);
        for (index_t m = 0; m < g.out_channels; ++m) {
          if (m == spot.channel) continue;
          for (index_t k = 0; k < g.columns(); ++k) {
            REQUIRE(run.c.d_w(m, k) == static_cast<float>(sound_d_w(m, k)));
          }
        }
        CHECK_FALSE(all_finite(adr_test::elements_of(run.c.d_w)));
        place = good;
      }
      {
        const index_t filter = data.between(0, g.out_channels - 1);
        const index_t column = data.between(0, g.columns() - 1);
        const float good = std::exchange(run.c.w(filter, column), bad);
        run.passes(true);
        const TensorView<const float> before(y.data(), k_batch, g.out_channels, g.out_height(),
                                             g.out_width(), g.layout);
        bool spoiled = false;
        for (index_t n = 0; n < k_batch; ++n) {
          for (index_t m = 0; m < g.out_channels; ++m) {
            for (index_t oy = 0; oy < g.out_height(); ++oy) {
              for (index_t ox = 0; ox < g.out_width(); ++ox) {
                const float actual = adr::reference::element(run.c.y_view(), n, m, oy, ox);
                spoiled = spoiled || !std::isfinite(actual);
                if (m != filter) {
                  REQUIRE(actual == adr::reference::element(before, n, m, oy, ox));
                }
              }
            }
          }
        }
        CHECK(spoiled);
        CHECK_FALSE(all_finite(adr_test::elements_of(run.c.d_x)));
        run.c.w(filter, column) = good;
      }
      CHECK(run.c.damage() == "");
    }
    run.passes(true);
    CHECK(adr_test::same_bits(adr_test::elements_of(run.c.y), y));
    CHECK(adr_test::same_bits(adr_test::elements_of(run.c.d_w), d_w));
    CHECK(adr_test::same_bits(adr_test::elements_of(run.c.d_x), d_x));
  }
}

TEST_CASE("A rectified result is zero below zero and shows what is not a number, in every form",
          "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    Run run(layer, data);
    run.passes(true);
    const auto y = adr_test::elements_of(run.c.y);
    run.convolution.set_relu(true);
    run.passes(true);
    auto rectified = adr_test::elements_of(run.c.y);
    REQUIRE(rectified.size() == y.size());
    for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(rectified[i] == std::max(y[i], 0.0F));
    run.c.input_like(run.c.x).image(1)[0] = k_nan;
    run.passes(true);
    rectified = adr_test::elements_of(run.c.y);
    CHECK(std::any_of(rectified.begin(), rectified.end(), [](float e) { return std::isnan(e); }));
    CHECK(std::none_of(rectified.begin(), rectified.end(), [](float e) { return e < 0; }));
  }
}

TEST_CASE("Nothing beyond the operands is read, nor beyond the results written", "") {
  Data data;
  INFO(data);
  for (const Layer& layer : layers()) {
    INFO(Shown{layer.geometry} << ", " << adr::exact::to_string(layer.form));
    const ConvGeometry& g = layer.geometry;
    const index_t in = g.in_channels * g.in_height * g.in_width;
    const index_t out = g.out_channels * g.out_pixels();
    const auto x_data = data.normals<float>(k_batch * in);
    const auto d_y_data = data.normals<float>(k_batch * out);
    const auto w_data = data.normals<float>(g.out_channels * g.columns());
    const auto bias_data = data.normals<float>(g.out_channels);
    std::vector<float> sums;
    for (const Fence fence : {Fence::behind, Fence::before}) {
      const FencedArray<float> x(x_data, fence);
      const FencedArray<float> d_y(d_y_data, fence);
      const FencedArray<float> w(w_data, fence);
      const FencedArray<float> bias(bias_data, fence);
      FencedArray<float> y(k_batch * out, fence);
      FencedArray<float> d_x(k_batch * in, fence);
      FencedArray<float> d_w(g.out_channels * g.columns(), fence);
      const auto input = [&](auto* from) {
        return TensorView<std::remove_pointer_t<decltype(from)>>(from, k_batch, g.in_channels,
                                                                 g.in_height, g.in_width, g.layout);
      };
      const auto output = [&](auto* from) {
        return TensorView<std::remove_pointer_t<decltype(from)>>(
            from, k_batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
      };
      const MatrixView<const float> weights(w.data(), g.out_channels, g.columns());
      ExactConvolution<float> convolution(g, 1, adr_test::tiles(layer.winograd));
      convolution.forward(input(x.data()), weights, {bias.data(), g.out_channels},
                          output(y.data()));
      convolution.weight_gradient(input(x.data()), output(d_y.data()),
                                  {d_w.data(), g.out_channels, g.columns()});
      convolution.input_gradient(output(d_y.data()), weights, input(d_x.data()));
      std::vector<float> results(y.data(), y.data() + y.size());
      results.insert(results.end(), d_x.data(), d_x.data() + d_x.size());
      results.insert(results.end(), d_w.data(), d_w.data() + d_w.size());
      CHECK(all_finite(results));
      if (fence == Fence::behind) sums = results;
      // Where operands begin does not show either.
      CHECK(adr_test::same_bits(results, sums));
    }
  }
}
