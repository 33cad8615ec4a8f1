// What a user asks for, from the first call on: options, orientations, kept passes, modes, sizes
// and gradients that are added, against plain loops in double precision.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/report_line.hpp"
#include "adr/adapt/scheduler.hpp"
#include "adr/extern_layers.hpp"
#include "adr/gradients.hpp"
#include "adr/options.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_gemm_blas.hpp"
#include "adr/reuse_linear.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"

namespace {

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::Mode;
using adr::Options;
using adr::ReuseConv2d;
using adr::ReuseGemm;
using adr::ReuseLinear;
using adr::Saved;
using adr::Similar;
using adr::TensorView;
using adr::VectorView;
using adr_test::contains;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::refusal;

std::vector<float> random_elements(index_t count, Data& data) {
  std::vector<float> elements(static_cast<std::size_t>(count));
  for (float& element : elements) element = data.normal<float>();
  return elements;
}

/// Rows of few directions and a little noise, as those of activations are.
std::vector<float> similar_rows(index_t rows, index_t cols, index_t rank, float noise, Data& data) {
  const std::vector<float> directions = random_elements(rank * cols, data);
  std::vector<float> x(static_cast<std::size_t>(rows * cols));
  for (index_t i = 0; i < rows; ++i) {
    const std::vector<float> mixture = random_elements(rank, data);
    for (index_t j = 0; j < cols; ++j) {
      float value = noise * data.normal<float>();
      for (index_t r = 0; r < rank; ++r) {
        value += mixture[static_cast<std::size_t>(r)] *
                 directions[static_cast<std::size_t>(r * cols + j)];
      }
      x[static_cast<std::size_t>(i * cols + j)] = value;
    }
  }
  return x;
}

MatrixView<float> view(std::vector<float>& elements, index_t rows, index_t cols) {
  return {elements.data(), rows, cols};
}

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    size += double{b[i]} * double{b[i]};
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

/// op(x) of a matrix that lies rows x cols with a leading dimension.
struct Stored {
  GuardedBuffer<float> elements;
  bool trans;
  index_t rows, cols, ld;

  /// Of op(x), m x n.
  Stored(index_t m, index_t n, bool trans_, index_t gap, Data& data)
      : elements(trans_ ? n : m, trans_ ? m : n, (trans_ ? m : n) + gap),
        trans(trans_),
        rows(m),
        cols(n),
        ld((trans_ ? m : n) + gap) {
    data.fill_normal(elements.view());
  }
  float& operator()(index_t i, index_t j) { return trans ? elements(j, i) : elements(i, j); }
  [[nodiscard]] std::vector<double> copy() {
    std::vector<double> all;
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < cols; ++j) all.push_back(double{(*this)(i, j)});
    }
    return all;
  }
};

/// a b of doubles, a m x k.
std::vector<double> plain_product(const std::vector<double>& a, const std::vector<double>& b,
                                  index_t m, index_t n, index_t k) {
  std::vector<double> result(static_cast<std::size_t>(m * n), 0.0);
  for (index_t i = 0; i < m; ++i) {
    for (index_t l = 0; l < k; ++l) {
      for (index_t j = 0; j < n; ++j) {
        result[static_cast<std::size_t>(i * n + j)] +=
            a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(l * n + j)];
      }
    }
  }
  return result;
}
std::vector<double> transpose(const std::vector<double>& a, index_t rows, index_t cols) {
  std::vector<double> result(a.size());
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      result[static_cast<std::size_t>(j * rows + i)] = a[static_cast<std::size_t>(i * cols + j)];
    }
  }
  return result;
}
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

/// c = a b, and the gradients with respect to the weights and to the similar operand.
struct Expected {
  std::vector<double> c, d_w, d_x;
};

Expected by_plain_loops(Stored& a, Stored& b, Stored& d_c, bool by_columns) {
  const index_t m = a.rows, k = a.cols, n = b.cols;
  const auto d_a = plain_product(d_c.copy(), transpose(b.copy(), k, n), m, k, n);
  const auto d_b = plain_product(transpose(a.copy(), m, k), d_c.copy(), k, n, m);
  return {plain_product(a.copy(), b.copy(), m, n, k), by_columns ? d_a : d_b,
          by_columns ? d_b : d_a};
}

/// The same of row-major copies with the similar operand on the left.
Expected by_plain_calls(const Options& options, Stored& a, Stored& b, Stored& d_c,
                        bool by_columns) {
  const auto floats = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  const auto doubles = [](const std::vector<float>& values, index_t rows, index_t cols,
                          bool transposed) {
    const std::vector<double> all(values.begin(), values.end());
    return transposed ? transpose(all, rows, cols) : all;
  };
  const index_t k = a.cols;
  const index_t n = by_columns ? b.cols : a.rows;
  const index_t m = by_columns ? a.rows : b.cols;
  auto x = floats(by_columns ? transpose(b.copy(), k, n) : a.copy());
  auto w = floats(by_columns ? transpose(a.copy(), m, k) : b.copy());
  auto d_y = floats(by_columns ? transpose(d_c.copy(), m, n) : d_c.copy());
  std::vector<float> y(d_y.size()), d_w(w.size()), d_x(x.size());
  ReuseGemm<float> product(options);
  adr::reuse_gemm<float>(view(x, n, k), view(w, k, m), view(y, n, m), product);
  adr::reuse_gemm_weight_gradient<float>(view(x, n, k), view(d_y, n, m), view(d_w, k, m), product);
  adr::reuse_gemm_input_gradient<float>(view(d_y, n, m), view(w, k, m), view(d_x, n, k), product);
  return {doubles(y, n, m, by_columns), doubles(d_w, k, m, by_columns),
          doubles(d_x, n, k, by_columns)};
}

