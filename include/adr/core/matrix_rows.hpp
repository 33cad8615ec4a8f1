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
//   factor(), result()                    blocks as operands of a product, where k_is_matrix of the
//                                         type says so
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

/// A matrix as a source and target of rows: those of memory, or, transposed, its columns.
/// Thread-safety: disjoint rows may be written by different threads.
template <class T>
class MatrixRows {
  using Element = std::remove_const_t<T>;

 public:
  /// Rows of a matrix, or its columns. What is there counts as zero with Update::replace: one
  /// product may write all of it.
  explicit MatrixRows(const MatrixView<T>& matrix, Update update = Update::accumulate,
                      bool transposed = false) noexcept
      : matrix_(matrix), update_(update), transposed_(transposed) {}

  /// How many rows there are.
  [[nodiscard]] index_t rows() const noexcept { return transposed_ ? matrix_.cols : matrix_.rows; }
  /// Elements of a row.
  [[nodiscard]] index_t cols() const noexcept { return transposed_ ? matrix_.rows : matrix_.cols; }

  /// Copies the elements at that place into the block.
  void load(index_t first_row, index_t first_col, const MatrixView<Element>& block) const noexcept {
    for_each_run(first_row, first_col, block,
                 [](Element* of_block, index_t block_step, T* there, index_t count) {
                   for (index_t i = 0; i < count; ++i) of_block[i * block_step] = there[i];
                 });
  }
  /// Whole rows to read, in place or copied into scratch.
  [[nodiscard]] MatrixView<const Element> view(index_t first_row, index_t count,
                                               Element* scratch) const noexcept {
    if (!transposed_) return matrix_.middle_rows(first_row, count);
    const MatrixView<Element> block(scratch, count, cols());
    load(first_row, 0, block);
    return block;
  }
  /// Whole rows to write, in place or in scratch.
  [[nodiscard]] MatrixView<T> target(index_t first_row, index_t count, Element* scratch,
                                     Keep keep) const noexcept {
    if (!transposed_) return matrix_.middle_rows(first_row, count);
    const MatrixView<Element> block(scratch, count, cols());
    if (keep == Keep::contents) load(first_row, 0, block);
    return block;
  }
  /// Completes what target began.
  void store(index_t first_row, const MatrixView<T>& block) const noexcept {
    if (!transposed_) return;
    for_each_run(first_row, 0, block, [](T* of_block, index_t block_step, T* there, index_t count) {
      for (index_t i = 0; i < count; ++i) there[i] = of_block[i * block_step];
    });
  }
  /// Adds the block to the elements at that place.
  void add(index_t first_row, index_t first_col,
           const MatrixView<const Element>& block) const noexcept {
    for_each_run(first_row, first_col, block,
                 [](const Element* of_block, index_t block_step, T* there, index_t count) {
                   for (index_t i = 0; i < count; ++i) there[i] += of_block[i * block_step];
                 });
  }

  /// A block as a factor of a product: always in place.
  [[nodiscard]] GemmFactor<Element> factor(index_t first_row, index_t first_col, index_t row_count,
                                           index_t col_count) const noexcept {
    return GemmFactor<Element>{matrix_, transposed_}.block(first_row, first_col, row_count,
                                                           col_count);
  }
  /// A block as the result of a product: always in place.
  [[nodiscard]] GemmResult<T> result(index_t first_row, index_t first_col, index_t row_count,
                                     index_t col_count) const noexcept {
    return GemmResult<T>{matrix_, transposed_}.block(first_row, first_col, row_count, col_count);
  }

  /// Whether what is there counts.
  [[nodiscard]] Update update() const noexcept { return update_; }
  /// Whether view and target never copy.
  [[nodiscard]] bool in_place() const noexcept { return !transposed_; }
  /// Rows that different threads may add to at once start at multiples of this.
  [[nodiscard]] static index_t independent_rows() noexcept { return 512; }
  /// Whether different threads may add to different columns of the same rows.
  [[nodiscard]] static bool columns_are_independent() noexcept { return true; }

 private:
  /// Calls use(in the block, step there, in the matrix, step there, count) for runs of a block
  /// along the memory of the matrix.
  template <class BlockElement, class Use>
  void for_each_run(index_t first_row, index_t first_col, const MatrixView<BlockElement>& block,
                    const Use& use) const noexcept {
    if (!transposed_) {
      for (index_t i = 0; i < block.rows; ++i) {
        use(block.row(i), index_t{1}, matrix_.row(first_row + i) + first_col, block.cols);
      }
      return;
    }
    // Tiles keep the rows of the block in the first-level cache while it is transposed.
    constexpr index_t k_tile = 16;
    for (index_t i = 0; i < block.rows; i += k_tile) {
      const index_t count = std::min(k_tile, block.rows - i);
      for (index_t j = 0; j < block.cols; ++j) {
        use(block.row(i) + j, block.row_stride, matrix_.row(first_col + j) + first_row + i, count);
      }
    }
  }

  MatrixView<T> matrix_;
  Update update_;
  bool transposed_;
};

/// Whether blocks of rows are operands of products where they lie.
template <class Rows>
inline constexpr bool k_is_matrix = false;
/// Those of a matrix are.
template <class T>
inline constexpr bool k_is_matrix<MatrixRows<T>> = true;

ADR_NAMESPACE_END
