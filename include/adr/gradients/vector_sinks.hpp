// What a source of neuron vectors that takes gradients can do beyond add_rows
// (core/vector_map.hpp).
#pragma once

#include <type_traits>
#include <utility>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Whether different threads may add to different vectors of a source, or to different elements of
/// them, at once: sources say so by a member adds_are_independent(); of others only different
/// images are added to at once.
template <class Vectors, class = void>
struct AddsAreIndependent {
  static bool of(const Vectors& /*vectors*/) noexcept { return false; }
};
template <class Vectors>
struct AddsAreIndependent<
    Vectors, std::void_t<decltype(std::declval<const Vectors&>().adds_are_independent())>> {
  static bool of(const Vectors& vectors) noexcept { return vectors.adds_are_independent(); }
};

/// Whether rows of a source can be stored in place of being added to zeros: sources that can have
/// store_rows and can_store_rows().
template <class Vectors, class = void>
struct StoresRows {
  static bool of(const Vectors& /*vectors*/) noexcept { return false; }
  template <class Block>
  static void store(const Vectors& /*vectors*/, index_t, index_t, const Block& /*block*/) {
    ADR_ASSERT(false, "this source of vectors stores no rows");
  }
};
template <class Vectors>
struct StoresRows<Vectors, std::void_t<decltype(std::declval<const Vectors&>().can_store_rows())>> {
  static bool of(const Vectors& vectors) noexcept { return vectors.can_store_rows(); }
  template <class Block>
  static void store(const Vectors& vectors, index_t vector, index_t element, const Block& block) {
    vectors.store_rows(vector, element, block);
  }
};

}  // namespace detail
ADR_NAMESPACE_END
