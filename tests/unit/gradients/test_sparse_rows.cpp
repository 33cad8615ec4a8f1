// Counting, listing and rounding the non-zeros of an output gradient.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "adr/gradients/sparse_rows.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"
#include "support/sizes.hpp"
#include "support/tolerance.hpp"

namespace {

namespace simd = adr::simd;
using adr::Context;
using adr::GradientDensity;
using adr::index_t;
using adr::PixelView;
using adr::SparseRows;
using adr::SparseTiles;
using adr::SparseUse;
using adr::VectorMap;
using adr_test::awkward_sizes;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

/// Calls use(packer) for the forms that listing exists in.
template <class T, class Use>
void for_both_packers(const Use& use) {
  {
    INFO("the packer of " << ADR_ISA_NAME);
    use(simd::detail::Packer<T>{});
  }
  {
    INFO("the plain packer");
    use(simd::detail::PlainPacker<T>{});
  }
}

/// The same output gradient in both memory orders, with poison between pixels and images.
template <class T>
struct Gradient {
  index_t images, pixels, channels;
  GuardedBuffer<T> by_pixel;
  GuardedBuffer<T> by_channel;

  Gradient(const VectorMap& map, index_t channel_count, index_t gap)
      : images(map.images),
        pixels(map.out_size()),
        channels(channel_count),
        by_pixel(images * pixels, channels, channels + gap, Start::misaligned),
        by_channel(images, channels * pixels, channels * pixels + gap, Start::misaligned) {}

  Gradient(const VectorMap& map, index_t channel_count, index_t gap, Data& data, double density)
      : Gradient(map, channel_count, gap) {
    for (index_t n = 0; n < images * pixels; ++n) {
      for (index_t m = 0; m < channels; ++m) {
        set(n, m, data.normal_or_zero<T>(density));
      }
    }
  }

  void set(index_t n, index_t m, T value) {
    by_pixel(n, m) = value;
    by_channel(n / pixels, m * pixels + n % pixels) = value;
  }
  [[nodiscard]] T at(index_t n, index_t m) const { return by_pixel(n, m); }

  [[nodiscard]] PixelView<const T> view(bool channels_first) const {
    if (channels_first) {
      return {by_channel.data(), images, pixels, channels, by_channel.view().row_stride, 1, pixels};
    }
    const index_t stride = by_pixel.view().row_stride;
    return {by_pixel.data(), images, pixels, channels, pixels * stride, stride, 1};
  }
};

VectorMap map_of(index_t images, index_t height, index_t width, index_t kernel, index_t step = 1) {
  VectorMap map;
  map.images = images;
  map.grid_height = height;
  map.grid_width = width;
  map.offset_rows = map.offset_cols = kernel;
  map.step_y = map.step_x = step;
  map.pad_top = map.pad_left = kernel / 2;
  map.out_height = (height - 1) / step + 1;
  map.out_width = (width - 1) / step + 1;
  return map;
}

struct Shape {
  VectorMap map;
  index_t length;
  index_t channels;
};

/// Several images per tile, one, and several tiles per image; few and many channels.
std::vector<Shape> shapes() {
  VectorMap plain;
  plain.images = 1;
  plain.grid_height = plain.out_height = 301;
  return {{map_of(5, 3, 4, 3), 7, 5},   {map_of(2, 16, 16, 5), 20, 33},
          {map_of(2, 60, 40, 3), 9, 3}, {map_of(3, 9, 7, 3, 2), 16, 1},
          {map_of(4, 1, 1, 1), 5, 70},  {plain, 80, 17},
          {map_of(0, 5, 5, 3), 4, 6}};
}

template <class T>
struct Listed {
  std::vector<std::vector<T>> rows;  ///< the gradient, element by element
  bool in_order = true;

