// ClusteredProduct and the layers with the setting Clustered: the product of the input with every
// vector replaced by its representative, its weight gradient, and a bound that holds.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "adr/adapt/report_line.hpp"
#include "adr/clustered/clustered_product.hpp"
#include "adr/clustered/search_costs.hpp"
#include "adr/extern_layers.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_linear.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/refusal.hpp"
#include "training/temporary_folder.hpp"

using adr::as_is;
using adr::Clustered;
using adr::Clustering;
using adr::Context;
using adr::ConvGeometry;
using adr::DenseGemm;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::Options;
using adr::Plan;
using adr::Report;
using adr::TensorView;
using adr::VectorView;
using adr_test::as_dear;
using adr_test::Data;
using adr_test::fault;
using adr_test::Matrix;
using adr_test::Operands;
using adr_test::relative_distance;

namespace {

Plan plan_of(double radius, index_t length, int bits = 32) {
  Clustered clustered;
  clustered.radius = radius;
  clustered.vector_length = length;
  clustered.hash_count = bits;
  return Options::with(clustered).plan();
}

/// Rows that repeat a few of them, but for noise.
template <class T>
std::vector<T> repeating(index_t rows, index_t columns, index_t distinct, double noise,
                         Data& data) {
  std::vector<T> x = data.normals<T>(rows * columns);
  for (index_t i = distinct; i < rows; ++i) {
    const index_t like = data.between(0, distinct - 1);
    for (index_t k = 0; k < columns; ++k) {
      x[static_cast<std::size_t>(i * columns + k)] =
          static_cast<T>(static_cast<double>(x[static_cast<std::size_t>(like * columns + k)]) +
                         noise * data.normal<double>());
    }
  }
  return x;
}

template <class T>
std::vector<T> turned(const std::vector<T>& m, index_t rows, index_t cols) {
  std::vector<T> result(m.size());
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      result[static_cast<std::size_t>(j * rows + i)] = m[static_cast<std::size_t>(i * cols + j)];
    }
  }
  return result;
}

double norm(const std::vector<double>& x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

/// ||a - b|| / ||a||, both without bias, as Report::output_error_bound has it.
double error_of(const Matrix& a, const Matrix& exact, const std::vector<double>& bias) {
  double difference = 0;
  double size = 0;
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t j = 0; j < a.cols; ++j) {
      const double y = a(i, j) - (bias.empty() ? 0 : bias[static_cast<std::size_t>(j)]);
      difference += (a(i, j) - exact(i, j)) * (a(i, j) - exact(i, j));
      size += y * y;
    }
  }
  return size > 0 ? std::sqrt(difference / size) : 0;
}

struct Case {
  index_t rows, columns, outputs, distinct, length;
  bool x_turned, y_turned;
};

