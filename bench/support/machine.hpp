// What a measurement was taken on: without it a number means nothing.
#pragma once

#include <Eigen/Core>
#include <adr/core/abi.hpp>
#include <adr/simd/batch.hpp>
#include <adr/version.hpp>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "bench/support/user_error.hpp"

#if defined(ADR_BENCH_HAS_OPENBLAS)
#include <cblas.h>
#endif
#if defined(ADR_BENCH_HAS_ONEDNN)
#include <dnnl.h>
#endif

namespace adr_bench {

namespace detail {

inline std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

inline std::string compiler() {
#if defined(__clang__)
  return __VERSION__;
#elif defined(__GNUC__)
  return std::string("GCC ") + __VERSION__;
#else
  return "unknown";
#endif
}

inline std::string eigen_version() {
  // From version 5 on, Eigen counts major.minor.patch; before, world.major.minor.
#if defined(EIGEN_PATCH_VERSION)
  return message(EIGEN_MAJOR_VERSION, '.', EIGEN_MINOR_VERSION, '.', EIGEN_PATCH_VERSION);
#else
  return message(EIGEN_WORLD_VERSION, '.', EIGEN_MAJOR_VERSION, '.', EIGEN_MINOR_VERSION);
#endif
}

#if defined(ADR_BENCH_HAS_ONEDNN)
/// What oneDNN's kernels use, by its own name where it is one of this list.
inline std::string onednn_instruction_set() {
  const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  switch (isa) {
    case dnnl_cpu_isa_sse41:
      return "SSE41";
    case dnnl_cpu_isa_avx:
      return "AVX";
    case dnnl_cpu_isa_avx2:
      return "AVX2";
    case dnnl_cpu_isa_avx2_vnni:
      return "AVX2_VNNI";
    case dnnl_cpu_isa_avx512_core:
      return "AVX512_CORE";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "AVX512_CORE_VNNI";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "AVX512_CORE_BF16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "AVX512_CORE_AMX";
    default:
      return message("instruction set ", static_cast<unsigned>(isa));
  }
}
#endif

inline nlohmann::json libraries() {
  nlohmann::json versions;
  versions["adr"] = message(ADR_VERSION_MAJOR, '.', ADR_VERSION_MINOR, '.', ADR_VERSION_PATCH);
  versions["eigen"] = eigen_version();
#if defined(XSIMD_VERSION_MAJOR)
  versions["xsimd"] =
      message(XSIMD_VERSION_MAJOR, '.', XSIMD_VERSION_MINOR, '.', XSIMD_VERSION_PATCH);
#endif
#if defined(ADR_BENCH_HAS_OPENBLAS)
  // "OpenBLAS 0.3.21 NO_LAPACKE ...": the number is enough.
  std::istringstream config(openblas_get_config());
  std::string name, number;
  config >> name >> number;
  versions["openblas"] = message(number, " on ", openblas_get_corename());
#endif
#if defined(ADR_BENCH_HAS_ONEDNN)
  const dnnl_version_t* version = dnnl_version();
  versions["onednn"] = message(version->major, '.', version->minor, '.', version->patch, " on ",
                               onednn_instruction_set());
#endif
  return versions;
}

inline std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

}  // namespace detail

#if defined(ADR_BENCH_HAS_ONEDNN)
/// Whether oneDNN uses these instructions and all that they build on.
inline bool onednn_has(dnnl_cpu_isa_t isa) {
  const auto bits = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & bits) == bits;
}
#endif

/// Processor, compiler, flags, library versions and the instruction sets they chose, threads (a
/// number or a list), date, and how busy the machine was.
inline nlohmann::json machine(const nlohmann::json& threads) {
  double load = -1;
  if (getloadavg(&load, 1) != 1) load = -1;
  nlohmann::json machine;
  machine["cpu"] = detail::cpu_model();
  machine["cores"] = std::thread::hardware_concurrency();
  machine["threads"] = threads;
  machine["compiler"] = detail::compiler();
  machine["flags"] = ADR_BENCH_FLAGS;
  machine["instruction_set"] = ADR_ISA_NAME;
  machine["libraries"] = detail::libraries();
  for (const char* name : {"OPENBLAS_CORETYPE", "DNNL_MAX_CPU_ISA"}) {
    if (const char* value = std::getenv(name)) machine["environment"][name] = value;
  }
  machine["date"] = detail::utc_now();
  machine["load_average_at_start"] = load;
  return machine;
}

/// The same in two lines for the screen.
inline std::string to_text(const nlohmann::json& machine) {
  std::string libraries;
  for (const auto& [name, version] : machine["libraries"].items()) {
    libraries += message(libraries.empty() ? "" : ", ", name, " ", version.get<std::string>());
  }
  return message(machine["cpu"].get<std::string>(), ", ", machine["cores"], " core(s), using ",
                 machine["threads"], "; instruction set ",
                 machine["instruction_set"].get<std::string>(), "; ",
                 machine["compiler"].get<std::string>(), " ", machine["flags"].get<std::string>(),
                 "; load ", machine["load_average_at_start"], "\n", libraries);
}

}  // namespace adr_bench
