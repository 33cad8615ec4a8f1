// The non-zeros of an output gradient, counted, listed, and rounded where asked: what the products
// of gradients/sparse_gradient.hpp run over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gradients/channel_blocks.hpp"
#include "adr/gradients/gradient_density.hpp"
#include "adr/gradients/rounded_list.hpp"
#include "adr/gradients/sparse_entries.hpp"
#include "adr/gradients/sparse_tiles.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/non_zeros.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN

/// Which products will run over a list; pixels: others, that want it by pixel alone.
enum class SparseUse { weight_gradient, input_gradient, both, pixels };

/// The non-zeros of an output gradient, tile by tile, in the orders that the products want: by
/// channel for the weight gradient, by pixel for the input gradient.
///
/// Call measure, decide by the density, then call list. A list depends on the gradient, its tiles,
/// the unit and the seed, and neither on the memory order of the gradient nor on the number of
/// threads. Memory: a number and a value per non-zero and order, reused from batch to batch.
/// Thread-safety: none while it measures and lists; many threads may read what is listed.
template <class T>
class SparseRows {
 public:
  using List = typename SparseEntries<T>::ConstList;

  /// Counts the non-zeros of a gradient (NaN is one) whose pixels read vectors of that length.
  /// Requires: map.images and map.out_size() are the gradient's, length > 0, contiguous pixels or
  /// channels (asserted). Errors: std::bad_alloc; std::invalid_argument or std::overflow_error when
  /// a tile has more than 2^31 - 1 elements. Cost: one pass.
  GradientDensity measure(const PixelView<const T>& gradient, const VectorMap& map, index_t length,
                          Context& context) {
    ADR_ASSERT(gradient.images == map.images && gradient.pixels == map.out_size(),
               "the gradient is not that of the map");
    ADR_ASSERT(detail::lists_channels_first(gradient) || gradient.channel_stride == 1 ||
                   gradient.channels <= 1,
               "neither pixels nor channels are contiguous");
    tiles_ = SparseTiles::of<T>(map, length);
    channels_ = gradient.channels;
    constexpr index_t k_most = std::numeric_limits<std::int32_t>::max();
    const index_t most_elements =
        checked_product("elements of a tile", tiles_.most_pixels(), channels_);
    detail::require(most_elements <= k_most, "a tile of the output gradient has ",
                    tiles_.most_pixels(), " x ", channels_, " elements; at most ", k_most,
                    " can be numbered");
    measured_.resize(tiles_.count());
    squares_.resize(tiles_.count());
    listed_.assign(tiles_.count(), 0);
    parallel_for(tiles_.count(), context.threads(),
                 [&](index_t t, int /*thread*/) { measure_tile(gradient, t); });
    density_ = {map.rows() * channels_, 0, 0};
    for (index_t t = 0; t < tiles_.count(); ++t) {
      density_.non_zeros += measured_[t];
      density_.sum_of_squares += squares_[t];
    }
    return density_;
  }

  /// Lists the non-zeros of the gradient that was measured last.
  ///
  /// Math: with gradient_rounding > 0, unit = gradient_rounding times the root mean square, and v
  /// with |v| < unit becomes sign(v) unit or 0 so that E[v] stays (simd::round_and_carry): in every
  /// channel of a tile what a pixel loses is carried on to the next one, from a start by the seed,
  /// so that the errors of a channel sum to less than a unit. What is zero then is not listed.
  /// Where the unit is zero or not finite, values stay as they are; NaN and infinities always do,
  /// and are listed. Requires: an unchanged gradient, gradient_rounding >= 0. Errors:
  /// std::bad_alloc. Cost: one pass, and about ten operations per non-zero.
  void list(const PixelView<const T>& gradient, double gradient_rounding, std::uint64_t seed,
            SparseUse use, Context& context) {
    unit_ = detail::rounding_unit<T>(gradient_rounding * density_.root_mean_square());
    first_entry_.resize(tiles_.count() + 1);
    first_entry_[0] = 0;
    for (index_t t = 0; t < tiles_.count(); ++t) {
      first_entry_[t + 1] = first_entry_[t] + simd::padded(measured_[t] + simd::k_list_slack);
    }
    places_.resize(tiles_.most_pixels());
    for (index_t p = 0; p < places_.size(); ++p) {
      places_[p] = static_cast<std::int32_t>(tiles_.place(p));
    }
    const index_t entries = first_entry_[tiles_.count()];
    if (lists_by_channel(gradient, use)) by_channel_.resize(tiles_.count(), channels_, entries);
    if (lists_by_pixel(use)) by_pixel_.resize(tiles_.count(), tiles_.most_pixels(), entries);
    if (blocks_channels(use)) blocks_.resize(tiles_.count(), tiles_.most_pixels(), channels_);
    const index_t scratch = scratch_elements(gradient, use);
    scratch_.resize(context.threads() * scratch);
    parallel_for(tiles_.count(), context.threads(), [&](index_t t, int thread) {
      list_tile(gradient, seed, use, t, scratch_.data() + thread * scratch);
    });
  }