template <class T>
void check_product(const Case& c, Data& data) {
  const auto x = repeating<T>(c.rows, c.columns, c.distinct, 1e-3, data);
  const auto w = data.normals<T>(c.columns * c.outputs);
  const auto bias = data.normals<T>(c.outputs);
  const auto d_y = data.normals<T>(c.rows * c.outputs);
  const auto stored = c.x_turned ? turned(x, c.rows, c.columns) : x;
  std::vector<T> y(d_y.size());
  std::vector<T> d_w(w.size());
  const adr::MatrixOperand<const T> input{
      c.x_turned ? MatrixView<const T>(stored.data(), c.columns, c.rows)
                 : MatrixView<const T>(stored.data(), c.rows, c.columns),
      c.x_turned};
  const adr::MatrixOperand<T> output{c.y_turned ? MatrixView<T>(y.data(), c.outputs, c.rows)
                                                : MatrixView<T>(y.data(), c.rows, c.outputs),
                                     c.y_turned};
  const MatrixView<const T> w_view(w.data(), c.columns, c.outputs);
  const MatrixView<const T> d_y_view(d_y.data(), c.rows, c.outputs);
  adr::ClusteredProduct<adr::MatrixDomain<T>> product(
      adr::product_shape(c.columns, c.outputs), plan_of(0.02, c.length), adr::exact::Look::always);
  const DenseGemm<T> gemm;
  Context context;
  Report report;
  const adr::PassTools<T> tools{gemm, context, report, nullptr};
  REQUIRE(product.forward(input, as_is(w_view), {bias.data(), c.outputs}, output, tools));
  REQUIRE(product.clusters() != nullptr);
  const Operands o{Matrix(MatrixView<const T>(x.data(), c.rows, c.columns)),
                   Matrix(w_view),
                   {bias.begin(), bias.end()},
                   Matrix(d_y_view)};
  Operands of_clusters = o;
  of_clusters.x = adr_test::with_representatives(o.x, *product.clusters());
  const auto rows_of_y = c.y_turned ? turned(y, c.outputs, c.rows) : y;
  const Matrix found{MatrixView<const T>(rows_of_y.data(), c.rows, c.outputs)};
  CHECK(fault<T>(found, adr_test::dense_output(of_clusters)) == "");
  const double error = error_of(found, adr_test::dense_output(o).value, of_clusters.bias);
  CHECK(error <= report.output_error_bound() + 1e-5);
  CHECK(report.relative_input_error() <= 0.02);
  CHECK(std::abs(report.relative_input_error() - relative_distance(of_clusters.x, o.x)) <= 1e-4);
  // Short vectors may be alike by chance.
  const double fewest = static_cast<double>(c.distinct) / static_cast<double>(c.rows);
  if (c.columns > 8 && c.length != 5) CHECK(report.remaining_ratio() >= 0.999 * fewest);
  if (c.rows > 60 && c.columns > 8 && c.length != 5) {
    CHECK(report.remaining_ratio() < 0.4 + 0.6 * fewest + 1e-9);
  }

  const adr::BackwardOperands<adr::MatrixDomain<T>> operands{
      input,  as_is(w_view), {}, d_y_view, {MatrixView<T>(d_w.data(), c.columns, c.outputs)},
      nullptr};
  context.workspace().reserve(product.backward_workspace_bytes({}, true, false, 1));
  product.backward(operands, tools);
  CHECK(fault<T>(Matrix(MatrixView<const T>(d_w.data(), c.columns, c.outputs)),
                 adr_test::dense_weight_gradient(of_clusters)) == "");
}

}  // namespace

TEMPLATE_TEST_CASE("Clustered products are those of the representatives", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t rows : {1, 2, 63, 64, 65, 300}) {
    for (const index_t columns : {1, 7, 16, 33, 100}) {
      for (const index_t length : {index_t{0}, index_t{5}, index_t{16}, columns}) {
        const bool x_turned = data.between(0, 1) == 1;
        const bool y_turned = data.between(0, 1) == 1;
        const index_t distinct = data.between(1, rows);
        const index_t outputs = data.between(1, 70);
        INFO(rows << " x " << columns << " x " << outputs << ", L " << length << ", " << distinct
                  << " distinct" << (x_turned ? ", x turned" : "")
                  << (y_turned ? ", y turned" : ""));
        check_product<T>({rows, columns, outputs, distinct, length, x_turned, y_turned}, data);
      }
    }
  }
}

