// One group of a layer over the frames of a stream: what has changed since it was last used is
// computed, the rest stays.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/convolution_form.hpp"
#include "adr/exact/convolution_passes.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/exact/tile_images.hpp"
#include "adr/stream/change_limit.hpp"
#include "adr/stream/copied_pixels.hpp"
#include "adr/stream/error_gain.hpp"
#include "adr/stream/marked_runs.hpp"
#include "adr/stream/patch_forward.hpp"
#include "adr/stream/pixel_changes.hpp"
#include "adr/stream/shifted_blocks.hpp"
#include "adr/stream/window_grid.hpp"
#include "adr/stream/window_sums.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// What a pass of a stream did to one group.
struct Comparison {
  double computed = 1;       ///< share of the blocks of outputs that were computed
  double threshold = 0;      ///< the largest change that was left aside, of the mean of the windows
  double error_energy = 0;   ///< of the output, estimated
  double output_energy = 0;  ///< estimated; 0 where it is not known
};

/// The operands of a pass over one group.
template <class T>
struct StreamOperands {
  exact::GroupImages<const T> x;
  exact::GroupImages<T> used;  ///< the input that the outputs are of, where they are not older
  exact::GroupImages<T> y;     ///< the outputs
  MatrixView<const T> w;
  VectorView<const T> bias;
  bool relu = false;
  const T* kept_weights = nullptr;
  /// Marks of the pixels of x that were written since the last pass; null: any may have been.
  const unsigned char* written = nullptr;
};

/// Math: blocks of outputs (tiles of the exact engine, or squares where the form is direct) are
/// computed where the change of their window exceeds a limit, and are what they were elsewhere.
/// The change of a window is the squared distance between x and the input that its outputs are of,
/// or more: where a neighbour has moved the used image on under it, the distance moved is added
/// (the triangle inequality), so that errors cannot creep in over many frames. The limit is the
/// largest for which all changes that are left aside, together, are at most max_error^2 / gain of
/// the energy of all windows, and no more than k_most_of_a_window times that for one window. With
/// max_error 0 the limit is 0 and bits are compared: the outputs are those of the exact pass.
/// Windows that hold a NaN, or infinities, are computed. Cost: one read of x and the used image;
/// of the windows that are computed, a copy. Memory: 9 bytes a pixel of the image and 21 a
/// block. Determinism: the bits do not depend on the number of threads. Thread-safety: none.
/// Source: this library.
template <class T>
class GroupStream {
 public:
  using Operands = StreamOperands<T>;

  /// Whether passes of that many images can be compared block by block.
  [[nodiscard]] static bool is_possible(const exact::ConvolutionPasses<T>& passes, index_t batch) {
    return passes.forward_form(batch) != exact::Form::direct ||
           PatchForward<T>::is_possible(passes.geometry());
  }

  /// Begins anew: all outputs are now those of x, which is kept. Requires: is_possible.
  void keep(const exact::ConvolutionPasses<T>& passes, const Operands& operands, int threads) {
    const index_t batch = operands.x.images.batch;
    of_tiles_ = passes.forward_form(batch, operands.kept_weights != nullptr) != exact::Form::direct;
    if (of_tiles_) {
      grid_ = window_grid(passes.tile_inputs(operands.x.images));
    } else {
      patches_.set_geometry(one_group(passes.geometry()));
      grid_ = patches_.grid();
    }
    const index_t blocks = batch * grid_.per_image();
    const index_t pixels = batch * grid_.in_pixels();
    changes_.assign(pixels, 0.0F);
    moved_pixels_.resize(pixels);
    energies_.resize(batch * grid_.y.in_pixels);
    columns_.resize(threads * grid_.x.in_pixels);
    for (auto* of_blocks : {&sums_, &moved_}) of_blocks->resize(blocks);
    marks_.resize(blocks);
    touched_.resize(pixels);
    list_.resize(blocks);
    debts_.assign(blocks, 0.0F);
    gain_ = ErrorGain<T>();
    break_even_ = break_even_of(passes, operands.x);
    mean_square_ = std::numeric_limits<double>::infinity();
    keep_input(operands, threads);
  }

