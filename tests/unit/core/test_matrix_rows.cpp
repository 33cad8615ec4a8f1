#include "adr/core/matrix_rows.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::index_t;
using adr::MatrixRows;
using adr::MatrixView;
using adr_test::Data;
using adr_test::GuardedBuffer;

struct Block {
  index_t first_row, first_col, rows, cols;
};
constexpr Block k_blocks[] = {{0, 0, 5, 7}, {0, 0, 0, 0}, {4, 6, 1, 1}, {1, 2, 3, 4},
                              {2, 0, 1, 7}, {0, 3, 5, 1}, {5, 7, 0, 0}};

}  // namespace

TEMPLATE_TEST_CASE("MatrixRows loads blocks", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  GuardedBuffer<TestType> matrix(5, 7, 9);
  data.fill_normal(matrix.view());
  const GuardedBuffer<TestType>& seen = matrix;
  const MatrixRows<const TestType> rows(seen.view());
  CHECK(rows.rows() == 5);
  CHECK(rows.cols() == 7);
  for (const Block& b : k_blocks) {
    GuardedBuffer<TestType> block(b.rows, b.cols, b.cols + 3);
    rows.load(b.first_row, b.first_col, block.view());
    bool equal = true;
    for (index_t i = 0; i < b.rows; ++i) {
      for (index_t j = 0; j < b.cols; ++j) {
        equal = equal && block(i, j) == matrix(b.first_row + i, b.first_col + j);
      }
    }
    CHECK(equal);
    CHECK(block.damage() == "");
  }
}

TEMPLATE_TEST_CASE("MatrixRows adds blocks", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for (const Block& b : k_blocks) {
    GuardedBuffer<TestType> matrix(5, 7, 9);
    GuardedBuffer<TestType> before(5, 7, 7);
    GuardedBuffer<TestType> block(b.rows, b.cols, b.cols + 2);
    data.fill_whole(before.view());
    data.fill_whole(block.view());
    for (index_t i = 0; i < 5; ++i) {
      for (index_t j = 0; j < 7; ++j) matrix(i, j) = before(i, j);
    }
    MatrixRows<TestType>(matrix.view()).add(b.first_row, b.first_col, block.view());
    bool equal = true;
    for (index_t i = 0; i < 5; ++i) {
      for (index_t j = 0; j < 7; ++j) {
        const index_t row = i - b.first_row;
        const index_t col = j - b.first_col;
        const bool inside = row >= 0 && row < b.rows && col >= 0 && col < b.cols;
        equal = equal && matrix(i, j) == before(i, j) + (inside ? block(row, col) : TestType(0));
      }
    }
    CHECK(equal);
    CHECK(matrix.damage() == "");
  }
}

TEST_CASE("MatrixRows shows and yields rows in place") {
  GuardedBuffer<float> matrix(5, 7, 9);
  const MatrixRows<float> rows(matrix.view());
  CHECK(rows.in_place());
  CHECK(rows.columns_are_independent());
  CHECK(rows.independent_rows() >= 1);
  const MatrixView<const float> view = rows.view(1, 3, nullptr);
  CHECK(view.data == &matrix(1, 0));
  CHECK((view.rows == 3 && view.cols == 7 && view.row_stride == 9));
  const MatrixView<float> target = rows.target(2, 2, nullptr, adr::Keep::nothing);
  CHECK(target.data == &matrix(2, 0));
  CHECK((target.rows == 2 && target.cols == 7 && target.row_stride == 9));
  target(1, 6) = 3.0f;
  rows.store(2, target);
  CHECK(matrix(3, 6) == 3.0f);
}
