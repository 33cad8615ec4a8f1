#include <algorithm>
#include <limits>
#include <vector>

#include "adr/core/view_checks.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/refusal.hpp"

namespace {

using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::VectorView;
using adr_test::contains;
using adr_test::Data;
using adr_test::message_of;
using adr_test::refusal;

constexpr index_t k_largest = std::numeric_limits<index_t>::max();
constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();
constexpr float k_infinity = std::numeric_limits<float>::infinity();

std::string matrix_refusal(const MatrixView<float>& view, index_t rows, index_t cols) {
  return refusal([&] { adr::require_shape("weights", view, rows, cols); });
}

std::string tensor_refusal(const TensorView<float>& view, index_t batch, index_t channels,
                           index_t height, index_t width, Layout layout) {
  return refusal(
      [&] { adr::require_shape("images", view, batch, channels, height, width, layout); });
}

/// The message about an output of `a` that may overlap `b`.
template <class A, class B>
std::string overlap(const A& a, const B& b) {
  return refusal([&] { adr::require_disjoint("dst", a, "src", b); });
}

}  // namespace

TEST_CASE("require_shape accepts matrices of the shape") {
  float memory[24] = {};
  CHECK(matrix_refusal({memory, 3, 4}, 3, 4) == "(no error)");
  CHECK(matrix_refusal({memory, 3, 4, 8}, 3, 4) == "(no error)");
  CHECK(matrix_refusal({nullptr, 0, 4}, 0, 4) == "(no error)");
  CHECK(matrix_refusal({nullptr, 4, 0}, 4, 0) == "(no error)");
  CHECK(matrix_refusal({}, 0, 0) == "(no error)");
}

TEST_CASE("require_shape takes any stride of a single row or image") {
  float memory[24] = {};
  for (const index_t stride : {index_t{0}, index_t{1}, index_t{-7}, index_t{9}, k_largest}) {
    INFO("stride " << stride);
    CHECK(matrix_refusal({memory, 1, 4, stride}, 1, 4) == "(no error)");
    CHECK(matrix_refusal({memory, 0, 4, stride}, 0, 4) == "(no error)");
    CHECK(adr::plain_stride(MatrixView<float>(memory, 1, 4, stride)).row_stride == 4);
    CHECK(tensor_refusal({memory, 1, 3, 2, 4, Layout::nhwc, stride}, 1, 3, 2, 4, Layout::nhwc) ==
          "(no error)");
    CHECK(adr::plain_stride(TensorView<float>(memory, 1, 3, 2, 4, Layout::nhwc, stride))
              .image_stride == 24);
  }
  CHECK(adr::plain_stride(MatrixView<float>(memory, 2, 4, 9)).row_stride == 9);
  CHECK(adr::plain_stride(TensorView<float>(memory, 2, 1, 2, 4, Layout::nhwc, 11)).image_stride ==
        11);
}

TEST_CASE("require_shape names the rule and both values for matrices") {
  float memory[24] = {};
  CHECK(matrix_refusal({memory, 3, 4}, 4, 3) == "weights must be 4 x 3, got 3 x 4");
  CHECK(matrix_refusal({memory, 3, 4}, 3, 5) == "weights must be 3 x 5, got 3 x 4");
  CHECK(matrix_refusal({memory, 2, 4}, 3, 4) == "weights must be 3 x 4, got 2 x 4");
  CHECK(matrix_refusal({memory, 3, 4, 3}, 3, 4) ==
        "weights: row_stride must be at least cols, got 3 < 4");
  CHECK(matrix_refusal({memory, 3, 4, -4}, 3, 4) ==
        "weights: row_stride must be at least cols, got -4 < 4");
  CHECK(matrix_refusal({nullptr, 3, 4}, 3, 4) == "weights of 3 x 4 elements has a null pointer");
  CHECK(matrix_refusal({memory, -3, 4}, -3, 4) == "weights: sizes must not be negative, got -3");
}

