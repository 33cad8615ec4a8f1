// Sums and ratios of a measured sequence: of one layer or of all, of one pass or of a step, by one
// contender or by the fastest package of every layer and pass.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bench/exact/sequence_comparison.hpp"
#include "bench/support/statistics.hpp"

namespace adr_bench {

/// What a number is of: a layer, or all of them, and a pass or a step.
struct Part {
  std::optional<std::size_t> layer;
  LayerPass pass = LayerPass::forward;
};

class SequenceSummary {
 public:
  SequenceSummary(const Sequence& sequence, const std::vector<ExactContender>& contenders,
                  SequenceResults results)
      : sequence_(sequence), contenders_(contenders), results_(std::move(results)) {}

  [[nodiscard]] const Sequence& sequence() const noexcept { return sequence_; }
  [[nodiscard]] std::size_t rounds() const {
    return results_[k_library][0].begin()->second.seconds.size();
  }

  /// Seconds per round; empty when the contender lacks one of the passes.
  [[nodiscard]] std::vector<double> seconds(std::size_t contender, const Part& part) const {
    std::vector<double> sums;
    for (const auto& [layer, pass] : cells(part)) {
      const ExactPassResult* result = find(contender, layer, pass);
      if (result == nullptr) return {};
      add(result->seconds, sums);
    }
    return sums;
  }
  /// The same of the fastest package of every layer and pass.
  [[nodiscard]] std::vector<double> fastest_seconds(const Part& part) const {
    std::vector<double> sums;
    for (const auto& [layer, pass] : cells(part)) {
      add(find(fastest(layer, pass), layer, pass)->seconds, sums);
    }
    return sums;
  }
  /// Their names, joined by '+'.
  [[nodiscard]] std::string fastest_names(const Part& part) const {
    std::set<std::string> names;
    for (const auto& [layer, pass] : cells(part)) {
      names.insert(contenders_[fastest(layer, pass)].name);
    }
    std::string joined;
    for (const std::string& name : names) joined += (joined.empty() ? "" : "+") + name;
    return joined;
  }
  /// Over the fastest packages, the median of the ratios within rounds.
  [[nodiscard]] double speedup(std::size_t contender, const Part& part) const {
    return median_ratio(fastest_seconds(part), seconds(contender, part));
  }

  /// The largest of all errors in the part.
  [[nodiscard]] double error(std::size_t contender, const Part& part) const {
    double largest = 0;
    for (const auto& [layer, pass] : cells(part)) {
      largest = std::max(largest, find(contender, layer, pass)->error);
    }
    return largest;
  }
  [[nodiscard]] std::size_t workspace_bytes(std::size_t contender, const Part& part) const {
    std::size_t largest = 0;
    for (const auto& [layer, pass] : cells(part)) {
      largest = std::max(largest, find(contender, layer, pass)->workspace_bytes);
    }
    return largest;
  }
  /// What ran, every description once.
  [[nodiscard]] std::string config(std::size_t contender, const Part& part) const {
    std::set<std::string> configs;
    for (const auto& [layer, pass] : cells(part)) {
      configs.insert(find(contender, layer, pass)->config);
    }
    std::string joined;
    for (const std::string& config : configs) joined += (joined.empty() ? "" : "; ") + config;
    return joined;
  }

  /// Multiplications and additions by the definition, padding included.
  [[nodiscard]] double dense_operations(const Part& part) const {
    double sum = 0;
    for (const auto& cell : cells(part)) {
      const adr::ConvGeometry g = sequence_.layers[cell.layer].geometry(adr::Layout::nhwc);
      sum += 2.0 * static_cast<double>(g.rows(sequence_.batch)) * static_cast<double>(g.columns()) *
             static_cast<double>(g.out_channels);
    }
    return sum;
  }

 private:
  struct Cell {
    std::size_t layer;
    LayerPass pass;
  };

  [[nodiscard]] std::vector<Cell> cells(const Part& part) const {
    std::vector<Cell> all;
    for (std::size_t l = 0; l < sequence_.layers.size(); ++l) {
      if (part.layer && *part.layer != l) continue;
      const PassParts parts = parts_of(part.pass, sequence_.layers[l]);
      if (parts.forward) all.push_back({l, LayerPass::forward});
      if (parts.input_gradient) all.push_back({l, LayerPass::input_gradient});
      if (parts.weight_gradient) all.push_back({l, LayerPass::weight_gradient});
    }
    return all;
  }
  /// Null where the contender has no kernel.
  [[nodiscard]] const ExactPassResult* find(std::size_t contender, std::size_t layer,
                                            LayerPass pass) const {
    const ExactLayerResult& results = results_[contender][layer];
    const auto found = results.find(pass);
    return found == results.end() ? nullptr : &found->second;
  }
  /// The package with the least median.
  [[nodiscard]] std::size_t fastest(std::size_t layer, LayerPass pass) const {
    std::size_t best = k_library;
    for (std::size_t c = 0; c < contenders_.size(); ++c) {
      if (c == k_library || !contenders_[c].fp32) continue;
      const ExactPassResult* result = find(c, layer, pass);
      if (result == nullptr) continue;
      if (best == k_library || median(result->seconds) < median(find(best, layer, pass)->seconds)) {
        best = c;
      }
    }
    return best;
  }
  static void add(const std::vector<double>& seconds, std::vector<double>& sums) {
    sums.resize(seconds.size());
    for (std::size_t i = 0; i < seconds.size(); ++i) sums[i] += seconds[i];
  }

  const Sequence& sequence_;
  const std::vector<ExactContender>& contenders_;
  SequenceResults results_;
};

/// The passes that a sequence is judged by, in the order of the tables.
inline std::vector<LayerPass> passes_of(const Sequence& sequence) {
  const bool has_input_gradient =
      std::all_of(sequence.layers.begin(), sequence.layers.end(),
                  [](const ConvLayer& layer) { return layer.needs_input_gradient; });
  if (!has_input_gradient) {
    return {LayerPass::forward, LayerPass::weight_gradient, LayerPass::step};
  }
  return {LayerPass::forward, LayerPass::input_gradient, LayerPass::weight_gradient,
          LayerPass::step};
}

}  // namespace adr_bench
