// The settings that are compared on each layer of CifarNet.
#pragma once

#include <adr/options.hpp>
#include <vector>

#include "bench/support/conv_layers.hpp"

namespace adr_bench {

/// The published form first, then one change at a time, then what shares neuron vectors. Cluster
/// reuse is shown at its best: the batch was seen before and the weights have not changed.
inline std::vector<adr::Setting> stage_settings(const ConvLayer& layer, bool quick) {
  const bool first_layer = !layer.needs_input_gradient;
  adr::Published published;
  published.vector_length = first_layer ? 15 : 25;
  published.hash_count = 10;

  adr::Published centred = published;
  centred.hash_center = adr::HashCenter::mean;
  const adr::Subspace subspace{first_layer ? 8 : 16};
  if (quick) return {published, centred, subspace};

  adr::Published finer = centred;
  finer.hash_count = 16;
  adr::Published other_length = centred;
  other_length.vector_length = first_layer ? 5 : 64;
  adr::Published exact_gradients = centred;
  exact_gradients.exact_gradients = true;
  adr::Published cluster_reuse = published;
  cluster_reuse.cluster_reuse = true;

  return {published, centred, finer, other_length, exact_gradients, cluster_reuse, subspace};
}

}  // namespace adr_bench
