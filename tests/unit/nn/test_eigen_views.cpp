// Views of Eigen objects: shape, stride, constness.
#include <Eigen/Core>
#include <type_traits>
#include <vector>

#include "adr/adr.hpp"
#include "adr/eigen.hpp"
#include "adr/extern_layers.hpp"
#include "support/catch.hpp"

using adr::index_t;
using adr::MatrixView;

namespace {
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
}

TEST_CASE("adr::view shows the elements of a row-major Eigen matrix") {
  RowMajor matrix(3, 4);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 4; ++j) matrix(i, j) = static_cast<float>(10 * i + j);
  }
  const auto view = adr::view(matrix);
  static_assert(std::is_same_v<std::decay_t<decltype(view)>, MatrixView<float>>);
  CHECK(view.data == matrix.data());
  CHECK(view.rows == 3);
  CHECK(view.cols == 4);
  CHECK(view.row_stride == 4);
  view(2, 1) = -5;
  CHECK(matrix(2, 1) == -5.0f);

  const RowMajor& constant = matrix;
  const auto const_view = adr::view(constant);
  static_assert(std::is_same_v<std::decay_t<decltype(const_view)>, MatrixView<const float>>);
  CHECK(const_view(1, 3) == 13.0f);
}

TEST_CASE("adr::view of a block keeps the stride of the matrix") {
  RowMajor matrix = RowMajor::Zero(5, 7);
  auto block = matrix.block(1, 2, 3, 4);
  const auto view = adr::view(block);
  static_assert(std::is_same_v<std::decay_t<decltype(view)>, MatrixView<float>>);
  CHECK(view.rows == 3);
  CHECK(view.cols == 4);
  CHECK(view.row_stride == 7);
  view(2, 3) = 9;
  CHECK(matrix(3, 5) == 9.0f);
}

TEST_CASE("adr::view of maps and vectors") {
  std::vector<double> elements(24, 1.0);
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>> map(elements.data(), 4, 5,
                                                                 Eigen::OuterStride<>(6));
  const auto view = adr::view(map);
  static_assert(std::is_same_v<std::decay_t<decltype(view)>, MatrixView<double>>);
  CHECK(view.row_stride == 6);
  CHECK(view.row(3) == elements.data() + 18);

  const Eigen::Map<const Matrix> read_only(elements.data(), 6, 4);
  const auto const_view = adr::view(read_only);
  static_assert(std::is_same_v<std::decay_t<decltype(const_view)>, MatrixView<const double>>);
  CHECK(const_view.rows == 6);

  Eigen::RowVectorXf vector(5);
  CHECK(adr::view(vector).rows == 1);
  CHECK(adr::view(vector).cols == 5);
}

TEST_CASE("Eigen matrices go into the library through views") {
  const RowMajor a = RowMajor::Random(20, 12);
  const RowMajor b = RowMajor::Random(12, 6);
  RowMajor c(20, 6);
  adr::Plan config;
  config.method = adr::Method::exact;
  adr::ReuseGemm<float> reuse(config);
  adr::reuse_gemm<float>(adr::view(a), adr::view(b), adr::view(c), reuse);
  CHECK((c - a * b).cwiseAbs().maxCoeff() < 1e-5f);
}
