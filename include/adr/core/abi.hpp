// The inline namespace that every name of the library lives in, tagged with version, instruction
// set and threading.
//
// A header-only SIMD library compiled twice with different `-march` flags into one program breaks
// the one-definition rule: the linker keeps one copy of an inline function and may keep the one
// that the other half of the program's processor cannot run. With the instruction set in the
// (inline, hence invisible) namespace the two copies are different symbols, and passing an `adr`
// type across such a boundary fails at link time instead of crashing at run time. The same holds
// for ADR_OPENMP, NDEBUG and exceptions. Plain data that cross boundaries (views, options,
// reports, geometries) are outside of it.
#pragma once

#include "adr/version.hpp"

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "adr needs C++17 or later: compile with -std=c++17"
#endif
#if defined(__FAST_MATH__)
#error "adr needs NaN and infinity to be what they are: compile without -ffast-math and -Ofast"
#endif
#if defined(min) || defined(max)
#error "adr uses std::min and std::max: undefine the macros min and max (NOMINMAX on Windows)"
#endif
#if defined(I)
#error "the macro I of <complex.h> hides names: include adr before it, or undefine I"
#endif

#if defined(ADR_NO_SIMD)
#define ADR_ISA scalar
#elif defined(__AVX512BW__) && defined(__AVX512VL__)
#define ADR_ISA avx512bw
#elif defined(__AVX512BW__)
#define ADR_ISA avx512bw_without_vl
#elif defined(__AVX512F__)
#define ADR_ISA avx512f
#elif defined(__AVX2__) && defined(__FMA__)
#define ADR_ISA avx2_fma
#elif defined(__AVX2__)
#define ADR_ISA avx2
#elif defined(__AVX__) && defined(__FMA__)
#define ADR_ISA avx_fma
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

// Assertions and the handling of errors are in the bodies of functions, too.
#if defined(NDEBUG)
#define ADR_CHECKS release
#else
#define ADR_CHECKS debug
#endif
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define ADR_ERRORS throws
#else
#define ADR_ERRORS aborts
#endif

#define ADR_DETAIL_JOIN(major, minor, isa, threads, checks, errors) \
  v##major##_##minor##_##isa##_##threads##_##checks##_##errors
#define ADR_DETAIL_EXPAND(major, minor, isa, threads, checks, errors) \
  ADR_DETAIL_JOIN(major, minor, isa, threads, checks, errors)
#define ADR_ABI_NAMESPACE                                                                   \
  ADR_DETAIL_EXPAND(ADR_VERSION_MAJOR, ADR_VERSION_MINOR, ADR_ISA, ADR_THREADS, ADR_CHECKS, \
                    ADR_ERRORS)

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
