// What is fused into the last step of a forward pass.
#pragma once

#include "adr/core/abi.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// What is done to the results as they are written.
template <class T>
struct Finish {
  const T* bias = nullptr;  ///< one per channel of the layer; null: none
  bool relu = false;        ///< negative results become zero; NaN stays
  bool stream = false;      ///< results go past the caches (tiles)
};

}  // namespace exact
ADR_NAMESPACE_END
