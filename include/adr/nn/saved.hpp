// Passes that gradients refer to.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// What one forward pass leaves for its gradients, kept by the caller: one per image, time step or
/// micro-batch where several forward passes come before their gradients.
///
/// `layer.forward(..., saved)` fills it, `layer.backward(..., saved)` reads it, as often as wanted.
/// Used again, it keeps its memory. Memory: with Published the clusters of the pass; else a few
/// numbers. Thread-safety: that of the layer.
class Saved {
 public:
  /// Whether no pass has been kept yet.
  [[nodiscard]] bool empty() const noexcept { return pass_ == nullptr; }

  /// What layers of different kinds keep.
  struct Pass {
    virtual ~Pass() = default;
    std::uint64_t layer = 0;  ///< the number of that whose pass it was
  };
  [[nodiscard]] Pass* pass() const noexcept { return pass_.get(); }
  void set_pass(std::unique_ptr<Pass> pass) noexcept { pass_ = std::move(pass); }

 private:
  std::unique_ptr<Pass> pass_;
};

namespace detail {

/// A number that no other layer of the program has, of whatever kind. Thread-safety: reentrant.
inline std::uint64_t next_layer_number() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace detail

/// Whether a layer learns from what it sees.
enum class Mode {
  training,   ///< subspaces are learned, settings measured and changed
  inference,  ///< nothing is learned: what was learned is used, and where nothing was, the exact
              ///< engine
};

ADR_NAMESPACE_END
