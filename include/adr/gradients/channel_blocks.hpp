// The lists of non-zeros of pixels, cut into blocks of channels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/gradients/sparse_entries.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN

/// Where the non-zeros of the pixels of a tile lie that belong to a block of channels: those of
/// pixel p are numbers starts[p] to ends[p].
struct PixelRange {
  const std::int32_t* starts;
  const std::int32_t* ends;
};

/// Blocks of channels whose weights stay in the first-level cache while all pixels of a tile meet
/// them. Memory: a number per pixel and block but the first.
class ChannelBlocks {
 public:
  /// At most 24 kB of weights at three kernel offsets and two registers.
  static constexpr index_t k_channels =
      std::min<index_t>(128, 4096 / (simd::Batch<float>::size * index_t{sizeof(float)}));

  /// Makes room and forgets what was there. Errors: std::bad_alloc.
  void resize(index_t tiles, index_t most_pixels, index_t channels) {
    most_pixels_ = most_pixels;
    count_ = std::max<index_t>(blocks_of(channels, k_channels), 1);
    splits_.clear();
    splits_.resize(tiles * splits_of_tile());
  }

  [[nodiscard]] index_t count() const noexcept { return count_; }

  /// Finds where the blocks of every pixel end. Cost: a look at every entry.
  template <class T>
  void split(const SparseList<std::int32_t, T>& by_pixel, index_t pixels, index_t tile) noexcept {
    std::int32_t* splits = splits_.data() + tile * splits_of_tile();
    for (index_t p = 0; p < pixels; ++p) {
      std::int32_t k = by_pixel.starts[p];
      for (index_t b = 1; b < count_; ++b) {
        const auto first = static_cast<std::int32_t>(b * k_channels);
        while (k < by_pixel.starts[p + 1] && by_pixel.indices[k] < first) ++k;
        splits[(b - 1) * most_pixels_ + p] = k;
      }
    }
  }

  /// One block of a list that was split.
  template <class T>
  [[nodiscard]] PixelRange range(const SparseList<const std::int32_t, const T>& by_pixel,
                                 index_t tile, index_t block) const noexcept {
    const std::int32_t* splits = splits_.data() + tile * splits_of_tile();
    return {block == 0 ? by_pixel.starts : splits + (block - 1) * most_pixels_,
            block == count_ - 1 ? by_pixel.starts + 1 : splits + block * most_pixels_};
  }

 private:
  [[nodiscard]] index_t splits_of_tile() const noexcept { return (count_ - 1) * most_pixels_; }

  index_t count_ = 1;
  index_t most_pixels_ = 0;
  AlignedBuffer<std::int32_t> splits_;
};

ADR_NAMESPACE_END
