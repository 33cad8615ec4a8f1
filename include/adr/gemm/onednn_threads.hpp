// The number of threads of oneDNN's calls. Optional, as adr/onednn.hpp, which uses it.
#pragma once

#if defined(ADR_OPENMP)
#include <omp.h>
#endif

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// While it lives, OpenMP starts the given number of threads in oneDNN; without ADR_OPENMP oneDNN
/// decides.
class OneDnnThreads {
 public:
#if defined(ADR_OPENMP)
  explicit OneDnnThreads(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~OneDnnThreads() { omp_set_num_threads(before_); }
#else
  explicit OneDnnThreads(int /*threads*/) {}
  ~OneDnnThreads() = default;
#endif
  OneDnnThreads(const OneDnnThreads&) = delete;
  OneDnnThreads& operator=(const OneDnnThreads&) = delete;

#if defined(ADR_OPENMP)
 private:
  int before_;
#endif
};

}  // namespace detail

ADR_NAMESPACE_END
