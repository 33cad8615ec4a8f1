// Tiles with the same inputs are found and computed once, to the bits of a pass without.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/identical_sample.hpp"
#include "adr/exact/identical_tiles.hpp"
#include "adr/exact/tile_reuse.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/exact_case.hpp"
#include "support/guarded_buffer.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::TensorView;
using adr::VectorView;
using adr::exact::ConvolutionPasses;
using adr::exact::IdenticalTiles;
using adr::exact::Look;
using adr::exact::TileInputs;
using adr_test::Data;
using adr_test::GuardedImages;
using adr_test::Shown;

namespace {

ConvGeometry layer_of(index_t channels, index_t height, index_t width, index_t outputs,
                      Layout layout, index_t kernel = 3, index_t padding = 1) {
  return adr_test::square_layer(channels, height, width, outputs, kernel, padding, layout);
}

/// Tiles of every algorithm, tiles that reach beyond the map, channels that fill no register, maps
/// of one tile, groups.
std::vector<ConvGeometry> geometries() {
  std::vector<ConvGeometry> all;
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    for (const ConvGeometry& g :
         {layer_of(8, 16, 16, 8, layout), layer_of(19, 22, 41, 35, layout),
          layer_of(16, 9, 18, 24, layout), layer_of(9, 2, 2, 10, layout),
          layer_of(8, 17, 20, 33, layout, 5, 2), layer_of(12, 10, 12, 8, layout, 3, 0),
          layer_of(8, 4, 4, 8, layout), layer_of(8, 8, 24, 8, layout, 5, 4)}) {
      all.push_back(g);
    }
    ConvGeometry grouped = layer_of(24, 14, 15, 40, layout);
    grouped.groups = 2;
    all.push_back(grouped);
    ConvGeometry uneven = layer_of(8, 13, 19, 8, layout);
    uneven.pad_top = 2;
    uneven.pad_left = 0;
    uneven.pad_right = 2;
    all.push_back(uneven);
  }
  return all;
}

/// Images that repeat themselves in one way or another.
enum class Pattern { noise, plain, zeros, background, equal_images, period, rows };
constexpr Pattern k_patterns[] = {Pattern::noise,      Pattern::plain,        Pattern::zeros,
                                  Pattern::background, Pattern::equal_images, Pattern::period,
                                  Pattern::rows};

float& element(const TensorView<float>& x, index_t n, index_t c, index_t i, index_t j) {
  return x.layout == Layout::nhwc ? x.image(n)[(i * x.width + j) * x.channels + c]
                                  : x.image(n)[(c * x.height + i) * x.width + j];
}

void fill(const TensorView<float>& x, Pattern pattern, Data& data) {
  for (index_t n = 0; n < x.batch; ++n) {
    for (index_t c = 0; c < x.channels; ++c) {
      for (index_t i = 0; i < x.height; ++i) {
        for (index_t j = 0; j < x.width; ++j) {
          float& value = element(x, n, c, i, j);
          value = data.normal<float>();
          const auto plain = static_cast<float>(c) / 4;
          if (pattern == Pattern::plain) value = plain;
          if (pattern == Pattern::zeros) value = 0;
          if (pattern == Pattern::background && (j > 3 || i > 12)) value = plain;
          if (pattern == Pattern::equal_images && n > 0) value = element(x, 0, c, i, j);
          if (pattern == Pattern::period && (i >= 4 || j >= 4)) {
            value = element(x, n, c, i % 4, j % 4);
          }
          if (pattern == Pattern::rows && j > 0) value = element(x, n, c, i, 0);
        }
      }
    }
  }
}

/// What a layer reads and writes, with poison between the images.
struct Layer {
  ConvGeometry geometry;
  GuardedImages<float> x;
  GuardedImages<float> y;
  std::vector<float> w;
  std::vector<float> bias;

  Layer(const ConvGeometry& g, index_t batch, Data& data)
      : geometry(g),
        x(g, batch, 5),
        y(batch, g.out_channels, g.out_height(), g.out_width(), g.layout, 3),
        w(data.normals<float>(g.out_channels * g.columns())),
        bias(data.normals<float>(g.out_channels)) {}

