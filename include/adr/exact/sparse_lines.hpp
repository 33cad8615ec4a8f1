// The part of a weight gradient over windows of few columns that bands of lines bring whose output
// gradient is mostly zero, as it is behind a max pool: zeros are left out, and nothing is lost.
#pragma once

#include <algorithm>

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
    // In cycles for each output gradient: a look at each, and for what is found the registers of
    // its window; of the dense form the start of a block and its sums.
    const double density =
        static_cast<double>(found) / static_cast<double>(k_sampled * g.out_channels);
    const auto looks = static_cast<double>(blocks_of(g.kernel_height, simd::most_runs(registers_)));
    const double of_non_zero = 4 + registers_ * static_cast<double>(g.kernel_height);
    const double dense = 1 + static_cast<double>(g.columns()) / (1.75 * B::size);
    return 1.2 * looks + density * of_non_zero < dense;
  }

  /// Whether zeros may be left out: a window that is not finite times zero is no zero.
  [[nodiscard]] bool is_finite(const T* windows) const noexcept {
    return simd::all_finite(windows, source_.size());
  }

  /// Adds a band: its windows, in lines that are followed by a register of zeros, times its output
  /// gradients.
  void add(const T* windows, const T* d_y, index_t lines, T* sums) const noexcept {
    const ConvGeometry& g = source_.geometry;
    const index_t most = simd::most_runs(registers_);
    for (index_t first = 0; first < g.kernel_height; first += most) {
      const index_t runs = std::min(most, g.kernel_height - first);
      const simd::WindowKernel<T> add_window = simd::window_kernel<T>(registers_, runs);
      const T* values = d_y;
      for (index_t line = 0; line < lines; ++line) {
        const T* window = windows + line * source_.line_step() + first * source_.run_step();
        for (index_t x = 0; x < g.out_width(); ++x, window += source_.pixel_step()) {
          for (index_t m = 0; m < g.out_channels; m += simd::k_mask_bits) {
            const index_t channels = std::min(simd::k_mask_bits, g.out_channels - m);
            add_window(values + m, simd::non_zero_mask(values + m, channels), window,
                       source_.run_step(), sums + m * filter_size() + first * run_size(),
                       filter_size());
          }
          values += g.out_channels;
        }
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

  PaddedLines source_;
  int registers_;
};

}  // namespace detail
ADR_NAMESPACE_END