TEMPLATE_TEST_CASE("Clustered convolutions are those of the representatives", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  ConvGeometry g;
  g.in_channels = 3;
  g.in_height = 11;
  g.in_width = 9;
  g.out_channels = 5;
  g.set_kernel(3);
  g.pad_top = g.pad_left = 1;
  const index_t batch = 3;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t length : {0, 4}) {
      g.layout = layout;
      auto x = data.normals<T>(batch * g.in_channels * g.in_height * g.in_width);
      std::fill(x.begin() + 290, x.begin() + 700, T(0.5));
      const auto w = data.normals<T>(g.out_channels * g.columns());
      const auto bias = data.normals<T>(g.out_channels);
      std::vector<T> y(static_cast<std::size_t>(batch * g.out_channels * g.out_pixels()));
      const TensorView<const T> images(x.data(), batch, g.in_channels, g.in_height, g.in_width,
                                       layout);
      const TensorView<T> out(y.data(), batch, g.out_channels, g.out_height(), g.out_width(),
                              layout);
      const MatrixView<const T> w_view(w.data(), g.out_channels, g.columns());
      adr::ClusteredProduct<adr::ImageDomain<T>> product(
          adr::product_shape(g, adr::NeuronVectorKind::automatic), plan_of(0.01, length),
          adr::exact::Look::always);
      const DenseGemm<T> gemm;
      Context context;
      Report report;
      const adr::PassTools<T> tools{gemm, context, report, nullptr};
      REQUIRE(product.forward({g, images, 0}, adr::transposed(w_view), {bias.data(), 5},
                              {g, out, 0}, tools));
      CHECK(report.remaining_ratio() < 1);
      Operands o{adr::reference::im2col(g, images, 0),
                 adr::reference::transpose(Matrix(w_view)),
                 {bias.begin(), bias.end()},
                 {}};
      o.x = adr_test::with_representatives(o.x, *product.clusters());
      Matrix found(batch * g.out_pixels(), g.out_channels);
      index_t row = 0;
      for (index_t n = 0; n < batch; ++n) {
        for (index_t i = 0; i < g.out_height(); ++i) {
          for (index_t j = 0; j < g.out_width(); ++j, ++row) {
            for (index_t c = 0; c < g.out_channels; ++c) {
              found(row, c) = static_cast<double>(adr::reference::element(
                  TensorView<const T>(y.data(), batch, g.out_channels, g.out_height(),
                                      g.out_width(), layout),
                  n, c, i, j));
            }
          }
        }
      }
      CHECK(fault<T>(found, adr_test::dense_output(o)) == "");
    }
  }
}

TEST_CASE("A layer with clusters reports them, bounds its error, and stays exact without") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 600;
  constexpr index_t k_columns = 96;
  constexpr index_t k_outputs = 512;
  const auto w = data.normals<float>(k_outputs * k_columns);
  const MatrixView<const float> w_view(w.data(), k_outputs, k_columns);
  std::vector<float> y(static_cast<std::size_t>(k_rows * k_outputs));
  const MatrixView<float> y_view(y.data(), k_rows, k_outputs);
  adr::ReuseLinear<float> layer(k_columns, k_outputs, Clustered{});
  const auto forward = [&](const std::vector<float>& x) {
    layer.forward(MatrixView<const float>(x.data(), k_rows, k_columns), w_view, {}, y_view);
    const Operands o{Matrix(MatrixView<const float>(x.data(), k_rows, k_columns)),
                     adr::reference::transpose(Matrix(w_view)),
                     {},
                     {}};
    return error_of(Matrix(MatrixView<const float>(y_view)), adr_test::dense_output(o).value, {});
  };

  auto x = repeating<float>(k_rows, k_columns, 20, 1e-3, data);
  const double error = forward(x);
  CHECK(layer.report().dense_fallbacks == 0);
  CHECK(layer.report().remaining_ratio() < 0.2);
  CHECK(error > 0);
  CHECK(error <= layer.report().output_error_bound());
  CHECK(layer.report().output_error_bound() < 0.2);
  CHECK(to_string(layer.report()).find("(at most ") != std::string::npos);

  SECTION("rows that are not finite spoil nobody") {
    const auto clean = y;
    for (index_t k = 0; k < k_columns; ++k) {
      x[static_cast<std::size_t>(30 * k_columns + k)] = std::numeric_limits<float>::quiet_NaN();
      x[static_cast<std::size_t>(40 * k_columns + k)] *= 1e13F;
    }
    x[static_cast<std::size_t>(50 * k_columns + 1)] = std::numeric_limits<float>::infinity();
    forward(x);
    CHECK(layer.report().dense_fallbacks == 0);
    CHECK(layer.report().remaining_ratio() < 0.2);
    CHECK(std::isfinite(layer.report().output_error_bound()));
    bool same = true;
    for (index_t i = 0; i < k_rows; ++i) {
      if (i == 30 || i == 40 || i == 50) continue;
      for (index_t j = 0; j < k_outputs; ++j) {
        const auto at = static_cast<std::size_t>(i * k_outputs + j);
        same = same && std::abs(y[at] - clean[at]) <= 0.5F;
      }
    }
    CHECK(same);
    CHECK(std::isnan(y[static_cast<std::size_t>(30 * k_outputs)]));
  }
  SECTION("what does not repeat is exact") {
    CHECK(forward(data.normals<float>(k_rows * k_columns)) < 1e-5);
    CHECK(layer.report().dense_fallbacks == 1);
    CHECK(layer.report().output_error_bound() == 0);
    CHECK(layer.report().remaining_ratio() == 1);
  }
  SECTION("a saved pass keeps its clusters") {
    const auto d_y = data.normals<float>(k_rows * k_outputs);
    const MatrixView<const float> d_y_view(d_y.data(), k_rows, k_outputs);
    const MatrixView<const float> x_view(x.data(), k_rows, k_columns);
    std::vector<float> d_w(w.size());
    std::vector<float> again(w.size());
    adr::Saved saved;
    layer.forward(x_view, w_view, {}, y_view, saved);
    layer.backward(x_view, w_view, d_y_view,
                   {{}, MatrixView<float>(d_w.data(), k_outputs, k_columns), {}}, saved);
    forward(repeating<float>(k_rows, k_columns, 50, 1e-3, data));
    layer.backward(x_view, w_view, d_y_view,
                   {{}, MatrixView<float>(again.data(), k_outputs, k_columns), {}}, saved);
    CHECK(again == d_w);
  }
}