TEST_CASE("require_shape refuses matrices whose memory exceeds index_t") {
  float memory[1] = {};
  const auto overflow = [&](index_t rows, index_t cols, index_t stride) {
    return message_of<std::overflow_error>([&] {
      adr::require_shape("weights", MatrixView<float>(memory, rows, cols, stride), rows, cols);
    });
  };
  CHECK_THAT(overflow(k_largest, 2, 2), contains("weights: the product of the sizes exceeds"));
  CHECK_THAT(overflow(2, 1, k_largest), contains("weights: the product of the sizes exceeds"));
  // The elements fit, the bytes do not.
  CHECK_THAT(overflow(k_largest / 2, 1, 1), contains("at a factor of 4"));
  CHECK(overflow(k_largest / 4, 1, 1) == "(no error)");
}

TEST_CASE("require_size names the rule and both values") {
  float memory[4] = {};
  const auto check = [](const VectorView<float>& view, index_t size) {
    return refusal([&] { adr::require_size("bias", view, size); });
  };
  CHECK(check({memory, 4}, 4) == "(no error)");
  CHECK(check({nullptr, 0}, 0) == "(no error)");
  CHECK(check({memory, 4}, 5) == "bias must have 5 elements, got 4");
  CHECK(check({memory, 4}, 0) == "bias must have 0 elements, got 4");
  CHECK(check({nullptr, 4}, 4) == "bias of 4 elements has a null pointer");
}

TEST_CASE("require_shape accepts tensors of the shape") {
  float memory[64] = {};
  CHECK(tensor_refusal({memory, 2, 3, 2, 4, Layout::nchw}, 2, 3, 2, 4, Layout::nchw) ==
        "(no error)");
  CHECK(tensor_refusal({memory, 2, 3, 2, 4, Layout::nhwc, 30}, 2, 3, 2, 4, Layout::nhwc) ==
        "(no error)");
  CHECK(tensor_refusal({nullptr, 0, 3, 2, 4, Layout::nchw}, 0, 3, 2, 4, Layout::nchw) ==
        "(no error)");
}

TEST_CASE("require_shape names the rule and both values for tensors") {
  float memory[64] = {};
  const TensorView<float> view(memory, 2, 3, 2, 4, Layout::nchw);
  CHECK(tensor_refusal(view, 2, 3, 2, 4, Layout::nhwc) ==
        "images must be in layout nhwc, got nchw");
  TensorView<float> other_layout = view;
  other_layout.layout = Layout::nhwc;
  CHECK(tensor_refusal(other_layout, 2, 3, 2, 4, Layout::nchw) ==
        "images must be in layout nchw, got nhwc");
  const std::string rule = "images must have batch x channels x height x width = ";
  CHECK(tensor_refusal(view, 3, 3, 2, 4, Layout::nchw) ==
        rule + "3 x 3 x 2 x 4, got 2 x 3 x 2 x 4");
  CHECK(tensor_refusal(view, 2, 4, 2, 4, Layout::nchw) ==
        rule + "2 x 4 x 2 x 4, got 2 x 3 x 2 x 4");
  CHECK(tensor_refusal(view, 2, 3, 4, 2, Layout::nchw) ==
        rule + "2 x 3 x 4 x 2, got 2 x 3 x 2 x 4");
  CHECK(tensor_refusal(view, 2, 3, 2, 5, Layout::nchw) ==
        rule + "2 x 3 x 2 x 5, got 2 x 3 x 2 x 4");
  CHECK(tensor_refusal({memory, 2, 3, 2, 4, Layout::nchw, 23}, 2, 3, 2, 4, Layout::nchw) ==
        "images: image_stride must be at least channels * height * width, got 23 < 24");
  CHECK(tensor_refusal({nullptr, 2, 3, 2, 4, Layout::nchw}, 2, 3, 2, 4, Layout::nchw) ==
        "images has elements and a null pointer");
  CHECK(tensor_refusal({memory, -2, 3, 2, 4, Layout::nchw}, -2, 3, 2, 4, Layout::nchw) ==
        "images: sizes must not be negative, got -2");
}

