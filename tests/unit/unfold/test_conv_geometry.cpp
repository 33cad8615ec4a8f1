#include <initializer_list>
#include <limits>

#include "adr/unfold/conv_geometry.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;

constexpr index_t k_largest = std::numeric_limits<index_t>::max();

/// How many places the dilated kernel has on the padded input, counted one by one.
index_t places(index_t padded, index_t kernel, index_t dilation, index_t stride) {
  index_t count = 0;
  for (index_t first = 0; first + dilation * (kernel - 1) < padded; first += stride) ++count;
  return count;
}

ConvGeometry small() {
  ConvGeometry g;
  g.in_channels = 4;
  g.in_height = 9;
  g.in_width = 7;
  g.out_channels = 6;
  g.set_kernel(3);
  return g;
}

/// What validate says of the small geometry after a change.
template <class Change>
std::string after(const Change& change) {
  ConvGeometry g = small();
  change(g);
  return g.validate();
}

template <class Change>
std::string overflow_after(const Change& change) {
  ConvGeometry g = small();
  change(g);
  return adr_test::message_of<std::overflow_error>([&] { static_cast<void>(g.validate()); });
}

}  // namespace

TEST_CASE("ConvGeometry counts output pixels") {
  for (const index_t size : {1, 2, 5, 8, 13}) {
    for (const index_t kernel : {1, 2, 3, 5, 7}) {
      for (const index_t stride : {1, 2, 3}) {
        for (const index_t dilation : {1, 2, 3}) {
          for (const index_t pad : {0, 1, 3}) {
            ConvGeometry g;
            // Different along the two axes, so that mixing them up shows.
            g.in_height = size;
            g.in_width = size + 4;
            g.kernel_height = kernel;
            g.kernel_width = kernel + 1;
            g.stride_height = stride;
            g.stride_width = stride + 1;
            g.dilation_height = dilation;
            g.dilation_width = 4 - dilation;
            g.pad_top = pad;
            g.pad_bottom = pad + 1;
            g.pad_left = 2;
            g.pad_right = pad;
            INFO("size " << size << ", kernel " << kernel << ", stride " << stride << ", dilation "
                         << dilation << ", padding " << pad);
            const index_t height = places(size + 2 * pad + 1, kernel, dilation, stride);
            const index_t width = places(size + 6 + pad, kernel + 1, 4 - dilation, stride + 1);
            CHECK(g.out_height() == height);
            CHECK(g.out_width() == width);
            CHECK(g.out_pixels() == height * width);
            CHECK(g.rows(3) == 3 * height * width);
            CHECK((g.validate() == "") == (height > 0 && width > 0));
          }
        }
      }
    }
  }
}

TEST_CASE("ConvGeometry counts columns per group") {
  ConvGeometry g = small();
  CHECK(g.columns() == 3 * 3 * 4);
  g.groups = 2;
  CHECK(g.columns() == 3 * 3 * 2);
  CHECK(g.group_in_channels() == 2);
  CHECK(g.group_out_channels() == 3);
  CHECK(g.validate() == "");
}

TEST_CASE("ConvGeometry setters set both directions") {
  ConvGeometry g;
  CHECK(g.validate() == "");
  g.set_kernel(2);
  g.set_stride(3);
  g.set_padding(4);
  g.set_dilation(5);
  CHECK((g.kernel_height == 2 && g.kernel_width == 2));
  CHECK((g.stride_height == 3 && g.stride_width == 3));
  CHECK((g.pad_top == 4 && g.pad_bottom == 4 && g.pad_left == 4 && g.pad_right == 4));
  CHECK((g.dilation_height == 5 && g.dilation_width == 5));
}

TEST_CASE("ConvGeometry refuses sizes below 1 by name") {
  const struct {
    const char* name;
    index_t ConvGeometry::*field;
  } fields[] = {{"in_channels", &ConvGeometry::in_channels},
                {"in_height", &ConvGeometry::in_height},
                {"in_width", &ConvGeometry::in_width},
                {"out_channels", &ConvGeometry::out_channels},
                {"kernel_height", &ConvGeometry::kernel_height},
                {"kernel_width", &ConvGeometry::kernel_width},
                {"stride_height", &ConvGeometry::stride_height},
                {"stride_width", &ConvGeometry::stride_width},
                {"dilation_height", &ConvGeometry::dilation_height},
                {"dilation_width", &ConvGeometry::dilation_width},
                {"groups", &ConvGeometry::groups}};
  for (const auto& f : fields) {
    CHECK(after([&](ConvGeometry& g) { g.*f.field = 0; }) ==
          std::string(f.name) + " must be at least 1, got 0");
    CHECK(after([&](ConvGeometry& g) { g.*f.field = -3; }) ==
          std::string(f.name) + " must be at least 1, got -3");
  }
}

