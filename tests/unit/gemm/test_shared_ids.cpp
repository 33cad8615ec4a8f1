// The spreading of ids to kernel offsets and output pixels against the definition of a vector map.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "adr/cluster/clustering.hpp"
#include "adr/gemm/shared_ids.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr::NeuronVectorKind;
using adr::SharedIds;
using adr::VectorCodes;
using adr::VectorMap;
using adr_test::Data;

constexpr std::uint8_t k_padding_id = 255;
constexpr std::uint8_t k_untouched = 254;
constexpr std::uint8_t k_margin = 253;
constexpr std::uint8_t k_largest_id = 200;

VectorCodes codes_of(const VectorMap& map, index_t books, Data& data) {
  VectorCodes codes;
  codes.resize(map.vectors(), books, SharedIds::margin(map));
  std::fill_n(codes.ids.data(), codes.ids.size(), k_margin);
  for (index_t b = 0; b < books; ++b) {
    for (index_t v = 0; v < map.vectors(); ++v) {
      codes.plane(b)[v] = static_cast<std::uint8_t>(data.between(0, k_largest_id));
    }
  }
  return codes;
}

/// The id in a book of the vector that output pixel n meets at offset o.
std::uint8_t met_id(const VectorMap& map, const VectorCodes& codes, index_t book, index_t n,
                    index_t o) {
  const index_t oy = n / map.out_width % map.out_height;
  const index_t ox = n % map.out_width;
  const index_t y = map.grid_y(oy, o / map.offset_cols);
  const index_t x = map.grid_x(ox, o % map.offset_cols);
  if (y < 0 || y >= map.grid_height || x < 0 || x >= map.grid_width) return k_padding_id;
  const index_t image = n / map.out_size();
  return codes.plane(book)[image * map.grid_size() + y * map.grid_width + x];
}

/// How many bytes of a spread block are wrong, those that must not be written included.
index_t wrong_bytes(const SharedIds& shared, const VectorMap& map, const VectorCodes& codes,
                    index_t first_row, index_t count) {
  const index_t stride = count + 3;
  const index_t planes = map.offsets() * codes.books;
  std::vector<std::uint8_t> spread(static_cast<std::size_t>(planes * stride), k_untouched);
  shared.spread(codes, first_row, count, spread.data(), stride);
  index_t wrong = 0;
  for (index_t p = 0; p < planes; ++p) {
    for (index_t i = 0; i < stride; ++i) {
      const std::uint8_t expected =
          i < count ? met_id(map, codes, p % codes.books, first_row + i, p / codes.books)
                    : k_untouched;
      if (spread[static_cast<std::size_t>(p * stride + i)] != expected) ++wrong;
    }
  }
  return wrong;
}

void check(const VectorMap& map, Data& data) {
  const VectorCodes codes = codes_of(map, data.between(1, 3), data);
  SharedIds shared;
  shared.prepare(map, k_padding_id);
  CHECK(wrong_bytes(shared, map, codes, 0, map.rows()) == 0);
  for (int i = 0; i < 3 && map.rows() > 0; ++i) {
    const index_t first = data.between(0, map.rows() - 1);
    CHECK(wrong_bytes(shared, map, codes, first, data.between(1, map.rows() - first)) == 0);
  }
  CHECK(wrong_bytes(shared, map, codes, 0, 0) == 0);
}

}  // namespace

TEST_CASE("SharedIds spreads the ids that output pixels meet") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    for (const NeuronVectorKind kind :
         {NeuronVectorKind::patch, NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
      INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind));
      check(adr::vector_map(g, kind, 3), data);
    }
  }
}

TEST_CASE("SharedIds spreads ids of outputs as large as the grid") {
  Data data;
  INFO(data);
  VectorMap map;
  map.images = 2;
  map.offset_rows = map.offset_cols = 3;
  map.pad_top = map.pad_left = 1;
  const auto set_size = [&](index_t height, index_t width) {
    map.grid_height = map.out_height = height;
    map.grid_width = map.out_width = width;
  };
  // Rows of less and more than a word, and a single pixel.
  for (const index_t width : {1, 2, 7, 8, 9, 31}) {
    set_size(5, width);
    INFO("width " << width);
    check(map, data);
  }
  SECTION("masks that would be too large") {
    set_size(256, 240);
    check(map, data);
  }
  SECTION("offsets that step over the whole grid") {
    map.offset_rows = map.offset_cols = 7;
    map.pad_top = map.pad_left = 3;
    set_size(2, 2);
    check(map, data);
  }
  SECTION("dilation") {
    map.dilation_y = map.pad_top = 2;
    map.dilation_x = map.pad_left = 3;
    set_size(9, 11);
    check(map, data);
  }
}

TEST_CASE("SharedIds copies the ids of vectors that nobody shares, from no margin") {
  Data data;
  INFO(data);
  VectorMap map;
  map.images = 1;
  map.grid_height = map.out_height = 300;
  REQUIRE(map.is_identity());
  CHECK(SharedIds::margin(map) == 0);
  check(map, data);
}

TEST_CASE("SharedIds of no images spreads nothing") {
  Data data;
  VectorMap map;
  map.offset_rows = 3;
  map.pad_top = 1;
  map.grid_height = map.out_height = 4;
  check(map, data);
}

TEST_CASE("SharedIds takes another map after the first") {
  Data data;
  INFO(data);
  SharedIds shared;
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    if (g.kernel_height != 3 || g.in_channels > 5) continue;
    const VectorMap map = adr::vector_map(g, NeuronVectorKind::pixel, 2);
    const VectorCodes codes = codes_of(map, 2, data);
    shared.prepare(map, k_padding_id);
    CHECK(wrong_bytes(shared, map, codes, 0, map.rows()) == 0);
  }
}