TEST_CASE("require_shape refuses tensors whose memory exceeds index_t") {
  float memory[1] = {};
  const TensorView<float> large_images(memory, 1, k_largest, 2, 1, Layout::nchw, k_largest);
  CHECK_THAT(message_of<std::overflow_error>([&] {
               adr::require_shape("images", large_images, 1, k_largest, 2, 1, Layout::nchw);
             }),
             contains("images: the product of the sizes exceeds"));
  const TensorView<float> many_images(memory, k_largest, 1, 1, 1, Layout::nchw, 2);
  CHECK_THAT(message_of<std::overflow_error>([&] {
               adr::require_shape("images", many_images, k_largest, 1, 1, 1, Layout::nchw);
             }),
             contains("images: the product of the sizes exceeds"));
}

TEST_CASE("require_disjoint accepts neighbours and refuses overlaps of vectors") {
  float memory[20] = {};
  const VectorView<float> low(memory, 10);
  const VectorView<float> high(memory + 10, 10);
  CHECK(overlap(low, high) == "(no error)");
  CHECK(overlap(high, low) == "(no error)");
  CHECK_THAT(overlap(low, VectorView<float>(memory + 9, 10)), contains("must not overlap"));
  CHECK_THAT(overlap(VectorView<float>(memory + 9, 10), low), contains("must not overlap"));
  CHECK_THAT(overlap(low, low), contains("must not overlap"));
  CHECK_THAT(overlap(low, VectorView<const float>(memory + 4, 1)), contains("must not overlap"));
  CHECK_THAT(overlap(VectorView<float>(memory + 4, 1), low), contains("must not overlap"));
}

TEST_CASE("require_disjoint names both operands and both address ranges") {
  float memory[20] = {};
  const void* first = memory;
  const void* middle = memory + 5;
  const void* last = memory + 10;
  const void* end = memory + 15;
  CHECK(overlap(VectorView<float>(memory, 10), VectorView<float>(memory + 5, 10)) ==
        adr::detail::message("dst must not overlap src: dst spans [", first, ", ", last,
                             "), src spans [", middle, ", ", end, ")"));
}

TEST_CASE("require_disjoint takes blocks of one matrix that have no element in common") {
  float memory[64] = {};
  const MatrixView<float> matrix(memory, 6, 10);
  const MatrixView<float> left = matrix.block(0, 0, 6, 4);
  const MatrixView<float> right = matrix.block(0, 4, 6, 6);
  CHECK(overlap(left, right) == "(no error)");
  CHECK(overlap(right, left) == "(no error)");
  CHECK(overlap(matrix.block(1, 7, 5, 3), matrix.block(0, 2, 3, 5)) == "(no error)");
  CHECK(overlap(left, matrix.block(5, 4, 1, 6)) == "(no error)");
  CHECK(overlap(matrix.block(5, 4, 1, 6), left) == "(no error)");
  // A vector or an image in the gap behind a row.
  CHECK(overlap(left, VectorView<float>(memory + 24, 6)) == "(no error)");
  CHECK(overlap(left, TensorView<float>(memory + 4, 2, 3, 1, 2, Layout::nchw, 30)) == "(no error)");
  CHECK_THAT(overlap(left, matrix.block(0, 3, 6, 7)), contains("must not overlap"));
  CHECK_THAT(overlap(matrix.block(0, 3, 6, 7), left), contains("must not overlap"));
  CHECK_THAT(overlap(left, VectorView<float>(memory + 24, 7)), contains("must not overlap"));
  CHECK_THAT(overlap(left, VectorView<float>(memory + 23, 6)), contains("must not overlap"));
  CHECK_THAT(overlap(matrix, matrix.block(2, 3, 1, 1)), contains("must not overlap"));
}

TEST_CASE("require_disjoint agrees with a look at every element") {
  Data data;
  INFO(data);
  std::vector<double> memory(200);
  const auto mark = [&](const MatrixView<double>& view, double value) {
    bool free = true;
    for (index_t i = 0; i < view.rows; ++i) {
      for (index_t j = 0; j < view.cols; ++j) {
        free = free && view(i, j) == 0;
        view(i, j) = value;
      }
    }
    return free;
  };
  int apart = 0;
  constexpr int k_cases = 4000;
  for (int i = 0; i < k_cases; ++i) {
    const auto any_view = [&] {
      const index_t cols = data.between(0, 5);
      const index_t rows = data.between(0, 6);
      // Few strides, so that many are alike.
      const index_t stride = rows > 1 ? cols + 2 * data.between(0, 3) : data.between(-3, 20);
      return MatrixView<double>(memory.data() + data.between(0, 90), rows, cols, stride);
    };
    const MatrixView<double> a = any_view();
    const MatrixView<double> b = any_view();
    INFO(a.rows << " x " << a.cols << " by " << a.row_stride << ", " << b.rows << " x " << b.cols
                << " by " << b.row_stride << ", " << b.data - a.data << " behind");
    mark(a, 1);
    const bool disjoint = mark(b, 2);
    CHECK((overlap(a, b) == "(no error)") == disjoint);
    CHECK((overlap(b, a) == "(no error)") == disjoint);
    std::fill(memory.begin(), memory.end(), 0.0);
    apart += disjoint ? 1 : 0;
  }
  CHECK(apart > k_cases / 10);
  CHECK(apart < k_cases * 9 / 10);
}