  double forward(ConvolutionPasses<float>& passes, Look look, Context& context, bool relu = false) {
    passes.set_look(look);
    return passes.forward(
        x.view(), MatrixView<const float>(w.data(), geometry.out_channels, geometry.columns()),
        VectorView<const float>(bias.data(), geometry.out_channels), relu, y.view(), context);
  }
  [[nodiscard]] std::vector<float> result() const {
    std::vector<float> all;
    const TensorView<float>& view = y.view();
    for (index_t n = 0; n < view.batch; ++n) {
      all.insert(all.end(), view.image(n), view.image(n) + view.image_size());
    }
    return all;
  }
};

/// The same bits, but for which NaN a NaN is: operations may choose among those of their operands.
bool same_results(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return false;
  }
  return true;
}

/// The tiles of the group of a convolution, with 4 x 4 outputs and kernels of 3 x 3.
TileInputs tiles_of(const Layer& layer, index_t group = 0) {
  const ConvGeometry& g = layer.geometry;
  const index_t channels = g.group_in_channels();
  return {adr::exact::tile_grid<adr::exact::Tile4x3>(g),
          {layer.x.view(), group * channels, channels},
          adr::exact::Tile4x3::inputs};
}

std::uint32_t bits(float value) {
  std::uint32_t result = 0;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

/// The window of a tile element by element, and the size of what it writes.
std::vector<std::uint32_t> window(const TileInputs& tiles, index_t tile) {
  const adr::exact::TilePlace place = tiles.grid.place(tile);
  std::vector<std::uint32_t> all = {
      static_cast<std::uint32_t>(std::min(tiles.grid.step, tiles.grid.out_height - place.y)),
      static_cast<std::uint32_t>(std::min(tiles.grid.step, tiles.grid.out_width - place.x))};
  for (index_t i = 0; i < tiles.inputs; ++i) {
    for (index_t j = 0; j < tiles.inputs; ++j) {
      const index_t y = place.y - tiles.grid.before_y + i;
      const index_t x = place.x - tiles.grid.before_x + j;
      const TensorView<const float>& images = tiles.x.images;
      const bool inside = y >= 0 && y < images.height && x >= 0 && x < images.width;
      for (index_t c = 0; c < tiles.x.channels; ++c) {
        const index_t channel = tiles.x.first_channel + c;
        const index_t at = images.layout == Layout::nhwc
                               ? (y * images.width + x) * images.channels + channel
                               : (channel * images.height + y) * images.width + x;
        all.push_back(inside ? bits(images.image(place.image)[at]) : 0);
      }
    }
  }
  return all;
}

/// The first tile with the same window, for every tile, by comparing all with all.
std::vector<index_t> first_by_definition(const TileInputs& tiles) {
  std::vector<std::vector<std::uint32_t>> windows;
  std::vector<index_t> first;
  for (index_t tile = 0; tile < tiles.tiles(); ++tile) {
    windows.push_back(window(tiles, tile));
    index_t other = 0;
    while (windows[static_cast<std::size_t>(other)] != windows.back()) ++other;
    first.push_back(other);
  }
  return first;
}

template <class FoldHash = adr::exact::WholeHash>
std::vector<index_t> found_first(const TileInputs& tiles, int threads) {
  Context context(threads);
  const std::size_t bytes = IdenticalTiles<FoldHash>::workspace_bytes(tiles, threads);
  context.workspace().reserve(bytes);
  const IdenticalTiles<FoldHash> found(tiles, context);
  CHECK(context.workspace().peak_bytes() == bytes);
  std::vector<index_t> first(found.first(), found.first() + found.count());
  index_t distinct = 0;
  for (index_t tile = 0; tile < found.count(); ++tile) {
    if (first[static_cast<std::size_t>(tile)] != tile) continue;
    REQUIRE(distinct < found.distinct().count);
    CHECK(found.distinct()[distinct++] == tile);
  }
  CHECK(distinct == found.distinct().count);
  return first;
}

struct NoHash {
  std::uint64_t operator()(std::uint64_t /*hash*/) const noexcept { return 7; }
};
struct FewHashes {
  std::uint64_t operator()(std::uint64_t hash) const noexcept { return hash % 3; }
};

}  // namespace

TEST_CASE("Identical tiles are those that comparing all with all finds", "[exact]") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    for (const Pattern pattern : k_patterns) {
      INFO(Shown{g} << " pattern " << static_cast<int>(pattern));
      Layer layer(g, 3, data);
      fill(layer.x.view(), pattern, data);
      for (index_t group = 0; group < g.groups; ++group) {
        const TileInputs tiles = tiles_of(layer, group);
        const std::vector<index_t> expected = first_by_definition(tiles);
        CHECK(found_first(tiles, 1) == expected);
        CHECK(found_first(tiles, 3) == expected);
      }
    }
  }
}

