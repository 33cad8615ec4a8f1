// Exact products in the leading coordinates of shared neuron vectors: the weights are rotated once,
// and what is left is a dense product with as many columns per kernel offset as there are
// coordinates.
//
// The unfolded matrix of coordinates exists one block of outputs at a time. Work is cut into tasks
// by shape alone and every task adds in a fixed order, so the bits do not depend on the number of
// threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/core/workspace.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/subspace/subspace_basis.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Outputs whose weights a task rotates: a cache line of a row of K x M weights.
inline constexpr index_t k_rotated_outputs = 16;

/// Outputs (rows) per block of unfolded coordinates: a block of about 1 MB stays in the second
/// cache, but a GEMM packs its other factor for every block, which takes a few hundred rows to
/// amortise.
inline index_t subspace_block_rows(index_t columns) noexcept {
  return std::clamp<index_t>((index_t{1} << 18) / std::max<index_t>(columns, 1), 256, 1024);
}

/// Copies the coordinates [columns.first, columns.last) that neighbouring outputs of one row of
/// outputs meet at one row of kernel offsets. Offsets lie `step` vectors apart; grid_row: the row
/// of the grid that they meet, `width` vectors of `coordinates` each; first_x: the vector that the
/// first output meets at the first offset.
inline void unfold_coordinates(const VectorMap& map, const float* grid_row, index_t coordinates,
                               index_t first_x, IndexRange columns,
                               const MatrixView<float>& block) noexcept {
  // What neighbouring offsets meet is one run in memory where they meet neighbouring vectors.
  const index_t run_offsets = map.dilation_x == 1 ? map.offset_cols : 1;
  const index_t run = run_offsets * coordinates;
  const index_t grid_end = map.grid_width * coordinates;
  for (index_t begin = columns.first; begin < columns.last;) {
    const index_t j = begin / run * run_offsets;
    const index_t skipped = begin % run;
    const index_t length = std::min(columns.last - begin, run - skipped);
    for (index_t n = 0; n < block.rows; ++n) {
      const index_t x = first_x + n * map.step_x + j * map.dilation_x;
      const index_t from = x * coordinates + skipped;
      const index_t first = std::clamp<index_t>(-from, 0, length);
      const index_t last = std::clamp<index_t>(grid_end - from, first, length);
      float* to = block.row(n) + (begin - columns.first);
      std::fill(to, to + first, 0.0F);
      if (first < last) simd::copy(grid_row + (from + first), to + first, last - first);
      std::fill(to + last, to + length, 0.0F);
    }
    begin += length;
  }
}

/// The coordinates that outputs [first_row, first_row + count) meet: of the unfolded matrix, whose
/// column o * coordinates + k is coordinate k at kernel offset o, the given columns; in place where
/// outputs and vectors are the same, else in scratch of count * columns.size().
inline MatrixView<const float> met_coordinates(const SubspaceCoordinates& coordinates,
                                               const VectorMap& map, index_t first_row,
                                               index_t count, IndexRange columns,
                                               float* scratch) noexcept {
  const index_t width = coordinates.coordinates;
  if (map.is_identity()) {
    return coordinates.matrix().block(first_row, columns.first, count, columns.size());
  }
  const MatrixView<float> block(scratch, count, columns.size());
  const index_t kernel_row = map.offset_cols * width;
  for (index_t row = 0; row < count;) {
    const index_t n = first_row + row;
    const index_t ox = n % map.out_width;
    const index_t oy = n / map.out_width % map.out_height;
    const index_t run = std::min(count - row, map.out_width - ox);
    const float* image = coordinates.values.data() + n / map.out_size() * map.grid_size() * width;
    for (index_t i = columns.first / kernel_row; i * kernel_row < columns.last; ++i) {
      const IndexRange part{std::max<index_t>(0, columns.first - i * kernel_row),
                            std::min(kernel_row, columns.last - i * kernel_row)};
      const index_t to = i * kernel_row + part.first - columns.first;
      const MatrixView<float> target = block.block(row, to, run, part.size());
      const index_t y = map.grid_y(oy, i);
      if (y >= 0 && y < map.grid_height) {
        unfold_coordinates(map, image + y * map.grid_width * width, width, map.grid_x(ox, 0), part,
                           target);
      } else {
        for (index_t k = 0; k < run; ++k) std::fill_n(target.row(k), target.cols, 0.0F);
      }
    }
    row += run;
  }
  return block;
}

