// Rows one after the other in memory, whatever order they come in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// The copy that row_major makes of the matrix `name`.
template <class T>
struct RowMajorScratch {
  T* copy;

  template <class Memory>
  RowMajorScratch(Memory& memory, const char* name, index_t rows, index_t cols)
      : copy(memory.template take<T>(checked_product(name, rows, cols))) {}
};

/// Bytes that row_major takes where the rows do not lie in place. Errors: std::invalid_argument on
/// overflow, naming the matrix `name`.
template <class T>
std::size_t row_major_bytes(const char* name, index_t rows, index_t cols) {
  return scratch_bytes<RowMajorScratch<T>>(name, rows, cols);
}

/// All rows as a matrix: where they lie, or copied to the workspace, of which the caller holds a
/// frame. Thread-safety: none for the context.
template <class Rows>
auto row_major(const Rows& rows, Context& context) {
  using View = decltype(rows.view(index_t{0}, index_t{0}, nullptr));
  using Element = std::remove_const_t<std::remove_pointer_t<decltype(View::data)>>;
  if (rows.in_place()) return rows.view(0, rows.rows(), nullptr);
  constexpr index_t k_rows_at_once = 256;
  const RowMajorScratch<Element> scratch(context.workspace(), "rows", rows.rows(), rows.cols());
  const MatrixView<Element> copy(scratch.copy, rows.rows(), rows.cols());
  parallel_for(
      (copy.rows + k_rows_at_once - 1) / k_rows_at_once, context.threads(), [&](index_t b, int) {
        const index_t first = b * k_rows_at_once;
        rows.load(first, 0, copy.middle_rows(first, std::min(k_rows_at_once, copy.rows - first)));
      });
  return View(copy);
}

}  // namespace detail

ADR_NAMESPACE_END
