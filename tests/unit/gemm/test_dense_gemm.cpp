// DenseGemm: the library's product against the reference in every orientation, and a user's
// callable in its place.
#include <vector>

#include "adr/core/parallel.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"

using adr::as_is;
using adr::DenseGemm;
using adr::GemmFactor;
using adr::GemmResult;
using adr::index_t;
using adr::MatrixView;
using adr::transposed;
using adr::Update;
using adr_test::Data;
using adr_test::Expected;
using adr_test::GuardedBuffer;
using adr_test::Matrix;
using adr_test::Start;

namespace {

struct Sizes {
  index_t n, k, m;
};

/// All of them small, and every awkward size once in every place.
template <class T>
std::vector<Sizes> shapes() {
  std::vector<Sizes> result = {{0, 0, 0}, {0, 3, 2}, {3, 0, 2}, {3, 2, 0}, {1, 1, 1}, {2, 3, 5}};
  for (const index_t size : adr_test::awkward_sizes<T>()) {
    result.push_back({size, 7, 5});
    result.push_back({5, size, 7});
    result.push_back({7, 5, size});
  }
  result.push_back({67, 131, 71});
  return result;
}

template <class T>
Matrix oriented(const GuardedBuffer<T>& buffer, bool transpose) {
  const Matrix matrix(buffer.view());
  return transpose ? adr::reference::transpose(matrix) : matrix;
}

template <class T>
GuardedBuffer<T> stored(index_t rows, index_t cols, bool transpose, index_t gap, Start start) {
  return transpose ? GuardedBuffer<T>(cols, rows, rows + gap, start)
                   : GuardedBuffer<T>(rows, cols, cols + gap, start);
}

}  // namespace

TEMPLATE_TEST_CASE("DenseGemm multiplies in every orientation", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const DenseGemm<T> gemm;
  for (const Sizes& s : shapes<T>()) {
    for (unsigned choice = 0; choice < 32; ++choice) {
      const bool a_transposed = (choice & 1u) != 0;
      const bool b_transposed = (choice & 2u) != 0;
      const bool c_transposed = (choice & 4u) != 0;
      const bool accumulate = (choice & 8u) != 0;
      const bool awkward_memory = (choice & 16u) != 0;
      if (s.n * s.k * s.m > 100000 && (choice & 24u) != 0) continue;
      INFO("n, k, m = " << s.n << ", " << s.k << ", " << s.m << "; choice " << choice);
      const index_t gap = awkward_memory ? 3 : 0;
      const Start start = awkward_memory ? Start::misaligned : Start::aligned;
      auto a = stored<T>(s.n, s.k, a_transposed, gap, start);
      auto b = stored<T>(s.k, s.m, b_transposed, gap, start);
      auto c = stored<T>(s.n, s.m, c_transposed, gap, start);
      data.fill_normal(a.view());
      data.fill_normal(b.view());
      if (accumulate) data.fill_normal(c.view());

      Expected expected;
      expected.terms = s.k + 1;
      const Matrix a_reference = oriented(a, a_transposed);
      const Matrix b_reference = oriented(b, b_transposed);
      expected.value = adr::reference::multiply(a_reference, b_reference);
      expected.magnitude = adr::reference::multiply(adr_test::absolute(a_reference),
                                                    adr_test::absolute(b_reference));
      if (accumulate) {
        const Matrix before = oriented(c, c_transposed);
        for (std::size_t i = 0; i < before.elements.size(); ++i) {
          expected.value.elements[i] += before.elements[i];
          expected.magnitude.elements[i] += std::abs(before.elements[i]);
        }
      }
      gemm(GemmFactor<T>{a.view(), a_transposed}, GemmFactor<T>{b.view(), b_transposed},
           accumulate ? Update::accumulate : Update::replace,
           GemmResult<T>{c.view(), c_transposed});
      REQUIRE(adr_test::fault<T>(oriented(c, c_transposed), expected) == "");
      REQUIRE(a.damage() + b.damage() + c.damage() == "");
    }
  }
}

