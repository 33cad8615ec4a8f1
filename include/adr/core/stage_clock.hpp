// Stopwatches for the stages of a pass, which can be absent.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

#include "adr/core/stage_times.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// One StageTimes per thread, added to the total at the end; empty when no times are wanted.
class ThreadStageTimes {
 public:
  /// For that many threads; null: no times are wanted.
  ThreadStageTimes(StageTimes* total, int thread_count) : total_(total) {
    if (total_ != nullptr) per_thread_.resize(static_cast<std::size_t>(thread_count));
  }
  ~ThreadStageTimes() {
    for (const StageTimes& times : per_thread_) total_->add(times);
  }
  ThreadStageTimes(const ThreadStageTimes&) = delete;
  ThreadStageTimes& operator=(const ThreadStageTimes&) = delete;

  /// Where a thread adds its times; null where none are wanted.
  [[nodiscard]] StageTimes* of(int thread) noexcept {
    return total_ != nullptr ? &per_thread_[static_cast<std::size_t>(thread)] : nullptr;
  }

 private:
  StageTimes* total_;
  std::vector<StageTimes> per_thread_;
};

/// Attributes the time since the previous call to a stage; does nothing when it was given no times.
class StageClock {
 public:
  /// Starts the watch; null: no times are wanted.
  explicit StageClock(StageTimes* times) : times_(times) {
    if (times_ != nullptr) last_ = std::chrono::steady_clock::now();
  }
  /// Adds the time since the last call, or the start, to a stage.
  void finish(Stage stage) {
    if (times_ == nullptr) return;
    const auto now = std::chrono::steady_clock::now();
    times_->add(stage, std::chrono::duration<double>(now - last_).count());
    last_ = now;
  }

 private:
  StageTimes* times_;
  std::chrono::steady_clock::time_point last_;
};

ADR_NAMESPACE_END
