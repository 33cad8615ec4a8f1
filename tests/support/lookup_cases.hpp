// Products to look up, made up of random decoders, ids and weights, and what their outputs must be:
// near the product of the decoded vectors, and bit for bit the formula of their tables.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "adr/gemm/lookup_gemm.hpp"
#include "adr/gemm/product_tables.hpp"
#include "adr/gemm/shared_ids.hpp"
#include "adr/reference/shared_vectors.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/decoders.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace adr_test {

/// A product to look up: everything but the output.
template <class T>
struct LookupCase {
  adr::VectorMap map;
  std::vector<index_t> columns;
  adr::Decoder decoder;
  adr::VectorCodes codes;
  GuardedBuffer<T> weights;  // K x outputs
  std::vector<T> bias;
  adr::AlignedBuffer<float> packed;

  LookupCase(const adr::VectorMap& map_, std::vector<index_t> columns_, adr::Decoder decoder_,
             index_t outputs, Data& data)
      : map(map_),
        columns(std::move(columns_)),
        decoder(std::move(decoder_)),
        codes(random_codes(decoder, map.vectors(), adr::SharedIds::margin(map), data)),
        weights(map.offsets() * decoder.length, outputs, outputs + 3),
        bias(data.normals<T>(outputs)) {
    data.fill_normal(weights.view());
  }

  [[nodiscard]] index_t outputs() const { return static_cast<index_t>(bias.size()); }

  [[nodiscard]] adr::ProductTables tables(adr::TableEntry entry) {
    adr::Context context;
    adr::pack_weights<T>(adr::as_is(weights.view()), columns.data(), context, packed);
    context.workspace().reserve(
        adr::ProductTables::build_workspace_bytes(decoder, map.offsets(), 1));
    adr::ProductTables result;
    result.build(decoder, packed, outputs(), map.offsets(), entry, adr::DenseGemm<float>(),
                 context);
    return result;
  }

  /// Looks all outputs up, with a workspace of just the stated size.
  void look_up(const adr::ProductTables& tables, const adr::VectorView<const T>& b,
               const adr::PixelView<T>& y, int threads) const {
    adr::SharedIds ids;
    ids.prepare(map, decoder.padding_id());
    adr::Context context(threads);
    const std::size_t bytes = adr::lookup_forward_workspace_bytes<T>(tables.groups(), threads);
    context.workspace().reserve(bytes);
    adr::lookup_forward<T>(codes, ids, tables, b, y, context);
    CHECK(context.workspace().peak_bytes() == bytes);
  }

  [[nodiscard]] adr::VectorView<const T> bias_view() const { return {bias.data(), outputs()}; }

  /// The output of the decoded vectors, without bias.
  [[nodiscard]] adr::reference::Matrix expected() const {
    return adr::reference::clustered_output(map, decoded(decoder, codes), columns,
                                            adr::reference::Matrix(weights.view()), {});
  }
};

/// The outputs of 1, 2 and 3 threads, which must be the same to the last bit, in the order of the
/// images: images of two channels more than the product has, whose first and last channel stay.
template <class T>
adr::reference::Matrix looked_up(const LookupCase<T>& c, const adr::ProductTables& tables,
                                 Layout layout, bool with_bias = true) {
  const index_t outputs = c.outputs();
  adr::reference::Matrix first;
  for (const int threads : {1, 2, 3}) {
    INFO(threads << " threads");
    GuardedImages<T> y(c.map.images, outputs + 2, c.map.out_height, c.map.out_width, layout, 2);
    for (index_t i = 0; i < y.elements().rows; ++i) {
      std::fill_n(y.elements().row(i), y.elements().cols, T(17));
    }
    c.look_up(tables, with_bias ? c.bias_view() : adr::VectorView<const T>(),
              adr::pixel_view(y.view(), 1, outputs), threads);
    CHECK(y.damage() == "");
    adr::reference::Matrix result(c.map.rows(), outputs);
    bool others_stay = true;
    for (index_t n = 0; n < result.rows; ++n) {
      const index_t pixel = n % c.map.out_size();
      const auto at = [&](index_t channel) {
        return static_cast<double>(adr::reference::element(y.view(), n / c.map.out_size(), channel,
                                                           pixel / c.map.out_width,
                                                           pixel % c.map.out_width));
      };
      for (index_t m = 0; m < outputs; ++m) result(n, m) = at(1 + m);
      others_stay = others_stay && at(0) == 17 && at(outputs + 1) == 17;
    }
    CHECK(others_stay);
    if (threads == 1) first = result;
    const std::size_t size = result.elements.size() * sizeof(double);
    CHECK((size == 0 || std::memcmp(result.elements.data(), first.elements.data(), size) == 0));
  }
  return first;
}