struct Sizes {
  index_t m, n, k;
};

ConvGeometry geometry(Layout layout, index_t channels = 8, index_t size = 9) {
  ConvGeometry g;
  g.in_channels = channels;
  g.in_height = size;
  g.in_width = size + 1;
  g.out_channels = 6;
  g.set_kernel(3);
  g.set_padding(1);
  g.layout = layout;
  return g;
}

/// Operands of a convolution in plain memory.
struct Images {
  ConvGeometry g;
  index_t batch;
  std::vector<float> x, w, y, d_y, d_x, d_w, d_bias;

  Images(const ConvGeometry& geometry_, index_t batch_, Data& data) : g(geometry_), batch(batch_) {
    const index_t in = g.in_channels * g.in_height * g.in_width;
    const index_t out = g.out_channels * g.out_height() * g.out_width();
    x = random_elements(batch * in, data);
    w = random_elements(g.out_channels * g.columns(), data);
    d_y = random_elements(batch * out, data);
    y.resize(d_y.size());
    d_x.resize(x.size());
    d_w.resize(w.size());
    d_bias.resize(static_cast<std::size_t>(g.out_channels));
  }
  TensorView<float> in(std::vector<float>& v) const {
    return {v.data(), batch, g.in_channels, g.in_height, g.in_width, g.layout};
  }
  TensorView<float> out(std::vector<float>& v) const {
    return {v.data(), batch, g.out_channels, g.out_height(), g.out_width(), g.layout};
  }
  MatrixView<float> filters(std::vector<float>& v) const {
    return {v.data(), g.out_channels, g.columns()};
  }
  adr::ReuseConv2d<float>::Gradients gradients() {
    return {in(d_x), filters(d_w), VectorView<float>(d_bias.data(), g.out_channels)};
  }
  void forward(ReuseConv2d<float>& layer) { layer.forward(in(x), filters(w), {}, out(y)); }
  void backward(ReuseConv2d<float>& layer) {
    layer.backward(in(x), filters(w), out(d_y), gradients());
  }
};

}  // namespace

TEST_CASE("options that cannot be are named with the rule and the value") {
  const auto problem = [](const Options& options) { return options.validate(); };
  CHECK(problem({}) == "");
  Options options;
  options.max_error = 1;
  CHECK(problem(options) == "max_error must be at least 0 and below 1, got 1");
  options.max_error = std::numeric_limits<double>::quiet_NaN();
  CHECK(problem(options) == "max_error must be at least 0 and below 1, got nan");
  options = {};
  options.gradient_rounding = -1;
  CHECK(problem(options) == "gradient_rounding must be between 0 and 1e6, got -1");
  adr::Published published;
  published.vector_length = 0;
  CHECK(problem(Options::with(published)) == "vector_length must be at least 1, got 0");
  published = {};
  published.hash_count = 65;
  CHECK(problem(Options::with(published)) == "hash_count must be between 1 and 64, got 65");
  adr::Subspace subspace;
  subspace.error = 0;
  CHECK(problem(Options::with(subspace)) == "error must be between 0 and 1, both excluded, got 0");
  subspace.coordinates = -1;
  CHECK(problem(Options::with(subspace)) == "coordinates must be at least 0, got -1");
  // A layer says so before anything is made, and keeps what it had.
  options = {};
  options.max_error = 2;
  CHECK(refusal([&] { ReuseGemm<float> product(options); }) ==
        "Options: max_error must be at least 0 and below 1, got 2");
  ReuseGemm<float> product;
  CHECK(refusal([&] { product.set_options(options); }) ==
        "Options: max_error must be at least 0 and below 1, got 2");
  CHECK(product.options().max_error == 0);
}

TEST_CASE("the default is exact for every shape from 1 x 1 x 1 on, and nothing is needed before") {
  Data data;
  INFO(data);
  for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{3, 5, 2}, Sizes{64, 10, 33}, Sizes{7, 1, 100}}) {
    INFO(s.m << " x " << s.k << " x " << s.n);
    Stored a(s.m, s.k, false, 1, data);
    Stored b(s.k, s.n, false, 2, data);
    Stored c(s.m, s.n, false, 0, data);
    ReuseGemm<float> product;
    adr::reuse_gemm<float>(a.elements.view(), b.elements.view(), c.elements.view(), product);
    CHECK(distance(c.copy(), plain_product(a.copy(), b.copy(), s.m, s.n, s.k)) < 1e-6);
    CHECK(product.report().measured_error == 0);
    CHECK(product.report().method == adr::Method::exact);
  }
  // The published setting's vectors are no longer than a row.
  ReuseGemm<float> published(Options::with(adr::Published{}));
  std::vector<float> x = random_elements(20 * 9, data);
  std::vector<float> w = random_elements(9 * 4, data);
  std::vector<float> y(80);
  adr::reuse_gemm<float>(view(x, 20, 9), view(w, 9, 4), view(y, 20, 4), published);
  CHECK(published.plan().vector_length == 9);
}

