// The inline namespace that every name of the library lives in, tagged with version, instruction
// set and threading.
//
// A header-only SIMD library compiled twice with different `-march` flags into one program breaks
// the one-definition rule: the linker keeps one copy of an inline function and may keep the one
// that the other half of the program's processor cannot run. With the instruction set in the
// (inline, hence invisible) namespace the two copies are different symbols, and passing an `adr`
// type across such a boundary fails at link time instead of crashing at run time. The same holds
// for ADR_OPENMP.
#pragma once

#include "adr/version.hpp"

#if defined(ADR_NO_SIMD)
#define ADR_ISA scalar
#elif defined(__AVX512BW__)
#define ADR_ISA avx512bw
#elif defined(__AVX512F__)
#define ADR_ISA avx512f
#elif defined(__AVX2__) && defined(__FMA__)
#define ADR_ISA avx2_fma
#elif defined(__AVX2__)
#define ADR_ISA avx2
#elif defined(__AVX__)
#define ADR_ISA avx
#elif defined(__SSE4_1__)
#define ADR_ISA sse4
#elif defined(__SSE2__)
#define ADR_ISA sse2
#elif defined(__ARM_NEON)
#define ADR_ISA neon
#else
#define ADR_ISA portable
#endif

#if defined(ADR_OPENMP)
#define ADR_THREADS openmp
#else
#define ADR_THREADS serial
#endif

#define ADR_DETAIL_JOIN(major, minor, isa, threads) v##major##_##minor##_##isa##_##threads
#define ADR_DETAIL_EXPAND(major, minor, isa, threads) ADR_DETAIL_JOIN(major, minor, isa, threads)
#define ADR_ABI_NAMESPACE \
  ADR_DETAIL_EXPAND(ADR_VERSION_MAJOR, ADR_VERSION_MINOR, ADR_ISA, ADR_THREADS)

#define ADR_DETAIL_STRING_OF(name) #name
#define ADR_DETAIL_STRING(name) ADR_DETAIL_STRING_OF(name)
/// The instruction set this translation unit is compiled for, as a string literal ("avx2_fma",
/// ...).
#define ADR_ISA_NAME ADR_DETAIL_STRING(ADR_ISA)

#define ADR_NAMESPACE_BEGIN \
  namespace adr {           \
  inline namespace ADR_ABI_NAMESPACE {
#define ADR_NAMESPACE_END \
  }                       \
  }
