// The contenders of an exact layer: this library's engine, and the packages by their own calls.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/exact/library_engine.hpp"
#include "bench/exact/onednn_products.hpp"
#include "bench/exact/product_packages.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/layer_tensors.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/onednn_convolution.hpp"

namespace adr_bench {

struct ExactContender {
  std::string name;
  std::string version;
  /// Whether it computes with floats: what does not is shown and is nobody's best dense one.
  bool fp32 = true;
  /// Makes it for that many threads; null where the package has nothing for such a layer. The
  /// tensors must outlive it.
  std::function<std::unique_ptr<Convolution>(LayerTensors&, int threads)> make;
};

inline constexpr std::size_t k_library = 0;  ///< the index of this library among the contenders

namespace detail {

inline void add_products(std::vector<ExactContender>& contenders, const nlohmann::json& versions) {
  for (const DenseEngine& product : dense_engines()) {
    const std::string name = product.name == "onednn" ? "onednn_gemm" : product.name;
    contenders.push_back(
        {name, versions.at(product.name), true,
         [product](LayerTensors& tensors, int threads) -> std::unique_ptr<Convolution> {
           if (!is_one_product(tensors.geometry())) return nullptr;
           return std::make_unique<ProductPackage>(tensors, product, threads);
         }});
  }
  const DenseEngine product = dense_engine(unfolding_engine());
  contenders.push_back(
      {"im2col_" + product.name, versions.at(product.name), true,
       [product](LayerTensors& tensors, int threads) -> std::unique_ptr<Convolution> {
         const adr::ConvGeometry& g = tensors.geometry();
         if (g.groups != 1 || is_one_product(g)) return nullptr;
         return std::make_unique<UnfoldedPackage>(tensors, product, threads);
       }});
}

#if defined(ADR_BENCH_HAS_ONEDNN)
inline void add_onednn(std::vector<ExactContender>& contenders, const std::string& version) {
  using dnnl::algorithm;
  const auto convolution = [](algorithm kind, dnnl::memory::data_type type) {
    return [kind, type](LayerTensors& tensors, int threads) -> std::unique_ptr<Convolution> {
      return std::make_unique<OneDnnConvolution>(tensors, kind, threads, type);
    };
  };
  const auto linear = [](auto* type) {
    using Linear = std::remove_pointer_t<decltype(type)>;
    return [](LayerTensors& tensors, int threads) -> std::unique_ptr<Convolution> {
      const adr::ConvGeometry& g = tensors.geometry();
      if (!is_one_product(g) || g.in_height * g.in_width != 1) return nullptr;
      return std::make_unique<Linear>(tensors, threads);
    };
  };
  const auto f32 = dnnl::memory::data_type::f32;
  contenders.push_back(
      {"onednn_direct", version, true, convolution(algorithm::convolution_direct, f32)});
  contenders.push_back(
      {"onednn_winograd", version, true, convolution(algorithm::convolution_winograd, f32)});
  contenders.push_back(
      {"onednn_inner_product", version, true, linear(static_cast<OneDnnInnerProduct*>(nullptr))});
  contenders.push_back(
      {"onednn_matmul", version, true, linear(static_cast<OneDnnMatmul*>(nullptr))});
  // Without instructions for them, oneDNN computes with bfloat16 far slower than with floats.
  if (onednn_has(dnnl_cpu_isa_avx512_core_bf16)) {
    contenders.push_back(
        {"onednn_bf16", version, false,
         convolution(algorithm::convolution_direct, dnnl::memory::data_type::bf16)});
  }
}
#endif

}  // namespace detail

/// All contenders of this build, this library's engine first.
inline std::vector<ExactContender> exact_contenders() {
  const nlohmann::json versions = detail::libraries();
  std::vector<ExactContender> contenders;
  contenders.push_back({"adr_exact", versions.at("adr"), true,
                        [](LayerTensors& tensors, int threads) -> std::unique_ptr<Convolution> {
                          return std::make_unique<LibraryEngine>(tensors, threads);
                        }});
#if defined(ADR_BENCH_HAS_ONEDNN)
  detail::add_onednn(contenders, versions.at("onednn"));
#endif
  detail::add_products(contenders, versions);
  return contenders;
}

}  // namespace adr_bench
