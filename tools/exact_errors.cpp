// adr-exact-errors: how far the exact passes of convolutions are from double precision, by form and
// pass, as the table of docs/numerics.md. On random data, and on the tensors of a trained network
// where ADR_SNAPSHOTS names a folder of them (tests/README.md).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/nn/exact_convolution.hpp"
#include "support/npy_tensor.hpp"

using adr::ConvGeometry;
using adr::ExactConvolution;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::exact::Form;

namespace {

/// The operands of the passes of one layer.
struct Operands {
  std::string data;
  ConvGeometry geometry;
  index_t batch = 0;
  std::vector<float> x, w, d_y;
};

template <class T>
struct Results {
  std::vector<T> y, d_x, d_w;
};

template <class T>
std::vector<T> converted(const std::vector<float>& elements) {
  return std::vector<T>(elements.begin(), elements.end());
}

/// All passes, computed in T.
template <class T>
Results<T> passes(ExactConvolution<T>& convolution, const Operands& o) {
  const ConvGeometry& g = o.geometry;
  const auto input = [&](auto* data) {
    return TensorView<std::remove_pointer_t<decltype(data)>>(data, o.batch, g.in_channels,
                                                             g.in_height, g.in_width, g.layout);
  };
  const auto output = [&](auto* data) {
    return TensorView<std::remove_pointer_t<decltype(data)>>(
        data, o.batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
  };
  const std::vector<T> x = converted<T>(o.x);
  const std::vector<T> w = converted<T>(o.w);
  const std::vector<T> d_y = converted<T>(o.d_y);
  Results<T> r = {std::vector<T>(d_y.size()), std::vector<T>(x.size()), std::vector<T>(w.size())};
  const MatrixView<const T> weights(w.data(), g.out_channels, g.columns());
  convolution.forward(input(x.data()), weights, {}, output(r.y.data()));
  convolution.input_gradient(output(d_y.data()), weights, input(r.d_x.data()));
  convolution.weight_gradient(input(x.data()), output(d_y.data()),
                              {r.d_w.data(), g.out_channels, g.columns()});
  return r;
}

/// Errors over the root mean square of the results.
struct Errors {
  double root_mean_square = 0;
  double largest = 0;
};

Errors errors_of(const std::vector<float>& actual, const std::vector<double>& expected) {
  double squares = 0;
  double error_squares = 0;
  Errors errors;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    squares += expected[i] * expected[i];
    error_squares += error * error;
    errors.largest = std::max(errors.largest, error);
  }
  errors.root_mean_square = std::sqrt(error_squares / squares);
  errors.largest /= std::sqrt(squares / static_cast<double>(expected.size()));
  return errors;
}

void print_row(const Operands& o, const char* pass, Form form, const Errors& tiles,
               const Errors& direct) {
  const ConvGeometry& g = o.geometry;
  std::printf(
      "| %s | %lld x %lld -> %lld at %lld, %lldx%lld | %s | %s | %.1e / %.1e | %.1e / %.1e |\n",
      o.data.c_str(), static_cast<long long>(o.batch), static_cast<long long>(g.in_channels),
      static_cast<long long>(g.out_channels), static_cast<long long>(g.in_height),
      static_cast<long long>(g.kernel_height), static_cast<long long>(g.kernel_width), pass,
      adr::exact::to_string(form), tiles.root_mean_square, tiles.largest, direct.root_mean_square,
      direct.largest);
}

void print_rows(const Operands& o) {
  ExactConvolution<float> tiles(o.geometry);
  ExactConvolution<float> direct(o.geometry, 1, false);
  // Doubles are computed by direct forms.
  ExactConvolution<double> reference(o.geometry);
  const Results<double> expected = passes(reference, o);
  const Results<float> fast = passes(tiles, o);
  const Results<float> plain = passes(direct, o);
  print_row(o, "forward", tiles.passes().forward_form(), errors_of(fast.y, expected.y),
            errors_of(plain.y, expected.y));
  print_row(o, "input gradient", tiles.passes().input_gradient_form(),
            errors_of(fast.d_x, expected.d_x), errors_of(plain.d_x, expected.d_x));
  print_row(o, "weight gradient", tiles.passes().weight_gradient_form(),
            errors_of(fast.d_w, expected.d_w), errors_of(plain.d_w, expected.d_w));
}

Operands random_layer(index_t batch, index_t channels, index_t size, index_t kernel,
                      bool rectified) {
  Operands o;
  o.data = rectified ? "rectified" : "normal";
  o.batch = batch;
  ConvGeometry& g = o.geometry;
  g.in_channels = g.out_channels = channels;
  g.in_height = g.in_width = size;
  g.set_kernel(kernel);
  g.set_padding(kernel / 2);
  g.layout = Layout::nhwc;
  adr::Random random(1);
  const auto normals = [&](index_t count) {
    std::vector<float> elements(static_cast<std::size_t>(count));
    for (float& element : elements) element = static_cast<float>(random.normal());
    return elements;
  };
  o.x = normals(batch * g.in_channels * size * size);
  o.w = normals(g.out_channels * g.columns());
  o.d_y = normals(batch * g.out_channels * g.out_pixels());
  if (rectified) {
    // What a rectifier passes on, and the gradient of where it did.
    const std::vector<float> before = normals(static_cast<index_t>(o.d_y.size()));
    for (float& element : o.x) element = std::max(element, 0.0F);
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (before[i] < 0) o.d_y[i] = 0;
    }
  }
  return o;
}

