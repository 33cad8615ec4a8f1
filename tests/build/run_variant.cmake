# cmake -DVARIANT=<preset> -DSOURCE_DIR=... -DBINARY_DIR=... -DJOBS=<n> -P run_variant.cmake
# Builds and runs unit tests of the library once more, with the flags of a preset of CMakePresets.json. A variant that
# this machine can neither build nor run is reported as skipped.

cmake_minimum_required(VERSION 3.21)

function(skip reason)
  message("adr-test-skipped: ${reason}")
  # A script cannot end early from within a function, so the caller asks.
  set(skipped TRUE PARENT_SCOPE)
endfunction()

set(skipped FALSE)
cmake_host_system_information(RESULT host QUERY OS_PLATFORM)
if(VARIANT MATCHES "^(portable|avx2)$")
  if(NOT host MATCHES "^(x86_64|amd64|AMD64)$")
    skip("the variant is for x86-64 and this machine is ${host}")
  elseif(VARIANT STREQUAL "avx2")
    set(flags "")
    if(EXISTS /proc/cpuinfo)
      file(STRINGS /proc/cpuinfo flags REGEX "^flags.* avx2 .*" LIMIT_COUNT 1)
    endif()
    if(NOT flags MATCHES " fma ")
      skip("/proc/cpuinfo names no AVX2 or no FMA")
    elseif(NOT flags MATCHES " avx512f ")
      skip("the tests for this machine are with AVX2 already")
    endif()
  endif()
elseif(VARIANT STREQUAL "aarch64")
  foreach(program IN ITEMS aarch64-linux-gnu-g++ qemu-aarch64)
    find_program(${program}_path ${program} NO_CACHE)
    if(NOT ${program}_path)
      skip("${program} is not installed (Debian, Ubuntu: g++-aarch64-linux-gnu, qemu-user)")
    endif()
  endforeach()
endif()
if(skipped)
  return()
endif()

set(selection instruction_set)
if(VARIANT STREQUAL "sanitize")
  set(selection memory)
endif()

execute_process(COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY
  COMMAND ${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${BINARY_DIR} --preset ${VARIANT}
    -DADR_BUILD_TESTS=ON -DADR_BUILD_BENCH=OFF -DADR_BUILD_EXAMPLES=OFF -DADR_BUILD_TOOLS=OFF
    -DADR_TEST_SELECTION=${selection}
  WORKING_DIRECTORY ${SOURCE_DIR})
execute_process(COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY
  COMMAND ${CMAKE_COMMAND} --build ${BINARY_DIR} --target adr_variant_tests --parallel ${JOBS})
execute_process(COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY
  COMMAND ${CMAKE_CTEST_COMMAND} --output-on-failure -L "^unit$" --no-tests=error --parallel ${JOBS}
  WORKING_DIRECTORY ${BINARY_DIR})