  /// The share of the outputs below which comparing takes less than it saves: an estimate from
  /// sizes, so that what is decided does not depend on the clock.
  [[nodiscard]] double break_even() const noexcept { return break_even_; }

  /// Whether images may be shifted by that much, in pixels of the input.
  [[nodiscard]] bool can_shift(index_t dy, index_t dx) const noexcept {
    return dy % grid_.y.step == 0 && dx % grid_.x.step == 0;
  }
  /// Moves what is kept by (dy, dx) pixels of the input; blocks that nothing has moved to are
  /// computed in the next comparison, which looks at everything. Requires: keep before, can_shift.
  void shift(const exact::GroupImages<T>& used, const exact::GroupImages<T>& y, index_t dy,
             index_t dx) {
    const index_t rows = dy / grid_.y.step;
    const index_t columns = dx / grid_.x.step;
    shift_pixels(used, dy, dx);
    shift_pixels(y, rows * grid_.y.outputs, columns * grid_.x.outputs);
    // moved_ has the debts of before.
    std::copy_n(debts_.data(), debts_.size(), moved_.data());
    for (index_t i = 0; i < debts_.size(); ++i) {
      const index_t within = i % grid_.per_image();
      const index_t row = source_of(grid_.y, within / grid_.x.blocks, rows);
      const index_t column = source_of(grid_.x, within % grid_.x.blocks, columns);
      debts_[i] = row < 0 || column < 0 ? std::numeric_limits<float>::infinity()
                                        : moved_[i - within + row * grid_.x.blocks + column];
    }
  }

  /// Marks the outputs that the last comparison has computed; all is the caller's to clear.
  void mark_written(unsigned char* pixels) const noexcept {
    for (index_t i = 0; i < computed_; ++i) {
      const exact::PixelRect rect = grid_.written(list_[i]);
      const index_t image = list_[i] / grid_.per_image();
      for (index_t y = rect.first_y; y < rect.last_y; ++y) {
        const index_t line = image * grid_.y.out_pixels + y;
        std::fill_n(pixels + line * grid_.x.out_pixels + rect.first_x, rect.width(),
                    static_cast<unsigned char>(1));
      }
    }
  }

  /// Computes what has changed. Requires: keep, or this, with operands of these shapes before, and
  /// the same weights, bias, relu and memory of `used` and y.
  Comparison compare(const exact::ConvolutionPasses<T>& passes, const Operands& operands,
                     double max_error, Context& context) {
    const int threads = context.threads();
    const index_t batch = operands.x.images.batch;
    const index_t count = batch * grid_.per_image();
    columns_.resize(threads * grid_.x.in_pixels);
    // Squares of very small numbers are zero: what is that small is compared bit by bit.
    constexpr double k_least_square = 1e-24;
    const bool bits = max_error == 0 || !(mean_square_ > k_least_square);
    const bool measures = gain_.is_due();
    const bool all = measures || bits != compared_bits_;
    compared_bits_ = bits;
    find_pixel_changes(operands.x, exact::as_const(operands.used), all ? nullptr : operands.written,
                       bits ? Compare::bits : Compare::energies, threads, changes_.data(),
                       energies_.data());
    sum_windows(grid_, batch, changes_.data(), threads, columns_.data(), sums_.data());
    const double input_energy = window_energy(batch, operands.x.channels);
    Comparison result;
    float limit = 0;
    if (!bits) {
      add_debts(count);
      const double budget = max_error * max_error * input_energy;
      const double most =
          k_most_of_a_window * k_most_of_a_window * budget / static_cast<double>(count);
      limit = change_limit(
          sums_.data(), count, budget / gain_.value(),
          static_cast<float>(std::min<double>(most, std::numeric_limits<float>::max())));
    }
    for (index_t i = 0; i < count; ++i) {
      marks_[i] = sums_[i] <= limit && !(bits && debts_[i] > 0) ? 0 : 1;
    }
    if (measures && !bits)
      gain_.draw(grid_, sums_.data(), count, limit, exact::as_const(operands.y), marks_.data());
    computed_ = list_marked(count);
    // Blocks that lie apart take longer than all at once.
    const bool whole = static_cast<double>(computed_) > break_even_ * static_cast<double>(count);
    if (whole) {
      std::fill_n(marks_.data(), count, static_cast<unsigned char>(1));
      computed_ = list_marked(count);
    }
    result.computed = static_cast<double>(computed_) / static_cast<double>(count);
    move_used(operands, batch, !bits, threads);
    compute(passes, operands, {whole ? nullptr : list_.data(), computed_}, context);
    if (measures && !bits) gain_.measure(grid_, count, exact::as_const(operands.y), input_energy);
    if (!bits) fill_in(result, count, input_energy);
    return result;
  }