TEST_CASE("require_disjoint lets empty operands be anywhere") {
  float memory[20] = {};
  const VectorView<float> vector(memory, 20);
  CHECK(overlap(vector, VectorView<float>(memory + 5, 0)) == "(no error)");
  CHECK(overlap(vector, MatrixView<float>(memory + 5, 0, 3)) == "(no error)");
  CHECK(overlap(vector, MatrixView<float>(memory + 5, 3, 0)) == "(no error)");
  CHECK(overlap(vector, TensorView<float>(memory, 0, 1, 1, 1, Layout::nchw)) == "(no error)");
  CHECK(overlap(vector, TensorView<float>(memory, 1, 0, 1, 1, Layout::nchw)) == "(no error)");
  CHECK(overlap(VectorView<float>(), VectorView<float>()) == "(no error)");
}

TEST_CASE("require_disjoint knows where the last row and the last image end") {
  float memory[40] = {};
  // 3 rows of 4, 6 apart: the last element is number 15.
  const MatrixView<float> matrix(memory, 3, 4, 6);
  CHECK(overlap(matrix, VectorView<float>(memory + 16, 4)) == "(no error)");
  CHECK_THAT(overlap(matrix, VectorView<float>(memory + 15, 4)), contains("must not overlap"));
  // 2 images of 6, 10 apart: likewise.
  const TensorView<float> tensor(memory, 2, 3, 2, 1, Layout::nchw, 10);
  CHECK(overlap(tensor, VectorView<float>(memory + 16, 4)) == "(no error)");
  CHECK_THAT(overlap(tensor, VectorView<float>(memory + 15, 4)), contains("must not overlap"));
  CHECK_THAT(overlap(matrix, tensor), contains("must not overlap"));
}

TEST_CASE("require_finite names the first element that is not finite") {
  float memory[24] = {};
  const MatrixView<float> matrix(memory, 3, 4, 6);
  const auto check = [&] { return refusal([&] { adr::require_finite("x", matrix); }); };
  memory[4] = k_nan;  // in a gap
  memory[23] = k_infinity;
  CHECK(check() == "(no error)");
  matrix(2, 3) = k_nan;
  CHECK(check() == "x must be finite, element (2, 3) is nan");
  matrix(1, 2) = -k_infinity;
  CHECK(check() == "x must be finite, element (1, 2) is -inf");
  matrix(0, 0) = k_infinity;
  CHECK(check() == "x must be finite, element (0, 0) is inf");
  CHECK(refusal([] { adr::require_finite("x", MatrixView<const float>()); }) == "(no error)");
}

TEST_CASE("require_finite reads vectors and tensors") {
  float memory[24] = {};
  const VectorView<float> vector(memory, 3);
  const TensorView<float> tensor(memory, 2, 2, 1, 3, Layout::nhwc, 8);
  memory[6] = k_nan;  // between the images
  CHECK(refusal([&] { adr::require_finite("bias", vector); }) == "(no error)");
  CHECK(refusal([&] { adr::require_finite("images", tensor); }) == "(no error)");
  memory[13] = k_nan;
  CHECK(refusal([&] { adr::require_finite("images", tensor); }) ==
        "images must be finite, element (1, 5) is nan");
  memory[2] = k_infinity;
  CHECK(refusal([&] { adr::require_finite("bias", vector); }) ==
        "bias must be finite, element (0, 2) is inf");
}
