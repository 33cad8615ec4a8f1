// What exact convolutions are meant to reach beside the packages, and whether they do.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "bench/exact/networks.hpp"
#include "bench/exact/summary.hpp"
#include "bench/support/report.hpp"
#include "bench/support/text_table.hpp"

namespace adr_bench {

/// A goal's speed-up over the fastest packages; empty where there is none for a build.
struct GoalFigures {
  std::optional<double> avx2;
  std::optional<double> avx512;
};

/// The figure for the instruction set that this program is compiled for.
inline std::optional<double> figure_of_build(const GoalFigures& figures) {
#if defined(__AVX512F__)
  return figures.avx512;
#elif defined(__AVX2__)
  return figures.avx2;
#else
  static_cast<void>(figures);
  return std::nullopt;
#endif
}

struct Goal {
  std::string what;
  GoalFigures figures;
  std::optional<double> result;  ///< empty when nothing of it was measured
};

namespace detail {

using Summaries = std::list<SequenceSummary>;

/// This library's speed-ups in a pass of all sequences that are selected.
inline std::vector<double> speedups(const Summaries& summaries, LayerPass pass,
                                    const std::function<bool(const Sequence&)>& selected) {
  std::vector<double> found;
  for (const SequenceSummary& summary : summaries) {
    const std::vector<LayerPass> passes = passes_of(summary.sequence());
    const bool has_pass = std::find(passes.begin(), passes.end(), pass) != passes.end();
    if (!has_pass || !selected(summary.sequence())) continue;
    found.push_back(summary.speedup(k_library, {std::nullopt, pass}));
  }
  return found;
}

inline void add_network(const Summaries& summaries, const std::string& network,
                        const std::string& what, LayerPass pass, const GoalFigures& figures,
                        std::vector<Goal>& goals) {
  const std::vector<double> found =
      speedups(summaries, pass, [&](const Sequence& s) { return s.network == network; });
  Goal goal{what + ", " + to_string(pass), figures, std::nullopt};
  if (!found.empty()) goal.result = found.front();
  goals.push_back(goal);
}

/// The least and the geometric mean over layers, batches and passes.
inline void add_kind(const Summaries& summaries, LayerKind kind, const std::string& what,
                     std::vector<Goal>& goals) {
  std::vector<double> found;
  for (const LayerPass pass :
       {LayerPass::forward, LayerPass::input_gradient, LayerPass::weight_gradient}) {
    for (const double speedup : speedups(summaries, pass, [&](const Sequence& s) {
           return s.network == "direct" && kind_of(s.layers.front()) == kind;
         })) {
      found.push_back(speedup);
    }
  }
  Goal least{what + ", the least", {0.97, 0.97}, std::nullopt};
  Goal mean{what + ", mean", {1.05, 1.05}, std::nullopt};
  if (!found.empty()) {
    double sum = 0;
    for (const double speedup : found) sum += std::log(speedup);
    least.result = *std::min_element(found.begin(), found.end());
    mean.result = std::exp(sum / static_cast<double>(found.size()));
  }
  goals.push_back(least);
  goals.push_back(mean);
}

}  // namespace detail

/// has_winograd: whether oneDNN has it, as version 2 with AVX-512 does: without, more is asked for.
inline std::vector<Goal> exact_goals(const std::list<SequenceSummary>& summaries,
                                     bool has_winograd) {
  using detail::add_kind;
  using detail::add_network;
  const double forward = has_winograd ? 1.6 : 2.9;
  const double input_gradient = has_winograd ? 1.5 : 2.9;
  const double weight_gradient = has_winograd ? 1.7 : 2.9;
  std::vector<Goal> goals;
  const std::string vgg = "VGG-19, CIFAR form, fifteen 3x3 layers";
  add_network(summaries, "vgg19", vgg, LayerPass::forward, {3.0, forward}, goals);
  add_network(summaries, "vgg19", vgg, LayerPass::input_gradient, {2.8, input_gradient}, goals);
  add_network(summaries, "vgg19", vgg, LayerPass::weight_gradient, {3.6, weight_gradient}, goals);
  add_network(summaries, "vgg19", vgg, LayerPass::step, {3.1, forward}, goals);
  const std::string vgg224 = "VGG-19 for 224 pixels, 3x3 layers";
  add_network(summaries, "vgg19-224", vgg224, LayerPass::forward, {3.0, 1.2}, goals);
  add_network(summaries, "vgg19-224", vgg224, LayerPass::step, {3.0, 1.25}, goals);
  add_network(summaries, "alexnet", "AlexNet, CIFAR form, conv2 to conv5", LayerPass::step,
              {3.0, 1.5}, goals);
  const std::string conv2 = "CifarNet conv2, 5x5";
  add_network(summaries, "cifarnet", conv2, LayerPass::forward, {4.4, 4.0}, goals);
  add_network(summaries, "cifarnet", conv2, LayerPass::input_gradient, {4.4, 4.0}, goals);
  add_network(summaries, "cifarnet", conv2, LayerPass::weight_gradient, {4.8, 3.4}, goals);
  add_kind(summaries, LayerKind::one_by_one, "1x1", goals);
  add_kind(summaries, LayerKind::strided, "stride 2", goals);
  add_kind(summaries, LayerKind::linear, "fully connected", goals);
  Goal first{"first layers, step, the least", {1.2, 1.2}, std::nullopt};
  const std::vector<double> steps =
      detail::speedups(summaries, LayerPass::step, [](const Sequence& s) {
        return s.network == "direct" && kind_of(s.layers.front()) == LayerKind::first;
      });
  if (!steps.empty()) first.result = *std::min_element(steps.begin(), steps.end());
  goals.push_back(first);
  return goals;
}

/// [{what, goal, result}] of what was measured.
inline nlohmann::json to_json(const std::vector<Goal>& goals) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Goal& goal : goals) {
    if (!goal.result) continue;
    rows.push_back({{"what", goal.what},
                    {"goal", json_or_null(figure_of_build(goal.figures))},
                    {"result", *goal.result}});
  }
  return rows;
}

/// Leaves out what was not measured. judged: false where the shapes are not those of the goals.
inline void print_goals(const std::vector<Goal>& goals, bool judged) {
  TextTable table;
  table.add({"over the fastest fp32 packages", "goal", "result", ""});
  for (const Goal& goal : goals) {
    if (!goal.result) continue;
    const std::optional<double> figure = figure_of_build(goal.figures);
    const bool has_verdict = judged && figure;
    table.add({goal.what, figure ? text("%.2f", *figure) : "-", text("%.2f", *goal.result),
               !has_verdict              ? ""
               : *goal.result >= *figure ? "met"
                                         : "missed"});
  }
  table.print();
}

}  // namespace adr_bench
