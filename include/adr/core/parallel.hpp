// The one place where threads start: a loop over independent tasks, on OpenMP or on the caller
// alone.
//
// Determinism is a rule of the callers, not of this file: what is summed, and in which order, may
// depend on the index of a task and never on the thread that runs it or on how many threads there
// are; only which whole sums a task has may.
#pragma once

#include <algorithm>
#include <exception>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

#if defined(ADR_OPENMP) && !defined(_OPENMP)
#error "ADR_OPENMP is defined but OpenMP is not enabled for this translation unit"
#endif
#if defined(ADR_OPENMP)
#include <omp.h>
#endif

ADR_NAMESPACE_BEGIN

/// The number of threads that are worth asking for: OpenMP's maximum, or 1 without ADR_OPENMP.
/// Thread-safety: reentrant.
inline int max_threads() noexcept {
#if defined(ADR_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Calls task(index, thread) for every index in [0, count); thread is in [0, thread_count) and no
/// two tasks with the same thread run at once, so it may select scratch memory. Tasks are given out
/// as threads become free. The first exception of a task is rethrown after all threads have
/// stopped. Requires: thread_count at least 1. Errors: those of task. Determinism: see the head of
/// this file. Thread-safety: reentrant, as task is.
template <class Task>
void parallel_for(index_t count, int thread_count, const Task& task) {
#if defined(ADR_OPENMP)
  if (thread_count > 1 && count > 1) {
#if ADR_HAS_EXCEPTIONS
    std::exception_ptr failure;
#pragma omp parallel for num_threads(thread_count) schedule(dynamic, 1)
    for (index_t i = 0; i < count; ++i) {
      try {
        task(i, omp_get_thread_num());
      } catch (...) {
#pragma omp critical(adr_parallel_for_failure)
        if (!failure) failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
#else
#pragma omp parallel for num_threads(thread_count) schedule(dynamic, 1)
    for (index_t i = 0; i < count; ++i) task(i, omp_get_thread_num());
#endif
    return;
  }
#else
  static_cast<void>(thread_count);
#endif
  for (index_t i = 0; i < count; ++i) task(i, 0);
}

/// Half-open range of indices.
struct IndexRange {
  index_t first = 0;  ///< the first index
  index_t last = 0;   ///< the one behind the last index
  /// How many indices.
  [[nodiscard]] index_t size() const noexcept { return last - first; }
};

/// How many blocks of that size hold count things.
inline index_t blocks_of(index_t count, index_t block) noexcept {
  return (count + block - 1) / block;
}
/// Into how many parts `size` things of every task are cut where there are too few tasks for the
/// threads: parts of `fewest` things or more. Depends on the number of threads, so that results
/// must not depend on the cut.
inline index_t parts_for_threads(index_t tasks, index_t size, index_t fewest,
                                 int thread_count) noexcept {
  constexpr index_t k_wanted_per_thread = 3;
  if (thread_count == 1) return 1;
  const index_t wanted = blocks_of(k_wanted_per_thread * thread_count, tasks);
  return std::max<index_t>(std::min(wanted, size / fewest), 1);
}
/// The least multiple of unit that is not below count.
inline index_t round_up(index_t count, index_t unit) noexcept {
  return blocks_of(count, unit) * unit;
}

/// The part-th of part_count nearly equal, consecutive parts of [0, count).
inline IndexRange partition(index_t count, index_t part_count, index_t part) noexcept {
  const index_t base = count / part_count;
  const index_t extra = count % part_count;
  const index_t first = part * base + (part < extra ? part : extra);
  return {first, first + base + (part < extra ? 1 : 0)};
}

ADR_NAMESPACE_END
