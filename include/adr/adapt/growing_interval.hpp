// Waits that double each time, up to a limit.
#pragma once

#include <algorithm>
#include <string_view>

#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// An interval in steps between tries of the same thing: the first, then twice as long each time,
/// up to the longest. Thread-safety: none. Source: this library.
class GrowingInterval {
 public:
  /// Requires: first >= 1, longest >= 1, both at most 2^60.
  GrowingInterval(index_t first, index_t longest) noexcept
      : first_(first), longest_(longest), now_(first) {}

  /// The interval before the next try.
  index_t take() noexcept {
    const index_t taken = now_;
    now_ = std::min(2 * now_, longest_);
    return taken;
  }
  /// Begins with the first one again.
  void restart() noexcept { now_ = first_; }
  /// Whether the next interval is the longest.
  [[nodiscard]] bool is_longest() const noexcept { return now_ >= longest_; }

  void exchange(std::string_view what, StateArchive& archive) { archive(what, now_); }

 private:
  index_t first_;
  index_t longest_;
  index_t now_;
};

ADR_NAMESPACE_END
