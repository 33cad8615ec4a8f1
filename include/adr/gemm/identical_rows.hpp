// Products of matrices whose rows repeat: each distinct row is multiplied once, and its result
// copied to the others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/fingerprint.hpp"
#include "adr/core/float_bits.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/first_equal.hpp"
#include "adr/exact/panels.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/simd/batch.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/word_sums.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Words of a row of that many elements.
template <class T>
constexpr index_t words_of(index_t columns) noexcept {
  return columns * static_cast<index_t>(sizeof(T) / sizeof(std::uint32_t));
}

template <class T>
bool same_rows(const MatrixView<const T>& x, index_t a, index_t b) noexcept {
  return equal_bits(x.row(a), x.row(b), x.cols);
}

/// A hash of a few elements of a row: the beginning, the middle and the end.
template <class T>
std::uint64_t glance(const MatrixView<const T>& x, index_t row) noexcept {
  const index_t count = std::min<index_t>(x.cols, 8);
  std::uint64_t hash = 0;
  for (const index_t first : {index_t{0}, (x.cols - count) / 2, x.cols - count}) {
    hash = simd::mixed_bits(hash ^ fingerprint(MatrixView<const T>(x.row(row) + first, 1, count)));
  }
  return hash;
}

/// What a product by rows and a look for equal ones cost, in nanoseconds of one thread: estimates
/// from shapes, so that what is decided does not depend on the clock.
struct RowCosts {
  double pass = 0;
  double look = 0;
  double copies = 0;

  template <class T>
  static RowCosts of(index_t rows, index_t columns, index_t outputs) noexcept {
    constexpr double k_multiply_adds = 6.0 * simd::Batch<T>::size;
    constexpr double k_bytes = 12;  // that are read or written
    constexpr double k_row = 40;
    const auto n = static_cast<double>(rows);
    const auto k = static_cast<double>(columns);
    const auto m = static_cast<double>(outputs);
    RowCosts costs;
    costs.pass = n * k * m / k_multiply_adds;
    costs.look = n * (k * sizeof(T) / k_bytes + k_row);
    // Rows that are multiplied are gathered and their results written twice.
    costs.copies = n * (k + 2 * m) * sizeof(T) / k_bytes;
    return costs;
  }
  /// The share of repeating rows from which a look pays, with a margin for what a sample cannot
  /// know.
  [[nodiscard]] double break_even() const noexcept {
    constexpr double k_margin = 1.2;
    return pass > 0 ? k_margin * (look + copies) / pass : 2.0;
  }
};

/// Rows of that many columns that are copied side by side and multiplied at once.
inline index_t gathered_rows(index_t columns) noexcept {
  constexpr index_t k_most = 512;
  return std::min(k_most, dense_block_rows(columns));
}
/// Up to k_most_left_rows of them packed_gemm cuts sums into shorter blocks, which changes bits: no
/// product with or without copies may have as few.
inline constexpr index_t k_once_fewest_rows = k_most_left_rows + 1;
static_assert(k_least_in_place_rows / 2 >= k_once_fewest_rows, "dense_forward has blocks as small");
/// Outputs are cut into parts of at least that many: more than packed_gemm takes for few.
inline constexpr index_t k_once_fewest_outputs = 64;

}  // namespace detail

/// Whether equal rows are ever looked for in a product of that shape: where that may pay, and where
/// a row's result does not depend on how many rows there are.
template <class T>
bool looks_for_equal_rows(index_t rows, index_t columns, index_t outputs) noexcept {
  constexpr index_t k_fewest_rows = 256;
  return rows >= k_fewest_rows && detail::gathered_rows(columns) >= detail::k_once_fewest_rows &&
         outputs >= detail::k_once_fewest_outputs &&
         detail::RowCosts::of<T>(rows, columns, outputs).break_even() < 1;
}

