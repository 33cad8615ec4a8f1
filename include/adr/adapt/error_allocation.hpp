// Which setting each layer of a network gets, so that the network's output stays within an error at
// the least time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "adr/adapt/ladder.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// One layer as a choice of settings.
struct LayerChoices {
  Ladder ladder;             ///< costs relative to the exact pass
  double exact_seconds = 0;  ///< of a forward pass
  /// The square of the network's relative output error over that of this layer, alone.
  double influence = 1;
};

/// The network's relative output error with these rungs, one per layer, were their errors
/// independent and small.
inline double expected_error(const std::vector<LayerChoices>& layers,
                             const std::vector<Rung>& rungs) {
  double squared = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    squared += layers[i].influence * rungs[i].error * rungs[i].error;
  }
  return std::sqrt(squared);
}

/// Per layer the rung with the least seconds plus `price` times its part of the squared error: no
/// other choice with at most the same error is faster. Requires: a rung in every ladder.
inline std::vector<Rung> rungs_at_price(const std::vector<LayerChoices>& layers, double price) {
  std::vector<Rung> rungs;
  for (const LayerChoices& layer : layers) {
    const auto loss = [&](const Rung& rung) {
      return rung.cost * layer.exact_seconds + price * layer.influence * rung.error * rung.error;
    };
    rungs.push_back(
        *std::min_element(layer.ladder.begin(), layer.ladder.end(),
                          [&](const Rung& a, const Rung& b) { return loss(a) < loss(b); }));
  }
  return rungs;
}

/// The fastest rungs found whose expected error is at most max_error, by bisecting the price of
/// errors. Requires: ladders that end in an exact rung. Cost: 60 passes over all rungs.
/// Thread-safety: reentrant. Source: Lagrange's multiplier, as in rate-distortion optimisation.
inline std::vector<Rung> rungs_within(const std::vector<LayerChoices>& layers, double max_error) {
  constexpr int k_bisections = 60;
  double log_low = -30;
  double log_high = 30;
  for (int i = 0; i < k_bisections; ++i) {
    const double middle = (log_low + log_high) / 2;
    const bool fits = expected_error(layers, rungs_at_price(layers, std::exp(middle))) <= max_error;
    (fits ? log_high : log_low) = middle;
  }
  return rungs_at_price(layers, std::exp(log_high));
}

ADR_NAMESPACE_END
