// What one neuron vector is: plain data.
#pragma once

#include "adr/core/abi.hpp"

namespace adr {

/// What one neuron vector is, and which kernel offsets share it (Method::subspace; the published
/// method always cuts im2col rows).
enum class NeuronVectorKind {
  automatic,  ///< strip for few channels, pixel otherwise; for plain products: rows
  patch,      ///< a whole im2col row, shared by nobody
  pixel,      ///< the channels of one input pixel, shared by all kernel offsets
  strip,      ///< kernel_width neighbouring pixels of a row, shared by the kernel rows
};

}  // namespace adr