TEST_CASE("the drop-in takes every orientation of a BLAS call, and its gradients do") {
  Data data;
  INFO(data);
  adr::Subspace whole;
  adr::Published published;
  published.vector_length = 8;
  published.hash_count = 4;
  for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{40, 50, 20}, Sizes{65, 33, 7}, Sizes{5, 300, 18}}) {
    whole.coordinates = s.k;
    for (const int setting : {0, 1, 2}) {
      const Options options = setting == 0   ? Options()
                              : setting == 1 ? Options::with(whole)
                                             : Options::with(published);
      for (int flags = 0; flags < 16; ++flags) {
        const bool trans_a = (flags & 1) != 0;
        const bool trans_b = (flags & 2) != 0;
        const auto similar = (flags & 4) != 0 ? Similar::columns_of_b : Similar::rows_of_a;
        const bool added = (flags & 8) != 0;
        const float alpha = added ? 0.5F : 1.0F;
        const float beta = added ? -2.0F : 0.0F;
        INFO(s.m << " x " << s.n << " x " << s.k << ", setting " << setting << ", flags " << flags);
        Stored a(s.m, s.k, trans_a, 3, data);
        Stored b(s.k, s.n, trans_b, 1, data);
        Stored c(s.m, s.n, false, 2, data);
        Stored d_c(s.m, s.n, false, 1, data);
        const double tolerance = setting == 1 ? 3e-3 : 2e-6;
        const bool by_columns = similar == Similar::columns_of_b;
        Stored& x = by_columns ? b : a;
        Stored& w = by_columns ? a : b;
        Stored d_w(w.rows, w.cols, w.trans, 1, data);
        Stored d_x(x.rows, x.cols, x.trans, 2, data);
        // Of clusters nothing can be expected but what the plain call finds on plain copies.
        const Expected expected = setting == 2 ? by_plain_calls(options, a, b, d_c, by_columns)
                                               : by_plain_loops(a, b, d_c, by_columns);
        const auto blended = [&](const std::vector<double>& result, Stored& there) {
          std::vector<double> all = there.copy();
          for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] = double{alpha} * result[i] + double{beta} * (added ? all[i] : 0);
          }
          return all;
        };
        const auto expected_c = blended(expected.c, c);
        const auto expected_w = blended(expected.d_w, d_w);
        const auto expected_x = blended(expected.d_x, d_x);
        ReuseGemm<float> reuse(options);
        adr::reuse_gemm(trans_a, trans_b, s.m, s.n, s.k, alpha, a.elements.data(), a.ld,
                        b.elements.data(), b.ld, beta, c.elements.data(), c.ld, reuse, similar);
        CHECK(distance(c.copy(), expected_c) < tolerance);
        adr::reuse_gemm_weight_gradient(trans_a, trans_b, s.m, s.n, s.k, alpha, x.elements.data(),
                                        x.ld, d_c.elements.data(), d_c.ld, beta,
                                        d_w.elements.data(), d_w.ld, reuse, similar);
        CHECK(distance(d_w.copy(), expected_w) < tolerance);
        adr::reuse_gemm_input_gradient(trans_a, trans_b, s.m, s.n, s.k, alpha, d_c.elements.data(),
                                       d_c.ld, w.elements.data(), w.ld, beta, d_x.elements.data(),
                                       d_x.ld, reuse, similar);
        CHECK(distance(d_x.copy(), expected_x) < tolerance);
        for (Stored* matrix : {&a, &b, &c, &d_c, &d_w, &d_x}) {
          CHECK(matrix->elements.damage() == "");
        }
      }
    }
  }
}

TEST_CASE("with beta 0 what is there is not read, and bad leading dimensions are refused") {
  Data data;
  INFO(data);
  std::vector<float> a = random_elements(12, data);
  std::vector<float> b = random_elements(12, data);
  std::vector<float> c(9, std::numeric_limits<float>::quiet_NaN());
  ReuseGemm<float> product;
  adr::reuse_gemm(false, false, 3, 3, 4, 2.0F, a.data(), 4, b.data(), 3, 0.0F, c.data(), 3,
                  product);
  for (const float element : c) CHECK(std::isfinite(element));
  CHECK_THAT(refusal([&] {
               adr::reuse_gemm(false, false, 3, 3, 4, 1.0F, a.data(), 3, b.data(), 3, 0.0F,
                               c.data(), 3, product);
             }),
             contains("a: row_stride must be at least cols, got 3 < 4"));
  CHECK_THAT(refusal([&] {
               adr::reuse_gemm(false, false, 3, 3, 4, 1.0F, a.data(), 4, b.data(), 3, 0.0F,
                               a.data(), 3, product);
             }),
             contains("c must not overlap a"));
}

