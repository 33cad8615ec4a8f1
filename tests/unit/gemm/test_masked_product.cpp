// Products that leave out the zeros of one factor, against plain loops in double precision.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "adr/gemm/masked_product.hpp"
#include "support/allocation_counter.hpp"
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
using adr::MatrixView;
using adr::Update;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

struct Shape {
  index_t rows;
  index_t depth;
  index_t cols;
};

/// Blocks of the depth that are whole, short and empty, last strips likewise, rows of one part and
/// of several.
std::vector<Shape> shapes() {
  return {{1, 1, 1},   {3, 64, 128}, {17, 65, 130}, {40, 200, 33}, {5, 0, 70},
          {0, 10, 10}, {7, 20, 0},   {300, 70, 64}, {90, 128, 257}};
}

/// A factor in memory as it is or transposed.
template <class T>
struct Factor {
  GuardedBuffer<T> memory;
  bool transposed;

  Factor(index_t rows, index_t cols, bool is_transposed)
      : memory(is_transposed ? cols : rows, is_transposed ? rows : cols,
               (is_transposed ? rows : cols) + 3, Start::misaligned),
        transposed(is_transposed) {}
  T& at(index_t i, index_t j) { return transposed ? memory(j, i) : memory(i, j); }
  [[nodiscard]] GemmFactor<T> factor() { return {memory.view(), transposed}; }
  [[nodiscard]] GemmResult<T> result() { return {memory.view(), transposed}; }
};

template <class T>
struct Case {
  Shape shape;
  Factor<T> left, right, result;

  Case(const Shape& s, int orientation, double density, Data& data)
      : shape(s),
        left(s.rows, s.depth, (orientation & 1) != 0),
        right(s.depth, s.cols, (orientation & 2) != 0),
        result(s.rows, s.cols, (orientation & 4) != 0) {
    data.fill_normal(right.memory.view());
    for (index_t i = 0; i < s.rows; ++i) {
      for (index_t k = 0; k < s.depth; ++k) {
        left.at(i, k) = data.normal_or_zero<T>(density);
      }
    }
  }

  /// In a workspace of just the stated size; what is there before is 1, or anything where replaced.
  double run(Update update, int threads) {
    const T before = update == Update::replace ? std::numeric_limits<T>::quiet_NaN() : T(1);
    for (index_t i = 0; i < shape.rows; ++i) {
      for (index_t j = 0; j < shape.cols; ++j) result.at(i, j) = before;
    }
    Context context(threads);
    const std::size_t bytes = adr::masked_gemm_workspace_bytes<T>(shape.rows, shape.depth, threads);
    context.workspace().reserve(bytes);
    const double share =
        adr::masked_gemm(left.factor(), right.factor(), update, result.result(), context);
    CHECK(context.workspace().peak_bytes() == bytes);
    return share;
  }

  [[nodiscard]] double share() {
    index_t count = 0;
    for (index_t i = 0; i < shape.rows; ++i) {
      for (index_t k = 0; k < shape.depth; ++k) count += left.at(i, k) != T(0) ? 1 : 0;
    }
    const index_t all = shape.rows * shape.depth;
    return all == 0 ? 1 : static_cast<double>(count) / static_cast<double>(all);
  }

  [[nodiscard]] std::string fault(Update update) {
    Comparison comparison;
    for (index_t i = 0; i < shape.rows; ++i) {
      for (index_t j = 0; j < shape.cols; ++j) {
        double sum = update == Update::replace ? 0 : 1;
        double magnitude = sum;
        for (index_t k = 0; k < shape.depth; ++k) {
          const double product =
              static_cast<double>(left.at(i, k)) * static_cast<double>(right.at(k, j));
          sum += product;
          magnitude += std::abs(product);
        }
        comparison.expect(static_cast<double>(result.at(i, j)), sum,
                          adr_test::sum_tolerance<T>(shape.depth + 1, magnitude));
      }
    }
    return comparison.fault();
  }

  [[nodiscard]] std::string damage() {
    return left.memory.damage() + right.memory.damage() + result.memory.damage();
  }
};

}  // namespace