/// Whether all pixels of a view are rows of one matrix of floats.
template <class T>
bool is_float_matrix(const PixelView<T>& view) noexcept {
  return std::is_same_v<std::remove_const_t<T>, float> && view.channel_stride == 1 &&
         (view.images <= 1 || view.image_stride == view.pixels * view.pixel_stride);
}

/// Rows [first_row, first_row + count) and some channels of such a view.
template <class T>
MatrixView<T> rows_in_place(const PixelView<T>& view, index_t first_row, index_t count,
                            IndexRange channels) noexcept {
  // A single pixel has a stride of its own making.
  return {view.data + first_row * view.pixel_stride + channels.first, count, channels.size(),
          std::max(view.pixel_stride, channels.size())};
}

/// Copies pixels to the rows of a block of floats.
template <class T>
void load_pixels(const PixelView<const T>& from, index_t first_row,
                 const MatrixView<float>& block) noexcept {
  for_each_image_run(from.pixels, first_row, block.rows,
                     [&](index_t image, index_t pixel, index_t run, index_t at) {
                       if (from.pixel_stride == 1) {
                         simd::transpose(from.at(image, pixel, 0), from.channel_stride, block.cols,
                                         run, block.row(at), block.row_stride);
                         return;
                       }
                       for (index_t i = 0; i < run; ++i) {
                         const T* pixel_data = from.at(image, pixel + i, 0);
                         for (index_t m = 0; m < block.cols; ++m) {
                           block(at + i, m) = static_cast<float>(pixel_data[m]);
                         }
                       }
                     });
}

/// Copies the rows of a block of floats to the channels from first_channel on of pixels.
template <class T>
void store_pixels(const MatrixView<const float>& block, index_t first_row, index_t first_channel,
                  const PixelView<T>& to) noexcept {
  for_each_image_run(to.pixels, first_row, block.rows,
                     [&](index_t image, index_t pixel, index_t run, index_t at) {
                       if (to.pixel_stride == 1) {
                         simd::transpose(block.row(at), block.row_stride, run, block.cols,
                                         to.at(image, pixel, first_channel), to.channel_stride);
                         return;
                       }
                       for (index_t i = 0; i < run; ++i) {
                         T* pixel_data = to.at(image, pixel + i, first_channel);
                         for (index_t m = 0; m < block.cols; ++m) {
                           pixel_data[m] = static_cast<T>(block(at + i, m));
                         }
                       }
                     });
}

/// Blocks of unfolded coordinates and of outputs, or their gradients: one of every thread.
struct SubspaceBlocks {
  index_t rows;
  float* coordinates;
  float* outputs;

  template <class Memory>
  SubspaceBlocks(Memory& memory, index_t columns, index_t outputs_, int threads)
      : rows(subspace_block_rows(columns)),
        coordinates(memory.template take<float>(
            checked_product("coordinates of a block", threads, rows, columns))),
        outputs(memory.template take<float>(
            checked_product("outputs of a block", threads, rows, outputs_))) {}
};

struct SubspaceGradientScratch {
  index_t columns;  ///< of the unfolded coordinates
  WeightGradientParts parts;
  index_t widest;  ///< columns of the largest part
  float* sums;     ///< of parts of the rows: the gradient of the rotated weights
  SubspaceBlocks blocks;
  float* packed;  ///< the gradient of some outputs' weights, of every thread

  template <class Memory>
  SubspaceGradientScratch(Memory& memory, const VectorMap& map, const SubspaceBasis& basis,
                          index_t outputs, int threads)
      : columns(checked_product("rotated weights", map.offsets(), basis.coordinates)),
        parts(map.rows(), columns),
        widest(partition(columns, parts.col_parts, 0).size()),
        sums(memory.template take<float>(
            checked_product("partial sums", parts.row_parts, outputs, columns))),
        blocks(memory, widest, outputs, threads),
        packed(memory.template take<float>(checked_product(
            "rotated gradient", threads, k_rotated_outputs, map.offsets(), basis.length))) {}
};

}  // namespace detail

