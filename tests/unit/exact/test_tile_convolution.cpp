// Exact convolutions of every form against plain loops in double precision: shapes drawn at random
// so that every value of every parameter meets many others, and those at which blocks, panels,
// strips and streams begin.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "adr/exact/convolution_form.hpp"
#include "adr/exact/tile_algorithms.hpp"
#include "adr/exact/tile_forward.hpp"
#include "adr/nn/exact_convolution.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/exact_case.hpp"

using adr::ConvGeometry;
using adr::ExactConvolution;
using adr::index_t;
using adr::Layout;
using adr::TensorView;
using adr::VectorView;
using adr::exact::choose_form;
using adr::exact::Form;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Matrix;
using adr_test::PassErrors;
using adr_test::Placement;
using adr_test::Shown;
using adr_test::square_layer;
using adr_test::Start;

namespace {

constexpr int k_cases = adr_test::k_slow_build ? 6 : 60;

index_t products(const ConvGeometry& g, index_t batch) {
  return g.rows(batch) * g.columns() * g.out_channels;
}

/// The layout of large cases where builds are slow: either comes up.
Layout cases_layout(Form form) {
  return form == Form::tile_4x3 || form == Form::map_2x3 ? Layout::nhwc : Layout::nchw;
}

struct Drawn {
  ConvGeometry geometry;
  index_t batch;
  Placement at;
  bool with_bias;
  bool relu;
};

/// The i-th random layer whose forward pass has this form; channel counts go round, so that all of
/// them come up on either side.
Drawn draw(Form form, index_t i, Data& data) {
  constexpr index_t k_channels[] = {8, 9, 15, 16, 17, 31, 33, 48, 64, 100};
  constexpr index_t k_count = 10;
  constexpr index_t k_large[] = {17, 19, 23, 29, 37};
  // The least that 100 and 64 channels with 5 x 5 taps need for tiles is 640,000.
  constexpr index_t k_most_products = adr_test::k_slow_build ? 800'000 : 2'000'000;
  for (;;) {
    ConvGeometry g;
    const index_t taps =
        form == Form::tile_4x5 || (form == Form::direct && data.between(0, 1) == 1) ? 5 : 3;
    g.groups = data.between(1, 3);
    const index_t in = i % k_count;
    const index_t out = (in + 1 + (i / k_count + 3 * in) % (k_count - 1)) % k_count;
    g.in_channels = g.groups * k_channels[in];
    g.out_channels = g.groups * k_channels[out];
    g.set_kernel(taps);
    const auto size = [&] {
      return data.between(0, 9) == 0 ? k_large[data.between(0, 4)] : data.between(1, 13);
    };
    g.in_height = size();
    g.in_width = size();
    for (index_t* pad : {&g.pad_top, &g.pad_bottom, &g.pad_left, &g.pad_right}) {
      *pad = data.between(0, taps - 1);
    }
    if (form == Form::map_2x3) {
      g.in_height = g.in_width = 2;
      g.set_padding(1);
    }
    g.layout = data.between(0, 1) == 0 ? Layout::nchw : Layout::nhwc;
    constexpr index_t k_batches[] = {1, 2, 5};
    const index_t batch = k_batches[data.between(0, 2)];
    if (!g.validate().empty() || products(g, batch) > k_most_products) continue;
    if (choose_form<float>(g, adr_test::tiles(form != Form::direct)) != form) continue;
    constexpr index_t k_gaps[] = {0, 1, 7, 16};
    const Placement at = {k_gaps[data.between(0, 3)],
                          data.between(0, 1) == 0 ? Start::aligned : Start::misaligned};
    return {g, batch, at, data.between(0, 1) == 0, data.between(0, 3) == 0};
  }
}

template <class T>
void run(ExactConvolution<T>& convolution, ConvCase<T>& c, bool with_bias, bool relu) {
  convolution.set_relu(relu);
  convolution.forward(c.x_view(), c.w_view(), with_bias ? c.bias.vector() : VectorView<T>(),
                      c.y_view());
  convolution.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view());
  convolution.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view());
}

