// What must not show in the results of an exact convolution: the number of threads, whether weights
// were transformed in advance; and what passes take from the machine: no allocation in the steady
// state, just the scratch that they announce.
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/nn/exact_convolution.hpp"
#include "property/layer_cases.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/exact_case.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::ExactConvolution;
using adr::index_t;
using adr::Layout;
using adr::VectorView;
using adr::exact::ConvolutionPasses;
using adr::exact::Form;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Shown;

namespace {

struct Layer {
  ConvGeometry geometry;
  index_t batch;
  bool winograd = true;
};

Layer layer(index_t batch, index_t in_channels, index_t height, index_t width, index_t out_channels,
            index_t kernel, index_t padding, index_t groups = 1, bool winograd = true) {
  ConvGeometry g = adr_test::square_layer(in_channels, height, width, out_channels, kernel, padding,
                                          Layout::nhwc);
  g.groups = groups;
  return {g, batch, winograd};
}

/// Layers of every form in both layouts: with many tiles, whose blocks are shared out; with many
/// panels and few tiles, whose panels are; in between, where it depends on the number of threads;
/// and with so many tiles that weight gradients are summed in parts.
std::vector<Layer> layers() {
  std::vector<Layer> all;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    int turn = layout == Layout::nhwc;
    for (Layer one : {layer(2, 8, 45, 47, 16, 3, 1),
                      layer(3, 16, 25, 29, 100, 3, 1),
                      layer(1, 40, 9, 11, 200, 3, 0),
                      layer(2, 300, 7, 7, 24, 3, 2),
                      layer(4, 16, 15, 13, 34, 3, 1, 2),
                      layer(30, 9, 6, 6, 20, 3, 1),
                      layer(3, 24, 6, 5, 170, 3, 1),
                      layer(200, 12, 2, 2, 16, 3, 1),
                      layer(7, 33, 2, 2, 260, 3, 1),
                      layer(9, 10, 17, 19, 12, 5, 2),
                      layer(2, 31, 9, 8, 150, 5, 2),
                      layer(1, 16, 61, 47, 300, 3, 1),
                      layer(2, 5, 97, 103, 6, 3, 1),
                      layer(2, 64, 89, 98, 61, 3, 1),
                      layer(3, 40, 70, 82, 30, 5, 2),
                      layer(5, 24, 12, 12, 48, 5, 1, 3),
                      layer(3, 12, 13, 12, 40, 3, 1, 1, false),
                      layer(2, 6, 9, 9, 40, 5, 2, 2, false),
                      layer(2, 40, 4, 4, 300, 3, 1, 1, false),
                      layer(5, 160, 3, 3, 130, 3, 1, 1, false)}) {
      // Where builds are slow each of them has one layout.
      if (adr_test::k_slow_build && turn++ % 2 != 0) continue;
      one.geometry.layout = layout;
      all.push_back(one);
    }
  }
  return all;
}

/// For what does not depend on the instructions, and is no matter of memory: where builds are slow
/// every third of the layers.
std::vector<Layer> few_layers() {
  const std::vector<Layer> all = layers();
  std::vector<Layer> few;
  for (std::size_t i = 0; i < all.size(); i += adr_test::k_slow_build ? 3 : 1) {
    few.push_back(all[i]);
  }
  return few;
}

/// These numbers of threads; where builds are slow the last one alone.
std::vector<int> thread_counts(std::vector<int> all) {
  if (adr_test::k_slow_build) all.erase(all.begin(), all.end() - 1);
  return all;
}

template <class T>
void run(const ConvolutionPasses<T>& passes, ConvCase<T>& c, Context& context,
         const T* kept = nullptr) {
  passes.forward(c.x_view(), c.w_view(), c.bias.vector(), true, c.y_view(), context, kept);
  passes.weight_gradient(c.x_view(), c.d_y_view(), c.d_w.view(), context);
  passes.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view(), context);
}

}  // namespace