TEST_CASE("one product per image: gradients belong to their own kept pass") {
  Data data;
  INFO(data);
  constexpr index_t k_images = 3, k_rows = 60, k_cols = 24, k_outputs = 10;
  adr::Published published;
  published.vector_length = 12;
  published.hash_count = 5;
  adr::Subspace subspace;
  subspace.coordinates = 8;
  for (const adr::Setting& setting :
       {adr::Setting(adr::Exact{}), adr::Setting(published), adr::Setting(subspace)}) {
    INFO("setting " << setting.index());
    std::vector<float> w = random_elements(k_cols * k_outputs, data);
    std::vector<std::vector<float>> x, d_y, d_w, d_w_alone;
    ReuseGemm<float> product(Options::with(setting));
    std::vector<Saved> saved(k_images);
    std::vector<float> y(k_rows * k_outputs);
    for (index_t i = 0; i < k_images; ++i) {
      x.push_back(similar_rows(k_rows, k_cols, 6, 0.1F, data));
      d_y.push_back(random_elements(k_rows * k_outputs, data));
      d_w.emplace_back(w.size());
      d_w_alone.emplace_back(w.size());
    }
    const auto at = [](index_t i) { return static_cast<std::size_t>(i); };
    for (index_t i = 0; i < k_images; ++i) {
      adr::reuse_gemm<float>(view(x[at(i)], k_rows, k_cols), view(w, k_cols, k_outputs),
                             view(y, k_rows, k_outputs), product, &saved[at(i)]);
    }
    for (index_t i = k_images - 1; i >= 0; --i) {
      adr::reuse_gemm_weight_gradient<float>(
          view(x[at(i)], k_rows, k_cols), view(d_y[at(i)], k_rows, k_outputs),
          view(d_w[at(i)], k_cols, k_outputs), product, &saved[at(i)]);
    }
    for (index_t i = 0; i < k_images; ++i) {
      if (setting.index() == 3) {  // the published clusters of the pass: the same as one by one
        ReuseGemm<float> alone(Options::with(setting));
        adr::reuse_gemm<float>(view(x[at(i)], k_rows, k_cols), view(w, k_cols, k_outputs),
                               view(y, k_rows, k_outputs), alone);
        adr::reuse_gemm_weight_gradient<float>(view(x[at(i)], k_rows, k_cols),
                                               view(d_y[at(i)], k_rows, k_outputs),
                                               view(d_w_alone[at(i)], k_cols, k_outputs), alone);
        CHECK(d_w[at(i)] == d_w_alone[at(i)]);
      } else {  // exact, or as good as the coordinates of the latest pass
        for (index_t k = 0; k < k_cols; ++k) {
          for (index_t m = 0; m < k_outputs; ++m) {
            double sum = 0;
            for (index_t n = 0; n < k_rows; ++n) {
              sum +=
                  double{x[at(i)][at(n * k_cols + k)]} * double{d_y[at(i)][at(n * k_outputs + m)]};
            }
            d_w_alone[at(i)][at(k * k_outputs + m)] = static_cast<float>(sum);
          }
        }
        CHECK(relative_distance(d_w[at(i)], d_w_alone[at(i)]) <
              (setting.index() == 1 ? 1e-6 : 0.2));
      }
    }
    // Another input than the pass had is no gradient of it.
    CHECK_THAT(refusal([&] {
                 adr::reuse_gemm_weight_gradient<float>(
                     view(x[1], k_rows, k_cols), view(d_y[0], k_rows, k_outputs),
                     view(d_w[0], k_cols, k_outputs), product, &saved[0]);
               }),
               contains("x is not what the saved forward pass had"));
    Saved empty;
    CHECK_THAT(refusal([&] {
                 adr::reuse_gemm_weight_gradient<float>(
                     view(x[0], k_rows, k_cols), view(d_y[0], k_rows, k_outputs),
                     view(d_w[0], k_cols, k_outputs), product, &empty);
               }),
               contains("a gradient needs a Saved"));
    if (setting.index() != 1) {
      adr::reuse_gemm<float>(view(x[0], k_rows, k_cols), view(w, k_cols, k_outputs),
                             view(y, k_rows, k_outputs), product);
      CHECK_THAT(refusal([&] {
                   adr::reuse_gemm_weight_gradient<float>(view(x[1], k_rows, k_cols),
                                                          view(d_y[1], k_rows, k_outputs),
                                                          view(d_w[1], k_cols, k_outputs), product);
                 }),
                 contains("x is not what the last forward pass had"));
    }
  }
}

TEST_CASE("a kept pass outlives a change of the method or of its setting") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 60, k_cols = 24, k_outputs = 10;
  adr::Published published;
  published.vector_length = 12;
  published.hash_count = 5;
  adr::Published coarser = published;
  coarser.vector_length = 8;
  coarser.hash_count = 2;
  const adr::Setting settings[] = {published, adr::Clustered{0.1}, coarser, adr::Subspace{8},
                                   adr::Exact{}};
  for (std::size_t before = 0; before < std::size(settings); ++before) {
    for (std::size_t after = 0; after < std::size(settings); ++after) {
      if (before == after) continue;
      INFO("from setting " << before << " to " << after);
      std::vector<float> x = similar_rows(k_rows, k_cols, 6, 0.01F, data);
      std::vector<float> other = similar_rows(k_rows, k_cols, 6, 0.01F, data);
      std::vector<float> w = random_elements(k_cols * k_outputs, data);
      std::vector<float> d_y = random_elements(k_rows * k_outputs, data);
      std::vector<float> y(d_y.size());
      std::vector<float> d_w(w.size());
      std::vector<float> expected(w.size());
      ReuseGemm<float> product(Options::with(settings[before]));
      const auto forward = [&](std::vector<float>& input, Saved& saved) {
        adr::reuse_gemm<float>(view(input, k_rows, k_cols), view(w, k_cols, k_outputs),
                               view(y, k_rows, k_outputs), product, &saved);
      };
      const auto gradient = [&](ReuseGemm<float>& of, std::vector<float>& to, Saved* saved) {
        adr::reuse_gemm_weight_gradient<float>(view(x, k_rows, k_cols),
                                               view(d_y, k_rows, k_outputs),
                                               view(to, k_cols, k_outputs), of, saved);
      };
      Saved saved, latest;
      forward(x, saved);
      product.set_options(Options::with(settings[after]));
      ReuseGemm<float> exact;
      gradient(exact, expected, nullptr);
      gradient(product, d_w, &saved);
      CHECK(relative_distance(d_w, expected) < 1e-6);
      // After passes of the new setting, too.
      forward(other, latest);
      gradient(product, d_w, &saved);
      CHECK(relative_distance(d_w, expected) < 1e-6);
    }
  }
}

