// When a stream is compared with what came before, and when that is given up for a while.
#pragma once

#include "adr/adapt/growing_interval.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// Leaves a stream whose frames have little in common to exact passes, and tries again after waits
/// that grow. Thread-safety: none. Source: this library.
class StreamPace {
 public:
  /// What the next pass is to do.
  StreamPass next() noexcept {
    if (wait_ > 0) {
      --wait_;
      return StreamPass::left;
    }
    return keeps_ ? StreamPass::compared : StreamPass::first;
  }
  /// Whether an input and its output are kept.
  [[nodiscard]] bool keeps() const noexcept { return keeps_; }
  /// A pass has kept its input and output.
  void kept() noexcept { keeps_ = true; }
  /// What was kept is worth nothing any more.
  void forget() noexcept { keeps_ = false; }
  /// Begins as at first.
  void reset() noexcept { *this = StreamPace(); }
  /// A comparison has ended; pays: whether it saved more than it took.
  void compared(bool pays) noexcept {
    if (pays) {
      misses_ = 0;
      interval_.restart();
    } else if (++misses_ >= k_most_misses) {
      // One more is enough after the wait.
      misses_ = k_most_misses - 1;
      wait_ = interval_.take();
      keeps_ = false;
    }
  }

 private:
  /// A cut to another scene is one miss, and no moving camera; the first comparisons know little
  /// of what may be left aside.
  static constexpr int k_most_misses = 4;

  GrowingInterval interval_{32, 512};
  index_t wait_ = 0;
  int misses_ = 0;
  bool keeps_ = false;
};

}  // namespace stream
ADR_NAMESPACE_END