TEST_CASE("Exact passes have the same bits for any number of threads", "") {
  Data data;
  INFO(data);
  std::vector<int> forms(5);
  for (const Layer& one : layers()) {
    ConvCase<float> c(one.geometry, one.batch, data, {3, adr_test::Start::misaligned});
    const ConvolutionPasses<float> passes(one.geometry, adr_test::tiles(one.winograd));
    for (const Form form : {passes.forward_form(), passes.input_gradient_form()}) {
      ++forms[static_cast<std::size_t>(form)];
    }
    std::vector<float> y, d_w, d_x;
    std::vector<int> counts = thread_counts({2, 3, 4, 7});
    counts.insert(counts.begin(), 1);
    for (const int threads : counts) {
      INFO(Shown{one.geometry} << ", " << one.geometry.out_channels << " filters, batch "
                               << one.batch << ", threads " << threads);
      Context context(threads);
      run(passes, c, context);
      if (threads == 1) {
        y = adr_test::elements_of(c.y);
        d_w = adr_test::elements_of(c.d_w);
        d_x = adr_test::elements_of(c.d_x);
      }
      CHECK(adr_test::same_bits(adr_test::elements_of(c.y), y));
      CHECK(adr_test::same_bits(adr_test::elements_of(c.d_w), d_w));
      CHECK(adr_test::same_bits(adr_test::elements_of(c.d_x), d_x));
      CHECK(c.damage() == "");
    }
  }
  for (const int count : forms) CHECK(count > 0);
}

TEST_CASE("Doubles have the same bits for any number of threads", "") {
  Data data;
  INFO(data);
  const Layer one = layer(3, 12, 9, 7, 20, 3, 1, 2);
  ConvCase<double> c(one.geometry, one.batch, data);
  std::vector<double> y, d_w, d_x;
  for (const int threads : {1, 2, 3, 7}) {
    Context context(threads);
    run(ConvolutionPasses<double>(one.geometry), c, context);
    if (threads == 1) {
      y = adr_test::elements_of(c.y);
      d_w = adr_test::elements_of(c.d_w);
      d_x = adr_test::elements_of(c.d_x);
    }
    CHECK(adr_test::same_bits(adr_test::elements_of(c.y), y));
    CHECK(adr_test::same_bits(adr_test::elements_of(c.d_w), d_w));
    CHECK(adr_test::same_bits(adr_test::elements_of(c.d_x), d_x));
  }
}

TEST_CASE("An image has the same bits in every batch", "") {
  Data data;
  INFO(data);
  for (const Layer& one : layers()) {
    if (!one.winograd || one.batch < 3) continue;
    INFO(Shown{one.geometry});
    const ConvolutionPasses<float> passes(one.geometry, adr_test::tiles(true));
    ConvCase<float> many(one.geometry, one.batch, data);
    ConvCase<float> single(one.geometry, 1, data);
    const index_t place = one.batch - 2;
    std::copy_n(many.x_view().image(place), many.x_view().image_size(), single.x.data());
    std::copy_n(many.d_y_view().image(place), many.d_y_view().image_size(), single.d_y.data());
    std::copy_n(many.bias.data(), one.geometry.out_channels, single.bias.data());
    for (index_t m = 0; m < one.geometry.out_channels; ++m) {
      std::copy_n(many.w.view().row(m), many.w.view().cols, single.w.view().row(m));
    }
    Context context(2);
    run(passes, many, context);
    run(passes, single, context);
    const auto y = many.y_view();
    CHECK(adr_test::same_bits(std::vector<float>(y.image(place), y.image(place) + y.image_size()),
                              adr_test::elements_of(single.y)));
    const auto d_x = many.d_x_view();
    if (passes.input_gradient_form() != Form::direct) {
      CHECK(adr_test::same_bits(
          std::vector<float>(d_x.image(place), d_x.image(place) + d_x.image_size()),
          adr_test::elements_of(single.d_x)));
    }
  }
}

