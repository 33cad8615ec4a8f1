// column_sums against the reference.
#include "adr/gemm/column_sums.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"

using adr::index_t;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

TEMPLATE_TEST_CASE("column_sums adds up every column", "", float, double) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t cols : adr_test::awkward_sizes<T>()) {
    for (const index_t rows : {0, 1, 2, 17}) {
      INFO(rows << " x " << cols);
      GuardedBuffer<T> matrix(rows, cols, cols + 3, Start::misaligned);
      GuardedBuffer<T> sums(cols, Start::misaligned);
      data.fill_normal(matrix.view());
      adr::column_sums<T>(matrix.view(), sums.data());
      adr_test::Operands operands;
      operands.x = adr_test::Matrix(rows, 0);
      operands.d_y = adr_test::Matrix(matrix.view());
      REQUIRE(adr_test::fault(sums.view(), adr_test::bias_gradient(operands)) == "");
      REQUIRE(sums.damage() == "");
    }
  }
}
