// From what a user asks of the convolutions to one ReuseConfig per convolution, and back to a short
// text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adr/adapt/reuse_config.hpp"
#include "training/errors.hpp"
#include "training/network_description.hpp"

namespace training {

/// Lists hold one value per convolution, one value for all, or nothing: the network's own default.
struct ReuseOptions {
  adr::Method method = adr::Method::dense;
  std::vector<index_t> sub_vector_lengths;
  std::vector<int> hash_counts;
  adr::HashCenter hash_center = adr::HashCenter::origin;
  std::vector<int> codebooks;
  std::vector<index_t> kept_coordinates;
  adr::InputGradient input_gradient = adr::InputGradient::automatic;
  adr::WeightGradient weight_gradient = adr::WeightGradient::automatic;
  bool cluster_reuse = false;
  index_t max_product_age = 0;
  std::uint64_t seed = 1;
};

namespace detail {

inline std::string method_label(const adr::ReuseConfig& config) {
  switch (config.method) {
    case adr::Method::codebook:
      return message("S", config.codebooks, "T", config.codebook_size);
    case adr::Method::principal:
      return message("principal", config.hash_count);
    case adr::Method::subspace:
      return message("subspace", config.kept_coordinates);
    default:
      return message('L', config.sub_vector_length, 'H', config.hash_count);
  }
}

}  // namespace detail

/// "dense", or the setting and what differs from the method's usual gradients, as in
/// "L25H10-mean-exact-CR2" or "S4T64-sparsified".
inline std::string label(const adr::ReuseConfig& config) {
  constexpr const char* input_names[] = {"",        "-cluster_mean", "-exact",
                                         "-sparse", "-sparsified",   "-own_clusters"};
  constexpr const char* weight_names[] = {"", "-clusters_dw", "-exact_dw", "-sparse_dw",
                                          "-sparsified_dw"};
  if (config.method == adr::Method::dense) return "dense";
  std::string text = detail::method_label(config);
  if (config.hash_center == adr::HashCenter::mean) text += "-mean";
  text += input_names[static_cast<int>(config.input_gradient)];
  text += weight_names[static_cast<int>(config.weight_gradient)];
  if (config.cluster_reuse) text += message("-CR", config.max_product_age);
  return text;
}

inline std::string label(const std::vector<adr::ReuseConfig>& configs) {
  std::string text;
  for (const adr::ReuseConfig& config : configs) text += (text.empty() ? "" : ";") + label(config);
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

/// One setting per convolution of the network. Errors: UserError when a list has the wrong length;
/// whether a value suits its convolution is seen when the network is built.
inline std::vector<adr::ReuseConfig> reuse_configs(const NetworkDescription& network,
                                                   const ReuseOptions& options) {
  const std::size_t count = conv_count(network);
  std::vector<adr::ReuseConfig> configs;
  for (std::size_t i = 0; i < count; ++i) {
    const PublishedReuse published = network.default_reuse[i];
    adr::ReuseConfig config;
    config.method = options.method;
    config.sub_vector_length = detail::choose("--sub-vector-length", options.sub_vector_lengths, i,
                                              count, published.sub_vector_length);
    config.hash_count =
        detail::choose("--hash-count", options.hash_counts, i, count, published.hash_count);
    config.hash_center = options.hash_center;
    const adr::ReuseConfig usual;
    config.codebooks = detail::choose("--codebooks", options.codebooks, i, count, usual.codebooks);
    config.kept_coordinates = detail::choose("--kept-coordinates", options.kept_coordinates, i,
                                             count, usual.kept_coordinates);
    config.input_gradient = options.input_gradient;
    config.weight_gradient = options.weight_gradient;
    config.cluster_reuse = options.cluster_reuse;
    config.max_product_age = options.max_product_age;
    config.seed = options.seed * count + i;
    configs.push_back(config);
  }
  return configs;
}

}  // namespace training