TEST_CASE("Kept weights give the bits of fresh ones until they are forgotten", "") {
  Data data;
  INFO(data);
  for (const Layer& one : few_layers()) {
    for (const int threads : thread_counts({1, 3})) {
      INFO(Shown{one.geometry} << ", threads " << threads);
      ConvCase<float> c(one.geometry, one.batch, data, {2, adr_test::Start::misaligned});
      ExactConvolution<float> convolution(one.geometry, threads, adr_test::tiles(one.winograd));
      const bool tiles = convolution.passes().forward_form() != Form::direct;
      CHECK((convolution.passes().kept_size() > 0) == tiles);
      const auto forward = [&] {
        convolution.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
        return adr_test::elements_of(c.y);
      };
      const auto input_gradient = [&] {
        convolution.input_gradient(c.d_y_view(), c.w_view(), c.d_x_view());
        return adr_test::elements_of(c.d_x);
      };
      const std::vector<float> first = forward();
      const std::vector<float> first_gradient = input_gradient();
      convolution.keep_weights(c.w_view());
      CHECK(adr_test::same_bits(forward(), first));
      CHECK(adr_test::same_bits(input_gradient(), first_gradient));

      data.fill_normal(c.w.view());
      const std::vector<float> kept = forward();
      const std::vector<float> second_gradient = input_gradient();
      CHECK_FALSE(adr_test::same_bits(second_gradient, first_gradient));
      convolution.forget_weights();
      const std::vector<float> second = forward();
      CHECK_FALSE(adr_test::same_bits(second, first));
      // Direct forms keep nothing and go on reading what they are given.
      CHECK(adr_test::same_bits(kept, tiles ? first : second));
      convolution.keep_weights(c.w_view());
      CHECK(adr_test::same_bits(forward(), second));
      CHECK(c.damage() == "");
    }
  }
}

TEST_CASE("Kept weights of maps of 2 x 2 serve a single image", "") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = adr_test::square_layer(40, 2, 2, 70, 3, 1, layout);
    for (const index_t batch : {1, 3}) {
      const ConvolutionPasses<float> passes(g);
      REQUIRE(passes.forward_form(batch) == Form::direct);
      REQUIRE(passes.forward_form(batch, true) == Form::map_2x3);
      ConvCase<float> c(g, batch, data);
      ExactConvolution<float> convolution(g, 1);
      ExactConvolution<float> on_tiles(g, 1, adr::exact::Winograd::wherever_possible);
      on_tiles.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
      const std::vector<float> expected = adr_test::elements_of(c.y);
      convolution.keep_weights(c.w_view());
      data.fill_normal(c.w.view());
      convolution.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
      CHECK(adr_test::same_bits(adr_test::elements_of(c.y), expected));
    }
  }
}

TEST_CASE("Exact convolutions allocate nothing in the steady state", "") {
  Data data;
  for (const Layer& one : few_layers()) {
    for (const int threads : thread_counts({1, 2})) {
      INFO(Shown{one.geometry} << ", threads " << threads);
      ConvCase<float> c(one.geometry, one.batch, data);
      ConvCase<float> smaller(one.geometry, 1, data);
      ExactConvolution<float> convolution(one.geometry, threads, adr_test::tiles(one.winograd));
      const auto all = [&](ConvCase<float>& some) {
        convolution.forward(some.x_view(), some.w_view(), some.bias.vector(), some.y_view());
        convolution.weight_gradient(some.x_view(), some.d_y_view(), some.d_w.view());
        convolution.input_gradient(some.d_y_view(), some.w_view(), some.d_x_view());
        convolution.keep_weights(some.w_view());
        convolution.forward(some.x_view(), some.w_view(), some.bias.vector(), some.y_view());
        convolution.forget_weights();
      };
      // A thread that had no task so far makes its memory with its first one.
      const auto becomes_steady = [](const auto& passes) {
        for (int i = 0; i < 20; ++i) {
          const long before = adr_test::allocations;
          passes();
          if (adr_test::allocations == before) return true;
        }
        return false;
      };
      all(c);
      CHECK(becomes_steady([&] { all(c); }));
      // A batch of one may be cut into other blocks, so it grows once.
      CHECK(becomes_steady([&] {
        all(c);
        all(smaller);
      }));
    }
  }
}

