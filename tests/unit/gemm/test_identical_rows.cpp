// Equal rows of a matrix are found and multiplied once, to the bits of a product without.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/gemm/identical_rows.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"

using adr::Context;
using adr::DenseGemm;
using adr::IdenticalRows;
using adr::index_t;
using adr::MatrixRows;
using adr::MatrixView;
using adr::VectorView;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

namespace {

/// Makes all but every third row a copy of one of the first `distinct` rows.
template <class T>
void repeat_rows(const MatrixView<T>& x, index_t distinct, Data& data) {
  for (index_t i = distinct; i < x.rows; ++i) {
    if (i % 3 == 2) continue;
    std::copy_n(x.row(data.between(0, distinct - 1)), x.cols, x.row(i));
  }
}

template <class T>
std::vector<index_t> first_by_definition(const MatrixView<const T>& x) {
  std::vector<index_t> first;
  for (index_t i = 0; i < x.rows; ++i) {
    index_t other = 0;
    while (!adr::detail::same_rows(x, i, other)) ++other;
    first.push_back(other);
  }
  return first;
}

template <class T>
bool same_bits(const MatrixView<T>& a, const MatrixView<T>& b) {
  for (index_t i = 0; i < a.rows; ++i) {
    if (std::memcmp(a.row(i), b.row(i), static_cast<std::size_t>(a.cols) * sizeof(T)) != 0) {
      return false;
    }
  }
  return true;
}

struct Shape {
  index_t rows, columns, outputs;
};

}  // namespace

TEMPLATE_TEST_CASE("Identical rows are those that comparing all with all finds", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t columns : {1, 3, 4, 15, 16, 17, 100}) {
    GuardedBuffer<T> buffer(120, columns, columns + 3, Start::misaligned);
    const MatrixView<T> x = buffer.view();
    data.fill_normal(x);
    repeat_rows(x, 9, data);
    x(50, 0) = T(0);
    x(51, 0) = -T(0);
    for (const index_t i : {60, 70}) {
      for (index_t j = 0; j < columns; ++j) x(i, j) = std::numeric_limits<T>::quiet_NaN();
    }
    const std::vector<index_t> expected = first_by_definition<T>(x);
    for (const int threads : {1, 3}) {
      Context context(threads);
      const std::size_t bytes = IdenticalRows<T>::workspace_bytes(x.rows, x.cols);
      context.workspace().reserve(bytes);
      const IdenticalRows<T> rows(x, context);
      CHECK(context.workspace().peak_bytes() == bytes);
      CHECK(std::vector<index_t>(rows.first(), rows.first() + x.rows) == expected);
      index_t count = 0;
      for (index_t i = 0; i < x.rows; ++i) {
        if (expected[static_cast<std::size_t>(i)] != i) continue;
        REQUIRE(count < rows.distinct_count());
        CHECK(rows.distinct()[count++] == i);
      }
      CHECK(count == rows.distinct_count());
    }
  }
}