TEST_CASE("DenseGemm hands a user's callable matching shapes", "") {
  Data data;
  INFO(data);
  GuardedBuffer<float> a(3, 4, 6);
  GuardedBuffer<float> b(4, 5, 5);
  GuardedBuffer<float> c(3, 5, 7);
  GuardedBuffer<float> c_transposed(5, 3, 3);
  data.fill_whole(a.view());
  data.fill_whole(b.view());
  int calls = 0;
  const auto naive = [&](const GemmFactor<float>& left, const GemmFactor<float>& right,
                         Update update, const MatrixView<float>& result) {
    ++calls;
    CHECK(update == Update::replace);
    REQUIRE(left.rows() == result.rows);
    REQUIRE(right.cols() == result.cols);
    REQUIRE(left.cols() == right.rows());
    const Matrix product = adr::reference::multiply(
        left.transposed ? adr::reference::transpose(Matrix(left.matrix)) : Matrix(left.matrix),
        right.transposed ? adr::reference::transpose(Matrix(right.matrix)) : Matrix(right.matrix));
    for (index_t i = 0; i < result.rows; ++i) {
      for (index_t j = 0; j < result.cols; ++j) result(i, j) = static_cast<float>(product(i, j));
    }
  };
  const DenseGemm<float> gemm{adr::GemmFunction<float>(naive)};
  gemm(as_is(a.view()), as_is(b.view()), Update::replace, c.view());
  CHECK(calls == 1);
  // The result in transposed memory is the transposed product, asked of the same callable.
  gemm(as_is(a.view()), as_is(b.view()), Update::replace,
       GemmResult<float>{c_transposed.view(), true});
  CHECK(calls == 2);
  for (index_t i = 0; i < 3; ++i) {
    for (index_t j = 0; j < 5; ++j) REQUIRE(c(i, j) == c_transposed(j, i));
  }
  CHECK(c.damage() + c_transposed.damage() == "");
}

TEST_CASE("A block of a transposed factor or result is the block of what it stands for", "") {
  Data data;
  INFO(data);
  GuardedBuffer<double> stored_matrix(6, 9, 11);
  data.fill_normal(stored_matrix.view());
  const GemmFactor<double> factor = transposed(stored_matrix.view());
  CHECK(factor.rows() == 9);
  CHECK(factor.cols() == 6);
  const GemmFactor<double> part = factor.block(2, 1, 4, 3);
  CHECK(part.rows() == 4);
  CHECK(part.cols() == 3);
  CHECK(part.transposed);
  CHECK(part.matrix(0, 0) == stored_matrix(1, 2));
  CHECK(part.matrix(2, 3) == stored_matrix(3, 5));
  const GemmFactor<double> rows = factor.middle_rows(7, 2);
  CHECK(rows.rows() == 2);
  CHECK(rows.cols() == 6);
  CHECK(rows.matrix(5, 1) == stored_matrix(5, 8));
  CHECK(rows.transpose().rows() == 6);

  const GemmResult<double> result{stored_matrix.view(), true};
  CHECK(result.rows() == 9);
  CHECK(result.cols() == 6);
  CHECK_FALSE(result.empty());
  CHECK(GemmResult<double>{}.empty());
  const GemmResult<double> result_rows = result.middle_rows(3, 5);
  CHECK(result_rows.rows() == 5);
  CHECK(result_rows.cols() == 6);
  CHECK(result_rows.matrix.data == &stored_matrix(0, 3));
  const GemmResult<double> plain{stored_matrix.view(), false};
  CHECK(plain.block(1, 2, 3, 4).matrix.data == &stored_matrix(1, 2));
  CHECK(plain.block(1, 2, 3, 4).matrix.cols == 4);
}

TEST_CASE("DenseGemm gives the same bits on every thread", "") {
  Data data;
  INFO(data);
  GuardedBuffer<float> a(70, 80, 80);
  GuardedBuffer<float> b(80, 90, 90);
  data.fill_normal(a.view());
  data.fill_normal(b.view());
  const DenseGemm<float> gemm;
  std::vector<std::vector<float>> bits(4);
  adr::parallel_for(4, 2, [&](index_t i, int) {
    GuardedBuffer<float> own(70, 90, 90);
    gemm(as_is(a.view()), as_is(b.view()), Update::replace, own.view());
    bits[static_cast<std::size_t>(i)] = adr_test::elements_of(own);
  });
  for (const auto& result : bits) CHECK(adr_test::same_bits(result, bits[0]));
}

TEST_CASE("the fingerprint of a factor tells which way round it is taken") {
  const float elements[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const adr::MatrixView<const float> matrix(elements, 3, 3);
  CHECK(adr::fingerprint(adr::as_is(matrix)) == adr::fingerprint(adr::as_is(matrix)));
  CHECK(adr::fingerprint(adr::transposed(matrix)) == adr::fingerprint<float>(matrix));
  CHECK(adr::fingerprint(adr::as_is(matrix)) != adr::fingerprint(adr::transposed(matrix)));
}
