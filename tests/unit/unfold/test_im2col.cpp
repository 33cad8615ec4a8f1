#include <cmath>
#include <limits>
#include <string>

#include "adr/reference/unfold.hpp"
#include "adr/unfold/im2col.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr_test::BlockPlace;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;
using adr_test::Shown;

/// Empty when a block of the unfolded images is what the reference says, else what is wrong.
template <class T>
std::string block_fault(const ConvGeometry& g, const GuardedImages<T>& images, index_t group,
                        const BlockPlace& place, const adr::reference::Matrix& reference) {
  GuardedBuffer<T> block(place.rows, place.cols, place.cols + 3, adr_test::Start::misaligned);
  adr::im2col<T>(g, images.view(), group, place.first_row, place.first_col, block.view());
  for (index_t i = 0; i < place.rows; ++i) {
    for (index_t j = 0; j < place.cols; ++j) {
      const double expected = reference(place.first_row + i, place.first_col + j);
      // A NaN, hence poison, equals nothing.
      if (!(static_cast<double>(block(i, j)) == expected)) {
        return adr::detail::message("row ", place.first_row + i, ", column ", place.first_col + j,
                                    " is ", block(i, j), ", not ", expected);
      }
    }
  }
  return block.damage();
}

}  // namespace

TEMPLATE_TEST_CASE("im2col copies every block of every shape", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    INFO(Shown{g});
    GuardedImages<TestType> images(g, 2, data.between(0, 3));
    data.fill_normal(images.elements());
    for (index_t group = 0; group < g.groups; ++group) {
      const auto reference = adr::reference::im2col(g, images.view(), group);
      REQUIRE(reference.rows == g.rows(2));
      REQUIRE(reference.cols == g.columns());
      std::string fault;
      for (const BlockPlace& place : adr_test::block_places(data, reference.rows, reference.cols)) {
        if (fault.empty()) fault = block_fault(g, images, group, place, reference);
      }
      CHECK(fault == "");
    }
    CHECK(images.damage() == "");
  }
}

TEST_CASE("im2col has cases that reach into the padding and cases that do not") {
  // The grid above proves nothing about padding or inner pixels if it holds none of them.
  index_t inner = 0;
  index_t padded = 0;
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    index_t met = 0;
    adr::reference::for_each_unfolded(
        g, 1, 0, [&](index_t, index_t, index_t, index_t, index_t, index_t) { ++met; });
    ++(met == g.rows(1) * g.columns() ? inner : padded);
  }
  CHECK(inner > 10);
  CHECK(padded > 100);
}

TEST_CASE("im2col of no images is nothing") {
  ConvGeometry g;
  g.set_kernel(3);
  g.set_padding(1);
  GuardedBuffer<float> block(0, g.columns(), g.columns());
  const adr::TensorView<const float> images(nullptr, 0, 1, 1, 1, adr::Layout::nchw);
  adr::im2col<float>(g, images, 0, 0, 0, block.view());
  CHECK(block.damage() == "");
}

TEST_CASE("im2col passes on what is not finite") {
  ConvGeometry g;
  g.in_height = 3;
  g.in_width = 3;
  g.set_kernel(3);
  g.set_padding(1);
  float image[9] = {};
  image[4] = std::numeric_limits<float>::quiet_NaN();
  GuardedBuffer<float> block(9, 9, 9);
  adr::im2col<float>(g, adr::TensorView<const float>(image, 1, 1, 3, 3, adr::Layout::nchw), 0, 0, 0,
                     block.view());
  // The middle pixel meets every kernel element once, at a different output pixel.
  for (index_t i = 0; i < 9; ++i) {
    for (index_t j = 0; j < 9; ++j) CHECK(std::isnan(block(i, j)) == (i + j == 8));
  }
}
