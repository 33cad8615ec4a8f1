// Which of several ways to do the same takes the least time, found by trying.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// The number of the way with the shortest run, of `count` > 0 ways; the first of one, and without
/// a clock.
///
/// All are run once, in turn; those again that took less than twice as long as the fastest, because
/// a first run warms up; and those a third time that are within a tenth of the fastest then. It
/// ends as soon as one is left. Run: run(way). Errors: those of run, std::bad_alloc. Thread-safety:
/// that of run and of the clock.
template <class Run>
std::size_t fastest_of(std::size_t count, const Clock& clock, const Run& run) {
  if (count == 1 || !clock) return 0;
  std::vector<std::size_t> ways(count);
  for (std::size_t way = 0; way < count; ++way) ways[way] = way;
  std::vector<double> seconds(count, std::numeric_limits<double>::max());
  std::size_t best = 0;
  for (const double within : {2.0, 1.1, 1.0}) {
    for (const std::size_t way : ways) {
      const double start = clock();
      run(way);
      seconds[way] = std::min(seconds[way], clock() - start);
      if (seconds[way] < seconds[best]) best = way;
    }
    ways.erase(std::remove_if(ways.begin(), ways.end(),
                              [&](std::size_t way) {
                                return way != best && seconds[way] >= within * seconds[best];
                              }),
               ways.end());
    if (ways.size() == 1) break;
  }
  return best;
}

}  // namespace detail

ADR_NAMESPACE_END
