// Products of all codebook entries with all weights, as small integers: the tables that products
// are looked up in.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "adr/cluster/clustering.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/simd/lookup.hpp"

ADR_NAMESPACE_BEGIN

/// The integers of a table.
enum class TableEntry { int16, uint8 };

/// Weights as one row per output and offset, which is what products with decoding entries want:
/// packed[(m * offsets + o) * length + e] = weights(columns[o * length + e], m).
template <class T>
void pack_weights(const GemmFactor<T>& weights, const index_t* columns, Context& context,
                  AlignedBuffer<float>& packed) {
  const index_t rows = weights.rows();
  const index_t outputs = weights.cols();
  packed.resize(checked_product("packed weights", outputs, rows));
  const index_t step = weights.transposed ? 1 : weights.matrix.row_stride;
  parallel_for(outputs, context.threads(), [&](index_t m, int) {
    const T* from = weights.matrix.data + (weights.transposed ? m * weights.matrix.row_stride : m);
    float* to = packed.data() + m * rows;
    for (index_t k = 0; k < rows; ++k) to[k] = static_cast<float>(from[columns[k] * step]);
  });
}

/// The metric in which an error of a neuron vector counts by what it does to the output:
/// gram = sum over offsets of W_o W_o^T, length x length, of packed weights.
inline void weights_gram(const AlignedBuffer<float>& packed, index_t length,
                         const DenseGemm<float>& gemm, AlignedBuffer<float>& gram) {
  gram.resize(length * length);
  const MatrixView<const float> rows(packed.data(), packed.size() / length, length);
  gemm(transposed(rows), as_is(rows), Update::replace,
       MatrixView<float>(gram.data(), length, length));
}

/// Integer tables of the products of a decoder's entries with packed weights.
///
/// Groups are numbered g = offset * books + book. Groups come in chunks of at most k_chunk_groups;
/// output m of a pixel with ids id_g is
///   offset(m) + sum over chunks c of scale(m, c) * (base(m, c) + sum over g in c of
///   table(m, g)[id_g]).
/// Padding entries cancel against base exactly, in integers. int16: entries are rounded to 1 /
/// (32767 - k_chunk_groups) of the largest sum that a chunk can have. uint8: to 1 / (k_most_uint8 -
/// 1) of the widest table of the chunk, seven bits, so that two entries add up in a byte. Rounding
/// adds an error of at most scale / 2 per group, and where padding is reserved one scale more for
/// each run of groups that meet vectors. An output with a product that is not finite is NaN
/// everywhere. Memory: outputs * groups * entries integers, and the floats of 8 outputs per thread
/// while they are built. Thread-safety: reading is reentrant.
class ProductTables {
 public:
  static constexpr index_t k_chunk_groups = 256;
  static constexpr int k_most_uint8 = 127;

  [[nodiscard]] TableEntry entry() const noexcept { return entry_; }
  [[nodiscard]] index_t outputs() const noexcept { return outputs_; }
  [[nodiscard]] index_t groups() const noexcept { return groups_; }
  [[nodiscard]] index_t entries() const noexcept { return entries_; }
  [[nodiscard]] index_t chunks() const noexcept {
    return (groups_ + k_chunk_groups - 1) / k_chunk_groups;
  }
  [[nodiscard]] const std::int16_t* int16_tables() const noexcept { return int16_.data(); }
  [[nodiscard]] const std::uint8_t* uint8_tables() const noexcept { return uint8_.data(); }
  [[nodiscard]] float scale(index_t m, index_t chunk) const noexcept {
    return scales_[m * chunks() + chunk];
  }
  [[nodiscard]] std::int32_t base(index_t m, index_t chunk) const noexcept {
    return bases_[m * chunks() + chunk];
  }
  [[nodiscard]] float offset(index_t m) const noexcept { return offsets_[m]; }
  /// What rounding adds to the output, relative to the part of the output that varies: an estimate
  /// that takes entries to be equally frequent and groups to be independent.
  [[nodiscard]] double rounding_error() const noexcept { return rounding_error_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return int16_.capacity_bytes() + uint8_.capacity_bytes() + scales_.capacity_bytes() +
           bases_.capacity_bytes() + offsets_.capacity_bytes() + errors_.capacity_bytes();
  }

  /// Bytes of scratch that `build` takes.
  static std::size_t build_workspace_bytes(const Decoder& decoder, index_t offsets,
                                           int thread_count) {
    return WorkspaceSize()
        .add<float>(checked_product("product tables", thread_count, k_block_outputs, offsets,
                                    decoder.book_count(), decoder.entry_count))
        .add<float>(thread_count * 3 * offsets * decoder.book_count())
        .bytes();
  }