TEST_CASE("Tiles whose hashes collide are not taken for each other", "[exact]") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    for (const Pattern pattern : k_patterns) {
      Layer layer(layer_of(11, 18, 27, 8, layout), 2, data);
      fill(layer.x.view(), pattern, data);
      const TileInputs tiles = tiles_of(layer);
      const std::vector<index_t> colliding[] = {found_first<NoHash>(tiles, 1),
                                                found_first<FewHashes>(tiles, 2)};
      for (const std::vector<index_t>& first : colliding) {
        for (index_t tile = 0; tile < tiles.tiles(); ++tile) {
          const index_t other = first[static_cast<std::size_t>(tile)];
          REQUIRE(other <= tile);
          CHECK(first[static_cast<std::size_t>(other)] == other);
          CHECK(window(tiles, other) == window(tiles, tile));
        }
      }
    }
  }
}

TEST_CASE("A zero with a sign is another zero, and a NaN is like itself", "[exact]") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    Layer layer(layer_of(8, 24, 24, 8, layout), 2, data);
    fill(layer.x.view(), Pattern::zeros, data);
    // Tiles in the middle of a row: without these, all of them are alike.
    element(layer.x.view(), 0, 3, 9, 9) = -0.0F;
    element(layer.x.view(), 0, 5, 17, 17) = std::numeric_limits<float>::quiet_NaN();
    element(layer.x.view(), 1, 5, 17, 17) = std::numeric_limits<float>::quiet_NaN();
    const TileInputs tiles = tiles_of(layer);
    const std::vector<index_t> first = found_first(tiles, 1);
    CHECK(first == first_by_definition(tiles));
    const auto tile = [&](index_t image, index_t row, index_t column) {
      return (image * tiles.grid.rows + row) * tiles.grid.columns + column;
    };
    const auto first_of = [&](index_t t) { return first[static_cast<std::size_t>(t)]; };
    CHECK(first_of(tile(0, 2, 2)) == tile(0, 2, 2));
    CHECK(first_of(tile(1, 2, 2)) == tile(0, 0, 0));
    CHECK(first_of(tile(1, 4, 4)) == tile(0, 4, 4));
  }
}

TEST_CASE("Passes that copy equal tiles have the bits of those that do not", "[exact]") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    ConvolutionPasses<float> passes(g, adr_test::tiles(true));
    CHECK(passes.forward_form() != adr::exact::Form::direct);
    for (const Pattern pattern : k_patterns) {
      INFO(Shown{g} << " pattern " << static_cast<int>(pattern));
      Layer layer(g, 3, data);
      fill(layer.x.view(), pattern, data);
      const bool relu = pattern == Pattern::background;
      Context plain(1);
      CHECK(layer.forward(passes, Look::never, plain, relu) == 1);
      const std::vector<float> expected = layer.result();
      for (const int threads : {1, 2, 3}) {
        for (const Look look : {Look::always, Look::sampled}) {
          Context context(threads);
          layer.y.elements().data[0] = 17;
          const double computed = layer.forward(passes, look, context, relu);
          CHECK(same_results(layer.result(), expected));
          CHECK(layer.y.damage().empty());
          CHECK(computed > 0);
          CHECK(computed <= 1);
          if (look == Look::always && pattern == Pattern::equal_images) CHECK(computed < 0.34);
          if (look == Look::always && pattern == Pattern::zeros && g.in_height > 13) {
            CHECK(computed < 0.2);
          }
        }
      }
    }
  }
}

TEST_CASE("Results that are not finite are copied like others", "[exact]") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    Layer layer(layer_of(8, 24, 28, 16, layout), 2, data);
    fill(layer.x.view(), Pattern::equal_images, data);
    for (const index_t n : {0, 1}) {
      element(layer.x.view(), n, 2, 5, 6) = std::numeric_limits<float>::quiet_NaN();
      element(layer.x.view(), n, 1, 14, 14) = -std::numeric_limits<float>::infinity();
    }
    ConvolutionPasses<float> passes(layer.geometry, adr_test::tiles(true));
    Context context(2);
    layer.forward(passes, Look::never, context);
    const std::vector<float> expected = layer.result();
    CHECK(layer.forward(passes, Look::always, context) == 0.5);
    CHECK(same_results(layer.result(), expected));
  }
}