/// Finds equal rows of a matrix.
///
/// Result: first()[i] is a row at or before i with the same bits, the first one unless hashes of
/// different rows collide; distinct() are the rows with first()[i] == i, ascending. Cost: one read,
/// and one more of rows that repeat. Memory: workspace_bytes, taken from the context when it is
/// made and held while it lives. Thread-safety: reentrant with contexts of their own; results do
/// not depend on the number of threads. Source: this library.
template <class T>
class IdenticalRows {
 public:
  /// Requires: workspace_bytes reserved.
  IdenticalRows(const MatrixView<const T>& x, Context& context) : frame_(context.workspace()) {
    const Scratch scratch(context.workspace(), x.rows, x.cols);
    first_ = scratch.first;
    distinct_ = scratch.distinct;
    simd::fill_hash_keys(scratch.keys, scratch.places);
    constexpr index_t k_rows_at_once = 64;
    const index_t pieces = blocks_of(x.rows, k_rows_at_once);
    const auto for_each_row = [&](const auto& use) {
      parallel_for(pieces, context.threads(), [&](index_t piece, int) {
        const IndexRange range = partition(x.rows, pieces, piece);
        for (index_t i = range.first; i < range.last; ++i) use(i);
      });
    };
    for_each_row([&](index_t i) {
      scratch.hashes[i] =
          simd::hash_words(x.row(i), detail::words_of<T>(x.cols), scratch.keys, scratch.places);
    });
    exact::detail::find_first(scratch.hashes, x.rows, scratch.slots, scratch.slot_count, first_,
                              [](index_t) { return false; });
    for_each_row([&](index_t i) {
      if (first_[i] != i && !detail::same_rows(x, i, first_[i])) first_[i] = i;
    });
    for (index_t i = 0; i < x.rows; ++i) {
      if (first_[i] == i) distinct_[distinct_count_++] = i;
    }
  }

  [[nodiscard]] static std::size_t workspace_bytes(index_t rows, index_t columns) {
    return scratch_bytes<Scratch>(rows, columns);
  }

  [[nodiscard]] const index_t* first() const noexcept { return first_; }
  [[nodiscard]] const index_t* distinct() const noexcept { return distinct_; }
  [[nodiscard]] index_t distinct_count() const noexcept { return distinct_count_; }

 private:
  struct Scratch {
    index_t slot_count;
    index_t places;  ///< of keys
    index_t* first;
    index_t* distinct;
    std::uint64_t* hashes;
    index_t* slots;
    std::uint32_t* keys;

    template <class Memory>
    Scratch(Memory& memory, index_t rows, index_t columns)
        : slot_count(exact::detail::table_slots(rows)),
          places(blocks_of(detail::words_of<T>(columns), simd::k_hash_words) * simd::k_hash_words),
          first(memory.template take<index_t>(rows)),
          distinct(memory.template take<index_t>(rows)),
          hashes(memory.template take<std::uint64_t>(rows)),
          slots(memory.template take<index_t>(slot_count)),
          keys(memory.template take<std::uint32_t>(2 * places)) {}
  };

  Workspace::Frame frame_;
  index_t* first_ = nullptr;
  index_t* distinct_ = nullptr;
  index_t distinct_count_ = 0;
};

namespace detail {

/// Whether to look for equal rows in this matrix.
template <class T>
bool row_repeats_pay(const MatrixView<const T>& x, index_t outputs, int threads) noexcept {
  constexpr double k_sampled_part = 0.005;
  constexpr double k_sampled_row = 6 * 15;  // six cache lines
  constexpr index_t k_fewest = 16;
  const RowCosts costs = RowCosts::of<T>(x.rows, x.cols, outputs);
  const double affordable = k_sampled_part * costs.pass / (threads * k_sampled_row);
  const auto count = static_cast<index_t>(
      std::min<double>(affordable, static_cast<double>(exact::detail::k_most_sampled)));
  if (count < k_fewest) return false;
  const double worth = costs.break_even();
  return exact::estimate_repeats(
             count, worth, [&](index_t i) { return i * x.rows / count; },
             [&](index_t row) { return row + 1 < x.rows ? row + 1 : index_t{-1}; },
             [&](index_t row) { return glance(x, row); },
             [&](index_t a, index_t b) { return same_rows(x, a, b); }) > worth;
}

template <class T>
struct GatheredRowsScratch {
  index_t most;  ///< rows
  T* gathered;   ///< of every thread
  T* results;    ///< of those