  /// Multiplies and rounds. Requires: a number of entries that simd::is_lookup_size admits, packed
  /// weights of `outputs` rows of offsets * decoder.length, scratch reserved. Cost: outputs *
  /// offsets * entries * length multiply-adds per book.
  void build(const Decoder& decoder, const AlignedBuffer<float>& packed, index_t outputs,
             index_t offsets, TableEntry entry, const DenseGemm<float>& gemm, Context& context) {
    entry_ = entry;
    outputs_ = outputs;
    books_ = decoder.book_count();
    groups_ = checked_product("groups", offsets, books_);
    entries_ = decoder.entry_count;
    const index_t size = checked_product("product tables", outputs, groups_, entries_);
    if (entry == TableEntry::int16) {
      int16_.resize(size);
      uint8_.clear();
    } else {
      uint8_.resize(size);
      int16_.clear();
    }
    scales_.resize(outputs * chunks());
    bases_.resize(outputs * chunks());
    offsets_.resize(outputs);
    errors_.resize(2 * outputs);
    const Workspace::Frame frame(context.workspace());
    const index_t table_floats = groups_ * entries_;
    float* all_products =
        context.workspace().take<float>(context.threads() * k_block_outputs * table_floats);
    float* all_ranges = context.workspace().take<float>(context.threads() * 3 * groups_);
    parallel_for((outputs + k_block_outputs - 1) / k_block_outputs, context.threads(),
                 [&](index_t block, int thread) {
                   const index_t first = block * k_block_outputs;
                   const index_t count = std::min(k_block_outputs, outputs - first);
                   float* products = all_products + thread * k_block_outputs * table_floats;
                   multiply(decoder, packed.data() + first * offsets * decoder.length,
                            count * offsets, gemm, products);
                   for (index_t m = 0; m < count; ++m) {
                     round_output(decoder, packed.data() + (first + m) * offsets * decoder.length,
                                  first + m, products + m * table_floats,
                                  all_ranges + thread * 3 * groups_);
                   }
                 });
    double rounding = 0;
    double variance = 0;
    for (index_t m = 0; m < outputs; ++m) {
      rounding += double{errors_[2 * m]};
      variance += double{errors_[2 * m + 1]};
    }
    rounding_error_ = variance > 0 ? std::sqrt(rounding / variance) : 0.0;
  }

 private:
  static constexpr index_t k_block_outputs = 8;

  /// products[(row * books + b) * entries + t] = weights row . entry t of book b.
  void multiply(const Decoder& decoder, const float* packed, index_t rows,
                const DenseGemm<float>& gemm, float* products) const {
    for (index_t b = 0; b < books_; ++b) {
      const DecodingBook& book = decoder.books[static_cast<std::size_t>(b)];
      const MatrixView<const float> weights(packed + book.first_element, rows, book.length,
                                            decoder.length);
      gemm(as_is(weights), transposed(book.matrix(entries_)), Update::replace,
           MatrixView<float>(products + b * entries_, rows, entries_, books_ * entries_));
    }
  }

  /// Of `count` numbers; NaN where one of them is not finite.
  struct Spread {
    float least;
    float largest;
    float variance;
  };
  static Spread spread_of(const float* values, index_t count) noexcept {
    // Lanes that the compiler can keep in registers without being allowed to reorder sums.
    constexpr index_t k_lanes = 16;
    float low[k_lanes];
    float high[k_lanes];
    float sums[k_lanes] = {};
    float squares[k_lanes] = {};
    for (index_t l = 0; l < k_lanes; ++l) low[l] = high[l] = values[l < count ? l : 0];
    const auto take = [&](index_t l, float value) {
      low[l] = value < low[l] ? value : low[l];
      high[l] = value > high[l] ? value : high[l];
      sums[l] += value;
      squares[l] += value * value;
    };
    const index_t whole = count / k_lanes * k_lanes;
    for (index_t i = 0; i < whole; i += k_lanes) {
      for (index_t l = 0; l < k_lanes; ++l) take(l, values[i + l]);
    }
    for (index_t i = whole; i < count; ++i) take(i - whole, values[i]);
    float sum = 0;
    float square = 0;
    for (index_t l = 0; l < k_lanes; ++l) {
      sum += sums[l];
      square += squares[l];
    }
    if (!std::isfinite(sum)) {
      constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();
      return {k_nan, k_nan, k_nan};
    }
    const float mean = sum / static_cast<float>(count);
    return {*std::min_element(low, low + k_lanes), *std::max_element(high, high + k_lanes),
            std::max(0.0F, square / static_cast<float>(count) - mean * mean)};
  }

