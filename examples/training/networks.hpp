// The networks that --network can name.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "training/errors.hpp"
#include "training/networks/alexnet.hpp"
#include "training/networks/cifarnet.hpp"
#include "training/networks/vgg19.hpp"

namespace training {

namespace detail {

using NetworkMaker = std::function<NetworkDescription(const NetworkOptions&)>;

inline std::vector<std::pair<std::string, NetworkMaker>> networks() {
  return {{"cifarnet", cifarnet},
          {"alexnet", [](const NetworkOptions&) { return alexnet(); }},
          {"vgg19", [](const NetworkOptions&) { return vgg19(); }},
          {"vgg19-bn", [](const NetworkOptions&) { return vgg19_bn(); }},
          {"alexnet-224", [](const NetworkOptions&) { return alexnet_224(); }},
          {"vgg19-224", [](const NetworkOptions&) { return vgg19_224(); }}};
}

}  // namespace detail

inline std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : detail::networks()) names.push_back(name);
  return names;
}

/// Errors: UserError when there is no network of that name, or it lacks what the options ask for.
inline NetworkDescription network_by_name(const std::string& name, const NetworkOptions& options) {
  for (const auto& [known, make] : detail::networks()) {
    if (known != name) continue;
    require(!options.lrn || name == "cifarnet", "--lrn is for cifarnet, got ", name);
    NetworkDescription network = make(options);
    network.name = name;
    return network;
  }
  throw UserError("--network must name a known network, got " + name);
}

}  // namespace training
