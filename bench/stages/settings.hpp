// The reuse settings that are compared on each layer of CifarNet.
#pragma once

#include <adr/adapt/plan.hpp>
#include <vector>

#include "bench/support/conv_layers.hpp"

namespace adr_bench {

/// The published form first, then one change at a time, then what shares neuron vectors. Cluster
/// reuse is shown at its best: the batch was seen before and the weights have not changed.
inline std::vector<adr::Plan> stage_settings(const ConvLayer& layer, bool quick) {
  const bool first_layer = !layer.needs_input_gradient;
  adr::Plan published;
  published.sub_vector_length = first_layer ? 15 : 25;
  published.hash_count = 10;

  adr::Plan centred = published;
  centred.hash_center = adr::HashCenter::mean;
  adr::Plan subspace;
  subspace.method = adr::Method::subspace;
  subspace.kept_coordinates = first_layer ? 8 : 16;
  if (quick) return {published, centred, subspace};

  adr::Plan finer = centred;
  finer.hash_count = 16;
  adr::Plan other_length = centred;
  other_length.sub_vector_length = first_layer ? 5 : 64;
  adr::Plan exact_input = centred;
  exact_input.input_gradient = adr::InputGradient::exact;
  adr::Plan cluster_reuse = published;
  cluster_reuse.cluster_reuse = true;

  return {published, centred, finer, other_length, exact_input, cluster_reuse, subspace};
}

}  // namespace adr_bench
