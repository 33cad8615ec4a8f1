#include "adr/reference/unfold.hpp"
#include "adr/unfold/pixel_rows.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::index_t;
using adr::Keep;
using adr::Layout;
using adr::MatrixView;
using adr::PixelRows;
using adr::TensorView;
using adr_test::BlockPlace;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;

constexpr index_t k_batch = 3;
constexpr index_t k_channels = 6;
// More pixels than one tile of the transposition, and no multiple of it.
constexpr index_t k_height = 5;
constexpr index_t k_width = 7;
constexpr index_t k_pixels = k_height * k_width;

/// The channels of one group.
struct Group {
  index_t first;
  index_t count;
};
constexpr Group k_groups[] = {{0, 6}, {0, 3}, {3, 3}, {5, 1}};

/// The element that row `row` and column `col` of a group mean.
template <class T>
T& pixel(const TensorView<T>& images, const Group& group, index_t row, index_t col) {
  return adr::reference::element(images, row / k_pixels, group.first + col,
                                 row % k_pixels / k_width, row % k_width);
}

/// True when the block holds rows `first_row`, `first_row + 1`, ... and columns `first_col`, ...
template <class T, class U>
bool holds(const MatrixView<T>& block, const TensorView<U>& images, const Group& group,
           index_t first_row, index_t first_col) {
  for (index_t i = 0; i < block.rows; ++i) {
    for (index_t j = 0; j < block.cols; ++j) {
      if (!(block(i, j) == pixel(images, group, first_row + i, first_col + j))) return false;
    }
  }
  return true;
}

/// Calls use(images, group, gap) for both layouts, without and with gaps between images, and all
/// groups.
template <class T, class Use>
void for_each_case(Data& data, const Use& use) {
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t gap : {0, 5}) {
      for (const Group& group : k_groups) {
        INFO((layout == Layout::nchw ? "nchw" : "nhwc")
             << ", gap " << gap << ", channels from " << group.first << " to "
             << group.first + group.count);
        GuardedImages<T> images(k_batch, k_channels, k_height, k_width, layout, gap);
        data.fill_normal(images.elements());
        use(images, group, gap);
        CHECK(images.damage() == "");
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("PixelRows loads any block", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case<TestType>(data, [&](auto& images, const Group& group, index_t) {
    const PixelRows<const TestType> rows(images.view(), group.first, group.count);
    CHECK(rows.rows() == k_batch * k_pixels);
    CHECK(rows.cols() == group.count);
    for (const BlockPlace& b : adr_test::block_places(data, rows.rows(), rows.cols())) {
      GuardedBuffer<TestType> block(b.rows, b.cols, b.cols + 3);
      rows.load(b.first_row, b.first_col, block.view());
      CHECK(holds(block.view(), images.view(), group, b.first_row, b.first_col));
      CHECK(block.damage() == "");
    }
  });
}

TEMPLATE_TEST_CASE("PixelRows shows whole rows in place where they lie so", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case<TestType>(data, [&](auto& images, const Group& group, index_t gap) {
    const PixelRows<TestType> rows(images.view(), group.first, group.count);
    const bool row_major = images.view().layout == Layout::nhwc && gap == 0;
    CHECK(rows.in_place() == row_major);
    for (const BlockPlace& b : adr_test::block_places(data, rows.rows(), rows.cols())) {
      GuardedBuffer<TestType> scratch(b.rows * group.count);
      const MatrixView<const TestType> view = rows.view(b.first_row, b.rows, scratch.data());
      CHECK(view.rows == b.rows);
      CHECK(view.cols == group.count);
      CHECK((view.data == scratch.data()) == !row_major);
      CHECK(holds(view, images.view(), group, b.first_row, 0));
      CHECK(scratch.damage() == "");
    }
  });
}

TEMPLATE_TEST_CASE("PixelRows writes whole rows and nothing else", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case<TestType>(data, [&](auto& images, const Group& group, index_t) {
    const PixelRows<TestType> rows(images.view(), group.first, group.count);
    for (const Keep keep : {Keep::nothing, Keep::contents}) {
      for (const BlockPlace& b : adr_test::block_places(data, rows.rows(), rows.cols())) {
        adr::reference::Matrix expected(images.elements());
        const TensorView<double> expected_images(expected.elements.data(), k_batch, k_channels,
                                                 k_height, k_width, images.view().layout);
        GuardedBuffer<TestType> scratch(b.rows * group.count);
        const MatrixView<TestType> target = rows.target(b.first_row, b.rows, scratch.data(), keep);
        CHECK((target.rows == b.rows && target.cols == group.count));
        if (keep == Keep::contents) CHECK(holds(target, images.view(), group, b.first_row, 0));
        for (index_t i = 0; i < b.rows; ++i) {
          for (index_t j = 0; j < group.count; ++j) {
            target(i, j) = data.normal<TestType>();
            pixel(expected_images, group, b.first_row + i, j) = static_cast<double>(target(i, j));
          }
        }
        rows.store(b.first_row, target);
        CHECK(adr::reference::Matrix(images.elements()).elements == expected.elements);
        CHECK(scratch.damage() == "");
      }
    }
  });
}

TEST_CASE("PixelRows of one image ignores the stride between images") {
  GuardedImages<float> images(1, 2, 3, 4, Layout::nhwc, 9);
  CHECK(PixelRows<float>(images.view(), 0, 2).in_place());
  const GuardedImages<float> transposed(1, 2, 3, 4, Layout::nchw, 0);
  CHECK_FALSE(PixelRows<float>(transposed.view(), 0, 2).in_place());
}

TEST_CASE("PixelRows of no images has no rows") {
  const PixelRows<const float> rows(TensorView<const float>(nullptr, 0, 3, 2, 2, Layout::nchw), 0,
                                    3);
  CHECK(rows.rows() == 0);
  CHECK(rows.view(0, 0, nullptr).rows == 0);
}