TEST_CASE("a pass is none of a layer that comes to lie where its own lay") {
  Data data;
  INFO(data);
  ConvGeometry g = geometry(Layout::nchw);
  Images c(g, 2, data);
  Saved saved;
  std::optional<ReuseConv2d<float>> layer(g);
  const auto forward = [&] { layer->forward(c.in(c.x), c.filters(c.w), {}, c.out(c.y), saved); };
  const auto backward = [&] {
    layer->backward(c.in(c.x), c.filters(c.w), c.out(c.d_y), c.gradients(), saved);
  };
  forward();
  CHECK(refusal(backward) == "(no error)");
  for (const index_t groups : {2, 1}) {
    g.groups = groups;
    c = Images(g, 2, data);
    layer.emplace(g);
    CHECK_THAT(refusal(backward), contains("a gradient needs a Saved"));
    forward();
    CHECK(refusal(backward) == "(no error)");
  }
}

TEST_CASE("a gradient that is not wanted is none, whatever sizes its view has") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const bool own_product : {false, true}) {
      Images c(geometry(layout), 2, data);
      ReuseConv2d<float> layer(c.g);
      if (own_product) {
        layer.set_dense_gemm(adr::DenseGemm<float>(
            [](const adr::GemmFactor<float>& a, const adr::GemmFactor<float>& b, adr::Update update,
               const MatrixView<float>& result) {
              adr::DenseGemm<float>()(a, b, update, result);
            }));
      }
      c.forward(layer);
      c.backward(layer);
      const std::vector<float> expected = c.d_w;
      std::fill(c.d_w.begin(), c.d_w.end(), 0.0F);
      auto gradients = c.gradients();
      gradients.d_x.data = nullptr;
      layer.backward(c.in(c.x), c.filters(c.w), c.out(c.d_y), gradients);
      CHECK(c.d_w == expected);
    }
  }
}

TEST_CASE("a layer has learned when all of its groups have") {
  Data data;
  INFO(data);
  ConvGeometry g = geometry(Layout::nchw);
  g.groups = 2;
  Images c(g, 4, data);
  ReuseConv2d<float> layer(g, adr::Subspace{2});
  const index_t image = g.in_channels * g.in_height * g.in_width;
  std::vector<float> x = c.x;
  for (index_t n = 0; n < c.batch; ++n) {  // of the second group
    std::fill_n(c.x.begin() + n * image + image / 2, image - image / 2,
                std::numeric_limits<float>::quiet_NaN());
  }
  c.forward(layer);
  CHECK_FALSE(layer.can_freeze());
  CHECK_THAT(refusal([&] { layer.freeze(); }), contains("no subspace has been fitted"));
  layer.set_mode(Mode::inference);
  CHECK_FALSE(layer.frozen());
  layer.set_mode(Mode::training);
  c.x = x;
  c.forward(layer);
  CHECK(layer.can_freeze());
  layer.freeze();
  CHECK(layer.frozen());
}

TEST_CASE("layers keep passes as the drop-in does, groups and all") {
  Data data;
  INFO(data);
  adr::Published published;
  published.vector_length = 9;
  published.hash_count = 4;
  for (const index_t groups : {1, 2}) {
    ConvGeometry g = geometry(Layout::nchw);
    g.groups = groups;
    Images first(g, 2, data);
    Images second(g, 3, data);
    second.w = first.w;
    ReuseConv2d<float> alone(g, Options::with(published));
    first.forward(alone);
    first.backward(alone);
    const std::vector<float> d_w = first.d_w, d_x = first.d_x;
    ReuseConv2d<float> layer(g, Options::with(published));
    Saved of_first, of_second;
    layer.forward(first.in(first.x), first.filters(first.w), {}, first.out(first.y), of_first);
    layer.forward(second.in(second.x), second.filters(second.w), {}, second.out(second.y),
                  of_second);
    layer.backward(second.in(second.x), second.filters(second.w), second.out(second.d_y),
                   second.gradients(), of_second);
    layer.backward(first.in(first.x), first.filters(first.w), first.out(first.d_y),
                   first.gradients(), of_first);
    CHECK(first.d_w == d_w);
    CHECK(first.d_x == d_x);
    CHECK_THAT(refusal([&] {
                 layer.backward(second.in(second.x), second.filters(second.w),
                                second.out(second.d_y), second.gradients(), of_first);
               }),
               contains("which had"));
    // A Saved of another layer is none of this one.
    CHECK_THAT(refusal([&] {
                 alone.backward(first.in(first.x), first.filters(first.w), first.out(first.d_y),
                                first.gradients(), of_first);
               }),
               contains("a gradient needs a Saved that a forward pass of the same layer"));
    // Of the passes that were kept, none is the last one.
    CHECK_THAT(refusal([&] { first.backward(layer); }), contains("run forward first"));
  }
}

TEST_CASE("gradients are added to what is there, one of them or all") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    Images c(geometry(layout), 3, data);
    ReuseConv2d<float> layer(c.g);
    c.forward(layer);
    c.backward(layer);
    const std::vector<float> d_x = c.d_x, d_w = c.d_w, d_bias = c.d_bias;
    auto gradients = c.gradients().accumulate();
    layer.backward(c.in(c.x), c.filters(c.w), c.out(c.d_y), gradients);
    for (std::size_t i = 0; i < d_x.size(); ++i) REQUIRE(c.d_x[i] == d_x[i] + d_x[i]);
    for (std::size_t i = 0; i < d_w.size(); ++i) REQUIRE(c.d_w[i] == d_w[i] + d_w[i]);
    for (std::size_t i = 0; i < d_bias.size(); ++i) REQUIRE(c.d_bias[i] == d_bias[i] + d_bias[i]);
    gradients = c.gradients();
    gradients.add_to_d_w = true;
    c.d_w = d_w;
    layer.backward(c.in(c.x), c.filters(c.w), c.out(c.d_y), gradients);
    CHECK(c.d_x == d_x);
    CHECK(c.d_bias == d_bias);
    for (std::size_t i = 0; i < d_w.size(); ++i) REQUIRE(c.d_w[i] == d_w[i] + d_w[i]);
  }
  ReuseLinear<float> linear(7, 5);
  std::vector<float> x = random_elements(4 * 7, data), w = random_elements(5 * 7, data),
                     d_y = random_elements(4 * 5, data), d_w(35), before;
  linear.backward(view(x, 4, 7), view(w, 5, 7), view(d_y, 4, 5),
                  adr::Gradients{MatrixView<float>(), view(d_w, 5, 7)});
  before = d_w;
  linear.backward(view(x, 4, 7), view(w, 5, 7), view(d_y, 4, 5),
                  adr::Gradients{MatrixView<float>(), view(d_w, 5, 7)}.accumulate());
  for (std::size_t i = 0; i < d_w.size(); ++i) CHECK(d_w[i] == before[i] + before[i]);
}