TEST_CASE("ConvGeometry refuses negative padding by name") {
  const struct {
    const char* name;
    index_t ConvGeometry::*field;
  } fields[] = {{"pad_top", &ConvGeometry::pad_top},
                {"pad_bottom", &ConvGeometry::pad_bottom},
                {"pad_left", &ConvGeometry::pad_left},
                {"pad_right", &ConvGeometry::pad_right}};
  for (const auto& f : fields) {
    CHECK(after([&](ConvGeometry& g) { g.*f.field = -1; }) ==
          std::string(f.name) + " must be at least 0, got -1");
    CHECK(after([&](ConvGeometry& g) { g.*f.field = 2; }) == "");
  }
}

TEST_CASE("ConvGeometry refuses groups that do not divide the channels") {
  CHECK(after([](ConvGeometry& g) { g.groups = 3; }) ==
        "groups must divide in_channels and out_channels, got 3 groups, 4 and 6 channels");
  CHECK(after([](ConvGeometry& g) { g.groups = 4; }) ==
        "groups must divide in_channels and out_channels, got 4 groups, 4 and 6 channels");
  CHECK(after([](ConvGeometry& g) { g.groups = 2; }) == "");
}

TEST_CASE("ConvGeometry refuses kernels larger than the padded input") {
  const auto make = [](index_t kernel, index_t dilation, index_t pad) {
    return after([&](ConvGeometry& g) {
      g.set_kernel(kernel);
      g.set_dilation(dilation);
      g.set_padding(pad);
    });
  };
  CHECK(make(8, 1, 0) ==
        "the kernel must fit the padded input, got a kernel of 8 x 8 on an input of 9 x 7");
  CHECK(make(10, 1, 0) ==
        "the kernel must fit the padded input, got a kernel of 10 x 10 on an input of 9 x 7");
  CHECK(make(3, 5, 1) ==
        "the kernel must fit the padded input, got a kernel of 11 x 11 on an input of 11 x 9");
  CHECK(make(7, 1, 0) == "");
  CHECK(make(8, 1, 1) == "");
}

TEST_CASE("ConvGeometry refuses layers whose sizes overflow") {
  const std::string rule = ": the product of the sizes exceeds 9223372036854775807";
  using adr_test::contains;
  CHECK_THAT(overflow_after([](ConvGeometry& g) {
               g.in_channels = index_t{1} << 40;
               g.in_height = index_t{1} << 40;
             }),
             contains("input image" + rule));
  CHECK_THAT(overflow_after([](ConvGeometry& g) {
               g.in_channels = index_t{1} << 31;
               g.out_channels = index_t{1} << 31;
             }),
             contains("kernel" + rule));
  CHECK_THAT(overflow_after([](ConvGeometry& g) { g.dilation_height = k_largest; }),
             contains("kernel height" + rule));
  CHECK_THAT(overflow_after([](ConvGeometry& g) { g.dilation_width = k_largest; }),
             contains("kernel width" + rule));
  CHECK_THAT(overflow_after([](ConvGeometry& g) {
               g.in_channels = 1;
               g.out_channels = index_t{1} << 40;
               g.in_height = index_t{1} << 31;
               g.set_kernel(1);
             }),
             contains("output image" + rule));
}

TEST_CASE("ConvGeometry refuses sizes whose sums could overflow") {
  const std::string rule = "sizes must be at most 1152921504606846976, got ";
  for (index_t ConvGeometry::*field : {&ConvGeometry::pad_top, &ConvGeometry::pad_bottom,
                                       &ConvGeometry::pad_left, &ConvGeometry::pad_right}) {
    CHECK(after([&](ConvGeometry& g) { g.*field = k_largest; }) == rule + "9223372036854775807");
  }
  CHECK(after([](ConvGeometry& g) {
          g.in_channels = 1;
          g.in_width = 1;
          g.in_height = index_t{1} << 61;
        }) == rule + "2305843009213693952");
  CHECK(after([](ConvGeometry& g) { g.dilation_width = index_t{1} << 60; }) ==
        rule + "3458764513820540928");
}

TEST_CASE("ConvGeometry is equal when all that describes a layer is") {
  using Change = void (*)(ConvGeometry&);
  CHECK(small() == small());
  CHECK_FALSE(small() != small());
  for (const Change change : std::initializer_list<Change>{
           [](ConvGeometry& g) { ++g.in_channels; }, [](ConvGeometry& g) { ++g.in_height; },
           [](ConvGeometry& g) { ++g.in_width; }, [](ConvGeometry& g) { ++g.out_channels; },
           [](ConvGeometry& g) { ++g.kernel_height; }, [](ConvGeometry& g) { ++g.kernel_width; },
           [](ConvGeometry& g) { ++g.stride_height; }, [](ConvGeometry& g) { ++g.stride_width; },
           [](ConvGeometry& g) { ++g.pad_top; }, [](ConvGeometry& g) { ++g.pad_bottom; },
           [](ConvGeometry& g) { ++g.pad_left; }, [](ConvGeometry& g) { ++g.pad_right; },
           [](ConvGeometry& g) { ++g.dilation_height; },
           [](ConvGeometry& g) { ++g.dilation_width; }, [](ConvGeometry& g) { ++g.groups; },
           [](ConvGeometry& g) { g.layout = adr::Layout::nhwc; }}) {
    ConvGeometry other = small();
    change(other);
    CHECK(other != small());
  }
}
