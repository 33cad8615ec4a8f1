// A plain matrix seen as rows that can be read, written and added to in blocks.
//
// The clusterers and products of this library read their input in blocks of rows and columns, so
// that an unfolded convolution input never has to exist in memory. What they ask of an input or
// output is:
//   rows(), cols()
//   load(first_row, first_col, block)     copies the elements at that place into the block
//   view(first_row, count, scratch)       whole rows to read, in place if they lie row-major, else
//                                         copied into scratch
//   target(first_row, count, scratch, k)  whole rows to write, likewise; they hold the present
//   contents
//                                         if k is Keep::contents, else anything
//   store(first_row, block)               completes what target began (nothing to do in place)
//   add(first_row, first_col, block)      adds the block to the elements at that place
//   in_place()                            whether view and target never copy
//   independent_rows(), columns_are_independent()   what different threads may add to at once
// The same interface over images: unfold/unfolded_rows.hpp and unfold/pixel_rows.hpp.
#pragma once

#include <algorithm>
#include <type_traits>

#include "adr/core/gemm_factor.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Whether a target of rows must show what is there already.
enum class Keep { nothing, contents };

/// A row-major matrix as a source and target of rows. Thread-safety: disjoint rows may be written
/// by different threads.
template <class T>
class MatrixRows {
  using Element = std::remove_const_t<T>;

 public:
  /// What is there counts as zero with Update::replace: one product may write all of it.
  explicit MatrixRows(const MatrixView<T>& matrix, Update update = Update::accumulate) noexcept
      : matrix_(matrix), update_(update) {}

  [[nodiscard]] index_t rows() const noexcept { return matrix_.rows; }
  [[nodiscard]] index_t cols() const noexcept { return matrix_.cols; }

  void load(index_t first_row, index_t first_col, const MatrixView<Element>& block) const noexcept {
    for (index_t i = 0; i < block.rows; ++i) {
      const T* from = matrix_.row(first_row + i) + first_col;
      std::copy(from, from + block.cols, block.row(i));
    }
  }
  [[nodiscard]] MatrixView<const Element> view(index_t first_row, index_t count,
                                               Element* /*scratch*/) const noexcept {
    return matrix_.middle_rows(first_row, count);
  }
  [[nodiscard]] MatrixView<T> target(index_t first_row, index_t count, Element* /*scratch*/,
                                     Keep /*keep*/) const noexcept {
    return matrix_.middle_rows(first_row, count);
  }
  void store(index_t /*first_row*/, const MatrixView<T>& /*block*/) const noexcept {}
  void add(index_t first_row, index_t first_col,
           const MatrixView<const Element>& block) const noexcept {
    for (index_t i = 0; i < block.rows; ++i) {
      T* to = matrix_.row(first_row + i) + first_col;
      for (index_t j = 0; j < block.cols; ++j) to[j] += block(i, j);
    }
  }
  [[nodiscard]] Update update() const noexcept { return update_; }
  [[nodiscard]] static bool in_place() noexcept { return true; }
  /// Rows that different threads may add to at once start at multiples of this.
  [[nodiscard]] static index_t independent_rows() noexcept { return 512; }
  /// Whether different threads may add to different columns of the same rows.
  [[nodiscard]] static bool columns_are_independent() noexcept { return true; }

 private:
  MatrixView<T> matrix_;
  Update update_;
};

ADR_NAMESPACE_END