TEST_CASE("inference never learns, and an evaluation in the middle of training changes nothing") {
  Data data;
  INFO(data);
  adr::Subspace subspace;
  subspace.coordinates = 4;
  const auto train = [&](bool evaluate) {
    Data same;
    ReuseLinear<float> layer(16, 12, Options::with(subspace));
    std::vector<float> w = random_elements(12 * 16, same);
    std::vector<float> y(80 * 12);
    std::vector<float> outputs;
    for (int step = 0; step < 4; ++step) {
      std::vector<float> x = similar_rows(80, 16, 4, 0.05F, same);
      std::vector<float> unseen = similar_rows(80, 16, 16, 1.0F, same);
      layer.forward(view(x, 80, 16), view(w, 12, 16), {}, view(y, 80, 12));
      outputs.insert(outputs.end(), y.begin(), y.end());
      if (!evaluate) continue;
      layer.set_mode(Mode::inference);
      layer.forward(view(unseen, 80, 16), view(w, 12, 16), {}, view(y, 80, 12));
      CHECK(layer.report().fits == 0);
      layer.set_mode(Mode::training);
    }
    return outputs;
  };
  CHECK(train(false) == train(true));
  // Before anything was learned, inference is exact.
  ReuseLinear<float> fresh(16, 12, Options::with(subspace));
  fresh.set_mode(Mode::inference);
  std::vector<float> x = similar_rows(80, 16, 16, 1.0F, data);
  std::vector<float> w = random_elements(12 * 16, data);
  std::vector<float> y(80 * 12), exact(80 * 12);
  fresh.forward(view(x, 80, 16), view(w, 12, 16), {}, view(y, 80, 12));
  CHECK(fresh.report().fits == 0);
  CHECK(fresh.report().dense_fallbacks == 1);
  ReuseLinear<float> dense(16, 12);
  dense.forward(view(x, 80, 16), view(w, 12, 16), {}, view(exact, 80, 12));
  CHECK(y == exact);
  CHECK_THAT(refusal([&] { fresh.freeze(); }), contains("freeze: no subspace"));
  // What is loaded in inference is not learned anew either.
  const std::string path = "adr_test_inference.state";
  ReuseLinear<float> learned(16, 12, Options::with(subspace));
  learned.forward(view(x, 80, 16), view(w, 12, 16), {}, view(y, 80, 12));
  learned.save_state(path);
  fresh.load_state(path);
  std::remove(path.c_str());
  fresh.clear_cache();  // asks for a fit
  fresh.forward(view(x, 80, 16), view(w, 12, 16), {}, view(y, 80, 12));
  CHECK(fresh.frozen());
  CHECK(fresh.report().fits == 0);
  CHECK(fresh.report().dense_fallbacks == 0);
  // Few rows teach nothing either: they are multiplied exactly.
  ReuseLinear<float> few(16, 12, Options::with(subspace));
  few.forward(view(x, 15, 16), view(w, 12, 16), {}, view(y, 15, 12));
  CHECK(few.report().fits == 0);
  for (std::size_t i = 0; i < 15 * 12; ++i) {
    REQUIRE(std::abs(y[i] - exact[i]) < 1e-4F);
  }
}

