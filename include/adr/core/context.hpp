// What an operation runs with, as opposed to what it computes: threads and scratch memory.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "adr/core/errors.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/workspace.hpp"

ADR_NAMESPACE_BEGIN

/// Seconds since some moment, the same for all calls. Called between passes and stages of passes.
using Clock = std::function<double()>;

/// Seconds of std::chrono::steady_clock: the clock of a context at first. Thread-safety: reentrant.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Threads and scratch for the operations that are handed this context, one after the other.
///
/// Share one among the layers of a network to share the scratch memory. Results do not depend on
/// the thread count. Requires: it outlives the layers that hold it. Memory: as much scratch as the
/// most demanding operation took. Thread-safety: none; one context per thread of control, no locks.
class Context {
 public:
  /// One thread.
  Context() = default;
  /// That many threads. Errors: as set_threads.
  explicit Context(int thread_count) { set_threads(thread_count); }

  /// Changes how many threads the operations to come may use; without ADR_OPENMP they use one.
  /// Errors: std::invalid_argument when thread_count < 1.
  void set_threads(int thread_count) {
    detail::require(thread_count >= 1, "thread_count must be at least 1, got ", thread_count);
    thread_count_ = thread_count;
  }
  /// What passes are timed by (Report::seconds), std::chrono::steady_clock at first; an empty
  /// clock times nothing, so that nothing can depend on the speed of the machine.
  void set_clock(Clock clock) { clock_ = std::move(clock); }
  /// What the clock says, in seconds; 0 with an empty clock.
  [[nodiscard]] double seconds() const { return clock_ ? clock_() : 0.0; }

  /// How many threads operations may use.
  [[nodiscard]] int threads() const noexcept { return thread_count_; }
  /// The scratch memory.
  [[nodiscard]] Workspace& workspace() noexcept { return workspace_; }
  /// The scratch memory, to ask how much there is.
  [[nodiscard]] const Workspace& workspace() const noexcept { return workspace_; }

 private:
  int thread_count_ = 1;
  Clock clock_ = steady_seconds;
  Workspace workspace_;
};

ADR_NAMESPACE_END