  /// Rounds the tables of one output. ranges: scratch for the least, largest and padding product of
  /// every group.
  void round_output(const Decoder& decoder, const float* packed, index_t m, const float* products,
                    float* ranges) noexcept {
    const bool padding = decoder.reserves_padding;
    const index_t clusters = decoder.cluster_entries();
    float* least = ranges;
    float* largest = ranges + groups_;
    float* pad = ranges + 2 * groups_;
    double mean_product = 0;
    double variance = 0;
    for (index_t g = 0; g < groups_; ++g) {
      const DecodingBook& book = decoder.books[static_cast<std::size_t>(g % books_)];
      const float* values = products + g * entries_;
      const Spread spread = spread_of(values, clusters);
      least[g] = spread.least;
      largest[g] = spread.largest;
      variance += double{spread.variance};
      pad[g] = 0;
      // The mean of a group of elements goes with the first of its books.
      const bool carries_mean =
          g % books_ == 0 ||
          decoder.books[static_cast<std::size_t>(g % books_ - 1)].first_element !=
              book.first_element;
      if (carries_mean) {
        const float* weights = packed + g / books_ * decoder.length + book.first_element;
        double product = 0;
        for (index_t e = 0; e < book.length; ++e) {
          product += double{weights[e]} * double{decoder.mean[book.first_element + e]};
        }
        mean_product += product;
        pad[g] = static_cast<float>(-product);
      }
      if (padding) {
        least[g] = std::min(least[g], pad[g]);
        largest[g] = std::max(largest[g], pad[g]);
      }
    }
    double offset = padding ? 0.0 : mean_product;
    double rounding = 0;
    for (index_t c = 0; c < chunks(); ++c) {
      const index_t first = c * k_chunk_groups;
      const index_t last = std::min(groups_, first + k_chunk_groups);
      const float step = rounding_step(least, largest, first, last);
      // A step that is zero, next to nothing or NaN has tables of zeros; the scale carries it on.
      const float per_step = step >= std::numeric_limits<float>::min() ? 1 / step : 0;
      scales_[m * chunks() + c] = step;
      rounding += double{step} * double{step} * static_cast<double>(last - first) / 12;
      std::int32_t base = 0;
      float carry = 0;  // what rounding the padding entries has added so far
      for (index_t g = first; g < last; ++g) {
        const float origin = entry_ == TableEntry::int16 ? 0.0F : least[g];
        std::int32_t pad_entry = 0;
        if (padding) {
          const float exact = per_step > 0 ? (pad[g] - origin) * per_step : 0;
          pad_entry = bounded(static_cast<std::int32_t>(std::lrint(exact - carry)));
          carry += static_cast<float>(pad_entry) - exact;
          base -= pad_entry;
        } else {
          offset += double{origin};
        }
        const index_t at = (m * groups_ + g) * entries_;
        if (entry_ == TableEntry::int16) {
          round_entries(products + g * entries_, clusters, origin, per_step, int16_.data() + at);
          if (padding) int16_[at + entries_ - 1] = static_cast<std::int16_t>(pad_entry);
        } else {
          round_entries(products + g * entries_, clusters, origin, per_step, uint8_.data() + at);
          if (padding) uint8_[at + entries_ - 1] = static_cast<std::uint8_t>(pad_entry);
        }
      }
      bases_[m * chunks() + c] = base;
    }
    offsets_[m] = static_cast<float>(offset);
    const bool finite = std::isfinite(rounding) && std::isfinite(variance);
    errors_[2 * m] = finite ? static_cast<float>(rounding) : 0;
    errors_[2 * m + 1] = finite ? static_cast<float>(variance) : 0;
  }

  /// What one stands for in the tables of a chunk; NaN where a product is not finite.
  [[nodiscard]] float rounding_step(const float* least, const float* largest, index_t first,
                                    index_t last) const noexcept {
    float sum = 0;
    float widest = 0;
    for (index_t g = first; g < last; ++g) {
      sum += std::max(std::abs(least[g]), std::abs(largest[g]));
      widest = std::max(widest, largest[g] - least[g]);
    }
    // The sum meets every NaN, which comparisons may pass over.
    if (!std::isfinite(sum) || !std::isfinite(widest)) {
      return std::numeric_limits<float>::quiet_NaN();
    }
    return entry_ == TableEntry::int16 ? sum / static_cast<float>(32767 - k_chunk_groups)
                                       : widest / static_cast<float>(k_most_uint8 - 1);
  }

  [[nodiscard]] std::int32_t bounded(std::int32_t value) const noexcept {
    return entry_ == TableEntry::int16 ? value : std::clamp(value, 0, k_most_uint8);
  }

  template <class Entry>
  static void round_entries(const float* values, index_t count, float origin, float per_step,
                            Entry* to) noexcept {
    if (per_step == 0) {
      std::fill_n(to, count, Entry{0});
      return;
    }
    // Rounding of what is made non-negative first needs no call and no mode.
    constexpr float k_shift = std::is_same_v<Entry, std::int16_t> ? 32768.0F : 0.0F;
    for (index_t t = 0; t < count; ++t) {
      const float scaled = (values[t] - origin) * per_step + (k_shift + 0.5F);
      to[t] = static_cast<Entry>(static_cast<std::int32_t>(scaled) -
                                 static_cast<std::int32_t>(k_shift));
    }
  }

  TableEntry entry_ = TableEntry::int16;
  index_t outputs_ = 0;
  index_t books_ = 0;
  index_t groups_ = 0;
  index_t entries_ = 0;
  AlignedBuffer<std::int16_t> int16_;
  AlignedBuffer<std::uint8_t> uint8_;
  AlignedBuffer<float> scales_;
  AlignedBuffer<std::int32_t> bases_;
  AlignedBuffer<float> offsets_;
  AlignedBuffer<float> errors_;  // per output: squares of what rounding adds, of what varies
  double rounding_error_ = 0;
};

ADR_NAMESPACE_END