TEST_CASE("The bound holds where rows lie at the edge of the radius and weights see nothing else") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 600;
  constexpr index_t k_columns = 96;
  constexpr index_t k_outputs = 512;
  constexpr double k_radius = 0.05;
  Clustered clustered;
  clustered.radius = k_radius;
  for (const double outlier : {1.0, 1e6}) {
    INFO("one row " << outlier << " times as large");
    // All rows are a few, moved along one direction; every filter is a multiple of it.
    auto x = repeating<float>(k_rows, k_columns, 20, 0, data);
    const auto direction = data.normals<double>(k_columns);
    const double length = norm(direction);
    for (index_t i = 20; i < k_rows; ++i) {
      float* row = x.data() + i * k_columns;
      // Not to the same place, as equal rows are the exact product's; either way.
      const double part =
          (0.9 + 1e-3 * static_cast<double>(data.between(0, 50))) * (i % 2 == 0 ? 1 : -1);
      const double step = part * k_radius * norm(std::vector<double>(row, row + k_columns));
      for (index_t k = 0; k < k_columns; ++k) {
        row[k] += static_cast<float>(step / length * direction[static_cast<std::size_t>(k)]);
      }
    }
    for (index_t k = 0; k < k_columns; ++k) {
      x[static_cast<std::size_t>(300 * k_columns + k)] *= static_cast<float>(outlier);
    }
    std::vector<float> w;
    for (index_t m = 0; m < k_outputs; ++m) {
      const auto scale = data.normal<double>();
      for (const double element : direction) w.push_back(static_cast<float>(scale * element));
    }
    const MatrixView<const float> x_view(x.data(), k_rows, k_columns);
    const MatrixView<const float> w_view(w.data(), k_outputs, k_columns);
    std::vector<float> y(static_cast<std::size_t>(k_rows * k_outputs));
    const MatrixView<float> y_view(y.data(), k_rows, k_outputs);
    adr::ReuseLinear<float> layer(k_columns, k_outputs, clustered);
    layer.forward(x_view, w_view, {}, y_view);
    const Operands o{Matrix(x_view), adr::reference::transpose(Matrix(w_view)), {}, {}};
    const double error =
        error_of(Matrix(MatrixView<const float>(y_view)), adr_test::dense_output(o).value, {});
    CHECK(layer.report().dense_fallbacks == 0);
    CHECK(layer.report().remaining_ratio() < 0.2);
    const double bound = layer.report().output_error_bound();
    // Nothing is left between the error and its bound but what the outlier takes of the norm of y.
    CHECK(error <= 1.001 * bound);
    CHECK(error > (outlier > 1 ? 0.0 : 0.5 * bound));
    // What the layer meters is the error of nine of its rows.
    if (outlier == 1) CHECK(layer.report().relative_output_error() == Approx(error).epsilon(0.5));
  }
}

