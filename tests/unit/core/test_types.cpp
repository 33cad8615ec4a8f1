#include <limits>
#include <type_traits>

#include "adr/core/types.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace {

using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::VectorView;

constexpr index_t k_largest = std::numeric_limits<index_t>::max();

// Views may gain const and never lose it or change their element type.
template <template <class> class View>
constexpr bool k_adds_const_only = std::is_convertible_v<View<float>, View<const float>> &&
                                   !std::is_constructible_v<View<float>, View<const float>> &&
                                   !std::is_constructible_v<View<double>, View<float>> &&
                                   !std::is_constructible_v<View<const double>, View<float>>;
static_assert(k_adds_const_only<MatrixView>);
static_assert(k_adds_const_only<VectorView>);
static_assert(k_adds_const_only<TensorView>);

}  // namespace

TEST_CASE("checked_product multiplies") {
  CHECK(adr::checked_product("sizes", 7) == 7);
  CHECK(adr::checked_product("sizes", 2, 3, 5) == 30);
  CHECK(adr::checked_product("sizes", 2, 0, 5) == 0);
  CHECK(adr::checked_product("sizes", 0, k_largest, k_largest) == 0);
  CHECK(adr::checked_product("sizes", k_largest) == k_largest);
  CHECK(adr::checked_product("sizes", index_t{1} << 31, index_t{1} << 31) == index_t{1} << 62);
  // The largest product that fits: 7 divides 2^63 - 1.
  CHECK(adr::checked_product("sizes", k_largest / 7, 7) == k_largest);
}

TEST_CASE("checked_product refuses products beyond index_t") {
  const auto overflow = [](auto... sizes) {
    return adr_test::message_of<std::overflow_error>(
        [&] { adr::checked_product("weights", sizes...); });
  };
  const std::string rule = "weights: the product of the sizes exceeds 9223372036854775807";
  CHECK(overflow(k_largest, 2) == rule + " at a factor of 2");
  CHECK(overflow(index_t{1} << 32, index_t{1} << 31) == rule + " at a factor of 2147483648");
  CHECK(overflow(3, k_largest / 3 + 1) == rule + " at a factor of 3074457345618258603");
  CHECK(overflow(1, k_largest, 1, k_largest) == rule + " at a factor of 9223372036854775807");
}

TEST_CASE("checked_product refuses negative sizes") {
  const auto refusal = [](auto... sizes) {
    return adr_test::refusal([&] { adr::checked_product("weights", sizes...); });
  };
  CHECK(refusal(-1) == "weights: sizes must not be negative, got -1");
  CHECK(refusal(3, -20, 5) == "weights: sizes must not be negative, got -20");
  CHECK(refusal(0, -2) == "weights: sizes must not be negative, got -2");
  CHECK(refusal(std::numeric_limits<index_t>::min()) ==
        "weights: sizes must not be negative, got -9223372036854775808");
}

TEST_CASE("MatrixView finds its elements and blocks") {
  int memory[20];
  for (int i = 0; i < 20; ++i) memory[i] = i;
  const MatrixView<int> view(memory, 3, 4, 6);
  CHECK(view(0, 0) == 0);
  CHECK(view(2, 3) == 15);
  CHECK(view.row(1) == memory + 6);

  const MatrixView<int> block = view.block(1, 2, 2, 2);
  CHECK(block.data == memory + 8);
  CHECK(block.rows == 2);
  CHECK(block.cols == 2);
  CHECK(block.row_stride == 6);
  CHECK(block(1, 1) == 15);

  const MatrixView<int> rows = view.middle_rows(1, 2);
  CHECK(rows.data == memory + 6);
  CHECK(rows.rows == 2);
  CHECK(rows.cols == 4);
  CHECK(rows.row_stride == 6);

  CHECK(MatrixView<int>(memory, 3, 4).row_stride == 4);
  const MatrixView<int> none;
  CHECK((none.data == nullptr && none.rows == 0 && none.cols == 0 && none.row_stride == 0));
  view(1, 1) = -7;
  CHECK(memory[7] == -7);
}

TEST_CASE("VectorView finds its elements") {
  int memory[3] = {5, 6, 7};
  const VectorView<int> view(memory, 3);
  CHECK(view[2] == 7);
  CHECK_FALSE(view.empty());
  CHECK(VectorView<int>().empty());
  CHECK(VectorView<int>(memory, 0).empty());
}

TEST_CASE("TensorView finds its images") {
  int memory[64] = {};
  const TensorView<int> dense(memory, 2, 3, 2, 4, Layout::nhwc);
  CHECK(dense.image_size() == 24);
  CHECK(dense.image_stride == 24);
  CHECK(dense.image(1) == memory + 24);
  CHECK(dense.layout == Layout::nhwc);
  const TensorView<int> spaced(memory, 2, 3, 2, 4, Layout::nchw, 30);
  CHECK(spaced.image_size() == 24);
  CHECK(spaced.image(1) == memory + 30);
}

TEST_CASE("views keep everything but gain const when they are converted") {
  float memory[64] = {};
  const MatrixView<const float> matrix = MatrixView<float>(memory, 3, 4, 6);
  CHECK((matrix.data == memory && matrix.rows == 3 && matrix.cols == 4 && matrix.row_stride == 6));
  const VectorView<const float> vector = VectorView<float>(memory, 5);
  CHECK((vector.data == memory && vector.size == 5));
  const TensorView<const float> tensor = TensorView<float>(memory, 2, 3, 2, 4, Layout::nhwc, 25);
  CHECK((tensor.data == memory && tensor.batch == 2 && tensor.channels == 3 && tensor.height == 2 &&
         tensor.width == 4 && tensor.layout == Layout::nhwc && tensor.image_stride == 25));
}
