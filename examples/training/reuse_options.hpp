// From what a user asks of the convolutions to one Plan per convolution, and back to a short
// text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adr/adapt/plan_label.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "training/errors.hpp"
#include "training/network_description.hpp"

namespace training {

/// What decides how the convolutions multiply: a method that stays, or a schedule.
enum class Mode { dense, hyperplane, subspace, automatic };

inline const char* to_string(Mode mode) {
  return mode == Mode::automatic ? "auto" : adr::to_string(static_cast<adr::Method>(mode));
}

/// Lists hold one value per convolution, one value for all, or nothing: the network's own default.
struct ReuseOptions {
  Mode mode = Mode::dense;
  /// With Mode::automatic. The published strategies begin with method hyperplane, a fixed one stays
  /// with subspace.
  adr::Strategy strategy = adr::Strategy::error_budget;
  std::vector<index_t> sub_vector_lengths;
  std::vector<int> hash_counts;
  adr::HashCenter hash_center = adr::HashCenter::origin;
  std::vector<index_t> kept_coordinates;
  adr::InputGradient input_gradient = adr::InputGradient::automatic;
  adr::WeightGradient weight_gradient = adr::WeightGradient::automatic;
  bool cluster_reuse = false;
  index_t max_product_age = 0;
  bool winograd = true;
  std::uint64_t seed = 1;
};

/// The settings of all convolutions, separated by semicolons.
inline std::string label(const std::vector<adr::Plan>& configs) {
  std::string text;
  for (const adr::Plan& config : configs) text += (text.empty() ? "" : ";") + adr::label(config);
  return text;
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

}  // namespace detail

inline adr::Method first_method(const ReuseOptions& options) {
  if (options.mode != Mode::automatic) return static_cast<adr::Method>(options.mode);
  switch (options.strategy) {
    case adr::Strategy::error_budget:
      return adr::Method::dense;
    case adr::Strategy::fixed:
      return adr::Method::subspace;
    default:
      return adr::Method::hyperplane;
  }
}

/// One setting per convolution of the network. Errors: UserError when a list has the wrong length;
/// whether a value suits its convolution is seen when the network is built.
inline std::vector<adr::Plan> reuse_configs(const NetworkDescription& network,
                                            const ReuseOptions& options) {
  const std::size_t count = conv_count(network);
  std::vector<adr::Plan> configs;
  for (std::size_t i = 0; i < count; ++i) {
    const PublishedReuse published = network.default_reuse[i];
    adr::Plan config;
    config.method = first_method(options);
    config.sub_vector_length = detail::choose("--sub-vector-length", options.sub_vector_lengths, i,
                                              count, published.sub_vector_length);
    config.hash_count =
        detail::choose("--hash-count", options.hash_counts, i, count, published.hash_count);
    config.hash_center = options.hash_center;
    config.kept_coordinates = detail::choose("--kept-coordinates", options.kept_coordinates, i,
                                             count, config.kept_coordinates);
    config.input_gradient = options.input_gradient;
    config.weight_gradient = options.weight_gradient;
    config.cluster_reuse = options.cluster_reuse;
    config.max_product_age = options.max_product_age;
    config.winograd = options.winograd;
    config.seed = options.seed * count + i;
    configs.push_back(config);
  }
  return configs;
}

}  // namespace training
