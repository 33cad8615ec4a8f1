// The parts of streams, beside plain loops.
#include <cmath>
#include <limits>
#include <vector>

#include "adr/stream/change_limit.hpp"
#include "adr/stream/pixel_changes.hpp"
#include "adr/stream/stream_pace.hpp"
#include "adr/stream/window_grid.hpp"
#include "adr/stream/window_sums.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"

using adr::index_t;
using adr::Layout;
using adr::StreamPass;
using adr::TensorView;
using adr::exact::GroupImages;
using adr::stream::Compare;
using adr_test::Data;

TEST_CASE("Changes of pixels are sums of squared differences over the channels of a group") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    for (const index_t channels : {1, 3, 8, 21, 64}) {
      constexpr index_t k_height = 3;
      constexpr index_t k_width = 19;
      const index_t all = channels + 2;
      const index_t size = all * k_height * k_width;
      const std::vector<float> x = data.normals<float>(2 * size);
      const std::vector<float> used = data.normals<float>(2 * size);
      const auto images = [&](const std::vector<float>& from) {
        return GroupImages<const float>{
            {from.data(), 2, all, k_height, k_width, layout}, 1, channels};
      };
      std::vector<float> changes(2 * k_height * k_width);
      std::vector<double> energies(2 * k_height);
      adr::stream::find_pixel_changes(images(x), images(used), nullptr, Compare::energies, 2,
                                      changes.data(), energies.data());
      double all_energy = 0;
      for (index_t p = 0; p < 2 * k_height * k_width; ++p) {
        double change = 0;
        for (index_t c = 1; c <= channels; ++c) {
          const index_t image = p / (k_height * k_width);
          const index_t pixel = p % (k_height * k_width);
          const index_t at =
              image * size +
              (layout == Layout::nhwc ? pixel * all + c : c * k_height * k_width + pixel);
          const auto v = static_cast<double>(x[static_cast<std::size_t>(at)]);
          const double d = v - static_cast<double>(used[static_cast<std::size_t>(at)]);
          change += d * d;
          all_energy += v * v;
        }
        CHECK(std::abs(static_cast<double>(changes[static_cast<std::size_t>(p)]) - change) <
              1e-5 * change);
      }
      double found = 0;
      for (const double energy : energies) found += energy;
      CHECK(std::abs(found - all_energy) < 1e-5 * all_energy);
    }
  }
}

TEST_CASE("Windows are summed up where they lie in the image") {
  Data data;
  INFO(data);
  adr::ConvGeometry g = adr_test::square_layer(1, 23, 31, 1, 3, 2, Layout::nchw);
  g.set_stride(2);
  g.dilation_width = 2;
  g.pad_left = 0;
  const adr::stream::WindowGrid grid = adr::stream::window_grid(g, 4);
  std::vector<float> values(2 * 23 * 31);
  for (float& v : values) v = static_cast<float>(data.between(0, 8));
  std::vector<float> columns(31);
  std::vector<float> sums(static_cast<std::size_t>(2 * grid.per_image()));
  adr::stream::sum_windows(grid, 2, values.data(), 1, columns.data(), sums.data());
  CHECK(grid.y.blocks == (g.out_height() + 3) / 4);
  CHECK(grid.x.blocks == (g.out_width() + 3) / 4);
  for (index_t block = 0; block < 2 * grid.per_image(); ++block) {
    const index_t row = block % grid.per_image() / grid.x.blocks;
    const index_t column = block % grid.x.blocks;
    // All pixels from the first that an output of the block meets to the last.
    float sum = 0;
    for (index_t y = row * 4 * 2 - 2; y <= (row * 4 + 3) * 2 - 2 + 2; ++y) {
      for (index_t x = column * 4 * 2; x <= (column * 4 + 3) * 2 + 4; ++x) {
        if (y < 0 || y >= 23 || x < 0 || x >= 31) continue;
        sum += values[static_cast<std::size_t>(block / grid.per_image() * 23 * 31 + y * 31 + x)];
      }
    }
    CHECK(sums[static_cast<std::size_t>(block)] == sum);
  }
}

TEST_CASE("The limit of changes keeps a budget") {
  Data data;
  INFO(data);
  constexpr float k_most = 1e30F;
  std::vector<float> changes;
  double total = 0;
  for (int i = 0; i < 1000; ++i) {
    const double normal = data.normal<double>();
    changes.push_back(static_cast<float>(normal * normal * normal * normal));
    total += static_cast<double>(changes.back());
  }
  changes.push_back(std::numeric_limits<float>::quiet_NaN());
  changes.push_back(std::numeric_limits<float>::infinity());
  changes.push_back(0);
  const auto count = static_cast<index_t>(changes.size());
  for (const double share : {0.0, 0.001, 0.1, 0.5, 0.99}) {
    const float limit = adr::stream::change_limit(changes.data(), count, share * total, k_most);
    double within = 0;
    double slightly_more = 0;
    for (const float change : changes) {
      if (change <= limit) within += static_cast<double>(change);
      if (change <= 1.2F * limit) slightly_more += static_cast<double>(change);
    }
    CHECK(within <= share * total);
    if (share > 0.01) CHECK(slightly_more > 0.9 * share * total);
  }
  // All that is finite, unless one alone may not be that much.
  CHECK(adr::stream::change_limit(changes.data(), count, 2 * total, 5.0F) == 5.0F);
  CHECK(std::isfinite(adr::stream::change_limit(changes.data(), count, 2 * total, k_most)));
  CHECK(adr::stream::change_limit(nullptr, 0, 1, k_most) == k_most);
  const float tiny = std::numeric_limits<float>::denorm_min();
  CHECK(adr::stream::change_limit(&tiny, 1, 0, k_most) == 0);
}

TEST_CASE("Comparisons that do not pay are given up for waits that grow") {
  adr::stream::StreamPace pace;
  CHECK(!pace.keeps());
  int compared = 0;
  std::vector<int> waits(1, 0);
  for (int pass = 0; pass < 2000; ++pass) {
    const StreamPass next = pace.next();
    if (next == StreamPass::first) {
      pace.kept();
      CHECK(pace.keeps());
      if (waits.back() > 0) waits.push_back(0);
    }
    if (next == StreamPass::left) ++waits.back();
    if (next == StreamPass::compared) {
      ++compared;
      pace.compared(false);
    }
  }
  CHECK(compared < 12);
  CHECK(waits.size() > 3);
  for (std::size_t i = 1; i + 1 < waits.size(); ++i) CHECK(waits[i] >= waits[i - 1]);
  pace.reset();
  CHECK(pace.next() == StreamPass::first);
}