 private:
  /// How much more than the average a single window may leave aside, as a ratio of distances.
  static constexpr double k_most_of_a_window = 8;

  static ConvGeometry one_group(ConvGeometry geometry) noexcept {
    geometry.in_channels = geometry.group_in_channels();
    geometry.out_channels = geometry.group_out_channels();
    geometry.groups = 1;
    return geometry;
  }

  [[nodiscard]] double break_even_of(const exact::ConvolutionPasses<T>& passes,
                                     const exact::GroupImages<const T>& x) const {
    // Elements that a core reads, or multiplies and adds, in the time of one another.
    constexpr double k_multiply_adds_per_byte = 4.0;
    constexpr double k_reads_and_copies = 4;
    const double bytes = static_cast<double>(x.images.batch * x.images.height) *
                         static_cast<double>(x.images.width * x.channels) * double{sizeof(T)};
    const double look = k_reads_and_copies * k_multiply_adds_per_byte * bytes;
    // Squares are copied to and fro.
    const double most = of_tiles_ ? 0.97 : 0.65;
    return std::clamp(1 - look / passes.forward_multiply_adds(x.images.batch), 0.3, most);
  }

  /// The energy of x in all windows together, a pixel once for each; of lines that are finite.
  double window_energy(index_t batch, index_t channels) noexcept {
    double energy = 0;
    for (index_t i = 0; i < energies_.size(); ++i) {
      if (std::isfinite(energies_[i])) energy += energies_[i];
    }
    mean_square_ = energy / static_cast<double>(batch * grid_.in_pixels() * channels);
    return energy * grid_.windows_of_pixel();
  }

  void add_debts(index_t count) noexcept {
    for (index_t i = 0; i < count; ++i) {
      if (!(debts_[i] > 0)) continue;
      const float distance = std::sqrt(sums_[i]) + debts_[i];
      sums_[i] = distance * distance;
    }
  }

  index_t list_marked(index_t count) noexcept {
    index_t marked = 0;
    for (index_t i = 0; i < count; ++i) {
      if (marks_[i] == 0) continue;
      list_[marked++] = i;
      debts_[i] = 0;
    }
    return marked;
  }

  void keep_input(const Operands& operands, int threads) {
    parallel_for(operands.x.images.batch * grid_.y.in_pixels, threads, [&](index_t line, int) {
      const index_t y = line % grid_.y.in_pixels;
      copy_pixels(operands.x, line / grid_.y.in_pixels, {y, y + 1, 0, grid_.x.in_pixels},
                  operands.used, line / grid_.y.in_pixels, y, 0);
    });
  }