/// Rotates packed weights (pack_weights) to the coordinates of a subspace.
/// Math: rotated[(m * offsets + o) * coordinates + k] = basis row k . weights of output m at offset
/// o. Requires: packed rows of basis.length. Cost: outputs * K * coordinates multiply-adds. Errors:
/// std::bad_alloc.
inline void rotate_weights(const SubspaceBasis& basis, const AlignedBuffer<float>& packed,
                           const DenseGemm<float>& gemm, Context& context,
                           AlignedBuffer<float>& rotated) {
  constexpr index_t k_rows = 256;
  const index_t rows = packed.size() / basis.length;
  rotated.resize(checked_product("rotated weights", rows, basis.coordinates));
  parallel_for(blocks_of(rows, k_rows), context.threads(), [&](index_t task, int /*thread*/) {
    const index_t first = task * k_rows;
    const index_t count = std::min(k_rows, rows - first);
    gemm(as_is(MatrixView<const float>(packed.data() + first * basis.length, count, basis.length)),
         transposed(basis.matrix()), Update::replace,
         MatrixView<float>(rotated.data() + first * basis.coordinates, count, basis.coordinates));
  });
}

/// Bytes of scratch that subspace_forward takes.
inline std::size_t subspace_forward_workspace_bytes(const VectorMap& map, index_t coordinates,
                                                    index_t outputs, int thread_count) {
  const index_t columns = checked_product("rotated weights", map.offsets(), coordinates);
  return scratch_bytes<detail::SubspaceBlocks>(columns, outputs, thread_count);
}

/// Computes the output from coordinates and rotated weights alone.
///
/// Math: output[n, m] = bias[m] + sum over offsets o and coordinates k of z_k(v(n, o))
/// rotated[(m * offsets + o) * coordinates + k], v(n, o) the vector that pixel n meets at offset o;
/// padding adds exactly zero. Shapes: coordinates of map.vectors(), output map.rows() pixels,
/// map.out_size() an image, bias output.channels or empty. Products are in float for every T.
/// Requires: rotated weights of output.channels, scratch reserved. Cost: rows * offsets *
/// coordinates * outputs multiply-adds. Source: this library.
template <class T>
void subspace_forward(const SubspaceCoordinates& coordinates, const VectorMap& map,
                      const AlignedBuffer<float>& rotated, const VectorView<const T>& bias,
                      const PixelView<T>& output, const DenseGemm<float>& gemm, Context& context) {
  const index_t columns = map.offsets() * coordinates.coordinates;
  const index_t outputs = output.channels;
  const index_t rows = map.rows();
  const Workspace::Frame frame(context.workspace());
  const detail::SubspaceBlocks scratch(context.workspace(), columns, outputs, context.threads());
  const index_t block_rows = scratch.rows;
  const index_t row_tasks = blocks_of(rows, block_rows);
  const index_t parts = detail::column_parts(row_tasks, outputs, detail::k_wanted_unfolding_tasks);
  const MatrixView<const float> weights(rotated.data(), outputs, columns);
  parallel_for(row_tasks * parts, context.threads(), [&](index_t task, int thread) {
    const index_t first = task / parts * block_rows;
    const index_t count = std::min(block_rows, rows - first);
    const IndexRange channels = partition(outputs, parts, task % parts);
    const MatrixView<const float> z =
        detail::met_coordinates(coordinates, map, first, count, {0, columns},
                                scratch.coordinates + thread * block_rows * columns);
    MatrixView<float> y(scratch.outputs + thread * block_rows * outputs, count, channels.size());
    const bool in_place = detail::is_float_matrix(output);
    if constexpr (std::is_same_v<T, float>) {
      if (in_place) y = detail::rows_in_place(output, first, count, channels);
    }
    for (index_t i = 0; i < count && !bias.empty(); ++i) {
      for (index_t m = 0; m < y.cols; ++m) y(i, m) = static_cast<float>(bias[channels.first + m]);
    }
    gemm(as_is(z), transposed(weights.middle_rows(channels.first, channels.size())),
         bias.empty() ? Update::replace : Update::accumulate, y);
    if (!in_place) detail::store_pixels<T>(y, first, channels.first, output);
  });
}

/// Bytes of scratch that subspace_weight_gradient takes.
inline std::size_t subspace_weight_gradient_workspace_bytes(const VectorMap& map,
                                                            const SubspaceBasis& basis,
                                                            index_t outputs, int thread_count) {
  return scratch_bytes<detail::SubspaceGradientScratch>(map, basis, outputs, thread_count);
}