TEST_CASE("A sample tells batches that repeat from those that do not", "[exact]") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nhwc, Layout::nchw}) {
    Layer layer(layer_of(16, 48, 48, 16, layout), 4, data);
    const TileInputs tiles = tiles_of(layer);
    const auto estimate = [&](Pattern pattern) {
      fill(layer.x.view(), pattern, data);
      return adr::exact::sampled_repeats(tiles, 128, 0.05);
    };
    CHECK(estimate(Pattern::noise) == 0);
    CHECK(estimate(Pattern::plain) > 0.6);
    CHECK(estimate(Pattern::background) > 0.5);
    CHECK(estimate(Pattern::equal_images) > 0.6);
    CHECK(estimate(Pattern::period) > 0.6);
    CHECK(estimate(Pattern::rows) > 0.6);
    // Only a few elements of a window are equal: the glance is taken in, the comparison is not.
    fill(layer.x.view(), Pattern::plain, data);
    for (index_t n = 0; n < 4; ++n) {
      for (index_t i = 2; i < 48; i += 4) {
        for (index_t j = 2; j < 48; j += 4) {
          element(layer.x.view(), n, 9, i, j) = data.normal<float>();
        }
      }
    }
    CHECK(adr::exact::sampled_repeats(tiles, 128, 0.05) == 0);
    // Every size of a sample, up to all tiles.
    for (const index_t count : {1, 2, 7, 255, 256}) {
      const double share = adr::exact::sampled_repeats(tiles, count, 0);
      CHECK(share >= 0);
      CHECK(share <= 1);
    }
  }
}

TEST_CASE("A sample meets no tile twice", "[exact]") {
  for (const index_t images : {1, 2, 7, 64, 1000}) {
    for (const index_t per_image : {1, 2, 6, 16, 49, 196}) {
      const index_t count = std::min<index_t>(images * per_image, 256);
      const adr::exact::detail::SampledTiles sampled(images, per_image, count);
      std::vector<index_t> seen;
      for (index_t i = 0; i < count; ++i) seen.push_back(sampled[i]);
      std::sort(seen.begin(), seen.end());
      CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
      CHECK(seen.front() >= 0);
      CHECK(seen.back() < images * per_image);
    }
  }
}

TEST_CASE("Plain images are looked through where it pays, and noise is not", "[exact]") {
  Data data;
  INFO(data);
  Layer layer(layer_of(64, 40, 40, 128, Layout::nhwc), 2, data);
  ConvolutionPasses<float> passes(layer.geometry, adr_test::tiles(true));
  Context context(1);
  fill(layer.x.view(), Pattern::background, data);
  CHECK(layer.forward(passes, Look::sampled, context) < 0.3);
  fill(layer.x.view(), Pattern::noise, data);
  CHECK(layer.forward(passes, Look::sampled, context) == 1);
}

TEST_CASE("A look allocates nothing in the steady state and takes the stated scratch", "[exact]") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    for (const int threads : {1, 3}) {
      INFO(Shown{g} << " threads " << threads);
      Layer layer(g, 3, data);
      ConvolutionPasses<float> passes(g, adr_test::tiles(true));
      Context context(threads);
      passes.set_look(Look::always);
      long counts[3] = {};
      // What repeats changes from pass to pass, memory does not.
      const Pattern patterns[] = {Pattern::noise, Pattern::background, Pattern::zeros};
      for (int i = 0; i < 3; ++i) {
        fill(layer.x.view(), patterns[i], data);
        const long before = adr_test::allocations;
        layer.forward(passes, Look::always, context);
        counts[i] = adr_test::allocations - before;
      }
      CHECK(counts[0] > 0);
      CHECK(counts[1] == 0);
      CHECK(counts[2] == 0);
      CHECK(context.workspace().peak_bytes() <= passes.workspace_bytes(3, threads));
    }
  }
}

TEST_CASE("A look over an empty batch computes nothing", "[exact]") {
  Data data;
  Layer layer(layer_of(8, 12, 12, 8, Layout::nhwc), 0, data);
  ConvolutionPasses<float> passes(layer.geometry, adr_test::tiles(true));
  Context context(1);
  CHECK(layer.forward(passes, Look::always, context) == 1);
  CHECK(layer.forward(passes, Look::sampled, context) == 1);
}