TEMPLATE_TEST_CASE("Products that copy equal rows have the bits of those that do not", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  using adr_test::as_dear;
  for (const Shape s : {Shape{1000, 300, as_dear(256)}, Shape{8300, 128, as_dear(320)},
                        Shape{700, 900, as_dear(130)}, Shape{521, 300, as_dear(512)},
                        Shape{8197, 260, as_dear(192)}}) {
    for (const bool transposed : {false, true}) {
      for (const index_t distinct : {1, 5, 130}) {
        INFO(s.rows << " x " << s.columns << " x " << s.outputs << " distinct " << distinct);
        GuardedBuffer<T> x(s.rows, s.columns, s.columns + 2, Start::misaligned);
        data.fill_normal(x.view());
        // Nearly all of them: rows of one user, padded sequences.
        for (index_t i = distinct; i < s.rows; ++i) {
          std::copy_n(x.view().row(i % distinct), s.columns, x.view().row(i));
        }
        const std::vector<T> elements = data.normals<T>(s.columns * s.outputs);
        const MatrixView<const T> w(elements.data(), transposed ? s.outputs : s.columns,
                                    transposed ? s.columns : s.outputs);
        const auto weights = transposed ? adr::transposed(w) : adr::as_is(w);
        const std::vector<T> bias = data.normals<T>(s.outputs);
        const VectorView<const T> bias_view(bias.data(), s.outputs);
        GuardedBuffer<T> expected(s.rows, s.outputs, s.outputs, Start::misaligned);
        GuardedBuffer<T> y(s.rows, s.outputs, s.outputs + 5, Start::misaligned);
        REQUIRE(adr::looks_for_equal_rows<T>(s.rows, s.columns, s.outputs));
        for (const int threads : {1, 2, 3}) {
          Context context(threads);
          const std::size_t bytes =
              adr::dense_forward_once_workspace_bytes<T>(s.rows, s.columns, s.outputs, threads);
          context.workspace().reserve(bytes);
          adr::dense_forward(MatrixRows<const T>(x.view()), weights, bias_view,
                             MatrixRows<T>(expected.view()), DenseGemm<T>(), context);
          const auto once = [&] {
            return adr::dense_forward_once<T>(x.view(), weights, bias_view, y.view(),
                                              DenseGemm<T>(), context);
          };
          const double computed = once();
          CHECK(computed == static_cast<double>(distinct) / static_cast<double>(s.rows));
          CHECK(same_bits(y.view(), expected.view()));
          CHECK(y.damage().empty());
          CHECK(context.workspace().peak_bytes() <= bytes);
          if (threads == 1) {
            const long before = adr_test::allocations;
            once();
            const long after = adr_test::allocations;
            CHECK(before == after);
          }
        }
      }
    }
  }
}

TEST_CASE("Rows that differ are multiplied as they are, and so are a user's own products") {
  Data data;
  INFO(data);
  // Enough outputs for a look to pay with registers of any width.
  const Shape s = {600, 200, 512};
  std::vector<float> x = data.normals<float>(s.rows * s.columns);
  const std::vector<float> w = data.normals<float>(s.columns * s.outputs);
  std::vector<float> y(static_cast<std::size_t>(s.rows * s.outputs));
  Context context(1);
  context.workspace().reserve(
      adr::dense_forward_once_workspace_bytes<float>(s.rows, s.columns, s.outputs, 1));
  const auto pays = [&](const DenseGemm<float>& gemm) {
    return adr::multiplies_equal_rows_once(MatrixView<const float>(x.data(), s.rows, s.columns),
                                           s.outputs, gemm, context.threads());
  };
  CHECK_FALSE(pays(DenseGemm<float>()));
  std::fill(x.begin(), x.end(), 0.5F);
  CHECK(pays(DenseGemm<float>()));
  CHECK(adr::dense_forward_once<float>(
            MatrixView<const float>(x.data(), s.rows, s.columns),
            adr::as_is(MatrixView<const float>(w.data(), s.columns, s.outputs)), {},
            MatrixView<float>(y.data(), s.rows, s.outputs), DenseGemm<float>(), context) < 0.01);
  const DenseGemm<float> users(
      [](const auto& a, const auto& b, adr::Update update, const MatrixView<float>& result) {
        adr::packed_gemm(a, b, update, result);
      });
  CHECK_FALSE(pays(users));
}

TEST_CASE("Equal rows are looked for where that may pay") {
  using adr::looks_for_equal_rows;
  CHECK(looks_for_equal_rows<float>(1000, 512, 512));
  CHECK_FALSE(looks_for_equal_rows<float>(100, 512, 512));
  CHECK_FALSE(looks_for_equal_rows<float>(0, 512, 512));
  CHECK_FALSE(looks_for_equal_rows<float>(1000, 512, 10));
  // Few rows at once are summed in another order.
  CHECK_FALSE(looks_for_equal_rows<float>(1024, index_t{1} << 16, 512));
}