  [[nodiscard]] const SparseTiles& tiles() const noexcept { return tiles_; }
  [[nodiscard]] index_t channels() const noexcept { return channels_; }
  /// How many are listed.
  [[nodiscard]] index_t non_zeros() const noexcept {
    index_t total = 0;
    for (index_t t = 0; t < listed_.size(); ++t) total += listed_[t];
    return total;
  }
  /// What smaller values were rounded to, or to zero; 0 when they were not.
  [[nodiscard]] T unit() const noexcept { return unit_; }

  /// Groups are channels, indices places in the plane of the tile, rising.
  [[nodiscard]] List by_channel(index_t tile) const noexcept {
    return by_channel_.list(tile, first_entry_[tile]);
  }
  /// Groups are the pixels of the tile, indices channels, rising.
  [[nodiscard]] List by_pixel(index_t tile) const noexcept {
    return by_pixel_.list(tile, first_entry_[tile]);
  }
  /// by_pixel in blocks of channels.
  [[nodiscard]] const ChannelBlocks& channel_blocks() const noexcept { return blocks_; }
  /// The place of each pixel of a tile in its plane.
  [[nodiscard]] const std::int32_t* places() const noexcept { return places_.data(); }

 private:
  /// Channels that are transposed at a time: a cache line of each pixel.
  static constexpr index_t k_planes = 16;

  [[nodiscard]] bool rounds() const noexcept { return unit_ > T(0); }
  static bool wants_channels(SparseUse use) noexcept {
    return use == SparseUse::weight_gradient || use == SparseUse::both;
  }
  static bool blocks_channels(SparseUse use) noexcept {
    return use == SparseUse::input_gradient || use == SparseUse::both;
  }
  // The order in memory is listed first and the other one from that, but for a list by channel that
  // holds all non-zeros, which costs less from transposed pixels, and for rounding, which runs over
  // pixels.
  [[nodiscard]] bool lists_from_planes(const PixelView<const T>& gradient,
                                       SparseUse use) const noexcept {
    return !rounds() && !detail::lists_channels_first(gradient) && wants_channels(use);
  }
  [[nodiscard]] bool lists_by_channel(const PixelView<const T>& gradient,
                                      SparseUse use) const noexcept {
    return wants_channels(use) || (!rounds() && detail::lists_channels_first(gradient));
  }
  [[nodiscard]] bool lists_by_pixel(SparseUse use) const noexcept {
    return use != SparseUse::weight_gradient || rounds();
  }
  [[nodiscard]] index_t scratch_elements(const PixelView<const T>& gradient,
                                         SparseUse use) const noexcept {
    if (rounds()) return detail::rounding_elements(channels_);
    return lists_from_planes(gradient, use) ? k_planes * simd::padded(tiles_.most_pixels()) : 0;
  }

  void measure_tile(const PixelView<const T>& gradient, index_t t) noexcept {
    // Counted and squared one block after the other, the second from the first-level cache.
    constexpr index_t k_block = 1024;
    index_t count = 0;
    double squares = 0;
    detail::for_each_stretch(
        tiles_, gradient, tiles_.tile(t), [&](const T* data, index_t size, index_t /*first*/) {
          for (index_t i = 0; i < size; i += k_block) {
            const index_t block = std::min(k_block, size - i);
            count += simd::count_non_zeros(data + i, block);
            squares += static_cast<double>(simd::dot(data + i, data + i, block));
          }
        });
    measured_[t] = count;
    squares_[t] = squares;
  }

  void list_tile(const PixelView<const T>& gradient, std::uint64_t seed, SparseUse use, index_t t,
                 T* scratch) noexcept {
    const SparseTile tile = tiles_.tile(t);
    const index_t pixels = tiles_.pixels(tile);
    using TileList = typename SparseEntries<T>::List;
    const bool with_channels = lists_by_channel(gradient, use);
    const bool with_pixels = lists_by_pixel(use);
    const auto by_channel = with_channels ? by_channel_.list(t, first_entry_[t]) : TileList{};
    const auto by_pixel = with_pixels ? by_pixel_.list(t, first_entry_[t]) : TileList{};
    if (rounds()) {
      listed_[t] = detail::list_rounded(gradient, tiles_, t, unit_, seed, scratch, by_pixel);
      if (with_channels) regroup(by_pixel, pixels, by_channel, channels_);
    } else if (detail::lists_channels_first(gradient)) {
      listed_[t] = list_planes(gradient, tile, by_channel);
      if (with_pixels) regroup(by_channel, channels_, by_pixel, pixels);
    } else {
      if (with_pixels) listed_[t] = list_pixels(gradient, tile, by_pixel);
      if (with_channels) listed_[t] = list_transposed(gradient, tile, scratch, by_channel);
    }
    if (blocks_channels(use)) blocks_.split(by_pixel, pixels, t);
    ADR_ASSERT(listed_[t] <= measured_[t], "the output gradient changed after it was measured");
    if (wants_channels(use)) {
      for (index_t k = 0; k < listed_[t]; ++k) {
        by_channel.indices[k] = places_[by_channel.indices[k]];
      }
    }
  }