TEST_CASE(
    "a layer made for one setting does as one made with options, and takes no other setting") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 90;
  constexpr index_t k_in = 24;
  constexpr index_t k_out = 10;
  const auto both = [&](const auto& setting) {
    std::vector<float> x = similar_rows(k_rows, k_in, 6, 0.01F, data);
    std::vector<float> w = random_elements(k_out * k_in, data);
    std::vector<float> d_y = random_elements(k_rows * k_out, data);
    std::vector<float> results[2];
    const auto run = [&](ReuseLinear<float>&& layer, std::vector<float>& result) {
      result.assign(static_cast<std::size_t>(k_rows * k_out + k_out * k_in + k_rows * k_in), 0.0F);
      float* y = result.data();
      float* d_w = y + k_rows * k_out;
      float* d_x = d_w + k_out * k_in;
      const auto x_view = view(x, k_rows, k_in);
      const auto w_view = view(w, k_out, k_in);
      layer.forward(x_view, w_view, {}, MatrixView<float>(y, k_rows, k_out));
      layer.backward(x_view, w_view, view(d_y, k_rows, k_out),
                     {MatrixView<float>(d_x, k_rows, k_in), MatrixView<float>(d_w, k_out, k_in)});
    };
    run(ReuseLinear<float>(k_in, k_out, setting), results[0]);
    run(ReuseLinear<float>(k_in, k_out, Options::with(setting)), results[1]);
    CHECK(results[0] == results[1]);
  };
  both(adr::Exact{});
  both(adr::Subspace{8});
  both(adr::Published{6, 8});

  ReuseLinear<float> exact(k_in, k_out, adr::Exact{});
  Options automatic;
  automatic.max_error = 0.05;
  CHECK_THAT(refusal([&] { exact.set_options(automatic); }),
             contains("made for one setting has no tuner"));
  CHECK_THAT(refusal([&] { exact.set_options(Options::with(adr::Subspace{8})); }),
             contains("made for one setting takes no other: make it with Options, got method"));
  CHECK(std::holds_alternative<adr::Exact>(exact.options().setting));
  exact.set_options(Options::with(adr::Exact{false}));
  Context context;
  ReuseConv2d<float> conv(ConvGeometry{}, adr::Published{}, context);
  CHECK_THAT(refusal([&] { conv.set_options(Options::with(adr::Subspace{8})); }),
             contains("takes no other"));
  ReuseGemm<float> product(adr::Subspace{4}, context);
  CHECK_THAT(refusal([&] { product.set_options(Options::with(adr::Published{})); }),
             contains("takes no other"));
  CHECK(std::holds_alternative<adr::Subspace>(product.options().setting));

  // A schedule leaves it exact, or what it is; one that needs another method is refused.
  ReuseLinear<float> scheduled(k_in, k_out, adr::Exact{});
  adr::SchedulerOptions schedule;
  schedule.tuning.max_cost = 100;
  schedule.tuning.measure_share = 1;
  adr::ReuseScheduler scheduler(schedule);
  scheduler.attach(scheduled);
  std::vector<float> x = similar_rows(k_rows, k_in, 6, 0.01F, data);
  std::vector<float> w = random_elements(k_out * k_in, data);
  std::vector<float> y(static_cast<std::size_t>(k_rows * k_out));
  for (int step = 0; step < 8; ++step) {
    scheduled.forward(view(x, k_rows, k_in), view(w, k_out, k_in), {}, view(y, k_rows, k_out));
    scheduler.observe(1.0);
    CHECK(scheduled.report().method == adr::Method::exact);
  }
  adr::ReuseScheduler published(adr::Strategy::plateau_ladder);
  ReuseLinear<float> exact_alone(k_in, k_out, adr::Exact{});
  CHECK_THAT(refusal([&] { published.attach(exact_alone); }), contains("takes no other"));
  CHECK(published.layer_count() == 0);
}

TEST_CASE("in inference weights are kept, to the same bits, until others take their place") {
  Data data;
  INFO(data);
  adr::Subspace subspace;
  subspace.coordinates = 6;
  for (const adr::Setting& setting : {adr::Setting(adr::Exact{}), adr::Setting(subspace)}) {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      ConvGeometry g = geometry(layout, 32, 16);
      g.out_channels = 32;
      Images c(g, 4, data);
      ReuseConv2d<float> layer(g, Options::with(setting));
      c.forward(layer);
      std::vector<float> trained = c.y;
      layer.set_mode(Mode::inference);
      for (int pass = 0; pass < 2; ++pass) {
        c.forward(layer);
        CHECK(c.y == trained);
      }
      for (float& weight : c.w) weight *= 2;
      c.forward(layer);
      for (std::size_t i = 0; i < c.y.size(); ++i) REQUIRE(c.y[i] == 2 * trained[i]);
      // A change that no sample sees is seen after the mode is set.
      const std::vector<float> before = c.y;
      c.w[c.w.size() / 2 + 1] += 1;
      layer.set_mode(Mode::training);
      layer.set_mode(Mode::inference);
      c.forward(layer);
      CHECK(c.y != before);
    }
  }
}

TEST_CASE("a centred hash is frozen once it has a mean, and keeps it when caches are cleared") {
  Data data;
  INFO(data);
  adr::Published setting{6, 8};
  setting.hash_center = adr::HashCenter::mean;
  ReuseLinear<float> layer(24, 10, Options::with(setting));
  std::vector<float> x = similar_rows(90, 24, 6, 0.01F, data);
  std::vector<float> w = random_elements(10 * 24, data);
  std::vector<float> y(900);
  const auto forward = [&] {
    layer.forward(view(x, 90, 24), view(w, 10, 24), {}, view(y, 90, 10));
  };
  CHECK_FALSE(layer.can_freeze());
  CHECK_THAT(refusal([&] { layer.freeze(); }), contains("no mean has been estimated yet"));
  layer.set_mode(Mode::inference);
  forward();
  CHECK(layer.report().dense_fallbacks == 1);
  CHECK(layer.clustering().slices.empty());
  layer.set_mode(Mode::training);
  forward();
  const std::vector<float> learned = y;
  layer.freeze();
  layer.clear_cache();
  forward();
  CHECK(layer.report().dense_fallbacks == 0);
  CHECK(y == learned);
}

TEST_CASE("images of another size are taken without forgetting") {
  Data data;
  INFO(data);
  adr::Subspace subspace;
  subspace.coordinates = 8;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    Images c(geometry(layout), 4, data);
    ReuseConv2d<float> layer(c.g, Options::with(subspace));
    c.forward(layer);
    REQUIRE(layer.report().fits == 1);
    ConvGeometry larger = c.g;
    larger.in_height = 13;
    larger.in_width = 6;
    Images other(larger, 2, data);
    other.w = c.w;
    layer.resize(13, 6);
    layer.set_mode(Mode::inference);
    other.forward(layer);
    CHECK(layer.report().fits == 0);
    CHECK(layer.report().dense_fallbacks == 0);
    const std::vector<float> y = other.y;
    ReuseConv2d<float> exact(larger);
    other.forward(exact);
    CHECK(relative_distance(y, other.y) < 1e-3);  // all 8 coordinates of 8 channels
    other.backward(layer);
    CHECK_THAT(refusal([&] { layer.resize(0, 6); }),
               contains("in_height must be at least 1, got 0"));
    CHECK(layer.geometry().in_height == 13);
  }
}