/// Computes the gradient with respect to the weights as if the input were what its coordinates
/// stand for.
///
/// Math: d_weights[columns[o * length + e], m] = sum over k of basis[k, e] sum over outputs n of
/// z_k(v(n, o)) d_output[n, m]. Shapes: as subspace_forward; columns map.offsets() * length,
/// d_weights K x M. Products are in float for every T. Requires: scratch reserved. Cost: rows *
/// offsets * coordinates * outputs + K * outputs * coordinates multiply-adds. Source: this library.
template <class T>
void subspace_weight_gradient(const SubspaceCoordinates& coordinates, const SubspaceBasis& basis,
                              const VectorMap& map, const index_t* columns,
                              const PixelView<const T>& d_output, const GemmResult<T>& d_weights,
                              const DenseGemm<float>& gemm, Context& context) {
  const index_t unrotated = map.offsets() * basis.length;
  const index_t outputs = d_output.channels;
  const int threads = context.threads();
  const Workspace::Frame frame(context.workspace());
  const detail::SubspaceGradientScratch scratch(context.workspace(), map, basis, outputs, threads);
  const index_t rotated = scratch.columns;
  const index_t block_rows = scratch.blocks.rows;
  const detail::WeightGradientParts& parts = scratch.parts;

  parallel_for(parts.row_parts * parts.col_parts, threads, [&](index_t task, int thread) {
    const index_t part = task % parts.row_parts;
    const IndexRange cols = partition(rotated, parts.col_parts, task / parts.row_parts);
    const IndexRange rows = partition(map.rows(), parts.row_parts, part);
    const MatrixView<float> whole(scratch.sums + part * outputs * rotated, outputs, rotated);
    const MatrixView<float> sum = whole.block(0, cols.first, outputs, cols.size());
    for (index_t m = 0; m < outputs; ++m) std::fill_n(sum.row(m), sum.cols, 0.0F);
    for (index_t first = rows.first; first < rows.last; first += block_rows) {
      const index_t count = std::min(block_rows, rows.last - first);
      const MatrixView<const float> z = detail::met_coordinates(
          coordinates, map, first, count, cols,
          scratch.blocks.coordinates + thread * block_rows * scratch.widest);
      const MatrixView<float> copy(scratch.blocks.outputs + thread * block_rows * outputs, count,
                                   outputs);
      MatrixView<const float> d_y = copy;
      const bool in_place = detail::is_float_matrix(d_output);
      if constexpr (std::is_same_v<T, float>) {
        if (in_place) d_y = detail::rows_in_place(d_output, first, count, {0, outputs});
      }
      if (!in_place) detail::load_pixels(d_output, first, copy);
      gemm(transposed(d_y), as_is(z), Update::accumulate, sum);
    }
  });

  constexpr index_t k_block = detail::k_rotated_outputs;
  parallel_for(blocks_of(outputs, k_block), threads, [&](index_t task, int thread) {
    const index_t first = task * k_block;
    const index_t count = std::min(k_block, outputs - first);
    float* sum = scratch.sums + first * rotated;
    for (index_t part = 1; part < parts.row_parts; ++part) {
      simd::add(sum + part * outputs * rotated, sum, count * rotated);
    }
    float* gradient = scratch.packed + thread * k_block * unrotated;
    gemm(as_is(MatrixView<const float>(sum, count * map.offsets(), basis.coordinates)),
         as_is(basis.matrix()), Update::replace,
         MatrixView<float>(gradient, count * map.offsets(), basis.length));
    if (d_weights.transposed) {
      for (index_t m = 0; m < count; ++m) {
        T* row = d_weights.matrix.row(first + m);
        const float* from = gradient + m * unrotated;
        for (index_t k = 0; k < unrotated; ++k) row[columns[k]] = static_cast<T>(from[k]);
      }
    } else {
      for (index_t k = 0; k < unrotated; ++k) {
        T* row = d_weights.matrix.row(columns[k]) + first;
        for (index_t m = 0; m < count; ++m) {
          row[m] = static_cast<T>(gradient[m * unrotated + k]);
        }
      }
    }
  });
}

ADR_NAMESPACE_END