TEST_CASE("Clustered layers have the same bits on any number of threads") {
  constexpr index_t k_rows = 900;
  constexpr index_t k_columns = as_dear(130);
  constexpr index_t k_outputs = as_dear(300);
  Data data;
  INFO(data);
  const auto x = repeating<float>(k_rows, k_columns, 200, 1e-3, data);
  const auto w = data.normals<float>(k_columns * k_outputs);
  const auto d_y = data.normals<float>(k_rows * k_outputs);
  for (const index_t length : {index_t{0}, k_columns / 2}) {
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      Context context(threads);
      Clustered clustered;
      clustered.vector_length = length;
      adr::ReuseGemm<float> product(clustered, context);
      std::vector<float> bits(d_y.size() + w.size());
      const MatrixView<const float> x_view(x.data(), k_rows, k_columns);
      adr::reuse_gemm(x_view, MatrixView<const float>(w.data(), k_columns, k_outputs),
                      MatrixView<float>(bits.data(), k_rows, k_outputs), product);
      CHECK(product.report().remaining_ratio() < 0.5);
      adr::reuse_gemm_weight_gradient(
          x_view, MatrixView<const float>(d_y.data(), k_rows, k_outputs),
          MatrixView<float>(bits.data() + d_y.size(), k_columns, k_outputs), product);
      if (first.empty()) first = bits;
      CHECK(bits == first);
    }
  }
}

TEST_CASE("The automatic mode finds rows that repeat, and leaves others exact") {
  constexpr index_t k_rows = 2048;
  constexpr index_t k_columns = 1100;  // too many for a subspace
  constexpr index_t k_outputs = 256;
  Data data;
  INFO(data);
  const auto w = data.normals<float>(k_columns * k_outputs);
  std::vector<float> y(static_cast<std::size_t>(k_rows * k_outputs));
  const auto run = [&](const std::vector<float>& x) {
    adr::ReuseGemm<float> product(Options{0.05});
    product.context().set_clock({});  // predicted costs decide, so that every machine decides alike
    for (int pass = 0; pass < 12; ++pass) {
      adr::reuse_gemm(MatrixView<const float>(x.data(), k_rows, k_columns),
                      MatrixView<const float>(w.data(), k_columns, k_outputs),
                      MatrixView<float>(y.data(), k_rows, k_outputs), product);
    }
    return product.report();
  };
  const Report repeats = run(repeating<float>(k_rows, k_columns, 100, 1e-3, data));
  CHECK(repeats.method == adr::Method::clustered);
  CHECK(repeats.remaining_ratio() < 0.1);
  const Report noise = run(data.normals<float>(k_rows * k_columns));
  CHECK(noise.method == adr::Method::exact);
}

