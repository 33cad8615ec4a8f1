// The dense rivals, each as its own library offers it: Eigen, OpenBLAS, oneDNN.
//
// Eigen is always there, the others when the build found them (ADR_BENCH_HAS_OPENBLAS,
// ADR_BENCH_HAS_ONEDNN). Each is told how many threads to use before every run, because they share
// the process with each other and with this library. The library itself uses them inside reuse_gemm
// with one thread each, because it starts its own.
#pragma once

#include <Eigen/Core>
#include <adr/core/types.hpp>
#include <adr/gemm/dense_gemm.hpp>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/support/user_error.hpp"

#if defined(ADR_BENCH_HAS_OPENBLAS)
#include <adr/gemm/cblas_gemm.hpp>
#endif
#if defined(ADR_BENCH_HAS_ONEDNN)
#include <dnnl.h>
#include <omp.h>
#endif

namespace adr_bench {

struct DenseEngine {
  std::string name;
  std::function<void(int threads)> set_threads;
  /// Multiplies with as many threads as set_threads said.
  adr::DenseGemm<float> multiply;
};

namespace detail {

using Factor = adr::GemmFactor<float>;

inline void eigen_multiply(const Factor& a, const Factor& b, adr::Update update,
                           const adr::MatrixView<float>& result) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  const auto map = [](const adr::MatrixView<const float>& m) {
    return Eigen::Map<const RowMajor, Eigen::Unaligned, Stride>(m.data, m.rows, m.cols,
                                                                Stride(m.row_stride));
  };
  Eigen::Map<RowMajor, Eigen::Unaligned, Stride> target(result.data, result.rows, result.cols,
                                                        Stride(result.row_stride));
  const auto left = map(a.matrix);
  const auto right = map(b.matrix);
  const auto write = [&](const auto& product) {
    if (update == adr::Update::accumulate) {
      target.noalias() += product;
    } else {
      target.noalias() = product;
    }
  };
  if (a.transposed && b.transposed) {
    write(left.transpose() * right.transpose());
  } else if (a.transposed) {
    write(left.transpose() * right);
  } else if (b.transposed) {
    write(left * right.transpose());
  } else {
    write(left * right);
  }
}

#if defined(ADR_BENCH_HAS_ONEDNN)
inline void onednn_multiply(const Factor& a, const Factor& b, adr::Update update,
                            const adr::MatrixView<float>& result) {
  const float beta = update == adr::Update::accumulate ? 1.0F : 0.0F;
  const dnnl_status_t status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', a.rows(), b.cols(), a.cols(),
                 1.0F, a.matrix.data, a.matrix.row_stride, b.matrix.data, b.matrix.row_stride, beta,
                 result.data, result.row_stride);
  if (status != dnnl_success) {
    throw std::runtime_error(message("dnnl_sgemm failed with status ", status));
  }
}
#endif

}  // namespace detail

/// All rivals of this build.
inline std::vector<DenseEngine> dense_engines() {
  std::vector<DenseEngine> engines;
  engines.push_back({"eigen", [](int threads) { Eigen::setNbThreads(threads); },
                     adr::DenseGemm<float>(detail::eigen_multiply)});
#if defined(ADR_BENCH_HAS_OPENBLAS)
  engines.push_back({"openblas", [](int threads) { openblas_set_num_threads(threads); },
                     adr::cblas_gemm<float>()});
#endif
#if defined(ADR_BENCH_HAS_ONEDNN)
  engines.push_back({"onednn", [](int threads) { omp_set_num_threads(threads); },
                     adr::DenseGemm<float>(detail::onednn_multiply)});
#endif
  return engines;
}

/// What the library multiplies with by itself, as a user gets it.
inline constexpr const char* k_own_product = "adr";

/// The product of that name: a rival's, or the library's own. Errors: UserError when this build has
/// none.
inline DenseEngine dense_engine(const std::string& name) {
  if (name == k_own_product) return {name, [](int) {}, adr::DenseGemm<float>()};
  for (DenseEngine engine : dense_engines()) {
    if (engine.name == name) return engine;
  }
  throw UserError(message("the engine '", name, "' is not part of this build"));
}

/// The rivals' names.
inline std::vector<std::string> engine_names() {
  std::vector<std::string> names;
  for (const DenseEngine& engine : dense_engines()) names.push_back(engine.name);
  return names;
}
/// Those of all products that reuse can multiply with.
inline std::vector<std::string> product_names() {
  std::vector<std::string> names = engine_names();
  names.insert(names.begin(), k_own_product);
  return names;
}

/// The rival that multiplies unfolded images: the strongest of this build.
inline std::string unfolding_engine() {
#if defined(ADR_BENCH_HAS_OPENBLAS)
  return "openblas";
#else
  return "eigen";
#endif
}

}  // namespace adr_bench
