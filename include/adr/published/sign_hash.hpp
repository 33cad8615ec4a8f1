// The published hash: on which side of H random hyperplanes a neuron vector lies.
//
// Neuron vectors with equal signatures form a cluster. Planes through the origin separate
// directions only, and split data of one sign badly; planes through the mean of the data are
// offered beside them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// H seeded random hyperplanes over the slices of an unfolded input.
///
/// Math: bit h of the signature of v is 1 when v . r_h > m . r_h, with r_h the h-th random normal
/// vector and m the centre of the slice (0 unless set). A projection that is equal, or NaN, gives
/// 0: the zero vector has signature 0 under planes through the origin. Shapes: slice s covers
/// slice_length(s) columns from s * vector_length; the last may be shorter and uses the first
/// components of its planes. Determinism: the planes depend on the seed alone and are the same on
/// every platform. Thread-safety: `signatures` is reentrant. Source: Ning et al., ICDE 2019;
/// centring: this library.
template <class T>
class SignHash {
 public:
  /// Draws the hyperplanes. Errors: std::invalid_argument unless 1 <= vector_length <= columns
  /// and 1 <= hash_count <= 64. Memory: H * L elements, times the slices unless shared.
  SignHash(index_t columns, index_t vector_length, int hash_count, bool shared_hyperplanes,
           std::uint64_t seed)
      : columns_(columns),
        vector_length_(vector_length),
        hash_count_(hash_count),
        shared_(shared_hyperplanes),
        plane_stride_(simd::padded(hash_count)) {
    detail::require(vector_length >= 1 && vector_length <= columns,
                    "SignHash: vector_length must be between 1 and the number of columns (",
                    columns, "), got ", vector_length);
    detail::require(hash_count >= 1 && hash_count <= 64,
                    "SignHash: hash_count must be between 1 and 64, got ", hash_count);
    const index_t sets = shared_ ? 1 : slice_count();
    planes_.assign(checked_product("hyperplanes", sets, vector_length, plane_stride_), T(0));
    thresholds_.assign(checked_product("thresholds", slice_count(), plane_stride_), T(0));
    Random random(seed);
    for (index_t set = 0; set < sets; ++set) {
      for (int h = 0; h < hash_count; ++h) {
        for (index_t l = 0; l < vector_length; ++l) {
          planes_[(set * vector_length + l) * plane_stride_ + h] = static_cast<T>(random.normal());
        }
      }
    }
  }

  /// H, the bits of a signature.
  [[nodiscard]] int hash_count() const noexcept { return hash_count_; }
  /// K, the columns that the slices cover.
  [[nodiscard]] index_t columns() const noexcept { return columns_; }
  /// How many slices there are.
  [[nodiscard]] index_t slice_count() const noexcept {
    return columns_ / vector_length_ + (columns_ % vector_length_ != 0 ? 1 : 0);
  }
  /// The first column of a slice.
  [[nodiscard]] index_t first_column(index_t slice) const noexcept {
    return slice * vector_length_;
  }
  /// The columns of a slice.
  [[nodiscard]] index_t slice_length(index_t slice) const noexcept {
    return slice + 1 < slice_count() ? vector_length_ : columns_ - first_column(slice);
  }

  /// Component l of hyperplane h of a slice.
  [[nodiscard]] T plane(index_t slice, int h, index_t l) const noexcept {
    return plane_set(slice)[l * plane_stride_ + h];
  }
  /// What a projection on hyperplane h of a slice is compared with.
  [[nodiscard]] T threshold(index_t slice, int h) const noexcept {
    return thresholds_[slice * plane_stride_ + h];
  }

  /// Moves the planes of every slice through the given point, one value per column. Values that are
  /// not finite leave the planes of their slice through the origin, and so does a projection beyond
  /// the range of T with its plane.
  void set_center(const VectorView<const T>& center) {
    detail::require(center.size == columns_, "SignHash: the centre must have ", columns_,
                    " elements, got ", center.size);
    for (index_t s = 0; s < slice_count(); ++s) {
      for (int h = 0; h < hash_count_; ++h) {
        double projection = 0;
        for (index_t l = 0; l < slice_length(s); ++l) {
          projection += static_cast<double>(center[first_column(s) + l]) *
                        static_cast<double>(plane(s, h, l));
        }
        const bool fits = std::abs(projection) <= double{std::numeric_limits<T>::max()};
        thresholds_[s * plane_stride_ + h] = fits ? static_cast<T>(projection) : T(0);
      }
    }
  }

  /// Computes the signatures of a block of neuron vectors of one slice. Returns false when some
  /// projection is NaN or infinite. Shapes: vectors any rows x slice_length(slice); one result a
  /// row. Cost: rows * length * H multiply-adds, H rounded up to whole registers.
  bool signatures(index_t slice, const MatrixView<const T>& vectors,
                  std::uint64_t* result) const noexcept {
    return simd::sign_signatures(vectors.data, vectors.row_stride, vectors.rows, vectors.cols,
                                 plane_set(slice), plane_stride_,
                                 thresholds_.data() + slice * plane_stride_, hash_count_, result);
  }

 private:
  [[nodiscard]] const T* plane_set(index_t slice) const noexcept {
    return planes_.data() + (shared_ ? 0 : slice * vector_length_ * plane_stride_);
  }

  index_t columns_;
  index_t vector_length_;
  int hash_count_;
  bool shared_;
  index_t plane_stride_;
  AlignedBuffer<T> planes_;      // per set: vector_length x plane_stride, transposed hyperplanes
  AlignedBuffer<T> thresholds_;  // per slice: plane_stride
};

ADR_NAMESPACE_END