  template <class Memory>
  GatheredRowsScratch(Memory& memory, index_t columns, index_t outputs, int threads)
      : most(gathered_rows(columns)),
        gathered(memory.template take<T>(checked_product("rows", threads, most, columns))),
        results(memory.template take<T>(checked_product("rows", threads, most, outputs))) {}
};

/// Multiplies the rows `list` of x and writes their results to the same rows of y.
template <class T>
void multiply_listed(const MatrixView<const T>& x, const index_t* list, index_t list_count,
                     const GemmFactor<T>& weights, const VectorView<const T>& bias,
                     const MatrixView<T>& y, const DenseGemm<T>& gemm, Context& context) {
  const Workspace::Frame frame(context.workspace());
  const GatheredRowsScratch<T> scratch(context.workspace(), x.cols, y.cols, context.threads());
  const index_t most = scratch.most;
  const index_t blocks = blocks_of(list_count, most);
  parallel_for(blocks, context.threads(), [&](index_t block, int thread) {
    const IndexRange range = partition(list_count, blocks, block);
    // Fewer would be added up in another order; what lies in the rows beyond is of no account.
    const index_t rows = std::max(range.size(), k_once_fewest_rows);
    const MatrixView<T> from(scratch.gathered + thread * most * x.cols, rows, x.cols);
    const MatrixView<T> to(scratch.results + thread * most * y.cols, rows, y.cols);
    for (index_t i = 0; i < rows; ++i) {
      std::copy_n(x.row(list[std::min(range.first + i, range.last - 1)]), x.cols, from.row(i));
    }
    gemm(as_is(from), weights, Update::replace, to);
    for (index_t i = 0; i < range.size(); ++i) {
      if (!bias.empty()) simd::add(bias.data, to.row(i), to.cols);
      std::copy_n(to.row(i), to.cols, y.row(list[range.first + i]));
    }
  });
}

}  // namespace detail

/// Bytes of scratch that dense_forward_once takes; 0 for a shape that it is not for.
template <class T>
std::size_t dense_forward_once_workspace_bytes(index_t rows, index_t columns, index_t outputs,
                                               int threads) {
  if (!looks_for_equal_rows<T>(rows, columns, outputs)) return 0;
  return IdenticalRows<T>::workspace_bytes(rows, columns) +
         scratch_bytes<detail::GatheredRowsScratch<T>>(columns, outputs, threads);
}

/// Whether equal rows of this matrix are multiplied once: where a sample of them says that this
/// pays, and never with a product of the user's own. Cost: less than 1 % of the product.
/// Thread-safety: reentrant.
template <class T>
bool multiplies_equal_rows_once(const MatrixView<const T>& x, index_t outputs,
                                const DenseGemm<T>& gemm, int threads) noexcept {
  return !gemm.is_users_own() && looks_for_equal_rows<T>(x.rows, x.cols, outputs) &&
         detail::row_repeats_pay(x, outputs, threads);
}

/// Multiplies all rows of a matrix by the weights, equal rows once.
///
/// Math, shapes: dense_forward, to the same bits but for which of several NaN a result is. Returns
/// the share of rows that was computed. Requires: looks_for_equal_rows, matching shapes,
/// scratch reserved. Cost: that of dense_forward for distinct rows, one read of x and at most one
/// more.
template <class T>
double dense_forward_once(const MatrixView<const T>& x, const GemmFactor<T>& weights,
                          const VectorView<const T>& bias, const MatrixView<T>& y,
                          const DenseGemm<T>& gemm, Context& context) {
  const IdenticalRows<T> rows(x, context);
  detail::multiply_listed(x, rows.distinct(), rows.distinct_count(), weights, bias, y, gemm,
                          context);
  constexpr index_t k_copied_at_once = 64;
  const index_t pieces = blocks_of(x.rows, k_copied_at_once);
  parallel_for(pieces, context.threads(), [&](index_t piece, int) {
    const IndexRange range = partition(x.rows, pieces, piece);
    for (index_t i = range.first; i < range.last; ++i) {
      if (rows.first()[i] != i) std::copy_n(y.row(rows.first()[i]), y.cols, y.row(i));
    }
  });
  return static_cast<double>(rows.distinct_count()) / static_cast<double>(x.rows);
}

ADR_NAMESPACE_END
