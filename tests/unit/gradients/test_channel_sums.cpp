// channel_sums against the reference.
#include <algorithm>
#include <cmath>
#include <limits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/gradients/channel_sums.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"

using adr::index_t;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

TEMPLATE_TEST_CASE("channel_sums adds up every channel, whatever is contiguous", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t cols : adr_test::awkward_sizes<T>()) {
    for (const index_t rows : {0, 1, 2, 17}) {
      INFO(rows << " x " << cols);
      GuardedBuffer<T> matrix(rows, cols, cols + 3, Start::misaligned);
      GuardedBuffer<T> sums(cols, Start::misaligned);
      data.fill_normal(matrix.view());
      const auto by_row = adr::pixel_view(adr::MatrixView<const T>(matrix.view()));
      adr::channel_sums<T>(by_row, sums.data(), 1);
      adr_test::Operands operands;
      operands.x = adr_test::Matrix(rows, 0);
      operands.d_y = adr_test::Matrix(matrix.view());
      REQUIRE(adr_test::fault(sums.view(), adr_test::bias_gradient(operands)) == "");
      REQUIRE(sums.damage() == "");

      // The same numbers as two images whose channels are contiguous planes.
      adr::AlignedBuffer<T> planes(2 * cols * rows);
      adr::PixelView<const T> by_channel;
      by_channel.data = planes.data();
      by_channel.images = 2;
      by_channel.pixels = rows;
      by_channel.channels = cols;
      by_channel.image_stride = cols * rows;
      by_channel.pixel_stride = 1;
      by_channel.channel_stride = rows;
      for (index_t b = 0; b < 2; ++b) {
        for (index_t c = 0; c < cols; ++c) {
          for (index_t i = 0; i < rows; ++i) {
            planes[(b * cols + c) * rows + i] = b == 0 ? matrix.view()(i, c) : T(0.25);
          }
        }
      }
      adr::channel_sums<T>(by_channel, sums.data(), 2);
      for (index_t c = 0; c < cols; ++c) {
        double expected = 0.25 * static_cast<double>(rows);
        double size = expected;
        for (index_t i = 0; i < rows; ++i) {
          expected += static_cast<double>(matrix.view()(i, c));
          size += std::abs(static_cast<double>(matrix.view()(i, c)));
        }
        const double tolerance = static_cast<double>(std::numeric_limits<T>::epsilon()) *
                                 static_cast<double>(rows + 2) * size;
        INFO("channel " << c);
        REQUIRE(std::abs(static_cast<double>(sums.data()[c]) - expected) <= tolerance);
      }
      REQUIRE(sums.damage() == "");
    }
  }
}

TEST_CASE("channel_sums of many pixels and channels are the same for any number of threads") {
  Data data;
  INFO(data);
  constexpr index_t k_images = 3;
  constexpr index_t k_pixels = 331;
  for (const index_t channels : {64, 150}) {
    INFO(channels << " channels");
    GuardedBuffer<float> rows(k_images * k_pixels, channels, channels + 3, Start::misaligned);
    data.fill_normal(rows.view());
    adr::PixelView<const float> pixels = adr::pixel_view(adr::MatrixView<const float>(rows.view()));
    pixels.images = k_images;
    pixels.pixels = k_pixels;
    pixels.image_stride = k_pixels * pixels.pixel_stride;
    adr_test::Operands operands;
    operands.x = adr_test::Matrix(rows.view().rows, 0);
    operands.d_y = adr_test::Matrix(rows.view());
    GuardedBuffer<float> sums(channels, Start::misaligned);
    adr::channel_sums<float>(pixels, sums.data(), 1);
    CHECK(adr_test::fault(sums.view(), adr_test::bias_gradient(operands)) == "");
    GuardedBuffer<float> again(channels, Start::misaligned);
    adr::channel_sums<float>(pixels, again.data(), 3);
    CHECK(std::equal(sums.data(), sums.data() + channels, again.data()));
    CHECK(again.damage() == "");
  }
}