  /// Lists one channel of a tile, whose pixels in one image lie one behind the other, behind what
  /// is listed; returns how many are listed then.
  index_t list_channel(const T* pixels, index_t image_stride, const SparseTile& tile,
                       index_t channel, index_t listed,
                       const SparseList<std::int32_t, T>& to) const noexcept {
    const index_t image_pixels = tiles_.pixels(tile) / tile.images;
    std::int32_t* indices = to.indices + listed;
    T* values = to.values + listed;
    index_t count = 0;
    for (index_t b = 0; b < tile.images; ++b) {
      std::int32_t* image_indices = indices + count;
      const index_t found = simd::list_non_zeros(pixels + b * image_stride, image_pixels,
                                                 image_indices, values + count);
      for (index_t k = 0; b > 0 && k < found; ++k) {
        image_indices[k] += static_cast<std::int32_t>(b * image_pixels);
      }
      count += found;
    }
    to.starts[channel] = static_cast<std::int32_t>(listed);
    return listed + count;
  }

  /// Lists the pixels of every channel of a tile, where they are contiguous in memory; returns how
  /// many there are.
  index_t list_planes(const PixelView<const T>& gradient, const SparseTile& tile,
                      const SparseList<std::int32_t, T>& to) const noexcept {
    const index_t first_pixel = tile.first_row * tiles_.map().out_width;
    index_t listed = 0;
    for (index_t m = 0; m < channels_; ++m) {
      listed = list_channel(gradient.at(tile.first_image, first_pixel, m), gradient.image_stride,
                            tile, m, listed, to);
    }
    to.starts[channels_] = static_cast<std::int32_t>(listed);
    return listed;
  }

  /// The same where the channels of a pixel are contiguous, by way of k_planes planes of a
  /// tile.
  index_t list_transposed(const PixelView<const T>& gradient, const SparseTile& tile, T* planes,
                          const SparseList<std::int32_t, T>& to) const noexcept {
    const index_t pixels = tiles_.pixels(tile);
    const index_t image_pixels = pixels / tile.images;
    const index_t first_pixel = tile.first_row * tiles_.map().out_width;
    const index_t plane = simd::padded(pixels);
    detail::for_each_stretch(
        tiles_, gradient, tile,
        [&](const T* data, index_t size, index_t /*first*/) { simd::bring_near(data, size); });
    index_t listed = 0;
    for (index_t first = 0; first < channels_; first += k_planes) {
      const index_t count = std::min(k_planes, channels_ - first);
      for (index_t b = 0; b < tile.images; ++b) {
        simd::transpose(gradient.at(tile.first_image + b, first_pixel, first),
                        gradient.pixel_stride, image_pixels, count, planes + b * image_pixels,
                        plane);
      }
      for (index_t m = 0; m < count; ++m) {
        listed = list_channel(planes + m * plane, image_pixels, tile, first + m, listed, to);
      }
    }
    to.starts[channels_] = static_cast<std::int32_t>(listed);
    return listed;
  }

  /// Lists the channels of every pixel of a tile; returns how many there are.
  index_t list_pixels(const PixelView<const T>& gradient, const SparseTile& tile,
                      const SparseList<std::int32_t, T>& to) const noexcept {
    index_t listed = 0;
    detail::for_each_stretch(
        tiles_, gradient, tile, [&](const T* data, index_t size, index_t first) {
          std::int32_t* indices = to.indices + listed;
          const index_t found = simd::list_non_zeros(data, size, indices, to.values + listed);
          for (index_t k = 0; first > 0 && k < found; ++k) {
            indices[k] += static_cast<std::int32_t>(first);
          }
          listed += found;
        });
    // So far indices number the elements of the tile. Half an element keeps the quotients, which
    // are cheaper than integer ones, clear of whole numbers; the last entry of a pixel stays.
    const index_t pixels = tiles_.pixels(tile);
    const auto channels = static_cast<std::int32_t>(channels_);
    const double per_channels = 1.0 / static_cast<double>(channels_);
    std::fill_n(to.starts, pixels + 1, 0);
    for (std::int32_t k = 0; k < listed; ++k) {
      const std::int32_t index = to.indices[k];
      const auto pixel = static_cast<std::int32_t>((index + 0.5) * per_channels);
      to.indices[k] = index - pixel * channels;
      to.starts[pixel + 1] = k + 1;
    }
    for (index_t p = 0; p < pixels; ++p)
      to.starts[p + 1] = std::max(to.starts[p + 1], to.starts[p]);
    return listed;
  }

  SparseTiles tiles_;
  index_t channels_ = 0;
  T unit_ = 0;
  GradientDensity density_;
  AlignedBuffer<index_t> measured_;     // non-zeros of each tile
  AlignedBuffer<double> squares_;       // their sum
  AlignedBuffer<index_t> listed_;       // those that are left after rounding
  AlignedBuffer<index_t> first_entry_;  // where those of each tile begin
  AlignedBuffer<std::int32_t> places_;
  SparseEntries<T> by_channel_;
  SparseEntries<T> by_pixel_;
  ChannelBlocks blocks_;
  AlignedBuffer<T> scratch_;  // of each thread
};

ADR_NAMESPACE_END
