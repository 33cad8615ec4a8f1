// Rows in one piece: where they lie, or copied in blocks by any number of threads.
#include "adr/core/matrix_rows.hpp"
#include "adr/core/row_major.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::index_t;
using adr::MatrixView;

/// Rows that never lie in place: each number twice what the matrix has.
struct DoubledRows {
  MatrixView<const float> matrix;

  [[nodiscard]] index_t rows() const { return matrix.rows; }
  [[nodiscard]] index_t cols() const { return matrix.cols; }
  [[nodiscard]] bool in_place() const { return false; }
  [[nodiscard]] MatrixView<const float> view(index_t, index_t, const float*) const { return {}; }
  void load(index_t first, index_t first_col, const MatrixView<float>& block) const {
    for (index_t i = 0; i < block.rows; ++i) {
      for (index_t j = 0; j < block.cols; ++j) {
        block.row(i)[j] = 2 * matrix(first + i, first_col + j);
      }
    }
  }
};

}  // namespace

TEST_CASE("row_major leaves rows in place where they lie so") {
  adr_test::GuardedBuffer<float> x(3, 4, 6);
  adr::Context context(1);
  const MatrixView<const float> view =
      adr::detail::row_major(adr::MatrixRows<const float>(x.view()), context);
  CHECK(view.data == x.data());
  CHECK(view.row_stride == 6);
  CHECK(view.rows == 3);
}

TEST_CASE("row_major copies rows to the workspace, in as many bytes as it says") {
  adr_test::Data data;
  INFO(data);
  for (const index_t rows : {0, 1, 255, 256, 257, 1000}) {
    for (const int threads : {1, 3}) {
      INFO(rows << " rows, " << threads << " threads");
      adr_test::GuardedBuffer<float> x(rows, 5, 7);
      data.fill_normal(x.view());
      adr::Context context(threads);
      context.workspace().reserve(adr::detail::row_major_bytes<float>("x", rows, 5));
      const adr::Workspace::Frame frame(context.workspace());
      const MatrixView<const float> copy = adr::detail::row_major(DoubledRows{x.view()}, context);
      REQUIRE(copy.rows == rows);
      REQUIRE(copy.cols == 5);
      CHECK(copy.row_stride == 5);
      for (index_t i = 0; i < rows; ++i) {
        for (index_t j = 0; j < 5; ++j) CHECK(copy(i, j) == 2 * x(i, j));
      }
      CHECK(x.damage() == "");
    }
  }
}
