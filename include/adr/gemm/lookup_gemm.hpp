// The product of encoded neuron vectors with weights: no multiplication, a look-up in registers per
// pixel, offset, codebook and output.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/cluster/clustering.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/product_tables.hpp"
#include "adr/gemm/shared_ids.hpp"
#include "adr/simd/lookup.hpp"
#include "adr/simd/transpose.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

inline constexpr index_t k_lookup_block = 256;   // output pixels of a task
inline constexpr index_t k_lookup_outputs = 16;  // outputs whose sums are held at a time

/// Outputs of more bytes than that leave the caches before anybody reads them.
inline constexpr index_t k_streamed_bytes = index_t{16} << 20;

/// Looks up one chunk of groups for some outputs; the sums of uint8 tables are non-negative and
/// below 2^16, those of int16 tables fit int16.
inline void lookup_chunk(const ProductTables& tables, index_t first_output, index_t chunk,
                         simd::LookupShape shape, const std::uint8_t* ids,
                         std::uint16_t* sums) noexcept {
  const index_t first_group = chunk * ProductTables::k_chunk_groups;
  shape.groups = std::min(ProductTables::k_chunk_groups, tables.groups() - first_group);
  shape.table_stride = tables.groups() * tables.entries();
  const index_t at = first_output * shape.table_stride + first_group * tables.entries();
  ids += first_group * shape.id_stride;
  if (tables.entry() == TableEntry::int16) {
    simd::lookup_int16(tables.entries(), shape, tables.int16_tables() + at, ids,
                       reinterpret_cast<std::int16_t*>(sums));
  } else {
    simd::lookup_uint8<2>(tables.entries(), shape, tables.uint8_tables() + at, ids, sums);
  }
}

/// y[i] = start + scale * (base + sums[i]), or y[i] += scale * (base + sums[i]).
template <class Sum, class T>
void scale_sums(const Sum* sums, index_t count, std::int32_t base, float scale, T start, bool add,
                T* y) noexcept {
  if (add) {
    for (index_t i = 0; i < count; ++i) {
      y[i] += static_cast<T>(scale * static_cast<float>(base + std::int32_t{sums[i]}));
    }
  } else {
    for (index_t i = 0; i < count; ++i) {
      y[i] = start + static_cast<T>(scale * static_cast<float>(base + std::int32_t{sums[i]}));
    }
  }
}

/// Writes the outputs of one chunk into rows of pixels.
template <class T>
void scale_output(const ProductTables& tables, index_t m, index_t chunk, const std::uint16_t* sums,
                  index_t count, T start, T* y) noexcept {
  if (tables.entry() == TableEntry::int16) {
    scale_sums(reinterpret_cast<const std::int16_t*>(sums), count, tables.base(m, chunk),
               tables.scale(m, chunk), start, chunk > 0, y);
  } else {
    scale_sums(sums, count, tables.base(m, chunk), tables.scale(m, chunk), start, chunk > 0, y);
  }
}

}  // namespace detail

/// Bytes of scratch that lookup_forward takes.
template <class T>
std::size_t lookup_forward_workspace_bytes(index_t groups, int thread_count) {
  constexpr index_t k_sums = detail::k_lookup_outputs * detail::k_lookup_block;
  return WorkspaceSize()
      .add<std::uint8_t>(thread_count * groups * detail::k_lookup_block)
      .template add<std::uint16_t>(thread_count * k_sums)
      .template add<T>(thread_count * k_sums)
      .bytes();
}

/// Computes the output from ids and product tables alone.
///
/// Math: output[n, m] = bias[m] + sum over offsets o and books b of table(m, o, b)[id_b(v(n, o))],
/// v(n, o) the vector that pixel n meets at offset o; see ProductTables for the integers. Shapes:
/// output map.rows() pixels of tables.outputs() channels, bias as many or empty. Requires: codes
/// with the margin of SharedIds, prepared ids, scratch reserved. Cost: rows * outputs * groups
/// look-ups, 32 (int16) or 64 (uint8) to an instruction with AVX-512. Determinism: the same bits on
/// every instruction set, up to the rounding of the last scaling. Source: this library; look-ups in
/// registers as in Bolt and in Quicker ADC.
template <class T>
void lookup_forward(const VectorCodes& codes, const SharedIds& shared_ids,
                    const ProductTables& tables, const VectorView<const T>& bias,
                    const PixelView<T>& output, Context& context) {
  constexpr index_t k_block = detail::k_lookup_block;
  constexpr index_t k_outputs = detail::k_lookup_outputs;
  const index_t rows = output.rows();
  const index_t groups = tables.groups();
  const Workspace::Frame frame(context.workspace());
  auto* all_ids = context.workspace().take<std::uint8_t>(context.threads() * groups * k_block);
  auto* all_sums = context.workspace().take<std::uint16_t>(context.threads() * k_outputs * k_block);
  T* all_tiles = context.workspace().template take<T>(context.threads() * k_outputs * k_block);
  const index_t bytes = rows * tables.outputs() * static_cast<index_t>(sizeof(T));
  const auto write_pixels =
      bytes > detail::k_streamed_bytes ? &simd::transpose_streaming<T, T> : &simd::transpose<T, T>;
  parallel_for((rows + k_block - 1) / k_block, context.threads(), [&](index_t task, int thread) {
    std::uint8_t* ids = all_ids + thread * groups * k_block;
    std::uint16_t* sums = all_sums + thread * k_outputs * k_block;
    T* tile = all_tiles + thread * k_outputs * k_block;
    const index_t first = task * k_block;
    const index_t count = std::min(k_block, rows - first);
    const index_t padded =
        (count + simd::k_lookup_pixels - 1) / simd::k_lookup_pixels * simd::k_lookup_pixels;
    shared_ids.spread(codes, first, count, ids, k_block);
    for (index_t g = 0; g < groups && padded > count; ++g) {
      std::fill(ids + g * k_block + count, ids + g * k_block + padded, std::uint8_t{0});
    }
    for (index_t m = 0; m < tables.outputs(); m += k_outputs) {
      const index_t outputs = std::min(k_outputs, tables.outputs() - m);
      simd::LookupShape shape;
      shape.outputs = outputs;
      shape.count = padded;
      shape.id_stride = k_block;
      shape.sum_stride = k_block;
      for (index_t c = 0; c < tables.chunks(); ++c) {
        detail::lookup_chunk(tables, m, c, shape, ids, sums);
        for (index_t r = 0; r < outputs; ++r) {
          const T start =
              static_cast<T>(tables.offset(m + r)) + (bias.empty() ? T(0) : bias[m + r]);
          const std::uint16_t* row = sums + r * k_block;
          if (output.pixel_stride == 1) {
            for_each_image_run(output, first, count,
                               [&](index_t image, index_t pixel, index_t run, index_t at) {
                                 detail::scale_output(tables, m + r, c, row + at, run, start,
                                                      output.at(image, pixel, m + r));
                               });
          } else {
            detail::scale_output(tables, m + r, c, row, count, start, tile + r * k_block);
          }
        }
      }
      if (output.pixel_stride != 1) {
        for_each_image_run(output, first, count,
                           [&](index_t image, index_t pixel, index_t run, index_t at) {
                             write_pixels(tile + at, k_block, outputs, run,
                                          output.at(image, pixel, m), output.pixel_stride);
                           });
      }
    }
    simd::finish_streaming();
  });
}

ADR_NAMESPACE_END
