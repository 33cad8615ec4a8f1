// The dense matrix product: Eigen unless the user brings another one.
//
// Everything that multiplies dense blocks in this library goes through DenseGemm, so that the
// baseline, the fallback and the products of centroids all profit from a better GEMM.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include "adr/core/fingerprint.hpp"
#include "adr/core/one_eigen_thread.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A factor of a product: a row-major matrix, taken as it is or transposed.
template <class T>
struct GemmFactor {
  MatrixView<const T> matrix;
  bool transposed = false;

  [[nodiscard]] index_t rows() const noexcept { return transposed ? matrix.cols : matrix.rows; }
  [[nodiscard]] index_t cols() const noexcept { return transposed ? matrix.rows : matrix.cols; }

  [[nodiscard]] GemmFactor transpose() const noexcept { return {matrix, !transposed}; }
  [[nodiscard]] GemmFactor block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {transposed ? matrix.block(first_col, first_row, col_count, row_count)
                       : matrix.block(first_row, first_col, row_count, col_count),
            transposed};
  }
  [[nodiscard]] GemmFactor middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols());
  }
};

template <class T>
GemmFactor<std::remove_const_t<T>> as_is(const MatrixView<T>& matrix) noexcept {
  return {matrix, false};
}
template <class T>
GemmFactor<std::remove_const_t<T>> transposed(const MatrixView<T>& matrix) noexcept {
  return {matrix, true};
}

/// The fingerprint of a factor: the same elements in memory taken the other way round are another
/// matrix.
template <class T>
std::uint64_t fingerprint(const GemmFactor<T>& factor) noexcept {
  constexpr std::uint64_t k_as_is = 0x452821e638d01377u;
  return fingerprint<T>(factor.matrix) ^ (factor.transposed ? 0 : k_as_is);
}

/// The result of a product: a row-major matrix, written as it is or transposed.
template <class T>
struct GemmResult {
  MatrixView<T> matrix;
  bool transposed = false;

  [[nodiscard]] index_t rows() const noexcept { return transposed ? matrix.cols : matrix.rows; }
  [[nodiscard]] index_t cols() const noexcept { return transposed ? matrix.rows : matrix.cols; }
  /// True when the result is not wanted.
  [[nodiscard]] bool empty() const noexcept { return matrix.data == nullptr; }

  [[nodiscard]] GemmResult block(index_t first_row, index_t first_col, index_t row_count,
                                 index_t col_count) const noexcept {
    return {transposed ? matrix.block(first_col, first_row, col_count, row_count)
                       : matrix.block(first_row, first_col, row_count, col_count),
            transposed};
  }
  [[nodiscard]] GemmResult middle_rows(index_t first_row, index_t row_count) const noexcept {
    return block(first_row, 0, row_count, cols());
  }
};

/// Whether a product replaces its result or is added to it.
enum class Update { replace, accumulate };

/// A user's own product: result = a b, or result += a b. Called with matching shapes, possibly with
/// empty matrices, from several threads at once, and expected to use one thread per call.
template <class T>
using GemmFunction = std::function<void(const GemmFactor<T>& a, const GemmFactor<T>& b,
                                        Update update, const MatrixView<T>& result)>;

/// One dense product on the calling thread.
///
/// Math: result = a b or result += a b. Shapes: a n x k, b k x m, result n x m (asserted).
/// Requires: result overlaps no factor. Cost: n k m multiply-adds. Memory: Eigen's packing buffers.
/// Thread-safety: reentrant. Source: Eigen, or the user's callable.
template <class T>
class DenseGemm {
 public:
  /// Multiplies with Eigen.
  DenseGemm() = default;
  /// Multiplies with the given callable.
  explicit DenseGemm(GemmFunction<T> function) : function_(std::move(function)) {}

  void operator()(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                  const GemmResult<T>& result) const {
    if (result.transposed) {
      (*this)(b.transpose(), a.transpose(), update, result.matrix);
    } else {
      (*this)(a, b, update, result.matrix);
    }
  }

  void operator()(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                  const MatrixView<T>& result) const {
    ADR_ASSERT(a.cols() == b.rows() && a.rows() == result.rows && b.cols() == result.cols,
               "DenseGemm: shapes do not match");
    if (function_) {
      function_(a, b, update, result);
    } else {
      multiply_with_eigen(a, b, update, result);
    }
  }

 private:
  using RowMajorMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using ConstMap = Eigen::Map<const RowMajorMatrix, Eigen::Unaligned, Eigen::OuterStride<>>;
  using Map = Eigen::Map<RowMajorMatrix, Eigen::Unaligned, Eigen::OuterStride<>>;

  static ConstMap map(const MatrixView<const T>& m) noexcept {
    return ConstMap(m.data, m.rows, m.cols, Eigen::OuterStride<>(m.row_stride));
  }

  static void multiply_with_eigen(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                                  const MatrixView<T>& result) {
    const detail::OneEigenThread guard;
    Map target(result.data, result.rows, result.cols, Eigen::OuterStride<>(result.row_stride));
    // Assigning is what Eigen does in these two steps as well; once instead of twice per form, it
    // compiles in half the time.
    if (update == Update::replace) target.setZero();
    const auto add = [&](const auto& product) { target.noalias() += product; };
    const ConstMap left = map(a.matrix);
    const ConstMap right = map(b.matrix);
    if (a.transposed && b.transposed) {
      add(left.transpose() * right.transpose());
    } else if (a.transposed) {
      add(left.transpose() * right);
    } else if (b.transposed) {
      add(left * right.transpose());
    } else {
      add(left * right);
    }
  }

  GemmFunction<T> function_;
};

ADR_NAMESPACE_END
