// From what a user asks of the convolutions to one adr::Options per convolution, and from the plans
// that they run with back to a text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "adr/adapt/plan_label.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/options.hpp"
#include "training/errors.hpp"
#include "training/network_description.hpp"

namespace training {

/// What decides how the convolutions multiply: a rival, one setting of the library, or a schedule.
enum class Mode { dense, exact, subspace, published, automatic };

inline const char* to_string(Mode mode) {
  constexpr const char* names[] = {"dense", "exact", "subspace", "published", "auto"};
  return names[static_cast<int>(mode)];
}

/// Lists of a setting hold one value per convolution, one value for all, or nothing: the network's
/// own default. Those of a schedule hold one value per phase, or nothing: the library's own phases.
struct ReuseOptions {
  Mode mode = Mode::exact;
  adr::Strategy strategy = adr::Strategy::error_budget;  ///< with Mode::automatic
  std::vector<index_t> coordinates;
  double subspace_error = adr::Subspace().error;
  std::vector<index_t> vector_lengths;
  std::vector<int> hash_counts;
  /// The rest of the published setting.
  adr::Published published;
  /// One value, or with a schedule one per phase.
  std::vector<double> gradient_rounding;
  std::vector<double> gradient_noise;
  std::vector<double> max_errors;
  std::vector<double> phase_ends;
  bool winograd = true;
  std::uint64_t seed = 1;

  [[nodiscard]] bool follows_error_budget() const {
    return mode == Mode::automatic && strategy == adr::Strategy::error_budget;
  }
  /// Whether the published method runs, by hand or under one of its strategies.
  [[nodiscard]] bool is_published() const {
    return mode == Mode::published || (mode == Mode::automatic && !follows_error_budget());
  }
};

/// The plans of all convolutions: what they have in common, or a list.
inline std::string label(const std::vector<adr::Plan>& plans) {
  std::vector<std::string> labels;
  for (const adr::Plan& plan : plans) labels.push_back(adr::label(plan));
  const bool alike = std::all_of(labels.begin(), labels.end(),
                                 [&](const std::string& text) { return text == labels.front(); });
  if (alike && !labels.empty()) labels.resize(1);
  std::string text;
  for (const std::string& one : labels) text += (text.empty() ? "" : "; ") + one;
  return text;
}

/// What the options ask for at first.
inline std::vector<adr::Plan> plans_of(const std::vector<adr::Options>& options) {
  std::vector<adr::Plan> plans;
  for (const adr::Options& one : options) plans.push_back(one.plan());
  return plans;
}

namespace detail {

template <class T>
T choose(const char* option, const std::vector<T>& values, std::size_t index, std::size_t count,
         T network_default) {
  require(values.empty() || values.size() == 1 || values.size() == count, option,
          ": needs one value for all or one per convolution (", count, "), got ", values.size());
  if (values.empty()) return network_default;
  return values.size() == 1 ? values.front() : values[index];
}

/// The setting of convolution i of `count`.
inline adr::Setting setting_of(const NetworkDescription& network, const ReuseOptions& options,
                               std::size_t i, std::size_t count) {
  if (options.mode == Mode::subspace) {
    adr::Subspace subspace;
    subspace.coordinates =
        choose("--coordinates", options.coordinates, i, count, subspace.coordinates);
    subspace.error = options.subspace_error;
    return subspace;
  }
  if (options.is_published()) {
    adr::Published published = options.published;
    published.vector_length = choose("--vector-length", options.vector_lengths, i, count,
                                     network.published[i].vector_length);
    published.hash_count =
        choose("--hash-count", options.hash_counts, i, count, network.published[i].hash_count);
    return published;
  }
  return adr::Exact{options.winograd};  // a schedule begins exact
}

}  // namespace detail

/// One per convolution of the network. Errors: UserError when a list has the wrong length; whether
/// a value is in its range is seen when the network is built.
inline std::vector<adr::Options> convolution_options(const NetworkDescription& network,
                                                     const ReuseOptions& options) {
  const std::size_t count = conv_count(network);
  const bool rounds = options.mode != Mode::automatic && !options.gradient_rounding.empty();
  require(!rounds || options.gradient_rounding.size() == 1,
          "--gradient-rounding: needs 1 value with --mode ", to_string(options.mode), ", got ",
          options.gradient_rounding.size());
  std::vector<adr::Options> all;
  for (std::size_t i = 0; i < count; ++i) {
    adr::Options one;
    one.setting = detail::setting_of(network, options, i, count);
    if (rounds) one.gradient_rounding = options.gradient_rounding.front();
    one.seed = options.seed * count + i;
    all.push_back(one);
  }
  return all;
}

}  // namespace training