void expect_small(const char* pass, Form form, const PassErrors& errors) {
  INFO(pass << " by " << adr::exact::to_string(form));
  CHECK(errors.fault() == "");
  CHECK(errors.relative() <= adr_test::relative_limit(form));
}

/// Runs and checks all passes of a layer.
void check(const ConvGeometry& g, index_t batch, const Placement& at, bool with_bias, bool relu,
           bool winograd, Data& data, std::map<Form, int>* input_gradient_forms = nullptr) {
  INFO(Shown{g} << ", " << g.out_channels << " filters, batch " << batch << ", gap " << at.gap
                << (at.start == Start::misaligned ? ", misaligned" : "")
                << (with_bias ? ", bias" : "") << (relu ? ", relu" : ""));
  ConvCase<float> c(g, batch, data, at);
  ExactConvolution<float> convolution(g, 1, adr_test::tiles(winograd));
  run(convolution, c, with_bias, relu);
  const auto& passes = convolution.passes();
  expect_small("forward", passes.forward_form(),
               adr_test::forward_errors(c, passes.forward_form(), with_bias, relu));
  expect_small("weight gradient", passes.weight_gradient_form(),
               adr_test::weight_gradient_errors(c, passes.weight_gradient_form()));
  expect_small("input gradient", passes.input_gradient_form(),
               adr_test::input_gradient_errors(c, passes.input_gradient_form()));
  CHECK(c.damage() == "");
  if (input_gradient_forms != nullptr) ++(*input_gradient_forms)[passes.input_gradient_form()];
}

/// Whether the algorithm is a correlation in one dimension, and its adjoints are transposes.
template <class A>
void check_algorithm() {
  INFO(A::name);
  const adr_test::TileMatrices<A> m;
  constexpr double k_rounded_constants = 1e-5;
  for (index_t i = 0; i < A::outputs; ++i) {
    for (index_t j = 0; j < A::inputs; ++j) {
      for (index_t k = 0; k < A::taps; ++k) {
        double coefficient = 0;
        for (index_t p = 0; p < A::products; ++p) {
          coefficient += m.output(i, p) * m.weights(p, k) * m.input(p, j);
        }
        // The map of two pixels begins one pixel behind its padding.
        const index_t from = A::whole_map ? i + k - 1 : i + k;
        CHECK(std::abs(coefficient - (from == j ? 1.0 : 0.0)) < k_rounded_constants);
      }
    }
  }
  const auto is_transpose = [](const Matrix& a, const Matrix& b) {
    REQUIRE(a.rows == b.cols);
    REQUIRE(a.cols == b.rows);
    for (index_t i = 0; i < a.rows; ++i) {
      for (index_t j = 0; j < a.cols; ++j) CHECK(std::abs(a(i, j) - b(j, i)) < 1e-6);
    }
  };
  is_transpose(m.output, m.output_gradient);
  is_transpose(m.weights, m.weight_gradient);
}

}  // namespace

TEST_CASE("The algorithms of tiles are correlations and their adjoints", "") {
  check_algorithm<adr::exact::Tile4x3>();
  check_algorithm<adr::exact::Tile4x5>();
  check_algorithm<adr::exact::Tile2x3>();
  check_algorithm<adr::exact::Map2x3>();
}

TEST_CASE("Exact passes of random layers are the convolution and its gradients", "") {
  Data data;
  INFO(data);
  std::map<Form, int> input_gradient_forms;
  for (const Form form :
       {Form::tile_4x3, Form::tile_2x3, Form::tile_4x5, Form::map_2x3, Form::direct}) {
    const int cases = form == Form::map_2x3 || form == Form::direct ? k_cases / 2 : k_cases;
    for (int i = 0; i < cases; ++i) {
      const Drawn drawn = draw(form, i, data);
      check(drawn.geometry, drawn.batch, drawn.at, drawn.with_bias, drawn.relu,
            form != Form::direct, data, &input_gradient_forms);
    }
  }
  // The input gradient has the form of another geometry, so nothing was drawn for it.
  for (const Form form : {Form::tile_4x3, Form::tile_2x3, Form::tile_4x5, Form::map_2x3}) {
    CHECK(input_gradient_forms[form] > 0);
  }
}

