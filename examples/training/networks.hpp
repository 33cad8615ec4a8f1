// The networks that --network can name.
#pragma once

#include <string>
#include <vector>

#include "training/errors.hpp"
#include "training/networks/alexnet.hpp"
#include "training/networks/cifarnet.hpp"
#include "training/networks/vgg19.hpp"

namespace training {

namespace detail {

struct NamedNetwork {
  const char* name;
  NetworkDescription (*make)();
};

inline std::vector<NamedNetwork> networks() {
  return {{"cifarnet", cifarnet}, {"alexnet", alexnet},         {"vgg19", vgg19},
          {"vgg19-bn", vgg19_bn}, {"alexnet-224", alexnet_224}, {"vgg19-224", vgg19_224}};
}

}  // namespace detail

inline std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : detail::networks()) names.push_back(name);
  return names;
}

/// Errors: UserError when there is no network of that name.
inline NetworkDescription network_by_name(const std::string& name) {
  for (const auto& [known, make] : detail::networks()) {
    if (known != name) continue;
    NetworkDescription network = make();
    network.name = name;
    return network;
  }
  throw UserError("--network must name a known network, got " + name);
}

}  // namespace training