  /// Moves the used image on to x in the windows that are computed, and notes how far that is for
  /// windows that are not.
  void move_used(const Operands& operands, index_t batch, bool notes_debts, int threads) {
    const index_t width = grid_.x.in_pixels;
    parallel_for(batch, threads, [&](index_t image, int) {
      unsigned char* touched = touched_.data() + image * grid_.in_pixels();
      std::fill_n(touched, grid_.in_pixels(), static_cast<unsigned char>(0));
      for (index_t i = image * grid_.per_image(); i < (image + 1) * grid_.per_image(); ++i) {
        if (marks_[i] == 0) continue;
        const exact::PixelRect seen = grid_.seen(i);
        for (index_t y = seen.first_y; y < seen.last_y; ++y) {
          std::fill_n(touched + y * width + seen.first_x, seen.width(),
                      static_cast<unsigned char>(1));
        }
      }
    });
    parallel_for(batch * grid_.y.in_pixels, threads, [&](index_t line, int) {
      const index_t image = line / grid_.y.in_pixels;
      const index_t y = line % grid_.y.in_pixels;
      const unsigned char* touched = touched_.data() + line * width;
      float* changes = changes_.data() + line * width;
      float* moved = moved_pixels_.data() + line * width;
      std::fill_n(moved, width, 0.0F);
      for_each_marked_run(touched, width, [&](const IndexRange& run) {
        copy_pixels(operands.x, image, {y, y + 1, run.first, run.last}, operands.used, image, y,
                    run.first);
        std::copy_n(changes + run.first, run.size(), moved + run.first);
        std::fill_n(changes + run.first, run.size(), 0.0F);
      });
    });
    if (!notes_debts) return;
    sum_windows(grid_, batch, moved_pixels_.data(), threads, columns_.data(), moved_.data());
    for (index_t i = 0; i < batch * grid_.per_image(); ++i) {
      if (marks_[i] == 0 && moved_[i] > 0) debts_[i] += std::sqrt(moved_[i]);
    }
  }

  void compute(const exact::ConvolutionPasses<T>& passes, const Operands& o,
               const exact::TileList& list, Context& context) {
    if (list.count == 0) return;
    if (list.tiles == nullptr) {
      passes.forward(o.x.images, o.w, o.bias, o.relu, o.y.images, context, o.kept_weights);
    } else if (of_tiles_) {
      passes.forward_tiles(o.x.images, o.w, o.bias, o.relu, o.y.images, list, context,
                           o.kept_weights);
    } else {
      patches_.run(list, o.x, o.w, o.bias, o.relu, o.y, context);
    }
  }

  void fill_in(Comparison& result, index_t count, double input_energy) noexcept {
    double left = 0;
    float largest = 0;
    for (index_t i = 0; i < count; ++i) {
      if (marks_[i] != 0) continue;
      left += static_cast<double>(sums_[i]);
      largest = std::max(largest, sums_[i]);
    }
    if (!(input_energy > 0)) return;
    result.threshold =
        std::sqrt(static_cast<double>(largest) * static_cast<double>(count) / input_energy);
    result.output_energy = gain_.output_energy() > 0 ? gain_.output_energy() : 1;
    result.error_energy = gain_.value() * left / input_energy * result.output_energy;
  }

  bool of_tiles_ = false;
  double break_even_ = 0;
  WindowGrid grid_;
  PatchForward<T> patches_;
  ErrorGain<T> gain_;
  double mean_square_ = 0;                ///< of the elements of x in the last comparison
  AlignedBuffer<float> changes_;          ///< of pixels, since the used image has moved there
  AlignedBuffer<float> moved_pixels_;     ///< by how much it has in this pass
  bool compared_bits_ = false;            ///< what the changes are
  AlignedBuffer<double> energies_;        ///< of lines of x
  AlignedBuffer<float> columns_;          ///< scratch of the sums
  AlignedBuffer<float> sums_;             ///< changes of the windows of blocks
  AlignedBuffer<float> moved_;            ///< of that what the used image has moved on
  AlignedBuffer<float> debts_;            ///< distances by which it has, under outputs that stayed
  AlignedBuffer<unsigned char> marks_;    ///< blocks that are computed
  AlignedBuffer<unsigned char> touched_;  ///< pixels of their windows
  AlignedBuffer<index_t> list_;
  index_t computed_ = 0;  ///< how many it lists
};

}  // namespace stream
ADR_NAMESPACE_END