TEST_CASE("Exact passes where blocks, panels and sums are cut", "") {
  Data data;
  INFO(data);
  struct Large {
    const char* why;
    ConvGeometry geometry;
    index_t batch;
    Form form;
  };
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    const Large cases[] = {
        {"several blocks of tiles", square_layer(8, 61, 57, 8, 3, 1, layout), 2, Form::tile_4x3},
        {"sums in parts", square_layer(5, 97, 103, 6, 3, 1, layout), 2, Form::tile_4x3},
        {"sums of 5 x 5 in parts", square_layer(40, 70, 82, 3, 5, 2, layout), 3, Form::tile_4x5},
        {"several blocks of small tiles", square_layer(8, 6, 6, 9, 3, 1, layout), 31,
         Form::tile_2x3},
        {"several blocks of maps", square_layer(17, 2, 2, 33, 3, 1, layout), 211, Form::map_2x3},
        {"several blocks of 5 x 5", square_layer(9, 33, 39, 8, 5, 2, layout), 3, Form::tile_4x5},
        {"depths that a panel does not hold", square_layer(1030, 4, 4, 9, 3, 1, layout), 2,
         Form::tile_4x3},
        {"the same of the output gradient", square_layer(9, 4, 4, 1030, 3, 1, layout), 2,
         Form::tile_4x3},
        {"strips of filters on one block", square_layer(16, 4, 3, 1040, 5, 2, layout), 2,
         Form::tile_4x5},
        {"images without a pixel between borders", square_layer(12, 1, 1, 10, 3, 2, layout), 3,
         Form::tile_4x3}};
    for (const Large& large : cases) {
      if (adr_test::k_slow_build && layout != cases_layout(large.form)) continue;
      INFO(large.why);
      REQUIRE(choose_form<float>(large.geometry, adr_test::tiles(true)) == large.form);
      check(large.geometry, large.batch, {4, Start::misaligned}, true, false, true, data);
    }
  }
}

TEST_CASE("Weight gradients of several strips and blocks", "") {
  // Too large for plain loops over everything: some filters are compared.
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    if (adr_test::k_slow_build && layout == Layout::nhwc) continue;
    const ConvGeometry g = square_layer(12, 2, 2, 2605, 5, 2, layout);
    REQUIRE(choose_form<float>(g, adr_test::tiles(true)) == Form::tile_4x5);
    constexpr index_t k_batch = 203;
    ConvCase<float> c(g, k_batch, data);
    ExactConvolution<float> convolution(g, 1, adr_test::tiles(true));
    convolution.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view());
    PassErrors errors;
    for (const index_t filter : {0, 15, 16, 1023, 1024, 2000, 2591, 2592, 2604}) {
      for (index_t channel = 0; channel < g.in_channels; ++channel) {
        for (index_t ky = 0; ky < 5; ++ky) {
          for (index_t kx = 0; kx < 5; ++kx) {
            double sum = 0;
            for (index_t n = 0; n < k_batch; ++n) {
              for (index_t oy = 0; oy < 2; ++oy) {
                for (index_t ox = 0; ox < 2; ++ox) {
                  const index_t y = oy + ky - 2;
                  const index_t x = ox + kx - 2;
                  if (y < 0 || y >= 2 || x < 0 || x >= 2) continue;
                  sum +=
                      static_cast<double>(adr::reference::element(c.x_view(), n, channel, y, x)) *
                      static_cast<double>(adr::reference::element(c.d_y_view(), n, filter, oy, ox));
                }
              }
            }
            const index_t k = adr_test::tap_place(layout, g.in_channels, 5, channel, ky, kx);
            // Far below any sum of hundreds of products, far above their rounding.
            errors.add(static_cast<double>(c.d_w(filter, k)), sum, 0.01);
          }
        }
      }
    }
    expect_small("weight gradient", Form::tile_4x5, errors);
    CHECK(c.damage() == "");
  }
}

