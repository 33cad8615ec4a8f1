#include <algorithm>
#include <string>

#include "adr/reference/unfold.hpp"
#include "adr/unfold/col2im.hpp"
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

}  // namespace

// Whole numbers add up exactly in any order, so every comparison here is exact.
TEMPLATE_TEST_CASE("col2im_add adds every block of every shape", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  constexpr index_t k_batch = 2;
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    INFO(Shown{g});
    const index_t group = g.groups - 1;
    std::string fault;
    for (const BlockPlace& place : adr_test::block_places(data, g.rows(k_batch), g.columns())) {
      GuardedImages<TestType> images(g, k_batch, data.between(0, 3));
      data.fill_whole(images.elements());
      GuardedBuffer<TestType> block(place.rows, place.cols, place.cols + 2,
                                    adr_test::Start::misaligned);
      data.fill_whole(block.view());

      // The reference takes the whole matrix: zeros around the block.
      adr::reference::Matrix unfolded(g.rows(k_batch), g.columns());
      for (index_t i = 0; i < place.rows; ++i) {
        for (index_t j = 0; j < place.cols; ++j) {
          unfolded(place.first_row + i, place.first_col + j) = static_cast<double>(block(i, j));
        }
      }
      adr::reference::Matrix expected(images.elements());
      adr::reference::col2im_add(
          g, unfolded, group,
          adr::TensorView<double>(expected.elements.data(), k_batch, g.in_channels, g.in_height,
                                  g.in_width, g.layout));

      adr::col2im_add<TestType>(g, block.view(), group, place.first_row, place.first_col,
                                images.view());
      if (fault.empty() &&
          adr::reference::Matrix(images.elements()).elements != expected.elements) {
        fault = adr::detail::message("the block of ", place.rows, " x ", place.cols, " at ",
                                     place.first_row, ", ", place.first_col, " is added wrongly");
      }
      if (fault.empty()) fault = images.damage();
    }
    CHECK(fault == "");
  }
}

TEMPLATE_TEST_CASE("im2col and col2im are adjoint", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  constexpr index_t k_batch = 2;
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    INFO(Shown{g});
    for (index_t group = 0; group < g.groups; ++group) {
      const index_t rows = g.rows(k_batch);
      const index_t cols = g.columns();
      GuardedImages<TestType> x(g, k_batch, 1);
      GuardedImages<TestType> folded(g, k_batch, 2);
      GuardedBuffer<TestType> unfolded(rows, cols, cols);
      GuardedBuffer<TestType> y(rows, cols, cols);
      data.fill_whole(x.elements());
      data.fill_whole(y.view());
      for (index_t i = 0; i < k_batch; ++i) {
        for (index_t j = 0; j < folded.elements().cols; ++j) folded.elements()(i, j) = 0;
      }
      adr::im2col<TestType>(g, x.view(), group, 0, 0, unfolded.view());
      adr::col2im_add<TestType>(g, y.view(), group, 0, 0, folded.view());
      const auto inner_product = [](const auto& a, const auto& b) {
        double total = 0;
        for (index_t i = 0; i < a.rows; ++i) {
          for (index_t j = 0; j < a.cols; ++j) {
            total += static_cast<double>(a(i, j)) * static_cast<double>(b(i, j));
          }
        }
        return total;
      };
      CHECK(inner_product(unfolded.view(), y.view()) ==
            inner_product(x.elements(), folded.elements()));
    }
  }
}

TEST_CASE("col2im_add in blocks adds what the whole adds") {
  Data data;
  INFO(data);
  ConvGeometry g;
  g.in_channels = 3;
  g.in_height = 7;
  g.in_width = 6;
  g.set_kernel(3);
  g.set_padding(1);
  for (const adr::Layout layout : {adr::Layout::nchw, adr::Layout::nhwc}) {
    g.layout = layout;
    GuardedBuffer<float> y(g.rows(2), g.columns(), g.columns());
    data.fill_whole(y.view());
    GuardedImages<float> whole(g, 2, 0);
    GuardedImages<float> in_blocks(g, 2, 5);
    for (auto* images : {&whole, &in_blocks}) {
      for (index_t i = 0; i < 2; ++i) {
        for (index_t j = 0; j < whole.elements().cols; ++j) images->elements()(i, j) = 0;
      }
    }
    adr::col2im_add<float>(g, y.view(), 0, 0, 0, whole.view());
    for (index_t row = 0; row < g.rows(2); row += 5) {
      for (index_t col = 0; col < g.columns(); col += 4) {
        const index_t rows = std::min<index_t>(5, g.rows(2) - row);
        const index_t cols = std::min<index_t>(4, g.columns() - col);
        adr::col2im_add<float>(g, y.view().block(row, col, rows, cols), 0, row, col,
                               in_blocks.view());
      }
    }
    CHECK(adr::reference::Matrix(whole.elements()).elements ==
          adr::reference::Matrix(in_blocks.elements()).elements);
    CHECK(in_blocks.damage() == "");
  }
}
