// A line on a terminal that tells how far an epoch is and how long the run will still take; silent
// when standard error is not a terminal.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "training/tensor.hpp"

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace training {

inline bool stderr_is_terminal() {
#if defined(_WIN32)
  return _isatty(_fileno(stderr)) != 0;
#else
  return isatty(fileno(stderr)) != 0;
#endif
}

/// Minutes and seconds, with hours when there are any.
inline std::string clock_time(double seconds) {
  const auto total = static_cast<long>(std::max(seconds, 0.0) + 0.5);
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof(text), "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
  } else {
    std::snprintf(text, sizeof(text), "%ld:%02ld", total / 60, total % 60);
  }
  return text;
}

class ProgressBar {
 public:
  /// Counts the steps of this process: a resumed run begins at 0 again, so that its speed is right.
  ProgressBar(index_t total_steps, bool visible) : total_steps_(total_steps), visible_(visible) {}

  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws a few times a second.
  void advance(index_t epoch, index_t last_epoch, index_t step, index_t steps_per_epoch,
               double loss) {
    ++steps_done_;
    const auto now = Clock::now();
    if (!visible_ || now - last_drawn_ < std::chrono::milliseconds(200)) return;
    last_drawn_ = now;
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    const double left = elapsed / static_cast<double>(steps_done_) *
                        static_cast<double>(total_steps_ - steps_done_);
    constexpr index_t k_width = 30;
    const auto filled = static_cast<std::size_t>(k_width * step / steps_per_epoch);
    std::string bar(filled, '#');
    bar.resize(static_cast<std::size_t>(k_width), '.');
    std::fprintf(stderr, "\repoch %td/%td [%s] %td/%td  loss %.3f  left %s   ", epoch, last_epoch,
                 bar.c_str(), step, steps_per_epoch, loss, clock_time(left).c_str());
    std::fflush(stderr);
  }

  /// Wipes the bar, so that other output starts on a clean line.
  void clear() const {
    if (visible_) std::fprintf(stderr, "\r%80s\r", "");
  }

 private:
  using Clock = std::chrono::steady_clock;
  index_t total_steps_;
  bool visible_;
  index_t steps_done_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_drawn_{};
};

}  // namespace training