TEST_CASE("Results that go past the caches are those of smaller batches", "") {
  Data data;
  INFO(data);
  struct Streamed {
    index_t groups;
    Placement at;
    bool relu;
  };
  // Aligned pixels are streamed, others are not.
  for (const auto& [groups, at, relu] :
       {Streamed{1, {}, true}, Streamed{1, {16, Start::aligned}, false},
        Streamed{1, {5, Start::aligned}, false}, Streamed{2, {}, false}}) {
    if (adr_test::k_slow_build && !relu) continue;
    ConvGeometry g = square_layer(8 * groups, 37, 41, 64 * groups, 3, 1, Layout::nhwc);
    g.groups = groups;
    const index_t batch = 26 / groups;
    INFO(groups << " groups, gap " << at.gap);
    ConvCase<float> c(g, batch, data, at);
    REQUIRE(batch * g.out_channels * g.out_pixels() * 4 > (8 << 20));
    ExactConvolution<float> convolution(g, 1, adr_test::tiles(true));
    convolution.set_relu(relu);
    const auto x = c.x_view();
    const auto y = c.y_view();
    convolution.forward(x, c.w_view(), c.bias.vector(), y);
    const std::vector<float> whole = adr_test::elements_of(c.y);
    const index_t part = batch / 2 + 1;
    for (index_t n = 0; n < batch; n += part) {
      const index_t some = std::min(part, batch - n);
      convolution.forward(
          {x.image(n), some, x.channels, x.height, x.width, x.layout, x.image_stride}, c.w_view(),
          c.bias.vector(),
          {y.image(n), some, y.channels, y.height, y.width, y.layout, y.image_stride});
    }
    CHECK(adr_test::same_bits(adr_test::elements_of(c.y), whole));
    CHECK(c.damage() == "");
    // One image is enough for plain loops.
    ConvCase<float> last(g, 1, data, at);
    std::copy_n(x.image(batch - 1), x.image_size(), last.x.data());
    std::copy_n(y.image(batch - 1), y.image_size(), last.y.data());
    std::copy_n(c.bias.data(), g.out_channels, last.bias.data());
    for (index_t m = 0; m < g.out_channels; ++m) {
      std::copy_n(c.w.view().row(m), g.columns(), last.w.view().row(m));
    }
    expect_small("forward", Form::tile_4x3,
                 adr_test::forward_errors(last, Form::tile_4x3, true, relu));
  }
}

TEST_CASE("No image is no output and a weight gradient of zero", "") {
  Data data;
  INFO(data);
  for (const Form form :
       {Form::tile_4x3, Form::tile_2x3, Form::tile_4x5, Form::map_2x3, Form::direct}) {
    const Drawn drawn = draw(form, 3, data);
    INFO(Shown{drawn.geometry});
    ConvCase<float> c(drawn.geometry, 0, data, {3, Start::misaligned});
    ExactConvolution<float> convolution(drawn.geometry, 1, adr_test::tiles(form != Form::direct));
    run(convolution, c, true, false);
    for (const float element : adr_test::elements_of(c.d_w)) REQUIRE(element == 0);
    CHECK(c.damage() == "");
    const TensorView<const float> x(nullptr, 0, c.x_view().channels, c.x_view().height,
                                    c.x_view().width, c.x_view().layout);
    const TensorView<float> y(nullptr, 0, c.y_view().channels, c.y_view().height, c.y_view().width,
                              c.y_view().layout);
    convolution.forward(x, c.w_view(), {}, y);
  }
}