/// Compares outputs with those of the decoded vectors, as far as rounding may take them.
template <class T>
std::string lookup_fault(const LookupCase<T>& c, const adr::ProductTables& tables,
                         const adr::reference::Matrix& y, bool with_bias = true) {
  const adr::reference::Matrix expected = c.expected();
  // Groups that meet vectors come in at most one run per row of offsets and chunk.
  const index_t runs = c.decoder.reserves_padding ? c.map.offset_rows : 0;
  Comparison comparison;
  for (index_t n = 0; n < y.rows; ++n) {
    for (index_t m = 0; m < y.cols; ++m) {
      double steps = 0;
      for (index_t chunk = 0; chunk < tables.chunks(); ++chunk) {
        const index_t groups =
            std::min(adr::ProductTables::k_chunk_groups,
                     tables.groups() - chunk * adr::ProductTables::k_chunk_groups);
        steps += static_cast<double>(tables.scale(m, chunk)) *
                 (0.51 * static_cast<double>(groups) + static_cast<double>(runs));
      }
      const double bias = with_bias ? static_cast<double>(c.bias[static_cast<std::size_t>(m)]) : 0;
      comparison.expect(y(n, m), expected(n, m) + bias, steps + 1e-5);
    }
  }
  return comparison.fault();
}

/// Every value that the formula of ProductTables can round to: the last multiplication and addition
/// may be fused or not.
template <class T>
std::vector<T> formula(const LookupCase<T>& c, const adr::ProductTables& tables, index_t n,
                       index_t m) {
  const adr::VectorMap& map = c.map;
  const index_t books = c.decoder.book_count();
  std::vector<T> values = {static_cast<T>(tables.offset(m)) + c.bias[static_cast<std::size_t>(m)]};
  for (index_t chunk = 0; chunk < tables.chunks(); ++chunk) {
    std::int32_t sum = tables.base(m, chunk);
    const index_t first = chunk * adr::ProductTables::k_chunk_groups;
    for (index_t g = first;
         g < std::min(first + adr::ProductTables::k_chunk_groups, tables.groups()); ++g) {
      const index_t o = g / books;
      const index_t y = map.grid_y(n / map.out_width % map.out_height, o / map.offset_cols);
      const index_t x = map.grid_x(n % map.out_width, o % map.offset_cols);
      const bool inside = y >= 0 && y < map.grid_height && x >= 0 && x < map.grid_width;
      const index_t v = n / map.out_size() * map.grid_size() + y * map.grid_width + x;
      const index_t id = inside ? c.codes.plane(g % books)[v] : c.decoder.padding_id();
      const index_t at = (m * tables.groups() + g) * tables.entries() + id;
      sum += tables.entry() == adr::TableEntry::int16 ? tables.int16_tables()[at]
                                                      : tables.uint8_tables()[at];
    }
    const float scale = tables.scale(m, chunk);
    std::vector<T> next;
    for (const T value : values) {
      const volatile float scaled = scale * static_cast<float>(sum);  // no fusing here
      next.push_back(value + static_cast<T>(scaled));
      if constexpr (sizeof(T) == sizeof(float)) {
        next.push_back(std::fma(scale, static_cast<float>(sum), value));
      }
    }
    values = next;
  }
  return values;
}

template <class T>
index_t values_off_the_formula(const LookupCase<T>& c, const adr::ProductTables& tables,
                               const adr::reference::Matrix& y) {
  index_t wrong = 0;
  for (index_t n = 0; n < y.rows; ++n) {
    for (index_t m = 0; m < y.cols; ++m) {
      const std::vector<T> values = formula(c, tables, n, m);
      const bool found = std::any_of(values.begin(), values.end(), [&](T value) {
        return static_cast<double>(value) == y(n, m);
      });
      if (!found) ++wrong;
    }
  }
  return wrong;
}

/// The product of one group of a convolution, two books to a part of at most four elements.
template <class T>
LookupCase<T> conv_lookup(const ConvGeometry& g, adr::NeuronVectorKind kind, index_t images,
                          index_t entries, Data& data) {
  const adr::VectorMap map = adr::vector_map(g, kind, images);
  return {map, adr::weight_columns(g, kind),
          random_decoder(adr::vector_length(g, kind), 4, 2, entries, map.has_padding(), data),
          g.group_out_channels(), data};
}

/// A plain product: rows that nobody shares.
template <class T>
LookupCase<T> matrix_lookup(index_t rows, adr::Decoder decoder, index_t outputs, Data& data) {
  adr::VectorMap map;
  map.images = 1;
  map.grid_height = map.out_height = rows;
  return {map, adr::weight_columns(decoder.length), std::move(decoder), outputs, data};
}

}  // namespace adr_test
