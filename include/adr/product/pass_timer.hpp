// Seconds between the parts of a pass, by the clock of the context.
#pragma once

#include "adr/core/context.hpp"

ADR_NAMESPACE_BEGIN

/// A stopwatch whose laps follow one another without gaps. Cost: one reading of the clock per lap.
class PassTimer {
 public:
  explicit PassTimer(const Context& context) : context_(context), last_(context.seconds()) {}

  /// Seconds since the last lap, or since the timer was made.
  double lap() {
    const double now = context_.seconds();
    const double seconds = now - last_;
    last_ = now;
    return seconds;
  }

 private:
  const Context& context_;
  double last_;
};

ADR_NAMESPACE_END