TEST_CASE("Weights are read where they lie, whatever their rows' stride", "") {
  Data data;
  INFO(data);
  for (const Form form : {Form::tile_4x3, Form::tile_2x3, Form::tile_4x5, Form::map_2x3}) {
    const Drawn drawn = draw(form, data.between(0, 9), data);
    INFO(Shown{drawn.geometry});
    ConvCase<float> narrow(drawn.geometry, 2, data);
    ConvCase<float> wide(drawn.geometry, 2, data, {37, Start::misaligned});
    for (auto member : {&ConvCase<float>::x, &ConvCase<float>::w, &ConvCase<float>::bias,
                        &ConvCase<float>::d_y}) {
      for (index_t i = 0; i < (narrow.*member).view().rows; ++i) {
        std::copy_n((narrow.*member).view().row(i), (narrow.*member).view().cols,
                    (wide.*member).view().row(i));
      }
    }
    ExactConvolution<float> convolution(drawn.geometry, 1, adr_test::tiles(true));
    run(convolution, narrow, true, false);
    run(convolution, wide, true, false);
    CHECK(adr_test::same_bits(adr_test::elements_of(narrow.y), adr_test::elements_of(wide.y)));
    CHECK(adr_test::same_bits(adr_test::elements_of(narrow.d_w), adr_test::elements_of(wide.d_w)));
    CHECK(adr_test::same_bits(adr_test::elements_of(narrow.d_x), adr_test::elements_of(wide.d_x)));
  }
}

TEST_CASE("A pass over a list of tiles writes those tiles and no others", "") {
  Data data;
  INFO(data);
  namespace exact = adr::exact;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const auto& [form, size, taps] :
         {std::tuple<Form, index_t, index_t>{Form::tile_4x3, 22, 3},
          {Form::tile_2x3, 6, 3},
          {Form::map_2x3, 2, 3},
          {Form::tile_4x5, 19, 5}}) {
      const ConvGeometry g = square_layer(9, size, size, 20, taps, taps / 2, layout);
      REQUIRE(choose_form<float>(g, adr_test::tiles(true)) == form);
      constexpr index_t k_batch = adr_test::k_slow_build ? 11 : 40;
      ConvCase<float> c(g, k_batch, data, {3, Start::misaligned});
      ExactConvolution<float> convolution(g, 1, adr_test::tiles(true));
      convolution.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
      const std::vector<float> whole = adr_test::elements_of(c.y);
      constexpr float k_untouched = 12345;
      for (const int threads : {1, 3}) {
        INFO(Shown{g} << ", threads " << threads);
        for (index_t n = 0; n < c.batch; ++n) {
          std::fill_n(c.y.view().row(n), c.y.view().cols, k_untouched);
        }
        exact::with_algorithm<float>(form, [&](auto algorithm) {
          using Algorithm = decltype(algorithm);
          const auto grid = exact::tile_grid<Algorithm>(g);
          std::vector<index_t> tiles;
          for (index_t tile = 0; tile < k_batch * grid.per_image(); ++tile) {
            if (data.between(0, 2) > 0) tiles.push_back(tile);
          }
          const exact::GroupImages<const float> x = {c.x_view(), 0, g.in_channels};
          const exact::GroupImages<float> y = {c.y_view(), 0, g.out_channels};
          const exact::Filters<const float> filters = {c.w_view(), g.in_channels, layout};
          const exact::Finish<float> finish = {c.bias.data(), false, false};
          const exact::TileForward<Algorithm, float> pass(
              grid, {tiles.data(), static_cast<index_t>(tiles.size())}, x, filters,
              exact::WeightUse::forward, finish, y, threads);
          adr::Context context(threads);
          context.workspace().reserve(pass.workspace_bytes(false));
          pass.run(context);
          const TensorView<const float> all(whole.data(), c.batch, g.out_channels, g.out_height(),
                                            g.out_width(), layout);
          index_t wrong = 0;
          for (index_t n = 0; n < c.batch; ++n) {
            for (index_t m = 0; m < g.out_channels; ++m) {
              for (index_t oy = 0; oy < g.out_height(); ++oy) {
                for (index_t ox = 0; ox < g.out_width(); ++ox) {
                  const index_t tile =
                      (n * grid.rows + oy / grid.step) * grid.columns + ox / grid.step;
                  const bool listed = std::binary_search(tiles.begin(), tiles.end(), tile);
                  const float expected =
                      listed ? adr::reference::element(all, n, m, oy, ox) : k_untouched;
                  wrong += adr::reference::element(c.y_view(), n, m, oy, ox) != expected;
                }
              }
            }
          }
          CHECK(wrong == 0);
        });
        CHECK(c.damage() == "");
      }
    }
  }
}
