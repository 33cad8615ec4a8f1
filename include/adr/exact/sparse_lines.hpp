// The part of a weight gradient over windows of few columns that bands of lines bring whose output
// gradient is mostly zero, as it is behind a max pool: zeros are left out, and nothing is lost.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/padded_lines.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/non_zeros.hpp"
#include "adr/simd/window_kernels.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The sums of all filters over the non-zeros of a band: [filter][kernel line][registers of a run].
template <class T>
class SparseLines {
  using B = simd::Batch<T>;

 public:
  /// Lists of the non-zeros of a band, one per filter.
  struct Lists {
    index_t room;           ///< of a list
    std::int32_t* windows;  ///< the place of each one's window
    T* values;
    index_t* counts;

    template <class Memory>
    Lists(Memory& memory, const ConvGeometry& g, int threads)
        : room(SparseLines(PaddedLines{g}).sum_size() > 0 ? PaddedLines{g}.band() * g.out_width()
                                                          : 0),
          windows(memory.template take<std::int32_t>(
              checked_product("lists", threads, g.out_channels, room))),
          values(memory.template take<T>(checked_product("lists", threads, g.out_channels, room))),
          counts(memory.template take<index_t>(threads * g.out_channels)) {}

    [[nodiscard]] Lists of_thread(const ConvGeometry& g, int thread) const noexcept {
      Lists mine = *this;
      mine.windows += thread * g.out_channels * room;
      mine.values += thread * g.out_channels * room;
      mine.counts += thread * g.out_channels;
      return mine;
    }
  };

  explicit SparseLines(const PaddedLines& source) noexcept
      : source_(source), registers_(static_cast<int>(blocks_of(source.run(), B::size))) {}

  /// Elements of the sums; 0 where runs are too long for the registers.
  [[nodiscard]] index_t sum_size() const noexcept {
    if (registers_ > simd::k_most_run_registers) return 0;
    return source_.geometry.out_channels * filter_size();
  }

  /// Whether leaving zeros out is faster for some bands, by a sample of their output gradients.
  [[nodiscard]] bool pay(const TensorView<const T>& d_y, const IndexRange& bands) const noexcept {
    constexpr index_t k_sampled = 16;
    const ConvGeometry& g = source_.geometry;
    if (sum_size() == 0 || bands.size() == 0) return false;
    index_t found = 0;
    for (index_t i = 0; i < k_sampled; ++i) {
      const index_t band = bands.first + i * bands.size() / k_sampled;
      // In different columns, so that the pattern of a pool is met everywhere.
      const index_t pixel = (i * g.out_pixels() / k_sampled + i) % g.out_pixels();
      const T* gradients = d_y.image(band / source_.bands()) + pixel * g.out_channels;
      found += simd::count_non_zeros(gradients, g.out_channels);
    }
    // In cycles for each output gradient, measured with AVX2: a look at each, listing what is
    // found and the registers of its window; of the dense form the start of a block and its sums.
    const double density =
        static_cast<double>(found) / static_cast<double>(k_sampled * g.out_channels);
    const double of_non_zero = 16 + 0.8 * registers_ * static_cast<double>(g.kernel_height);
    const double dense = 1 + static_cast<double>(g.columns()) / (1.75 * B::size);
    return 0.5 + density * of_non_zero < dense;
  }

  /// Whether zeros may be left out: a window that is not finite times zero is no zero.
  [[nodiscard]] bool is_finite(const T* windows) const noexcept {
    return simd::all_finite(windows, source_.size());
  }

  /// Adds a band: its windows, in lines that are followed by a register of zeros, times its output
  /// gradients.
  void add(const T* windows, const T* d_y, index_t lines, const Lists& lists,
           T* sums) const noexcept {
    const ConvGeometry& g = source_.geometry;
    list(d_y, lines, lists);
    const index_t most = simd::most_runs(registers_);
    for (index_t first = 0; first < g.kernel_height; first += most) {
      const index_t runs = std::min(most, g.kernel_height - first);
      const simd::WindowKernel<T> kernel = simd::window_kernel<T>(registers_, runs);
      for (index_t m = 0; m < g.out_channels; ++m) {
        kernel({lists.windows + m * lists.room, lists.values + m * lists.room, lists.counts[m]},
               windows + first * source_.run_step(), source_.run_step(),
               sums + m * filter_size() + first * run_size());
      }
    }
  }

  /// Adds the sums to d_w, one filter per row.
  void finish(const T* sums, const MatrixView<T>& d_w) const noexcept {
    const ConvGeometry& g = source_.geometry;
    for (index_t m = 0; m < g.out_channels; ++m) {
      for (index_t line = 0; line < g.kernel_height; ++line) {
        simd::add(sums + m * filter_size() + line * run_size(), d_w.row(m) + line * source_.run(),
                  source_.run());
      }
    }
  }

 private:
  [[nodiscard]] index_t run_size() const noexcept { return registers_ * B::size; }
  [[nodiscard]] index_t filter_size() const noexcept {
    return source_.geometry.kernel_height * run_size();
  }

  void list(const T* d_y, index_t lines, const Lists& lists) const noexcept {
    const ConvGeometry& g = source_.geometry;
    std::fill_n(lists.counts, g.out_channels, index_t{0});
    for (index_t line = 0; line < lines; ++line) {
      for (index_t x = 0; x < g.out_width(); ++x, d_y += g.out_channels) {
        const auto window =
            static_cast<std::int32_t>(line * source_.line_step() + x * source_.pixel_step());
        for (index_t first = 0; first < g.out_channels; first += simd::k_mask_bits) {
          const index_t channels = std::min(simd::k_mask_bits, g.out_channels - first);
          std::uint64_t mask = simd::non_zero_mask(d_y + first, channels);
          for (; mask != 0; mask &= mask - 1) {
            const index_t m = first + __builtin_ctzll(mask);
            const index_t at = m * lists.room + lists.counts[m]++;
            lists.windows[at] = window;
            lists.values[at] = d_y[m];
          }
        }
      }
    }
  }

  PaddedLines source_;
  int registers_;
};

}  // namespace detail
ADR_NAMESPACE_END