TEMPLATE_TEST_CASE("Masked products equal the plain sums in every orientation", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    for (int orientation = 0; orientation < 8; ++orientation) {
      for (const double density : {0.0, 0.3, 1.0}) {
        INFO(s.rows << " x " << s.depth << " x " << s.cols << ", orientation " << orientation
                    << ", density " << density);
        Case<T> c(s, orientation, density, data);
        for (const Update update : {Update::replace, Update::accumulate}) {
          CHECK(c.run(update, 1) == c.share());
          CHECK(c.fault(update) == "");
          const std::vector<T> bits = adr_test::elements_of(c.result.memory);
          for (const int threads : {2, 3, 16}) {
            c.run(update, threads);
            CHECK(adr_test::same_bits(adr_test::elements_of(c.result.memory), bits));
          }
        }
        CHECK(c.damage() == "");
      }
    }
  }
}

TEST_CASE("Zeros are not left out where they meet what is not finite") {
  Data data;
  INFO(data);
  for (int orientation = 0; orientation < 8; ++orientation) {
    Case<float> c({20, 150, 140}, orientation, 0.4, data);
    // A whole block, and the last one, which is short.
    for (const index_t k : {100, 140}) {
      c.left.at(3, k) = 0;
      c.left.at(4, k) = 1;
      c.right.at(k, k - 40) = std::numeric_limits<float>::infinity();
    }
    c.left.at(7, 10) = std::numeric_limits<float>::quiet_NaN();
    c.run(Update::replace, 1);
    for (index_t i = 0; i < 20; ++i) {
      for (index_t j = 0; j < 140; ++j) {
        INFO("element " << i << ", " << j << ", orientation " << orientation);
        double sum = 0;
        for (index_t k = 0; k < 150; ++k) {
          sum += static_cast<double>(c.left.at(i, k)) * static_cast<double>(c.right.at(k, j));
        }
        const auto result = static_cast<double>(c.result.at(i, j));
        CHECK(std::isnan(result) == std::isnan(sum));
        CHECK(std::isinf(result) == std::isinf(sum));
      }
    }
  }
}

TEST_CASE("Rows of a masked product have the bits that they have alone") {
  Data data;
  INFO(data);
  Case<float> c({300, 130, 150}, 0, 0.5, data);
  c.run(Update::replace, 1);
  Case<float> one({1, 130, 150}, 0, 0.5, data);
  for (index_t k = 0; k < 130; ++k) {
    one.left.at(0, k) = c.left.at(277, k);
    for (index_t j = 0; j < 150; ++j) one.right.at(k, j) = c.right.at(k, j);
  }
  one.run(Update::replace, 1);
  for (index_t j = 0; j < 150; ++j) CHECK(one.result.at(0, j) == c.result.at(277, j));
}

TEST_CASE("A masked product of a steady state allocates nothing") {
  Data data;
  INFO(data);
  Case<float> c({100, 200, 300}, 0, 0.3, data);
  Context context(1);
  context.workspace().reserve(adr::masked_gemm_workspace_bytes<float>(100, 200, 1));
  const long before = adr_test::allocations;
  adr::masked_gemm(c.left.factor(), c.right.factor(), Update::replace, c.result.result(), context);
  const long after = adr_test::allocations;
  CHECK(before == after);
}

TEST_CASE(
    "Zeros are left out where they are many and the product is large beside its left factor") {
  std::vector<float> x(std::size_t{128} * 1024, 0.0F);
  const MatrixView<const float> left(x.data(), 128, 1024);
  CHECK(adr::leaves_out_zeros(adr::as_is(left), 4096));
  CHECK(adr::leaves_out_zeros(adr::transposed(left), 4096));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 10 < 5 ? 1.0F : 0.0F;
  CHECK(adr::leaves_out_zeros(adr::as_is(left), 4096));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 10 < 7 ? 1.0F : 0.0F;
  CHECK_FALSE(adr::leaves_out_zeros(adr::as_is(left), 4096));

  CHECK_FALSE(adr::may_leave_out_zeros<float>(8, 4096, 4096));
  CHECK_FALSE(adr::may_leave_out_zeros<float>(128, 4096, 10));
  CHECK_FALSE(adr::may_leave_out_zeros<float>(128, 256, 256));
  CHECK_FALSE(adr::may_leave_out_zeros<float>(1000000, 4096, 4096));
  // Columns are filled up to 64, and sizes whose product overflows are too large.
  CHECK_FALSE(adr::may_leave_out_zeros<float>(200000, 1, 4096));
  CHECK_FALSE(adr::may_leave_out_zeros<float>(index_t{1} << 40, index_t{1} << 40, 4096));
  CHECK_FALSE(adr::may_leave_out_zeros<float>(128, 0, 4096));
}
