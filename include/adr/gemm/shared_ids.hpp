// The ids that a block of output pixels meets at every kernel offset: what shared neuron vectors
// cost instead of an unfolded matrix, one byte per offset and codebook, a few kB at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "adr/cluster/clustering.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"

ADR_NAMESPACE_BEGIN

/// Spreads the ids of vectors to the offsets and pixels that meet them.
///
/// Where outputs and grid have the same size and step 1, every offset is a shift of the whole image
/// and a mask of what is padding; elsewhere rows are copied one by one. Memory: one byte per
/// offset and output pixel of an image for the masks, if that is little. Thread-safety: `spread`
/// is reentrant.
class SharedIds {
 public:
  /// How many ids beyond the first and last vector `spread` may read.
  static index_t margin(const VectorMap& map) noexcept {
    return map.is_identity() ? 0 : map.grid_size() + k_word;
  }

  void prepare(const VectorMap& map, std::uint8_t padding_id) {
    map_ = map;
    padding_id_ = padding_id;
    const bool same_size = map.step_y == 1 && map.step_x == 1 &&
                           map.grid_height == map.out_height && map.grid_width == map.out_width;
    shifts_ = same_size && map.offsets() * map.out_size() <= k_most_mask_bytes &&
              largest_shift() <= map.grid_size();
    if (shifts_ && !map.is_identity()) make_masks();
  }

  /// Writes the ids of output pixels [first_row, first_row + count): to[(o * books + b) * stride +
  /// i] is the id in book b of the vector that pixel first_row + i meets at offset o, the padding
  /// id where it meets none. Requires: the codes have the margin, stride >= count.
  void spread(const VectorCodes& codes, index_t first_row, index_t count, std::uint8_t* to,
              index_t stride) const noexcept {
    if (map_.is_identity()) {
      for (index_t b = 0; b < codes.books; ++b) {
        std::copy_n(codes.plane(b) + first_row, count, to + b * stride);
      }
      return;
    }
    for (index_t row = 0; row < count;) {
      const index_t image = (first_row + row) / map_.out_size();
      const index_t pixel = (first_row + row) % map_.out_size();
      const index_t pixels = std::min(count - row, map_.out_size() - pixel);
      for (index_t o = 0; o < map_.offsets(); ++o) {
        std::uint8_t* target = to + o * codes.books * stride + row;
        if (shifts_) {
          spread_shifted(codes, image, pixel, pixels, o, target, stride);
        } else {
          spread_rows(codes, image, pixel, pixels, o, target, stride);
        }
      }
      row += pixels;
    }
  }

 private:
  static constexpr index_t k_word = 8;
  static constexpr index_t k_most_mask_bytes = index_t{1} << 19;

  [[nodiscard]] index_t shift(index_t o) const noexcept {
    return map_.grid_y(0, o / map_.offset_cols) * map_.grid_width +
           map_.grid_x(0, o % map_.offset_cols);
  }
  [[nodiscard]] index_t largest_shift() const noexcept {
    const index_t first = shift(0);
    const index_t last = shift(map_.offsets() - 1);
    return std::max(first < 0 ? -first : first, last < 0 ? -last : last);
  }

  void make_masks() {
    masks_.assign(map_.offsets() * map_.out_size(), std::uint8_t{0});
    for (index_t o = 0; o < map_.offsets(); ++o) {
      const IndexRange rows = map_.inside_rows(o / map_.offset_cols);
      const IndexRange cols = map_.inside_cols(o % map_.offset_cols);
      for (index_t y = rows.first; y < rows.last; ++y) {
        std::fill_n(masks_.data() + o * map_.out_size() + y * map_.out_width + cols.first,
                    cols.size(), std::uint8_t{0xff});
      }
    }
  }

  void spread_shifted(const VectorCodes& codes, index_t image, index_t pixel, index_t pixels,
                      index_t o, std::uint8_t* to, index_t stride) const noexcept {
    const std::uint8_t* mask = masks_.data() + o * map_.out_size() + pixel;
    const index_t from = image * map_.grid_size() + pixel + shift(o);
    for (index_t b = 0; b < codes.books; ++b) {
      const std::uint8_t* id = codes.plane(b) + from;
      std::uint8_t* target = to + b * stride;
      index_t i = 0;
      for (; i + k_word <= pixels; i += k_word) {
        std::uint64_t ids;
        std::uint64_t inside;
        std::memcpy(&ids, id + i, k_word);
        std::memcpy(&inside, mask + i, k_word);
        ids = (ids & inside) | (padding_id_ * 0x0101010101010101u & ~inside);
        std::memcpy(target + i, &ids, k_word);
      }
      for (; i < pixels; ++i) target[i] = mask[i] != 0 ? id[i] : padding_id_;
    }
  }

  void spread_rows(const VectorCodes& codes, index_t image, index_t pixel, index_t pixels,
                   index_t o, std::uint8_t* to, index_t stride) const noexcept {
    const index_t i = o / map_.offset_cols;
    const index_t j = o % map_.offset_cols;
    const IndexRange rows = map_.inside_rows(i);
    const IndexRange cols = map_.inside_cols(j);
    for (index_t done = 0; done < pixels;) {
      const index_t oy = (pixel + done) / map_.out_width;
      const index_t ox = (pixel + done) % map_.out_width;
      const index_t run = std::min(pixels - done, map_.out_width - ox);
      const bool inside = oy >= rows.first && oy < rows.last;
      const index_t first = inside ? std::clamp(cols.first, ox, ox + run) : ox + run;
      const index_t last = inside ? std::clamp(cols.last, first, ox + run) : ox + run;
      const index_t from =
          image * map_.grid_size() + map_.grid_y(oy, i) * map_.grid_width + map_.grid_x(first, j);
      for (index_t b = 0; b < codes.books; ++b) {
        std::uint8_t* target = to + b * stride + done - ox;
        std::fill(target + ox, target + first, padding_id_);
        std::fill(target + last, target + ox + run, padding_id_);
        if (first == last) continue;
        const std::uint8_t* id = codes.plane(b) + from;
        if (map_.step_x == 1) {
          std::copy_n(id, last - first, target + first);
        } else {
          for (index_t x = first; x < last; ++x) target[x] = id[(x - first) * map_.step_x];
        }
      }
      done += run;
    }
  }

  VectorMap map_;
  std::uint8_t padding_id_ = 0;
  bool shifts_ = false;
  AlignedBuffer<std::uint8_t> masks_;  // [offsets x out_size], 0xff inside the grid
};

ADR_NAMESPACE_END
