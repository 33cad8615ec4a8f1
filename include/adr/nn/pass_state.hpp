// What a forward pass leaves for the gradients that come after it.
#pragma once

#include <cstdint>

#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/product/clustering.hpp"

ADR_NAMESPACE_BEGIN

/// What a forward pass left behind for its gradients.
template <class T>
struct PassState {
  VectorMap map;
  bool has_forward = false;
  bool clusters_usable = true;
  std::uint64_t pass = 0;  ///< which one it was
  std::uint64_t plan = 0;  ///< under which plan
  Clustering<T> clustering;
  bool has_clusters = false;
};

ADR_NAMESPACE_END
