// Gradients over listed non-zeros as masked products, against plain loops in double precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "adr/gradients/masked_gradients.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "property/layer_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Context;
using adr::GemmFactor;
using adr::GemmResult;
using adr::index_t;
using adr::MatrixVectors;
using adr::MatrixView;
using adr::PixelView;
using adr::SparseRows;
using adr::SparseUse;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

struct Shape {
  index_t rows;
  index_t columns;
  index_t outputs;
};

/// Rows of one tile and of several, of one block and of several, with a last strip that is whole,
/// short, or the only one; outputs of one block and of several.
std::vector<Shape> shapes() {
  return {{1, 1, 1},     {5, 3, 7},  {97, 64, 20},  {128, 70, 33},  {61, 129, 5},  {230, 100, 9},
          {64, 192, 41}, {0, 20, 6}, {20, 70, 300}, {40, 1100, 37}, {230, 600, 35}};
}

template <class T>
struct Case {
  Shape shape;
  GuardedBuffer<T> x, d_x, d_y, w, d_w;
  /// The same with a row of weights per element.
  GuardedBuffer<T> d_x_of_elements, w_of_elements, d_w_of_elements;

  Case(const Shape& s, Data& data, double density)
      : shape(s),
        x(s.rows, s.columns, s.columns + 1, Start::misaligned),
        d_x(s.rows, s.columns, s.columns + 3),
        d_y(s.rows, s.outputs, s.outputs + 2, Start::misaligned),
        w(s.outputs, s.columns, s.columns + 1, Start::misaligned),
        d_w(s.outputs, s.columns, s.columns + 2),
        d_x_of_elements(s.rows, s.columns, s.columns),
        w_of_elements(s.columns, s.outputs, s.outputs + 3),
        d_w_of_elements(s.columns, s.outputs, s.outputs + 1, Start::misaligned) {
    data.fill_normal(x.view());
    data.fill_normal(w.view());
    for (index_t m = 0; m < s.outputs; ++m) {
      for (index_t e = 0; e < s.columns; ++e) w_of_elements(e, m) = w(m, e);
    }
    for (index_t n = 0; n < s.rows; ++n) {
      for (index_t m = 0; m < s.outputs; ++m) {
        d_y(n, m) = data.normal_or_zero<T>(density);
      }
    }
  }

  /// Both gradients, in a workspace of just the stated size; d_x is added to 1.
  void run(int threads) {
    const auto fill = [](GuardedBuffer<T>& buffer, T value) {
      for (index_t i = 0; i < buffer.view().rows; ++i) {
        std::fill_n(buffer.view().row(i), buffer.view().cols, value);
      }
    };
    for (auto* gradient : {&d_w, &d_w_of_elements}) {
      fill(*gradient, std::numeric_limits<T>::quiet_NaN());
    }
    for (auto* gradient : {&d_x, &d_x_of_elements}) fill(*gradient, T(1));
    const adr::VectorMap map = adr::row_map(shape.rows);
    const MatrixView<const T> gradient = d_y.view();
    const PixelView<const T> pixels{
        gradient.data, 1, shape.rows, shape.outputs, gradient.row_stride, gradient.row_stride, 1};
    SparseRows<T> rows;
    Context listing(threads);
    rows.measure(pixels, map, shape.columns, listing);
    rows.list(pixels, 0.0, 1, SparseUse::pixels, listing);

    compute(rows, threads, adr::transposed(w.view()), {d_w.view(), true}, d_x);
    compute(rows, threads, adr::as_is(w_of_elements.view()), {d_w_of_elements.view(), false},
            d_x_of_elements);
  }

  void compute(const SparseRows<T>& rows, int threads, const GemmFactor<T>& weights,
               const GemmResult<T>& d_weights, GuardedBuffer<T>& d_to) {
    const adr::VectorMap map = adr::row_map(shape.rows);
    const MatrixVectors<const T> input(MatrixView<const T>(x.view()));
    const MatrixVectors<T> d_input(d_to.view());
    in_just(
        adr::masked_weight_gradient_workspace_bytes<T>(map, shape.outputs, threads), threads,
        [&](Context& context) { adr::masked_weight_gradient(rows, input, d_weights, context); });
    in_just(adr::masked_input_gradient_workspace_bytes<T>(map, shape.outputs, threads), threads,
            [&](Context& context) { adr::masked_input_gradient(rows, weights, d_input, context); });
  }

