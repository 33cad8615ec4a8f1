// Settings from coarse to exact: which ones are worth a try on a layer, and which of those tried
// make a ladder.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "adr/adapt/layer_shape.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// One plan of a ladder.
struct Rung {
  Plan config;       ///< what it runs with
  double cost = 1;   ///< of the forward pass, relative to the dense one
  double error = 0;  ///< of the output, relative
};

/// From coarse to fine: errors fall strictly, costs rise strictly; the last rung is dense.
using Ladder = std::vector<Rung>;

/// Whether the dense product takes part when rungs are dropped that others beat.
enum class Competitor {
  dense,  ///< what costs as much as the dense product goes
  none,   ///< a ladder of what is slower than dense may be wanted, to compare with
};

/// The plans that Strategy::error_budget tries: subspaces of shared neuron vectors, from coarse to
/// fine; what they have in common is taken from `base`.
///
/// Kept are 1/4, 3/8, 1/2 and 3/4 of a vector's elements: fewer lose more than networks bear, more
/// cost as much as dense. Vectors above 1024 elements have no subspace, because fitting many axes
/// takes minutes there. Thread-safety: reentrant. Source: this library.
inline std::vector<Plan> shared_candidates(const LayerShape& shape, const Plan& base) {
  constexpr index_t k_longest = 1024;
  std::vector<Plan> candidates;
  if (shape.vector_length > k_longest) return candidates;
  Plan config = base;
  config.method = Method::subspace;
  for (const index_t eighths : {2, 3, 4, 6}) {
    config.kept_coordinates = shape.vector_length * eighths / 8;
    if (config.kept_coordinates < 2) continue;
    candidates.push_back(config);
  }
  return candidates;
}

/// The clusters with a radius that Strategy::error_budget tries, from coarse to fine; what they
/// have in common is taken from `base`. Only of rows that are multiplied as they are: convolutions
/// with larger kernels are faster on tiles than on unfolded rows, even where most rows repeat
/// (decision 0019). Thread-safety: reentrant. Source: this library.
inline std::vector<Plan> clustered_candidates(const LayerShape& shape, const Plan& base) {
  std::vector<Plan> candidates;
  if (shape.kernel_plane > 1) return candidates;
  Plan config = base;
  config.method = Method::clustered;
  config.vector_length = 0;
  config.hash_count = 32;
  for (const double radius : {0.1, 0.03, 0.01}) {
    config.radius = radius;
    candidates.push_back(config);
  }
  return candidates;
}

/// The plans that the published strategies try: the published method, from coarse (large L, small
/// H) to fine (small L, large H); what they have in common is taken from `base`.
///
/// The published bounds are not fully known: L from about the kernel width, to what grows with
/// sqrt(C) k_w; H bounded by log2 of the rows. Ours: L between k_w and 2 k_w sqrt(C), C the columns
/// per kernel offset (for a plain product, between 4 and 2 sqrt(K)), at three sizes; H from 6, with
/// which a batch still falls into tens of clusters, to log2(N) - 3, with which a cluster keeps some
/// eight rows on average: finer hashes reuse nothing. At most 18 bits, because more do not share.
/// Thread-safety: reentrant. Source: this library, after Ning et al., ICDE 2019.
inline std::vector<Plan> published_candidates(const LayerShape& shape, const Plan& base) {
  const auto columns = static_cast<double>(shape.columns);
  const auto plane = static_cast<double>(std::max<index_t>(shape.kernel_plane, 1));
  const bool is_convolution = shape.kernel_plane > 1;
  const double smallest = is_convolution ? static_cast<double>(shape.kernel_width) : 4.0;
  const double largest = is_convolution ? 2 * smallest * std::sqrt(columns / plane)
                                        : std::max(8.0, 2 * std::sqrt(columns));
  const double rows = static_cast<double>(std::max<index_t>(shape.rows, 2));
  const int most = std::clamp(static_cast<int>(std::log2(rows)) - 3, 7, 18);
  std::vector<Plan> candidates;
  const auto add = [&](double length, int bits) {
    Plan config = base;
    config.method = Method::published;
    config.vector_length =
        std::clamp<index_t>(static_cast<index_t>(std::lround(length)), 1, shape.columns);
    config.hash_count = bits;
    for (const Plan& other : candidates) {
      if (other.clusters_as(config)) return;
    }
    candidates.push_back(config);
  };
  const double middle = std::sqrt(smallest * largest);
  add(largest, 6);
  add(largest, (6 + most) / 2);
  add(middle, (6 + most) / 2);
  add(middle, most);
  add(smallest, (6 + most) / 2);
  add(smallest, most);
  return candidates;
}

/// Makes a ladder of measured plans: from coarse to fine, without those that another one beats
/// or equals in cost and error, and with the dense one at the end, whatever it costs beside slower
/// ones (Competitor::none). What is not finite is left out, and what has no error: it was measured
/// on an input of zeros. Thread-safety: reentrant. Source: this library.
inline Ladder make_ladder(std::vector<Rung> measured, Competitor competitor = Competitor::dense) {
  const auto unusable = [competitor](const Rung& rung) {
    const bool finite = std::isfinite(rung.cost) && std::isfinite(rung.error);
    return !finite || !(rung.error > 0) || (competitor == Competitor::dense && rung.cost >= 1);
  };
  measured.erase(std::remove_if(measured.begin(), measured.end(), unusable), measured.end());
  // From cheap to dear, a rung stays if its error is below all before it.
  std::stable_sort(measured.begin(), measured.end(), [](const Rung& a, const Rung& b) {
    return a.cost < b.cost || (a.cost == b.cost && a.error < b.error);
  });
  Ladder ladder;
  for (const Rung& rung : measured) {
    if (ladder.empty() || rung.error < ladder.back().error) ladder.push_back(rung);
  }
  Rung dense;
  dense.config.method = Method::exact;
  ladder.push_back(dense);
  return ladder;
}

ADR_NAMESPACE_END