TEST_CASE("A schedule makes the radius smaller from phase to phase, as far as clusters pay") {
  constexpr index_t k_rows = 2048;
  constexpr index_t k_columns = 1100;  // too many for a subspace
  constexpr index_t k_outputs = 256;
  constexpr int k_steps = 40;
  Data data;
  INFO(data);
  // Of a few rows, or of half of all of them, the smallest radius finds enough or too few alike.
  for (const index_t repeated : {100, 300}) {
    INFO(repeated << " rows that repeat, around 20 centres");
    auto x = repeating<float>(repeated, k_columns, 20, 0.03, data);
    for (index_t i = repeated * k_columns; i < k_rows * k_columns; ++i) {
      x.push_back(x[static_cast<std::size_t>(i % (repeated * k_columns))] +
                  1e-3F * data.normal<float>());
    }
    const auto w = data.normals<float>(k_columns * k_outputs);
    std::vector<float> y(static_cast<std::size_t>(k_rows * k_outputs));
    adr::SchedulerOptions options;
    options.phases = {{0.2, 0, 0.5}, {0.01, 0, 1}};
    options.planned_steps = k_steps;
    options.tuning.measure_share = 1;
    adr::ReuseScheduler scheduler(options);
    Context context;
    context.set_clock({});  // predicted costs decide
    adr::ReuseLinear<float> layer(k_columns, k_outputs, Options{}, context);
    scheduler.attach(layer);
    std::vector<Plan> plans;
    for (int step = 0; step < k_steps; ++step) {
      layer.forward(MatrixView<const float>(x.data(), k_rows, k_columns),
                    MatrixView<const float>(w.data(), k_outputs, k_columns), {},
                    MatrixView<float>(y.data(), k_rows, k_outputs));
      if (step % (k_steps / 2) == k_steps / 2 - 1) plans.push_back(layer.plan());
      scheduler.observe(1.0);
    }
    REQUIRE(plans.size() == 2);
    CHECK(plans[0].method == adr::Method::clustered);
    CHECK(plans[0].radius == Approx(0.1));
    CHECK(plans[1].method == (repeated == 100 ? adr::Method::clustered : adr::Method::exact));
    if (repeated == 100) CHECK(plans[1].radius < 0.05);
  }
}

