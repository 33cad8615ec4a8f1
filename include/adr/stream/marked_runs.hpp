// Runs of marks in a line of pixels.
#pragma once

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace stream {

/// Calls use(range) for every run of marks that are not 0, from left to right.
template <class Use>
void for_each_marked_run(const unsigned char* marks, index_t count, const Use& use) {
  for (index_t i = 0; i < count;) {
    if (marks[i] == 0) {
      ++i;
      continue;
    }
    const index_t first = i;
    while (i < count && marks[i] != 0) ++i;
    use(IndexRange{first, i});
  }
}

}  // namespace stream
ADR_NAMESPACE_END
