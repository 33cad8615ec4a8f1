// Which layers the exact benchmark measures, of which files of shapes, with which batches and for
// how long.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "bench/exact/sequence_comparison.hpp"
#include "bench/support/conv_layers.hpp"

namespace adr_bench {

/// The kinds of layers that no short form exists for.
enum class LayerKind { first, linear, strided, one_by_one, other };

inline LayerKind kind_of(const ConvLayer& layer) {
  constexpr index_t k_few_channels = 4;
  if (layer.in_channels <= k_few_channels) return LayerKind::first;
  if (layer.is_linear()) return LayerKind::linear;
  if (layer.stride > 1) return LayerKind::strided;
  return layer.kernel == 1 ? LayerKind::one_by_one : LayerKind::other;
}

namespace detail {

struct NetworkPlan {
  std::string name;  ///< of the file of shapes
  std::vector<index_t> batches;
  index_t kernel = 0;        ///< of the layers that are measured, first layers left out; 0: all
  bool in_sequence = false;  ///< as one sequence, not each alone
  double seconds = 1;        ///< for the rounds of each sequence
};

inline std::vector<NetworkPlan> network_plans() {
  return {{"vgg19", {64}, 3, true, 40},
          {"vgg19-224", {2}, 3, true, 45},
          {"alexnet", {128}, 3, true, 15},
          {"cifarnet", {128}, 5, true, 10},
          {"direct", {1, 16, 128}, 0, false, 1.5}};
}

/// A layer as small as a smoke test wants it.
inline ConvLayer shrunk(ConvLayer layer) {
  constexpr index_t k_channels = 32;
  constexpr index_t k_pixels = 16;
  layer.in_channels = std::min(layer.in_channels, k_channels);
  layer.out_channels = std::min(layer.out_channels, k_channels);
  layer.height = std::min(layer.height, k_pixels);
  layer.width = std::min(layer.width, k_pixels);
  return layer;
}

/// Whether a tensor is too large for a benchmark of minutes.
inline bool is_too_large(const ConvLayer& layer, index_t batch) {
  constexpr index_t k_largest = index_t{1} << 25;
  const adr::ConvGeometry g = layer.geometry(adr::Layout::nhwc);
  return batch * g.in_channels * g.in_height * g.in_width > k_largest ||
         g.rows(batch) * g.out_channels > k_largest;
}

}  // namespace detail

inline std::vector<std::string> exact_networks() {
  std::vector<std::string> names;
  for (const detail::NetworkPlan& plan : detail::network_plans()) names.push_back(plan.name);
  return names;
}

/// The sequences of the networks with these names, all of them when there is none. rounds: of the
/// heaviest; light ones have more. quick: small shapes, two layers of a network, one batch.
inline std::vector<Sequence> exact_sequences(const std::vector<std::string>& names, int rounds,
                                             bool quick) {
  constexpr int k_most_per_round = 8;
  std::vector<Sequence> sequences;
  for (const detail::NetworkPlan& plan : detail::network_plans()) {
    if (!names.empty() && std::find(names.begin(), names.end(), plan.name) == names.end()) continue;
    Network network = read_network(std::string(ADR_BENCH_SHAPES) + "/" + plan.name + ".txt");
    Sequence sequence;
    sequence.network = plan.name;
    sequence.rounds = {(rounds + 1) / 2, k_most_per_round * rounds, quick ? 0 : plan.seconds};
    for (ConvLayer& layer : network.layers) {
      const bool other_kernel = plan.kernel != 0 && layer.kernel != plan.kernel;
      if (other_kernel || (plan.kernel != 0 && kind_of(layer) == LayerKind::first)) continue;
      sequence.layers.push_back(quick ? detail::shrunk(layer) : layer);
    }
    std::vector<index_t> batches = plan.batches;
    if (quick) {
      batches = {2};
      if (plan.in_sequence)
        sequence.layers.resize(std::min<std::size_t>(sequence.layers.size(), 2));
    }
    for (const index_t batch : batches) {
      sequence.batch = batch;
      if (plan.in_sequence) {
        sequences.push_back(sequence);
        sequences.back().name = sequence.layers.size() == 1 ? sequence.layers[0].name : "sequence";
        continue;
      }
      for (const ConvLayer& layer : sequence.layers) {
        if (detail::is_too_large(layer, batch)) continue;
        sequences.push_back(sequence);
        sequences.back().name = layer.name;
        sequences.back().layers = {layer};
      }
    }
  }
  return sequences;
}

}  // namespace adr_bench