TEST_CASE(
    "Representatives that are kept stand for later batches, and their products are not stale") {
  constexpr index_t k_rows = 600;
  constexpr index_t k_columns = 96;
  constexpr index_t k_outputs = 512;
  Data data;
  INFO(data);
  auto w = data.normals<float>(k_outputs * k_columns);
  const auto x = repeating<float>(k_rows, k_columns, 40, 1e-3, data);
  auto later = x;
  for (float& element : later) element += 1e-3F * data.normal<float>();
  std::vector<float> y(static_cast<std::size_t>(k_rows * k_outputs));
  Clustered clustered;
  clustered.cluster_reuse = true;
  adr::ReuseLinear<float> layer(k_columns, k_outputs, clustered);
  const auto forward = [&](adr::ReuseLinear<float>& some, const std::vector<float>& input) {
    const MatrixView<const float> x_view(input.data(), k_rows, k_columns);
    const MatrixView<const float> w_view(w.data(), k_outputs, k_columns);
    some.forward(x_view, w_view, {}, MatrixView<float>(y.data(), k_rows, k_outputs));
    const Operands o{Matrix(x_view), adr::reference::transpose(Matrix(w_view)), {}, {}};
    const double error = error_of(Matrix(MatrixView<const float>(y.data(), k_rows, k_outputs)),
                                  adr_test::dense_output(o).value, {});
    CHECK(error <= some.report().output_error_bound() + 1e-6);
    CHECK(error < 0.01);
    return some.report();
  };
  Report report = forward(layer, x);
  CHECK(report.known_vectors == 0);
  CHECK(report.reused_products == 0);
  report = forward(layer, later);
  CHECK(report.known_vectors > 0.9 * k_rows);
  CHECK(report.reused_products > 0.5 * report.clusters);

  SECTION("other weights have other products") {
    for (float& element : w) element = -2 * element;
    report = forward(layer, later);
    CHECK(report.known_vectors > 0.9 * k_rows);
    CHECK(report.reused_products == 0);
    CHECK(forward(layer, later).reused_products > 0.5 * report.clusters);
  }
  SECTION("nothing is kept without learning") {
    layer.set_mode(adr::Mode::inference);
    const auto others = repeating<float>(k_rows, k_columns, 40, 1e-3, data);
    CHECK(forward(layer, others).known_vectors == 0);
    CHECK(forward(layer, others).known_vectors == 0);
    CHECK(forward(layer, x).known_vectors > 0.9 * k_rows);
  }
  SECTION("there is a limit") {
    clustered.cluster_cache_limit = 5;
    adr::ReuseLinear<float> small(k_columns, k_outputs, clustered);
    forward(small, x);
    report = forward(small, x);
    CHECK(report.reused_products == 5);
    CHECK(report.known_vectors < 0.4 * k_rows);
  }
  SECTION("what is not finite is not kept") {
    auto spoilt = x;
    spoilt[3] = std::numeric_limits<float>::quiet_NaN();
    adr::ReuseLinear<float> other(k_columns, k_outputs, clustered);
    const MatrixView<const float> w_view(w.data(), k_outputs, k_columns);
    other.forward(MatrixView<const float>(spoilt.data(), k_rows, k_columns), w_view, {},
                  MatrixView<float>(y.data(), k_rows, k_outputs));
    CHECK(forward(other, later).known_vectors > 0.8 * k_rows);
  }
  SECTION("the weight gradient is of vectors within twice the radius") {
    const auto d_y = data.normals<float>(k_rows * k_outputs);
    std::vector<float> d_w(w.size());
    const MatrixView<const float> x_view(later.data(), k_rows, k_columns);
    const MatrixView<const float> d_y_view(d_y.data(), k_rows, k_outputs);
    layer.backward(x_view, MatrixView<const float>(w.data(), k_outputs, k_columns), d_y_view,
                   {{}, MatrixView<float>(d_w.data(), k_outputs, k_columns), {}});
    const Operands o{Matrix(x_view), {}, {}, Matrix(d_y_view)};
    const auto expected = adr::reference::transpose(adr_test::dense_weight_gradient(o).value);
    CHECK(relative_distance(Matrix(MatrixView<const float>(d_w.data(), k_outputs, k_columns)),
                            expected) < 0.02);
  }
  SECTION("a state file keeps them") {
    const adr_test::TemporaryFolder folder;
    layer.save_state(folder.file("state"));
    adr::ReuseLinear<float> loaded(k_columns, k_outputs, clustered);
    loaded.load_state(folder.file("state"));
    const auto others = repeating<float>(k_rows, k_columns, 100, 1e-3, data);
    for (const auto& input : {later, others, x}) {
      const Report first = forward(layer, input);
      const auto bits = y;
      const Report second = forward(loaded, input);
      CHECK(bits == y);
      CHECK(first.reused_products == second.reused_products);
    }
  }
}

TEST_CASE("Slices share what rows do not") {
  // One user before many items: the user's slice is one cluster.
  Data data;
  INFO(data);
  constexpr index_t k_items = 700;
  constexpr index_t k_user = as_dear(192);
  constexpr index_t k_slice = as_dear(64);
  constexpr index_t k_all = k_user + k_slice;
  constexpr index_t k_outputs = as_dear(512);
  auto x = data.normals<float>(k_items * k_all);
  for (index_t i = 1; i < k_items; ++i) std::copy_n(x.begin(), k_user, x.begin() + i * k_all);
  const auto w = data.normals<float>(k_all * k_outputs);
  std::vector<float> y(static_cast<std::size_t>(k_items * k_outputs));
  Clustered clustered;
  clustered.vector_length = k_slice;
  adr::ReuseGemm<float> product(clustered);
  const MatrixView<const float> x_view(x.data(), k_items, k_all);
  const MatrixView<const float> w_view(w.data(), k_all, k_outputs);
  adr::reuse_gemm(x_view, w_view, MatrixView<float>(y.data(), k_items, k_outputs), product);
  REQUIRE(product.report().remaining_ratio_per_slice.size() == 4);
  CHECK(product.report().remaining_ratio_per_slice[0] == Approx(1.0 / k_items));
  CHECK(product.report().remaining_ratio_per_slice[3] == 1);
  CHECK(fault<float>(Matrix(MatrixView<const float>(y.data(), k_items, k_outputs)),
                     adr_test::dense_output({Matrix(x_view), Matrix(w_view), {}, {}})) == "");
}

