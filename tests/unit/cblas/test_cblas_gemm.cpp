// DenseGemm on a CBLAS.
#include <limits>
#include <vector>

#include "adr/gemm/cblas_gemm.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"

using adr::GemmFactor;
using adr::GemmResult;
using adr::index_t;
using adr::Update;
using adr_test::Data;
using adr_test::Expected;
using adr_test::GuardedBuffer;
using adr_test::Matrix;

TEMPLATE_TEST_CASE("cblas_gemm agrees with the reference", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const adr::DenseGemm<T> gemm = adr::cblas_gemm<T>();
  struct Sizes {
    index_t n, k, m;
  };
  for (const Sizes s : {Sizes{0, 3, 2}, Sizes{3, 0, 2}, Sizes{3, 2, 0}, Sizes{1, 1, 1},
                        Sizes{7, 13, 5}, Sizes{33, 17, 65}}) {
    for (unsigned choice = 0; choice < 16; ++choice) {
      const bool a_transposed = (choice & 1u) != 0;
      const bool b_transposed = (choice & 2u) != 0;
      const bool c_transposed = (choice & 4u) != 0;
      const bool accumulate = (choice & 8u) != 0;
      INFO("n, k, m = " << s.n << ", " << s.k << ", " << s.m << "; choice " << choice);
      const auto stored = [&](index_t rows, index_t cols, bool transpose) {
        return transpose ? GuardedBuffer<T>(cols, rows, rows + 2)
                         : GuardedBuffer<T>(rows, cols, cols + 2);
      };
      const auto oriented = [](const GuardedBuffer<T>& buffer, bool transpose) {
        const Matrix matrix(buffer.view());
        return transpose ? adr::reference::transpose(matrix) : matrix;
      };
      auto a = stored(s.n, s.k, a_transposed);
      auto b = stored(s.k, s.m, b_transposed);
      auto c = stored(s.n, s.m, c_transposed);
      for (auto* operand : {&a, &b, &c}) data.fill_normal(operand->view());
      const Matrix before = oriented(c, c_transposed);
      Expected expected;
      expected.terms = s.k + 1;
      const Matrix a_reference = oriented(a, a_transposed);
      const Matrix b_reference = oriented(b, b_transposed);
      expected.value = adr::reference::multiply(a_reference, b_reference);
      expected.magnitude = adr::reference::multiply(adr_test::absolute(a_reference),
                                                    adr_test::absolute(b_reference));
      for (std::size_t i = 0; accumulate && i < before.elements.size(); ++i) {
        expected.value.elements[i] += before.elements[i];
        expected.magnitude.elements[i] += std::abs(before.elements[i]);
      }
      gemm(GemmFactor<T>{a.view(), a_transposed}, GemmFactor<T>{b.view(), b_transposed},
           accumulate ? Update::accumulate : Update::replace,
           GemmResult<T>{c.view(), c_transposed});
      REQUIRE(adr_test::fault<T>(oriented(c, c_transposed), expected) == "");
      REQUIRE(c.damage() == "");
    }
  }
}

TEST_CASE("cblas_gemm multiplies contiguous matrices without columns", "") {
  // BLAS wants a row stride of at least 1 even where no element exists.
  const adr::DenseGemm<float> gemm = adr::cblas_gemm<float>();
  GuardedBuffer<float> c(2, 3, 3);
  float unused = 0;
  const adr::MatrixView<const float> a(&unused, 2, 0);
  const adr::MatrixView<const float> b(&unused, 0, 3);
  gemm(adr::as_is(a), adr::as_is(b), Update::replace, c.view());
  for (index_t i = 0; i < 2; ++i) {
    for (index_t j = 0; j < 3; ++j) CHECK(c(i, j) == 0.0f);
  }
}

TEST_CASE("cblas_gemm refuses sizes beyond int", "") {
  const adr::DenseGemm<float> gemm = adr::cblas_gemm<float>();
  const index_t too_long = index_t{std::numeric_limits<int>::max()} + 1;
  float a = 2;
  float b = 3;
  float c = 5;
  const std::string message = adr_test::refusal([&] {
    gemm(adr::as_is(adr::MatrixView<const float>(&a, 1, 1, too_long)),
         adr::as_is(adr::MatrixView<const float>(&b, 1, 1)), Update::replace,
         adr::MatrixView<float>(&c, 1, 1));
  });
  CHECK_THAT(message, adr_test::contains("at most 2147483647, got 2147483648"));
  CHECK(c == 5.0f);
}
