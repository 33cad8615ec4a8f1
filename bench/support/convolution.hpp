// What all contenders offer: the passes of one layer on the same tensors.
#pragma once

#include <cstddef>
#include <string>

#include "bench/support/layer_pass.hpp"

namespace adr_bench {

class Convolution {
 public:
  Convolution() = default;
  Convolution(const Convolution&) = delete;
  Convolution& operator=(const Convolution&) = delete;
  virtual ~Convolution() = default;

  /// False when the engine has no kernel for one of the parts.
  [[nodiscard]] virtual bool has(const PassParts& parts) const = 0;
  /// Before every run, not timed: tells the rivals how many threads to use.
  virtual void prepare() = 0;
  virtual void run(const PassParts& parts) = 0;
  /// After a run, not timed: writes its results to the tensors in their layout.
  virtual void deliver(const PassParts& parts) = 0;
  [[nodiscard]] virtual std::size_t workspace_bytes(const PassParts& parts) const = 0;
  /// What runs, in a few words.
  [[nodiscard]] virtual std::string config(const PassParts& parts) const = 0;
};

}  // namespace adr_bench