TEST_CASE("Equal rows are left to the exact product, which finds them with less work") {
  constexpr index_t k_rows = 1100;
  constexpr index_t k_columns = 512;
  constexpr index_t k_outputs = 256;
  Data data;
  INFO(data);
  const auto w = data.normals<float>(k_columns * k_outputs);
  const auto run = [&](const std::vector<float>& x, const adr::Setting& setting, Report& report) {
    std::vector<float> y(static_cast<std::size_t>(k_rows * k_outputs));
    Options options;
    options.setting = setting;
    adr::ReuseGemm<float> product(options);
    adr::reuse_gemm(MatrixView<const float>(x.data(), k_rows, k_columns),
                    MatrixView<const float>(w.data(), k_columns, k_outputs),
                    MatrixView<float>(y.data(), k_rows, k_outputs), product);
    report = product.report();
    return y;
  };
  Report report;
  const auto equal = repeating<float>(k_rows, k_columns, 50, 0, data);
  const auto clustered = run(equal, Clustered{}, report);
  CHECK(report.dense_fallbacks == 1);
  CHECK(report.computed_share() < 0.1);
  CHECK(run(equal, adr::Exact{}, report) == clustered);
  // Rows that are alike, and slices that are equal, it does not find.
  run(repeating<float>(k_rows, k_columns, 50, 1e-4, data), Clustered{}, report);
  CHECK(report.dense_fallbacks == 0);
  Clustered sliced;
  sliced.vector_length = k_columns / 2;
  run(equal, sliced, report);
  CHECK(report.dense_fallbacks == 0);
}

TEST_CASE("A sample tells few large clusters from many small ones") {
  using adr::estimated_share;
  // Ten thousand clusters of one size among twenty thousand vectors: about 25 pairs in 1,000.
  CHECK(estimated_share(20000, 1000, {950, 25, 0}) == Approx(0.5).margin(0.01));
  CHECK(estimated_share(2000, 2000, {0, 1000, 0}) == Approx(0.5));
  CHECK(estimated_share(2000, 2000, {2000, 0, 0}) == 0);
  CHECK(estimated_share(2000, 2000, {1000, 500, 0}) == Approx(0.25));
  // One vector in ten is plain, all others differ.
  CHECK(estimated_share(30000, 1000, {900, 0, 1}) == Approx(0.1).margin(0.01));
  CHECK(estimated_share(30000, 1000, {900, 1, 1}) == Approx(0.1).margin(0.06));
  // Half of all are plain, the others alike in fifties.
  CHECK(estimated_share(30000, 1000, {300, 75, 17}) > 0.95);
  CHECK(estimated_share(30000, 1, {1, 0, 0}) == 0);
  CHECK(estimated_share(30000, 0, {0, 0, 0}) <= 1);
}

TEST_CASE("Clustered refuses what is out of range") {
  const auto refused = [](Clustered clustered, const char* field) {
    const std::string text = Options::with(clustered).validate();
    CHECK(text.find(field) != std::string::npos);
  };
  Clustered clustered;
  CHECK(Options::with(clustered).validate().empty());
  for (const double radius : {-0.1, 1.0, std::nan("")}) {
    clustered.radius = radius;
    refused(clustered, "radius must be");
  }
  clustered = {};
  clustered.vector_length = -1;
  refused(clustered, "vector_length must be");
  clustered = {};
  clustered.hash_count = 65;
  refused(clustered, "hash_count must be");
}
