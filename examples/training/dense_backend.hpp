// What all that is not reused is computed with. "exact" is the library itself, "direct" the same
// without Winograd's algorithms; the others are packages, the rivals, as this build has them.
// "fastest" takes, layer by layer and pass by pass, the fastest package: oneDNN's convolutions or
// unfolding with a product, and of the products the fastest for each shape.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/fastest_gemm.hpp"
#include "adr/nn/fastest_convolution.hpp"
#include "adr/nn/unfolded_convolution.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "training/errors.hpp"

#if defined(TRAINING_HAS_OPENBLAS)
#include "adr/gemm/cblas_gemm.hpp"
#endif
#if defined(TRAINING_HAS_ONEDNN)
#include "adr/gemm/onednn_gemm.hpp"
#include "adr/onednn.hpp"
#endif

namespace training {

/// The rivals of this build, the strongest first.
inline std::vector<std::string> package_backends() {
  return {
#if defined(TRAINING_HAS_ONEDNN)
    "fastest", "onednn",
#endif
#if defined(TRAINING_HAS_OPENBLAS)
        "openblas"
#endif
  };
}

inline bool is_package(const std::string& backend) {
  return backend != "exact" && backend != "direct";
}

inline std::vector<std::string> dense_backends() {
  std::vector<std::string> backends = package_backends();
  backends.insert(backends.begin(), {"exact", "direct"});
  return backends;
}

/// For people.
inline std::string backend_words(const std::string& backend) {
  if (backend == "exact") return "this library";
  if (backend == "direct") return "this library without Winograd";
  return backend == "fastest" ? "the fastest package" : backend;
}

/// Whether exact convolutions may use Winograd's algorithms.
inline bool allows_winograd(const std::string& backend) { return backend != "direct"; }

/// The products of the packages of this build, the one that is the strongest on most machines last.
template <class T>
std::vector<adr::DenseGemm<T>> package_products() {
  std::vector<adr::DenseGemm<T>> products;
#if defined(TRAINING_HAS_ONEDNN)
  if constexpr (std::is_same_v<T, float>) products.push_back(adr::onednn_gemm());
#endif
#if defined(TRAINING_HAS_OPENBLAS)
  // The library runs one product per thread; threads inside each product would fight over the
  // cores.
  openblas_set_num_threads(1);
  products.push_back(adr::cblas_gemm<T>());
#endif
  return products;
}

/// The product of everything that is no convolution, and of convolutions where the backend has none
/// of its own: of "fastest" the fastest for each shape, else the backend's or the strongest.
template <class T>
adr::DenseGemm<T> dense_gemm(const std::string& backend) {
  if (!is_package(backend)) return {};
  const std::vector<adr::DenseGemm<T>> products = package_products<T>();
  require(!products.empty(), "--dense-backend is not part of this build: ", backend);
  return backend == "fastest" ? adr::fastest_gemm<T>(products) : products.back();
}

/// Makes the dense convolution of a layer; null where the library or its unfolding does.
template <class T>
using ConvolutionMaker =
    std::function<std::shared_ptr<adr::DenseConvolution<T>>(const adr::ConvGeometry&)>;

template <class T>
ConvolutionMaker<T> dense_convolutions([[maybe_unused]] const std::string& backend,
                                       [[maybe_unused]] int threads) {
#if defined(TRAINING_HAS_ONEDNN)
  if constexpr (std::is_same_v<T, float>) {
    using Convolution = std::shared_ptr<adr::DenseConvolution<T>>;
    if (backend == "onednn") {
      return [threads](const adr::ConvGeometry& geometry) -> Convolution {
        return std::make_shared<adr::OneDnnConvolution>(geometry, threads);
      };
    }
    if (backend == "fastest") {
      const adr::DenseGemm<T> gemm = dense_gemm<T>(backend);
      return [threads, gemm](const adr::ConvGeometry& geometry) -> Convolution {
        const std::vector<Convolution> all = {
            std::make_shared<adr::UnfoldedConvolution<T>>(geometry, gemm, threads),
            std::make_shared<adr::OneDnnConvolution>(geometry, threads)};
        return std::make_shared<adr::FastestConvolution<T>>(all);
      };
    }
  }
#endif
  return [](const adr::ConvGeometry&) { return nullptr; };
}

}  // namespace training
