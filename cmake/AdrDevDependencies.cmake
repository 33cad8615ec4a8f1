# What tests, benchmarks, examples and tools use beyond the library's own dependencies. Each is optional
# here: a target adr_dev::<name> exists when it was found, and the folder that needs it decides what its
# absence means. None of them is a dependency of the library.
#
#   adr_dev::catch          Catch2 2 or 3, with a main function
#   adr_dev::benchmark      Google Benchmark
#   adr_dev::cblas          OpenBLAS with cblas.h
#   adr_dev::onednn         oneDNN
#   adr_dev::cli11          CLI11, reading command lines
#   adr_dev::nlohmann_json  JSON for Modern C++
#   adr_dev::xtensor        xtensor, reading .npy files

# adr_dev_report(<name> <description> <Debian package>) says whether adr_dev::<name> exists.
function(adr_dev_report name description package)
  if(TARGET adr_dev::${name})
    message(STATUS "adr: ${description}: found")
  else()
    message(STATUS "adr: ${description}: not found (Debian, Ubuntu: apt install ${package})")
  endif()
endfunction()

# adr_dev_headers(<name> <description> <Debian package> <header>...) makes adr_dev::<name> of the folders
# that hold the headers. The packages' own targets are bypassed: xtensor's needs those of xtl and xsimd,
# which Debian ships broken, and a folder is all that a header library needs.
function(adr_dev_headers name description package)
  set(include_dirs "")
  foreach(header IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER "ADR_DEV_${header}_DIR" variable)
    find_path(${variable} ${header})
    mark_as_advanced(${variable})
    list(APPEND include_dirs ${${variable}})
  endforeach()
  if(NOT include_dirs MATCHES "NOTFOUND")
    add_library(adr_dev::${name} INTERFACE IMPORTED GLOBAL)
    target_include_directories(adr_dev::${name} SYSTEM INTERFACE ${include_dirs})
  endif()
  adr_dev_report(${name} ${description} ${package})
endfunction()

# adr_dev_library(<name> <description> <Debian package> <header> <library>...) the same for a compiled
# library, under the first of the names that exists.
function(adr_dev_library name description package header)
  string(TOUPPER ADR_DEV_${name} prefix)
  find_path(${prefix}_INCLUDE_DIR ${header} PATH_SUFFIXES openblas openblas-pthread)
  find_library(${prefix}_LIBRARY NAMES ${ARGN})
  mark_as_advanced(${prefix}_INCLUDE_DIR ${prefix}_LIBRARY)
  if(${prefix}_INCLUDE_DIR AND ${prefix}_LIBRARY)
    add_library(adr_dev::${name} INTERFACE IMPORTED GLOBAL)
    target_include_directories(adr_dev::${name} SYSTEM INTERFACE ${${prefix}_INCLUDE_DIR})
    target_link_libraries(adr_dev::${name} INTERFACE ${${prefix}_LIBRARY})
  endif()
  adr_dev_report(${name} ${description} ${package})
endfunction()

if(ADR_BUILD_TESTS)
  find_package(Catch2 CONFIG QUIET)
  if(TARGET Catch2::Catch2WithMain AND NOT CMAKE_CROSSCOMPILING)
    add_library(adr_dev::catch INTERFACE IMPORTED GLOBAL)
    target_link_libraries(adr_dev::catch INTERFACE Catch2::Catch2WithMain)
  elseif(Catch2_FOUND AND Catch2_VERSION VERSION_LESS 3)
    # Catch2 2 is one header, so that its main function can be compiled where the package has a library for the build
    # machine's architecture alone, or none.
    add_library(adr_catch_main STATIC EXCLUDE_FROM_ALL
      ${CMAKE_CURRENT_SOURCE_DIR}/tests/support/catch_main.cpp)
    target_compile_features(adr_catch_main PUBLIC cxx_std_17)
    target_link_libraries(adr_catch_main PUBLIC Catch2::Catch2)
    # Optimised or under sanitizers it takes a minute, and is no better for it.
    target_compile_options(adr_catch_main PRIVATE $<$<CXX_COMPILER_ID:GNU,Clang>:-O0;-fno-sanitize=all>)
    add_library(adr_dev::catch ALIAS adr_catch_main)
  endif()
  adr_dev_report(catch "Catch2" catch2)
endif()

if(ADR_BUILD_BENCH)
  find_package(benchmark CONFIG QUIET)
  if(TARGET benchmark::benchmark)
    add_library(adr_dev::benchmark INTERFACE IMPORTED GLOBAL)
    target_link_libraries(adr_dev::benchmark INTERFACE benchmark::benchmark)
  endif()
  adr_dev_report(benchmark "Google Benchmark" libbenchmark-dev)
endif()

adr_dev_library(cblas "OpenBLAS with cblas.h" libopenblas-dev cblas.h openblas)
adr_dev_library(onednn "oneDNN" libdnnl-dev dnnl.hpp dnnl)
adr_dev_headers(cli11 "CLI11" libcli11-dev CLI/CLI.hpp)
adr_dev_headers(nlohmann_json "JSON for Modern C++" nlohmann-json3-dev nlohmann/json.hpp)
adr_dev_headers(xtensor "xtensor" libxtensor-dev xtensor/xnpy.hpp xtl/xtl_config.hpp)