  explicit Listed(const SparseRows<T>& list, bool by_channel)
      : rows(static_cast<std::size_t>(list.tiles().map().rows()),
             std::vector<T>(static_cast<std::size_t>(list.channels()))) {
    const SparseTiles& tiles = list.tiles();
    index_t entries = 0;
    for (index_t t = 0; t < tiles.count(); ++t) {
      const auto tile = tiles.tile(t);
      const index_t first =
          tile.first_image * tiles.map().out_size() + tile.first_row * tiles.map().out_width;
      const index_t pixels = tiles.pixels(tile);
      const auto entry = by_channel ? list.by_channel(t) : list.by_pixel(t);
      const index_t groups = by_channel ? list.channels() : pixels;
      in_order = in_order && entry.starts[0] == 0;
      for (index_t g = 0; g < groups; ++g) {
        std::int32_t before = -1;
        for (index_t k = entry.starts[g]; k < entry.starts[g + 1]; ++k, ++entries) {
          in_order = in_order && entry.indices[k] > before;
          before = entry.indices[k];
          index_t pixel = g;
          index_t channel = entry.indices[k];
          if (by_channel) {
            channel = g;
            pixel = 0;
            while (pixel < pixels && list.places()[pixel] != entry.indices[k]) ++pixel;
          }
          rows.at(static_cast<std::size_t>(first + pixel)).at(static_cast<std::size_t>(channel)) =
              entry.values[k];
        }
      }
    }
    in_order = in_order && entries == list.non_zeros();
  }
};

template <class T>
bool same_bits(const std::vector<std::vector<T>>& a, const std::vector<std::vector<T>>& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) {
    same = a[i].size() == b[i].size() &&
           (a[i].empty() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(T)) == 0);
  }
  return same;
}

