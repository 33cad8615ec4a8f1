// What changes of the input that are left aside do to the output: measured now and then on a few
// blocks, which are computed although they need not be.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/stream/copied_pixels.hpp"
#include "adr/stream/window_grid.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// The ratio of relative output error to relative input error, both squared; 1 until measured.
///
/// Math: error^2 ~ gain * (sum of the changes of the windows that are kept) / (sum of the energies
/// of all windows). Blocks are drawn in proportion to their changes, so the mean of what one unit
/// of change does needs few of them. Deterministic: no clock, no random numbers. Memory: some 512
/// pixels of the output. Thread-safety: none. Source: this library.
template <class T>
class ErrorGain {
 public:
  [[nodiscard]] double value() const noexcept { return gain_; }
  /// The energy of the whole output, from a sample; 0 before the first measurement.
  [[nodiscard]] double output_energy() const noexcept { return output_energy_; }

  /// Counts a comparison; returns whether it is to be measured: the first two, then one in 16.
  bool is_due() noexcept {
    constexpr index_t k_interval = 16;
    const index_t pass = passes_++;
    return pass < 2 || pass % k_interval == 0;
  }

  /// Draws blocks with changes up to `limit`, remembers what their results are, and marks them.
  /// y: the output; energies are those of blocks `count`.
  void draw(const WindowGrid& grid, const float* changes, index_t count, float limit,
            const exact::GroupImages<const T>& y, unsigned char* marks) {
    drawn_ = 0;
    double sum = 0;
    for (index_t i = 0; i < count; ++i) sum += left_aside(changes[i], limit);
    if (!(sum > 0)) return;
    const index_t most = blocks_at_once(grid);
    double seen = 0;
    for (index_t i = 0; i < count && drawn_ < most; ++i) {
      const double change = left_aside(changes[i], limit);
      seen += change;
      const double place = (static_cast<double>(drawn_) + 0.5) / static_cast<double>(most);
      if (!(change > 0) || seen < place * sum) continue;
      marks[i] = 1;
      blocks_[static_cast<std::size_t>(drawn_)] = i;
      changes_[static_cast<std::size_t>(drawn_)] = change;
      ++drawn_;
    }
    gather(
        grid, y, drawn_, [&](index_t i) { return blocks_[static_cast<std::size_t>(i)]; }, before_);
  }

  /// Compares the results of the drawn blocks with what they were. input_energy: of all windows.
  void measure(const WindowGrid& grid, index_t count, const exact::GroupImages<const T>& y,
               double input_energy) {
    if (drawn_ == 0) return;
    gather(
        grid, y, drawn_, [&](index_t i) { return blocks_[static_cast<std::size_t>(i)]; }, after_);
    double ratio = 0;
    const index_t size = before_.size() / drawn_;
    for (index_t k = 0; k < drawn_; ++k) {
      double difference = 0;
      for (index_t i = k * size; i < (k + 1) * size; ++i) {
        const double d = static_cast<double>(after_[i]) - static_cast<double>(before_[i]);
        difference += d * d;
      }
      ratio += difference / changes_[static_cast<std::size_t>(k)] / static_cast<double>(drawn_);
    }
    output_energy_ = sampled_energy(grid, count, y);
    const double measured = ratio * input_energy / output_energy_;
    if (!(measured >= 0) || !std::isfinite(measured)) return;
    // A measurement of a few blocks is not believed alone, nor without bounds.
    constexpr double k_bound = 64;
    const double bounded = std::clamp(measured, 1 / k_bound, k_bound);
    gain_ = measured_ ? 0.5 * (gain_ + bounded) : bounded;
    measured_ = true;
  }

 private:
  static constexpr index_t k_most_blocks = 16;

  static double left_aside(float change, float limit) noexcept {
    return change <= limit ? static_cast<double>(change) : 0.0;
  }
  static index_t blocks_at_once(const WindowGrid& grid) noexcept {
    constexpr index_t k_outputs = 256;
    return std::clamp<index_t>(k_outputs / (grid.y.outputs * grid.x.outputs), 2, k_most_blocks);
  }

  /// The results of blocks side by side, with zeros for what lies beyond the map.
  template <class Block>
  void gather(const WindowGrid& grid, const exact::GroupImages<const T>& y, index_t count,
              const Block& block, AlignedBuffer<T>& to) {
    const index_t size = grid.y.outputs * grid.x.outputs * y.channels;
    to.reserve(blocks_at_once(grid) * size);
    to.resize(count * size);
    std::fill_n(to.data(), count * size, T(0));
    const exact::GroupImages<T> images{
        {to.data(), count, y.channels, grid.y.outputs, grid.x.outputs, y.images.layout},
        0,
        y.channels};
    for (index_t i = 0; i < count; ++i) {
      copy_pixels(y, block(i) / grid.per_image(), grid.written(block(i)), images, i, 0, 0);
    }
  }

  /// The energy of all `count` blocks, from some that are spread over them.
  double sampled_energy(const WindowGrid& grid, index_t count,
                        const exact::GroupImages<const T>& y) {
    constexpr index_t k_rounds = 4;
    const index_t samples = std::min(count, k_rounds * blocks_at_once(grid));
    double energy = 0;
    for (index_t first = 0; first < samples; first += blocks_at_once(grid)) {
      const index_t some = std::min(blocks_at_once(grid), samples - first);
      gather(
          grid, y, some, [&](index_t i) { return (2 * (first + i) + 1) * count / (2 * samples); },
          after_);
      for (index_t i = 0; i < after_.size(); ++i) {
        energy += static_cast<double>(after_[i]) * static_cast<double>(after_[i]);
      }
    }
    return energy * static_cast<double>(count) / static_cast<double>(samples);
  }

  std::array<index_t, static_cast<std::size_t>(k_most_blocks)> blocks_{};
  std::array<double, static_cast<std::size_t>(k_most_blocks)> changes_{};
  index_t drawn_ = 0;
  AlignedBuffer<T> before_;
  AlignedBuffer<T> after_;
  double gain_ = 1;
  double output_energy_ = 0;
  bool measured_ = false;
  index_t passes_ = 0;
};

}  // namespace stream
ADR_NAMESPACE_END