  template <class Run>
  static void in_just(std::size_t bytes, int threads, const Run& run) {
    Context context(threads);
    context.workspace().reserve(bytes);
    run(context);
    CHECK(context.workspace().peak_bytes() == bytes);
  }

  /// Whether the order of the weights in memory makes no difference.
  [[nodiscard]] bool orders_agree() const {
    std::vector<T> gradient;
    for (index_t m = 0; m < shape.outputs; ++m) {
      for (index_t e = 0; e < shape.columns; ++e) gradient.push_back(d_w_of_elements(e, m));
    }
    return adr_test::same_bits(gradient, adr_test::elements_of(d_w)) &&
           adr_test::same_bits(adr_test::elements_of(d_x_of_elements), adr_test::elements_of(d_x));
  }

  [[nodiscard]] std::string fault() const {
    Comparison comparison;
    for (index_t m = 0; m < shape.outputs; ++m) {
      for (index_t e = 0; e < shape.columns; ++e) {
        double sum = 0;
        double magnitude = 0;
        for (index_t n = 0; n < shape.rows; ++n) {
          const double product = static_cast<double>(x(n, e)) * static_cast<double>(d_y(n, m));
          sum += product;
          magnitude += std::abs(product);
        }
        comparison.expect(static_cast<double>(d_w(m, e)), sum,
                          adr_test::sum_tolerance<T>(shape.rows, magnitude));
      }
    }
    for (index_t n = 0; n < shape.rows; ++n) {
      for (index_t e = 0; e < shape.columns; ++e) {
        double sum = 1;
        double magnitude = 1;
        for (index_t m = 0; m < shape.outputs; ++m) {
          const double product = static_cast<double>(w(m, e)) * static_cast<double>(d_y(n, m));
          sum += product;
          magnitude += std::abs(product);
        }
        comparison.expect(static_cast<double>(d_x(n, e)), sum,
                          adr_test::sum_tolerance<T>(shape.outputs + 1, magnitude));
      }
    }
    return comparison.fault();
  }
};

}  // namespace

TEMPLATE_TEST_CASE("masked gradients over listed non-zeros equal the plain sums", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    for (const double density : {0.0, 0.15, 1.0}) {
      INFO(s.rows << " x " << s.columns << " x " << s.outputs << ", density " << density);
      Case<T> c(s, data, density);
      c.run(1);
      CHECK(c.fault() == "");
      CHECK(c.orders_agree());
      const std::vector<T> d_w = adr_test::elements_of(c.d_w);
      const std::vector<T> d_x = adr_test::elements_of(c.d_x);
      for (const int threads : {2, 3, 16}) {
        c.run(threads);
        CHECK(adr_test::same_bits(adr_test::elements_of(c.d_w), d_w));
        CHECK(adr_test::same_bits(adr_test::elements_of(c.d_x), d_x));
        CHECK(c.orders_agree());
      }
      for (const auto* buffer : {&c.x, &c.d_x, &c.d_y, &c.w, &c.d_w, &c.d_x_of_elements,
                                 &c.w_of_elements, &c.d_w_of_elements}) {
        CHECK(buffer->damage() == "");
      }
    }
  }
}

TEST_CASE("gradients are masked where each output has its vector and rows are few") {
  CHECK(adr::masks_gradients<float>(adr::row_map(128), 4096, 4096));
  CHECK(adr::masks_gradients<float>(adr::row_map(1), 300, 10));
  CHECK_FALSE(adr::masks_gradients<float>(adr::row_map(128), 3, 4096));
  CHECK_FALSE(adr::masks_gradients<float>(adr::row_map(100000), 4096, 10));
  CHECK_FALSE(adr::masks_gradients<float>(adr::row_map(2), 4096, 1000000));
  adr::VectorMap kernel = adr::row_map(16);
  kernel.offset_rows = 2;
  CHECK_FALSE(adr::masks_gradients<float>(kernel, 4096, 10));
  adr::VectorMap strided = adr::row_map(16);
  strided.step_y = 2;
  CHECK_FALSE(adr::masks_gradients<float>(strided, 4096, 10));
}