TEST_CASE("an automatic setting keeps its error where rows resemble each other, else it is exact") {
  Data data;
  INFO(data);
  for (const bool similar : {true, false}) {
    INFO("similar rows " << similar);
    Context context;
    context.set_clock({});  // predicted costs decide, so that every machine decides the same
    Options options;
    options.max_error = 0.05;
    ReuseGemm<float> product(options, context);
    std::vector<float> w = random_elements(256 * 1024, data);
    std::vector<float> y(1024 * 1024);
    for (int pass = 0; pass < 12; ++pass) {
      std::vector<float> x =
          similar_rows(1024, 256, similar ? 6 : 64, similar ? 0.01F : 6.0F, data);
      adr::reuse_gemm<float>(view(x, 1024, 256), view(w, 256, 1024), view(y, 1024, 1024), product);
    }
    const adr::Report& report = product.report();
    CHECK((report.plan.method == adr::Method::subspace) == similar);
    CHECK(report.measured_error <= 0.05);
    CHECK(report.max_error == 0.05);
    CHECK(report.decision.reason != adr::Reason::none);
    std::ostringstream line;
    line << report;
    CHECK_THAT(line.str(), contains(similar ? "subspace of " : "exact, "));
    CHECK_THAT(line.str(), contains(" of 0.05"));
    // A scheduler takes charge, and gives it back.
    adr::ReuseScheduler scheduler;
    scheduler.attach(product, "product");
    CHECK(product.plan().method == adr::Method::exact);
    scheduler.detach(product);
  }
}

TEST_CASE("a subspace does not depend on the scale of input and weights") {
  Data data;
  INFO(data);
  adr::Subspace subspace;
  subspace.coordinates = 8;
  const std::vector<float> x = similar_rows(300, 24, 6, 0.1F, data);
  const std::vector<float> w = random_elements(24 * 40, data);
  const auto error_at = [&](float of_x, float of_w) {
    std::vector<float> scaled_x = x, scaled_w = w, y(300 * 40), exact(300 * 40);
    for (float& element : scaled_x) element *= of_x;
    for (float& element : scaled_w) element *= of_w;
    ReuseGemm<float> product(Options::with(subspace));
    ReuseGemm<float> plain;
    for (const auto& [result, by] : {std::pair{&y, &product}, std::pair{&exact, &plain}}) {
      adr::reuse_gemm<float>(view(scaled_x, 300, 24), view(scaled_w, 24, 40),
                             view(*result, 300, 40), *by);
    }
    CHECK(product.report().fits == 1);
    return relative_distance(y, exact);
  };
  const double usual = error_at(1, 1);
  CHECK(usual < 0.1);
  for (const auto& [of_x, of_w] : {std::pair{1e-16F, 1e-10F}, std::pair{1e-10F, 1e10F},
                                   std::pair{1e8F, 1e10F}, std::pair{1e-3F, 1e-15F}}) {
    INFO("input times " << of_x << ", weights times " << of_w);
    CHECK(error_at(of_x, of_w) < 1.1 * usual);
  }
}

TEST_CASE("rounded gradients are asked for, and are unbiased") {
  Data data;
  INFO(data);
  std::vector<float> x = random_elements(50 * 20, data);
  std::vector<float> d_y = random_elements(50 * 30, data);
  std::vector<float> exact(20 * 30), mean(20 * 30, 0.0F), d_w(20 * 30);
  ReuseGemm<float> plain;
  adr::reuse_gemm_weight_gradient<float>(view(x, 50, 20), view(d_y, 50, 30), view(exact, 20, 30),
                                         plain);
  constexpr int k_seeds = 200;
  for (int seed = 0; seed < k_seeds; ++seed) {
    Options options = Options::with(adr::Exact{});
    options.gradient_rounding = 2;
    options.seed = static_cast<std::uint64_t>(seed) + 1;
    ReuseGemm<float> product(options);
    adr::reuse_gemm_weight_gradient<float>(view(x, 50, 20), view(d_y, 50, 30), view(d_w, 20, 30),
                                           product);
    if (seed == 0) CHECK(relative_distance(d_w, exact) > 0.05);
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += d_w[i] / k_seeds;
  }
  CHECK(relative_distance(mean, exact) < 0.15);
}

TEST_CASE("the state of a layer of another layout, dilation or kernel is refused") {
  Data data;
  INFO(data);
  const std::string path = "adr_test_options.state";
  adr::Subspace subspace;
  subspace.coordinates = 4;
  Images c(geometry(Layout::nchw, 8, 12), 4, data);
  ReuseConv2d<float> layer(c.g, Options::with(subspace));
  c.forward(layer);
  layer.save_state(path);
  const auto load = [&](ConvGeometry g) {
    ReuseConv2d<float> other(g, Options::with(subspace));
    return adr_test::message_of<std::runtime_error>([&] { other.load_state(path); });
  };
  CHECK(load(c.g) == "(no error)");
  ConvGeometry other = c.g;
  other.layout = Layout::nhwc;
  CHECK_THAT(load(other), contains("layout"));
  other = c.g;
  other.set_dilation(2);
  other.set_padding(2);
  CHECK_THAT(load(other), contains("pad_top"));
  other = c.g;
  other.kernel_height = 9;
  other.kernel_width = 1;
  other.pad_top = other.pad_bottom = 4;
  other.pad_left = other.pad_right = 0;
  CHECK_THAT(load(other), contains("kernel_height"));
  std::remove(path.c_str());
}
