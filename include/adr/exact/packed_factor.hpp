// A right factor that is packed once and multiplied many times: weights in inference, or blocks of
// a product that share them.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/exact/panels.hpp"

ADR_NAMESPACE_BEGIN

/// The packed form of a K x M factor.
///
/// Math: multiply: result = a b or result += a b with the b that was packed. Shapes: a n x K,
/// result n x M, any of them 0. Cost: pack: one copy of b; multiply: n K M multiply-adds. Sums:
/// blocks of at most 256 terms in order, added up in order. Memory: b, its columns rounded up to
/// whole panels; a transposed `a` is packed in memory kept per thread. Requires: matching shapes
/// (asserted), result overlaps no factor. Errors: std::bad_alloc. Thread-safety: multiply is
/// reentrant, several threads may use one packed factor.
template <class T>
class PackedFactor {
 public:
  PackedFactor() = default;
  explicit PackedFactor(const GemmFactor<T>& b) { pack(b); }

  /// Takes another factor's place; the same size again allocates nothing.
  void pack(const GemmFactor<T>& b) {
    rows_ = b.rows();
    cols_ = b.cols();
    depth_ = detail::depth_block(rows_);
    const index_t blocks = blocks_of(rows_, depth_);
    panels_.clear();
    panels_.resize(checked_product("packed factor", detail::panel_cols<T>(cols_), rows_ + blocks));
    for (index_t k = 0; k < rows_; k += depth_) {
      detail::pack_right(b.block(k, 0, std::min(depth_, rows_ - k), cols_), block(k));
    }
  }

  void multiply(const GemmFactor<T>& a, Update update, const MatrixView<T>& result) const {
    using namespace detail;
    ADR_ASSERT(a.cols() == rows_ && result.rows == a.rows() && result.cols == cols_,
               "PackedFactor: shapes do not match");
    if (rows_ == 0 && update == Update::replace) set_zero(result);
    T* memory = a.transposed ? packing_memory<T>(k_most_left_rows * (depth_ + 1)) : nullptr;
    for (index_t first = 0; first < result.rows; first += k_most_left_rows) {
      const index_t count = std::min(k_most_left_rows, result.rows - first);
      for (index_t k = 0; k < rows_; k += depth_) {
        const index_t depth = std::min(depth_, rows_ - k);
        multiply_by_panels(
            left_rows(a, first, count, k, depth, cols_, memory), count, block(k),
            panel_stride(depth, k_panel_width<T>), depth, cols_, result.row(first),
            result.row_stride,
            k == 0 && update == Update::replace ? simd::Sums::start : simd::Sums::add);
      }
    }
  }

  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  [[nodiscard]] index_t cols() const noexcept { return cols_; }
  [[nodiscard]] std::size_t capacity_bytes() const noexcept { return panels_.capacity_bytes(); }

 private:
  /// The panels of the terms that begin at k, whole blocks of them before.
  [[nodiscard]] index_t place(index_t k) const noexcept {
    return k / depth_ * (depth_ + 1) * detail::panel_cols<T>(cols_);
  }
  [[nodiscard]] T* block(index_t k) noexcept { return panels_.data() + place(k); }
  [[nodiscard]] const T* block(index_t k) const noexcept { return panels_.data() + place(k); }

  AlignedBuffer<T> panels_;
  index_t rows_ = 0;
  index_t cols_ = 0;
  index_t depth_ = 1;
};

ADR_NAMESPACE_END
