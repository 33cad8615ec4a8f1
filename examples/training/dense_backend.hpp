// Which matrix product the dense path runs on, strongest first: what this build has decides.
#pragma once

#include <string>
#include <vector>

#include "adr/gemm/dense_gemm.hpp"
#include "training/errors.hpp"

#if defined(TRAINING_HAS_OPENBLAS)
#include "adr/gemm/cblas_gemm.hpp"
#endif

namespace training {

inline std::vector<std::string> dense_backends() {
#if defined(TRAINING_HAS_OPENBLAS)
  return {"openblas", "eigen"};
#else
  return {"eigen"};
#endif
}

template <class T>
adr::DenseGemm<T> dense_gemm(const std::string& backend) {
#if defined(TRAINING_HAS_OPENBLAS)
  if (backend == "openblas") {
    // The library runs one product per thread; threads inside each product would fight over the
    // cores.
    openblas_set_num_threads(1);
    return adr::cblas_gemm<T>();
  }
#endif
  require(backend == "eigen", "--dense-backend is not part of this build: ", backend);
  return {};
}

}  // namespace training