Operands snapshot(const std::string& folder, const std::string& moment) {
  const auto read = [&](const char* name) {
    return tools::read_npy(folder + "/" + moment + "/conv2_" + name + ".npy");
  };
  tools::NpyTensor x = read("input");
  tools::NpyTensor w = read("weight");
  tools::NpyTensor d_y = read("output_gradient");
  Operands o;
  o.data = moment + " snapshot";
  o.batch = x.shape[0];
  ConvGeometry& g = o.geometry;
  g.in_channels = x.shape[1];
  g.in_height = x.shape[2];
  g.in_width = x.shape[3];
  g.out_channels = w.shape[0];
  g.set_kernel(w.shape[2]);
  g.set_padding(w.shape[2] / 2);
  o.x = std::move(x.elements);
  o.w = std::move(w.elements);
  o.d_y = std::move(d_y.elements);
  return o;
}

void run(bool quick) {
  std::printf("| data | layer | pass | form | errors: RMS / largest | direct: RMS / largest |\n");
  std::printf("|---|---|---|---|---|---|\n");
  struct Shape {
    index_t batch, channels, size, kernel;
  };
  // Layers of VGG-19 and CifarNet, and one whose maps tiles of 4 x 4 cover badly.
  const std::vector<Shape> all = {{8, 64, 32, 3},  {8, 256, 8, 3},  {16, 512, 4, 3},
                                  {16, 256, 6, 3}, {64, 512, 2, 3}, {16, 64, 16, 5}};
  for (const bool rectified : {false, true}) {
    for (const Shape& shape : all) {
      const index_t channels = quick ? 16 : shape.channels;
      print_rows(
          random_layer(quick ? 1 : shape.batch, channels, shape.size, shape.kernel, rectified));
    }
  }
  const char* folder = std::getenv("ADR_SNAPSHOTS");
  if (folder == nullptr || *folder == '\0' || quick) return;
  for (const char* moment : {"early", "late"}) print_rows(snapshot(folder, moment));
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc == 2 && std::strcmp(argv[1], "--quick") == 0;
  if (argc > 1 && !quick) {
    std::fprintf(stderr, "usage: [ADR_SNAPSHOTS=folder] adr-exact-errors [--quick]\n");
    return 2;
  }
  try {
    run(quick);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "adr-exact-errors: %s\n", problem.what());
    return 1;
  }
  return 0;
}