/// Rounds a column of values as the gradient of a plain product does.
template <class T>
std::vector<T> rounded(const Gradient<T>& gradient, const VectorMap& map, double step,
                       std::uint64_t seed, T* unit = nullptr) {
  Context context;
  SparseRows<T> list;
  list.measure(gradient.view(false), map, 8, context);
  list.list(gradient.view(false), step, seed, SparseUse::both, context);
  if (unit != nullptr) *unit = list.unit();
  std::vector<T> all;
  for (const auto& row : Listed<T>(list, false).rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("non-zeros are counted and listed in order", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  const T special[] = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                       -std::numeric_limits<T>::infinity(), std::numeric_limits<T>::denorm_min(),
                       T(-0.0)};
  Data data;
  INFO(data);
  for_both_packers<T>([&](auto packer) {
    using P = decltype(packer);
    for (const index_t count : awkward_sizes<T>()) {
      for (const index_t percent : {0, 5, 50, 100}) {
        INFO(count << " elements, " << percent << " % non-zero");
        GuardedBuffer<T> x(count, Start::misaligned);
        std::vector<index_t> expected;
        for (index_t i = 0; i < count; ++i) {
          x(0, i) = data.between(1, 100) > percent ? T(0)
                    : data.between(0, 9) == 0      ? special[data.between(0, 4)]
                                                   : data.normal<T>();
          if (!(x(0, i) == T(0))) expected.push_back(i);
        }
        const auto found = static_cast<index_t>(expected.size());
        CHECK(simd::count_non_zeros<T, P>(x.data(), count) == found);

        GuardedBuffer<std::int32_t> indices(found + simd::k_list_slack);
        GuardedBuffer<T> values(found + simd::k_list_slack, Start::misaligned);
        CHECK(simd::list_non_zeros<T, P>(x.data(), count, indices.data(), values.data()) == found);
        bool right = true;
        for (index_t k = 0; k < found; ++k) {
          const index_t i = expected[static_cast<std::size_t>(k)];
          right =
              right && indices(0, k) == i && std::memcmp(&values(0, k), &x(0, i), sizeof(T)) == 0;
        }
        CHECK(right);
        CHECK(x.damage() == "");

        CHECK(indices.damage() == "");
        CHECK(values.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("the density of an output gradient is measured in both memory orders", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    INFO(s.map.images << " images of " << s.map.out_height << " x " << s.map.out_width << " x "
                      << s.channels);
    const Gradient<T> gradient(s.map, s.channels, 3, data, 0.2);
    index_t non_zeros = 0;
    double squares = 0;
    for (index_t n = 0; n < s.map.rows(); ++n) {
      for (index_t m = 0; m < s.channels; ++m) {
        const auto value = static_cast<double>(gradient.at(n, m));
        non_zeros += value != 0 ? 1 : 0;
        squares += value * value;
      }
    }
    for (const bool channels_first : {false, true}) {
      for (const int threads : {1, 3}) {
        Context context(threads);
        SparseRows<T> list;
        const GradientDensity density =
            list.measure(gradient.view(channels_first), s.map, s.length, context);
        CHECK(density.elements == s.map.rows() * s.channels);
        CHECK(density.non_zeros == non_zeros);
        Comparison comparison;
        comparison.expect(density.sum_of_squares, squares,
                          adr_test::sum_tolerance<T>(non_zeros, squares));
        CHECK(comparison.fault() == "");
      }
    }
  }
  const GradientDensity density{8, 2, 18};
  CHECK(density.density() == 0.25);
  CHECK(density.root_mean_square() == 1.5);
  CHECK(GradientDensity{}.density() == 0);
  CHECK(GradientDensity{}.root_mean_square() == 0);
}

TEMPLATE_TEST_CASE("lists hold every non-zero once, the same for any memory order and threads", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  SparseRows<T> list;  // used again and again, as from batch to batch
  for (const Shape& s : shapes()) {
    for (const double density : {0.0, 0.1, 1.0}) {
      for (const index_t gap : {0, 3}) {
        const Gradient<T> gradient(s.map, s.channels, gap, data, density);
        for (const double step : {0.0, 1.5}) {
          INFO(s.map.images << " images of " << s.map.out_height << " x " << s.map.out_width
                            << " x " << s.channels << ", density " << density << ", step " << step);
          std::vector<std::vector<T>> first;
          for (const bool channels_first : {false, true}) {
            const PixelView<const T> view = gradient.view(channels_first);
            for (const int threads : {1, 3}) {
              Context context(threads);
              list.measure(view, s.map, s.length, context);
              list.list(view, step, 5, SparseUse::both, context);
              const Listed<T> by_pixel(list, false);
              const Listed<T> by_channel(list, true);
              CHECK(by_pixel.in_order);
              CHECK(by_channel.in_order);
              CHECK(same_bits(by_pixel.rows, by_channel.rows));
              if (first.empty()) first = by_pixel.rows;
              CHECK(same_bits(by_pixel.rows, first));
            }
            Context context;
            list.list(view, step, 5, SparseUse::weight_gradient, context);
            CHECK(same_bits(Listed<T>(list, true).rows, first));
            for (const SparseUse use : {SparseUse::input_gradient, SparseUse::pixels}) {
              list.list(view, step, 5, use, context);
              CHECK(same_bits(Listed<T>(list, false).rows, first));
            }
          }
          bool exact = true;
          for (index_t n = 0; step == 0 && n < s.map.rows(); ++n) {
            for (index_t m = 0; m < s.channels; ++m) {
              exact = exact && first[static_cast<std::size_t>(n)][static_cast<std::size_t>(m)] ==
                                   gradient.at(n, m);
            }
          }
          CHECK(exact);
        }
        CHECK(gradient.by_pixel.damage() == "");
        CHECK(gradient.by_channel.damage() == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("values below the unit become that or zero, and the seed counts", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const Shape s = shapes()[1];
  const Gradient<T> gradient(s.map, s.channels, 0, data, 0.3);
  for (const double step : {0.2, 0.5, 2.0, 8.0}) {
    INFO("step " << step);
    T unit = 0;
    const std::vector<T> values = rounded(gradient, s.map, step, 11, &unit);
    Context context;
    SparseRows<T> list;
    const double wanted =
        step * list.measure(gradient.view(true), s.map, s.length, context).root_mean_square();
    CHECK(std::abs(static_cast<double>(unit) / wanted - 1) < 1.0 / 256);
    index_t changed = 0;
    bool small_ones_round = true;
    bool large_ones_stay = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto n = static_cast<index_t>(i) / s.channels;
      const T before = gradient.at(n, static_cast<index_t>(i) % s.channels);
      if (std::abs(before) < unit) {
        const bool is_unit = values[i] == std::copysign(unit, before);
        small_ones_round = small_ones_round && (values[i] == T(0) || is_unit);
      } else {
        large_ones_stay = large_ones_stay && values[i] == before;
      }
      changed += values[i] != before ? 1 : 0;
    }
    CHECK(small_ones_round);
    CHECK(large_ones_stay);
    CHECK(changed > 0);
    CHECK(values == rounded(gradient, s.map, step, 11));
    CHECK(values != rounded(gradient, s.map, step, 12));

    // Lists of other seeds need no other measurement, however few the one before left.
    for (const std::uint64_t seed : {1, 2, 11}) {
      list.list(gradient.view(true), step, seed, SparseUse::both, context);
    }
    std::vector<T> again;
    for (const auto& row : Listed<T>(list, true).rows) {
      again.insert(again.end(), row.begin(), row.end());
    }
    CHECK(again == values);
  }
}

TEMPLATE_TEST_CASE("errors of rounding do not add up over the pixels of a tile", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const Shape s = shapes()[1];
  const Gradient<T> gradient(s.map, s.channels, 0, data, 0.5);
  for (const double step : {1.0, 3.0}) {
    T unit = 0;
    const std::vector<T> values = rounded(gradient, s.map, step, 4, &unit);
    const SparseTiles tiles = SparseTiles::of<T>(s.map, 8);
    double worst = 0;
    std::size_t element = 0;
    for (index_t t = 0; t < tiles.count(); ++t) {
      std::vector<double> errors(static_cast<std::size_t>(s.channels), 0.0);
      for (index_t p = 0; p < tiles.pixels(tiles.tile(t)); ++p) {
        for (std::size_t m = 0; m < errors.size(); ++m, ++element) {
          const T before =
              gradient.at(static_cast<index_t>(element) / s.channels, static_cast<index_t>(m));
          errors[m] += static_cast<double>(values[element]) - static_cast<double>(before);
          worst = std::max(worst, std::abs(errors[m]));
        }
      }
    }
    INFO("step " << step << ", unit " << unit << ", largest sum of errors " << worst);
    CHECK(element == values.size());
    CHECK(worst <= static_cast<double>(unit) * 1.001);
    CHECK(worst > 0.5 * static_cast<double>(unit));
  }
}

TEMPLATE_TEST_CASE("what is not finite is listed and makes the unit unusable", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const T infinity = std::numeric_limits<T>::infinity();
  Data data;
  INFO(data);
  const VectorMap map = map_of(2, 6, 6, 3);
  for (const T value : {nan, infinity, -infinity}) {
    Gradient<T> gradient(map, 5, 0, data, 0.2);
    gradient.set(17, 2, value);
    for (const bool channels_first : {false, true}) {
      Context context;
      SparseRows<T> list;
      const PixelView<const T> view = gradient.view(channels_first);
      const GradientDensity density = list.measure(view, map, 8, context);
      list.list(view, 1.0, 3, SparseUse::both, context);
      CHECK(list.unit() == T(0));
      CHECK(list.non_zeros() == density.non_zeros);
      const auto rows = Listed<T>(list, true).rows;
      CHECK(std::memcmp(&rows[17][2], &value, sizeof(T)) == 0);
    }
  }
}

TEST_CASE("a tile that cannot be numbered is refused") {
  VectorMap map;
  map.images = 1;
  map.grid_height = map.out_height = 4096;
  Context context;
  SparseRows<float> list;
  PixelView<const float> gradient;
  gradient.images = 1;
  gradient.pixels = 4096;
  gradient.channels = index_t{1} << 27;
  gradient.channel_stride = 1;
  gradient.pixel_stride = gradient.channels;
  CHECK_THROWS_WITH(list.measure(gradient, map, 16, context),
                    adr_test::contains("can be numbered"));
  map.grid_width = map.out_width = index_t{1} << 31;
  map.grid_height = map.out_height = 1;
  CHECK_THROWS_WITH(SparseTiles::of<float>(map, 16), adr_test::contains("can be numbered"));
  // Bytes of a plane that are no number of 64 bits.
  map.grid_width = map.grid_height = (index_t{1} << 59) + 1;
  map.out_width = map.out_height = 2;
  map.step_x = map.step_y = index_t{1} << 59;
  CHECK_THROWS_WITH(SparseTiles::of<float>(map, 16), adr_test::contains("can be numbered"));
}

TEST_CASE("A sample of a gradient sees more than one corner of its images") {
  constexpr index_t k_channels = 3;
  const index_t side = GENERATE(16, 32);
  const index_t images = GENERATE(4, 64);
  const index_t pixels = side * side;
  std::vector<float> elements(static_cast<std::size_t>(images * pixels * k_channels));
  const PixelView<const float> view{elements.data(),     images,     pixels, k_channels,
                                    pixels * k_channels, k_channels, 1};
  INFO(images << " images of " << side << " x " << side);
  for (const bool left_is_zero : {true, false}) {
    for (const bool only_upper : {false, true}) {
      for (std::size_t i = 0; i < elements.size(); ++i) {
        const index_t pixel = static_cast<index_t>(i) / k_channels % pixels;
        const bool chosen = pixel % side < side / 2 && (!only_upper || pixel < pixels / 2);
        elements[i] = chosen == left_is_zero ? 0.0F : 1.0F;
      }
      const double share = only_upper ? 0.25 : 0.5;
      const double density = adr::sampled_density(view);
      if (images >= 8 || !only_upper) {
        CHECK(std::abs(density - (left_is_zero ? 1 - share : share)) < 0.01);
      } else {
        CHECK((density > 0 && density < 1));
      }
    }
  }
}
