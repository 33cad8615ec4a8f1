// Eigen on one thread, wherever this library calls it.
#pragma once

#include <Eigen/Core>

#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Eigen starts threads of its own when OpenMP is on, which would make the result depend on their
/// number; this library partitions the work itself.
class OneEigenThread {
 public:
  OneEigenThread() noexcept {
#if defined(ADR_OPENMP)
    if (omp_in_parallel() != 0) return;
    before_ = Eigen::nbThreads();
    if (before_ != 1) Eigen::setNbThreads(1);
#endif
  }
  ~OneEigenThread() {
#if defined(ADR_OPENMP)
    // 0 restores Eigen's default, which is to follow OpenMP's maximum.
    if (before_ > 1) Eigen::setNbThreads(before_ == omp_get_max_threads() ? 0 : before_);
#endif
  }
  OneEigenThread(const OneEigenThread&) = delete;
  OneEigenThread& operator=(const OneEigenThread&) = delete;

 private:
  int before_ = 1;
};

}  // namespace detail
ADR_NAMESPACE_END
