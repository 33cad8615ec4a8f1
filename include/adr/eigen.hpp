// Views of Eigen matrices, for users who have them. Optional: adr.hpp does not include it.
#pragma once

#include <Eigen/Core>
#include <type_traits>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Views a row-major Eigen matrix, map or block with contiguous rows, to read.
///
/// Shapes: those of the expression. Requires: the Eigen object outlives the view. Errors:
/// column-major or strided expressions do not compile. Cost: none. Thread-safety: reentrant.
/// Source: this library.
template <class Derived>
auto view(const Eigen::DenseBase<Derived>& matrix) {
  static_assert(Derived::IsRowMajor, "adr::view needs a row-major Eigen matrix");
  static_assert(int(Derived::InnerStrideAtCompileTime) == 1, "adr::view needs contiguous rows");
  const Derived& m = matrix.derived();
  return MatrixView<const typename Derived::Scalar>(m.data(), m.rows(), m.cols(), m.outerStride());
}
/// The same to write; the view is of const elements where those of the expression are.
template <class Derived>
auto view(Eigen::DenseBase<Derived>& matrix) {
  static_assert(Derived::IsRowMajor, "adr::view needs a row-major Eigen matrix");
  static_assert(int(Derived::InnerStrideAtCompileTime) == 1, "adr::view needs contiguous rows");
  Derived& m = matrix.derived();
  using Element = std::remove_pointer_t<decltype(m.data())>;
  return MatrixView<Element>(m.data(), m.rows(), m.cols(), m.outerStride());
}

ADR_NAMESPACE_END
