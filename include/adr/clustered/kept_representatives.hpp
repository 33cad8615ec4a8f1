// Cluster reuse (CR) of clusters with a radius: representatives of earlier batches, and their
// products.
//
// The rule, in full:
//  1. A vector that stood for a cluster is kept and stands for those within the radius of it in
//     later batches, before any vector of theirs.
//  2. Its product is kept with the fingerprint of the weights, and used only while that is the
//     same: results are never stale.
//  3. At most `limit` vectors are kept per slice, the first ones; none without learning, and none
//     that is not finite.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/batch.hpp"

ADR_NAMESPACE_BEGIN

/// The kept vectors of one slice. Memory: limit * (length + outputs) elements at most.
/// Thread-safety: none.
template <class T>
class KeptRepresentatives {
 public:
  KeptRepresentatives(index_t length, index_t outputs, index_t limit)
      : length_(length), outputs_(outputs), limit_(limit) {}

  [[nodiscard]] index_t count() const noexcept { return versions_.size(); }
  [[nodiscard]] MatrixView<const T> vectors() const noexcept {
    return {vectors_.data(), count(), length_};
  }
  void clear() noexcept {
    vectors_.clear();
    products_.clear();
    versions_.clear();
  }

  /// The product of a kept vector with weights of that fingerprint; null: it is to be computed.
  [[nodiscard]] const T* product(index_t slot, std::uint64_t weights) const noexcept {
    return versions_[slot] == weights ? products_.data() + slot * outputs_ : nullptr;
  }
  void set_product(index_t slot, std::uint64_t weights, const T* product) noexcept {
    std::copy_n(product, outputs_, products_.data() + slot * outputs_);
    versions_[slot] = weights;
  }

  /// Keeps a vector of that squared norm with its product, while there is room.
  void keep(const T* vector, T norm, std::uint64_t weights, const T* product) {
    const index_t slot = count();
    if (slot >= limit_ || !std::isfinite(norm)) return;
    vectors_.resize((slot + 1) * length_);
    products_.resize((slot + 1) * outputs_);
    versions_.resize(slot + 1);
    std::copy_n(vector, length_, vectors_.data() + slot * length_);
    set_product(slot, weights, product);
  }

  /// Writes what is kept, or reads it (core/state_archive.hpp).
  void exchange(StateArchive& archive) {
    index_t kept = count();
    archive.count("kept vectors", kept, 0, limit_);
    if (kept == 0) return;
    archive.rows("kept vectors", vectors_, kept, length_, length_);
    archive.rows("kept products", products_, kept, outputs_, outputs_);
    archive.numbers("weights of the products", versions_, kept);
  }

 private:
  index_t length_;
  index_t outputs_;
  index_t limit_;
  AlignedBuffer<T> vectors_;
  AlignedBuffer<T> products_;
  AlignedBuffer<std::uint64_t> versions_;
};

ADR_NAMESPACE_END
