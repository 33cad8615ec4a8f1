# Compiler flags of the tests, benchmarks, examples and tools. The target adr_dev carries them and is not
# installed: flags are the user's choice and must not reach a user through adr::adr.

set(adr_arch_flags_default "")
if(adr_top_level AND NOT CMAKE_CROSSCOMPILING)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=native ADR_HAS_MARCH_NATIVE)
  if(ADR_HAS_MARCH_NATIVE)
    set(adr_arch_flags_default "-march=native")
  endif()
endif()
set(ADR_ARCH_FLAGS "${adr_arch_flags_default}" CACHE STRING
  "Instruction set flags of tests, benchmarks, examples and tools, separated by blanks")
option(ADR_NO_SIMD "Build tests, benchmarks, examples and tools with the scalar kernels" OFF)
option(ADR_WERROR "Treat warnings as errors in tests, benchmarks, examples and tools" OFF)

if(adr_top_level AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

add_library(adr_dev INTERFACE)
target_link_libraries(adr_dev INTERFACE adr::adr)
target_compile_options(adr_dev INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # These compilers' own AVX-512 intrinsics initialise a variable with itself (gcc bug 105593).
  target_compile_options(adr_dev INTERFACE -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
# With the default the compiler collects garbage again and again: a tenth of the time that templates take.
target_compile_options(adr_dev INTERFACE $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=500000>)
if(ADR_WERROR)
  target_compile_options(adr_dev INTERFACE -Werror)
endif()
if(ADR_NO_SIMD)
  target_compile_definitions(adr_dev INTERFACE ADR_NO_SIMD)
endif()
separate_arguments(adr_arch_flag_list UNIX_COMMAND "${ADR_ARCH_FLAGS}")
target_compile_options(adr_dev INTERFACE ${adr_arch_flag_list})

# What is neither a kernel nor timed compiles in half the time like this.
set(ADR_QUICK_OPTIMISATION $<$<AND:$<CONFIG:Release>,$<CXX_COMPILER_ID:GNU,Clang>>:-O1>)

if(ADR_ARCH_FLAGS STREQUAL "")
  message(STATUS "adr: instruction set: the compiler's default (ADR_ARCH_FLAGS is empty)")
else()
  message(STATUS "adr: instruction set: ADR_ARCH_FLAGS=${ADR_ARCH_FLAGS}")
endif()
if(ADR_NO_SIMD)
  message(STATUS "adr: scalar kernels (ADR_NO_SIMD is set)")
endif()
if(ADR_OPENMP)
  message(STATUS "adr: threads: OpenMP")
else()
  message(STATUS "adr: threads: none (ADR_OPENMP is off)")
endif()
