// The networks that --network can name.
#pragma once

#include <string>
#include <vector>

#include "training/cifarnet.hpp"
#include "training/errors.hpp"

namespace training {

inline std::vector<std::string> network_names() { return {"cifarnet"}; }

inline NetworkDescription network_by_name(const std::string& name, Normalisation normalisation) {
  if (name == "cifarnet") return cifarnet(normalisation);
  throw UserError("--network must be cifarnet, got " + name);
}

}  // namespace training
