#include "adr/reference/matrix.hpp"
#include "adr/reference/shared_vectors.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::index_t;
using adr::MatrixVectors;
using adr::MatrixView;
using adr_test::BlockPlace;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

constexpr index_t k_rows = 37;
constexpr index_t k_cols = 21;

}  // namespace

TEMPLATE_TEST_CASE("MatrixVectors loads any block either way", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  GuardedBuffer<T> matrix(k_rows, k_cols, k_cols + 3, Start::misaligned);
  data.fill_normal(matrix.view());
  const MatrixVectors<const T> vectors(matrix.view());
  CHECK(vectors.length() == k_cols);
  for (const BlockPlace& b : adr_test::block_places(data, k_rows, k_cols)) {
    GuardedBuffer<float> columns(b.cols, b.rows, b.rows + 5);
    GuardedBuffer<T> rows(b.rows, b.cols, b.cols + 2);
    vectors.load_columns(b.first_row, b.first_col, columns.view());
    vectors.load_rows(b.first_row, b.first_col, rows.view());
    bool right = true;
    for (index_t i = 0; i < b.rows; ++i) {
      for (index_t e = 0; e < b.cols; ++e) {
        const T value = matrix(b.first_row + i, b.first_col + e);
        right = right && columns(e, i) == static_cast<float>(value) && rows(i, e) == value;
      }
    }
    CHECK(right);
    CHECK(columns.damage() == "");
    CHECK(rows.damage() == "");
  }
}

TEMPLATE_TEST_CASE("MatrixVectors adds any block", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const BlockPlace& b : adr_test::block_places(data, k_rows, k_cols)) {
    GuardedBuffer<T> matrix(k_rows, k_cols, k_cols + 3, Start::misaligned);
    GuardedBuffer<T> block(b.rows, b.cols, b.cols + 1);
    data.fill_whole(matrix.view());
    data.fill_whole(block.view());
    adr::reference::Matrix expected(matrix.view());
    for (index_t i = 0; i < b.rows; ++i) {
      for (index_t e = 0; e < b.cols; ++e) {
        expected(b.first_row + i, b.first_col + e) += static_cast<double>(block(i, e));
      }
    }
    MatrixVectors<T>(matrix.view()).add_rows(b.first_row, b.first_col, block.view());
    CHECK(adr::reference::Matrix(matrix.view()).elements == expected.elements);
    CHECK(matrix.damage() == "");
  }
}

TEST_CASE("MatrixVectors stands for the matrix itself") {
  Data data;
  INFO(data);
  GuardedBuffer<double> matrix(k_rows, k_cols, k_cols);
  data.fill_normal(matrix.view());
  const MatrixVectors<double> vectors(matrix.view());
  CHECK(vectors.map().is_identity());
  CHECK_FALSE(vectors.map().has_padding());
  CHECK(vectors.map().vectors() == k_rows);
  CHECK(vectors.length() == k_cols);
  const adr::reference::Matrix whole(matrix.view());
  const auto columns = adr::weight_columns(k_cols);
  CHECK(adr::reference::unfold(vectors.map(), whole, columns).elements == whole.elements);
}

TEST_CASE("MatrixVectors of no rows has no vectors") {
  const MatrixVectors<const float> vectors(MatrixView<const float>(nullptr, 0, 3));
  CHECK(vectors.map().vectors() == 0);
  CHECK(vectors.map().rows() == 0);
  vectors.load_columns(0, 0, MatrixView<float>(nullptr, 3, 0));
}