TEST_CASE("Exact passes take just the scratch that they announce", "") {
  Data data;
  for (const Layer& one : layers()) {
    for (const index_t batch : {index_t{0}, index_t{1}, one.batch}) {
      for (const int threads : {1, 2, 5}) {
        // Where builds are slow, a single image has one thread and a batch five.
        if (adr_test::k_slow_build && batch > 0 && threads != (batch == 1 ? 1 : 5)) continue;
        INFO(Shown{one.geometry} << ", " << one.geometry.out_channels << " filters, batch " << batch
                                 << ", threads " << threads);
        ConvCase<float> c(one.geometry, batch, data);
        const ConvolutionPasses<float> passes(one.geometry, adr_test::tiles(one.winograd));
        // What a look for equal tiles takes is announced, and taken only by passes that look.
        ConvolutionPasses<float> plain = passes;
        plain.set_look(adr::exact::Look::never);
        Context context(threads);
        run(plain, c, context);
        CHECK(context.workspace().peak_bytes() == plain.workspace_bytes(batch, threads));
        CHECK(plain.workspace_bytes(batch, threads) <= passes.workspace_bytes(batch, threads));
        CHECK(ExactConvolution<float>(one.geometry, threads, adr_test::tiles(one.winograd))
                  .workspace_bytes(batch) == passes.workspace_bytes(batch, threads));
        // With weights transformed in advance a forward pass takes no more.
        std::vector<float> kept(static_cast<std::size_t>(passes.kept_size()));
        passes.keep_weights(c.w_view(), kept.data(), threads);
        Context second(threads);
        passes.forward(c.x_view(), c.w_view(), {}, false, c.y_view(), second, kept.data());
        CHECK(second.workspace().peak_bytes() <= passes.workspace_bytes(batch, threads));
      }
    }
  }
}

TEST_CASE("The layers of the networks take at most 16 MB of scratch for a thread", "") {
  const std::string file = __FILE__;
  const std::string root = file.substr(0, file.rfind("tests/unit/exact"));
  int layers_on_tiles = 0;
  for (const char* network :
       {"alexnet-224", "alexnet", "cifarnet", "direct", "vgg19-224", "vgg19"}) {
    std::ifstream lines(root + "bench/shapes/" + network + ".txt");
    REQUIRE(lines.is_open());
    std::string line;
    while (std::getline(lines, line)) {
      std::istringstream fields(line);
      std::string name;
      ConvGeometry g;
      index_t kernel = 0;
      index_t stride = 0;
      index_t padding = 0;
      if (!(fields >> name) || name[0] == '#') continue;
      REQUIRE(fields >> g.in_channels >> g.in_height >> g.in_width >> g.out_channels >> kernel >>
              stride >> padding >> g.groups);
      g.set_kernel(kernel);
      g.set_stride(stride);
      g.set_padding(padding);
      for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
        g.layout = layout;
        const ConvolutionPasses<float> passes(g);
        layers_on_tiles += passes.forward_form() != Form::direct;
        for (const index_t batch : {1, 2, 16, 64, 128}) {
          for (const int threads : {1, 2, 4, 16}) {
            INFO(network << " " << name << ", " << Shown{g} << ", batch " << batch << ", threads "
                         << threads);
            CHECK(passes.workspace_bytes(batch, threads) <=
                  (std::size_t{16} << 20) * static_cast<std::size_t>(threads));
          }
        }
      }
    }
  }
  CHECK(layers_on_tiles > 60);
}
