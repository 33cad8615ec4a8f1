#include <string>
#include <vector>

#include "adr/core/vector_map.hpp"
#include "support/catch.hpp"

namespace {

using adr::index_t;
using adr::IndexRange;
using adr::VectorMap;

/// Maps whose two directions differ: one direction takes each of `settings`, the other the one
/// `distance` further on.
std::vector<VectorMap> maps() {
  struct Setting {
    index_t grid, out, offsets, step, dilation, pad;
  };
  const std::vector<Setting> settings = {
      {1, 1, 1, 1, 1, 0},                      // a single vector
      {1, 1, 1, 2, 1, 0},                      // likewise; the step is never taken
      {5, 5, 1, 1, 1, 0},                      // unshared
      {5, 5, 1, 1, 3, 0},                      // likewise; the dilation is never taken
      {5, 5, 1, 2, 1, 0},                      // walks out of the grid
      {5, 5, 1, 1, 1, 1},                      // shifted
      {5, 4, 1, 1, 1, 0},                      // the last vector is not read
      {5, 3, 3, 1, 1, 0},                      // a kernel without padding
      {5, 5, 3, 1, 1, 1},                      // and with
      {9, 4, 2, 2, 3, 0},                      // strided and dilated
      {9, 5, 3, 2, 2, 2}, {7, 3, 2, 3, 1, 1},  // gaps between kernels
      {2, 8, 7, 1, 1, 6},  // a kernel larger than the grid: some offsets see nothing
      {3, 4, 4, 5, 7, 8},  // steps over the whole grid
      {1, 5, 5, 1, 1, 4},
  };
  std::vector<VectorMap> result;
  for (std::size_t distance = 0; distance < settings.size(); ++distance) {
    for (std::size_t s = 0; s < settings.size(); ++s) {
      const Setting& a = settings[s];
      const Setting& b = settings[(s + distance) % settings.size()];
      VectorMap map;
      map.images = 2;
      map.grid_height = a.grid;
      map.out_height = a.out;
      map.offset_rows = a.offsets;
      map.step_y = a.step;
      map.dilation_y = a.dilation;
      map.pad_top = a.pad;
      map.grid_width = b.grid;
      map.out_width = b.out;
      map.offset_cols = b.offsets;
      map.step_x = b.step;
      map.dilation_x = b.dilation;
      map.pad_left = b.pad;
      result.push_back(map);
    }
  }
  return result;
}

std::string shown(const VectorMap& m) {
  return adr::detail::message("grid ", m.grid_height, "x", m.grid_width, " out ", m.out_height, "x",
                              m.out_width, " offsets ", m.offset_rows, "x", m.offset_cols, " step ",
                              m.step_y, ",", m.step_x, " dilation ", m.dilation_y, ",",
                              m.dilation_x, " pad ", m.pad_top, ",", m.pad_left);
}

/// True when `range` holds those i in [0, count) that `inside` says, and lies in [0, count].
template <class Inside>
bool is_range_of(const IndexRange& range, index_t count, const Inside& inside) {
  if (range.first < 0 || range.last < range.first || range.last > count) return false;
  for (index_t i = 0; i < count; ++i) {
    if ((i >= range.first && i < range.last) != inside(i)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("VectorMap counts vectors, outputs and offsets") {
  VectorMap map;
  map.images = 2;
  map.grid_height = 3;
  map.grid_width = 5;
  map.out_height = 7;
  map.out_width = 11;
  map.offset_rows = 13;
  map.offset_cols = 17;
  CHECK(map.grid_size() == 15);
  CHECK(map.vectors() == 30);
  CHECK(map.out_size() == 77);
  CHECK(map.rows() == 154);
  CHECK(map.offsets() == 221);
  CHECK(VectorMap().vectors() == 0);
  CHECK(VectorMap().rows() == 0);
}

TEST_CASE("VectorMap finds grid places") {
  VectorMap map;
  map.step_y = 2;
  map.dilation_y = 3;
  map.pad_top = 4;
  map.step_x = 5;
  map.dilation_x = 7;
  map.pad_left = 6;
  CHECK(map.grid_y(0, 0) == -4);
  CHECK(map.grid_y(10, 2) == 22);
  CHECK(map.grid_x(0, 0) == -6);
  CHECK(map.grid_x(10, 2) == 58);
}

TEST_CASE("VectorMap tells which outputs lie inside at an offset") {
  for (const VectorMap& map : maps()) {
    INFO(shown(map));
    bool right = true;
    for (index_t i = 0; i < map.offset_rows; ++i) {
      right = right && is_range_of(map.inside_rows(i), map.out_height, [&](index_t oy) {
                const index_t y = map.grid_y(oy, i);
                return y >= 0 && y < map.grid_height;
              });
    }
    CHECK(right);
    for (index_t j = 0; j < map.offset_cols; ++j) {
      right = right && is_range_of(map.inside_cols(j), map.out_width, [&](index_t ox) {
                const index_t x = map.grid_x(ox, j);
                return x >= 0 && x < map.grid_width;
              });
    }
    CHECK(right);
  }
}

TEST_CASE("VectorMap knows padding and unshared vectors") {
  int padded = 0;
  int identities = 0;
  for (const VectorMap& map : maps()) {
    INFO(shown(map));
    bool has_padding = false;
    bool is_identity = map.offsets() == 1 && map.vectors() == map.rows();
    for (index_t oy = 0; oy < map.out_height; ++oy) {
      for (index_t ox = 0; ox < map.out_width; ++ox) {
        for (index_t o = 0; o < map.offsets(); ++o) {
          const index_t y = map.grid_y(oy, o / map.offset_cols);
          const index_t x = map.grid_x(ox, o % map.offset_cols);
          const bool inside = y >= 0 && y < map.grid_height && x >= 0 && x < map.grid_width;
          has_padding = has_padding || !inside;
          is_identity = is_identity && inside && y * map.grid_width + x == oy * map.out_width + ox;
        }
      }
    }
    CHECK(map.has_padding() == has_padding);
    CHECK(map.is_identity() == is_identity);
    padded += has_padding ? 1 : 0;
    identities += is_identity ? 1 : 0;
  }
  CHECK(padded > 10);
  CHECK(identities > 10);
}

TEST_CASE("steps_inside agrees with the steps themselves") {
  for (const index_t step : {1, 2, 3, 7}) {
    for (const index_t length : {0, 1, 5, 8}) {
      for (const index_t count : {0, 1, 4, 9}) {
        for (index_t start = -20; start <= 12; ++start) {
          INFO(start << " + i * " << step << " in " << length << ", i below " << count);
          CHECK(is_range_of(adr::detail::steps_inside(start, step, length, count), count,
                            [&](index_t i) {
                              const index_t place = start + i * step;
                              return place >= 0 && place < length;
                            }));
        }
      }
    }
  }
}
