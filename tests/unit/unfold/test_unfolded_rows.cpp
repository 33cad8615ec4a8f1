#include "adr/reference/unfold.hpp"
#include "adr/unfold/unfolded_rows.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::UnfoldedRows;
using adr_test::BlockPlace;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;

ConvGeometry grouped(Layout layout) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = 4;
  g.out_channels = 2;
  g.in_height = 5;
  g.in_width = 6;
  g.kernel_height = 3;
  g.kernel_width = 2;
  g.set_stride(2);
  g.set_padding(1);
  g.groups = 2;
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("UnfoldedRows loads blocks of im2col and adds blocks of col2im", "",
                   ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    const ConvGeometry g = grouped(layout);
    for (index_t group = 0; group < 2; ++group) {
      GuardedImages<TestType> images(g, 3, 4);
      data.fill_whole(images.elements());
      const auto reference = adr::reference::im2col(g, images.view(), group);
      const UnfoldedRows<TestType> rows(g, images.view(), group);
      const UnfoldedRows<const TestType> read_only(g, images.view(), group);
      CHECK(rows.rows() == reference.rows);
      CHECK(rows.cols() == reference.cols);

      for (const BlockPlace& b : adr_test::block_places(data, rows.rows(), rows.cols())) {
        GuardedBuffer<TestType> block(b.rows, b.cols, b.cols + 2);
        read_only.load(b.first_row, b.first_col, block.view());
        GuardedBuffer<TestType> scratch(b.rows * rows.cols());
        const auto view = read_only.view(b.first_row, b.rows, scratch.data());
        CHECK((view.rows == b.rows && view.cols == rows.cols()));
        bool equal = true;
        for (index_t i = 0; i < b.rows; ++i) {
          for (index_t j = 0; j < b.cols; ++j) {
            const double expected = reference(b.first_row + i, b.first_col + j);
            equal = equal && static_cast<double>(block(i, j)) == expected;
            equal = equal && static_cast<double>(view(i, b.first_col + j)) == expected;
          }
        }
        CHECK(equal);
        CHECK(block.damage() == "");
        CHECK(scratch.damage() == "");
      }

      for (const BlockPlace& b : adr_test::block_places(data, rows.rows(), rows.cols())) {
        GuardedBuffer<TestType> block(b.rows, b.cols, b.cols + 2);
        data.fill_whole(block.view());
        adr::reference::Matrix unfolded(rows.rows(), rows.cols());
        for (index_t i = 0; i < b.rows; ++i) {
          for (index_t j = 0; j < b.cols; ++j) {
            unfolded(b.first_row + i, b.first_col + j) = static_cast<double>(block(i, j));
          }
        }
        adr::reference::Matrix expected(images.elements());
        adr::reference::col2im_add(
            g, unfolded, group,
            adr::TensorView<double>(expected.elements.data(), 3, g.in_channels, g.in_height,
                                    g.in_width, layout));
        rows.add(b.first_row, b.first_col, block.view());
        CHECK(adr::reference::Matrix(images.elements()).elements == expected.elements);
        CHECK(images.damage() == "");
      }
    }
  }
}

TEST_CASE("UnfoldedRows never lie in place and let threads add to whole images only") {
  const ConvGeometry g = grouped(Layout::nchw);
  GuardedImages<float> images(g, 2, 0);
  const UnfoldedRows<float> rows(g, images.view(), 0);
  CHECK_FALSE(rows.in_place());
  CHECK(rows.independent_rows() == g.out_pixels());
  CHECK_FALSE(rows.columns_are_independent());
}
