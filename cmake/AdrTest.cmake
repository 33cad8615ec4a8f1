# adr_add_test(<name> SOURCES <file>... [LABEL <label>] [LIBRARIES <target>...])
#
# Builds an executable from Catch2 sources and registers every test case of it with ctest under
# "<name>:<test case>". A test case that prints "adr-test-skipped:" (tests/support/skip.hpp) counts as
# skipped: Catch2 2 knows no skipping.

include(Catch)

# What is not about kernels compiles in half the time like this; the passes of layers that tests run are compiled apart
# and in full (adr_test_layers).
set(ADR_TEST_OPTIMISATION $<$<AND:$<CONFIG:Release>,$<CXX_COMPILER_ID:GNU,Clang>>:-O1>)

function(adr_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL" "SOURCES;LIBRARIES")
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE adr::adr adr_dev adr_dev::catch ${arg_LIBRARIES})
  # Other libraries' headers are most of what a test compiles; the library's own stay out, because a test
  # may define ADR_ASSERT before it includes them.
  if(NOT TARGET adr_test_headers)
    add_library(adr_test_headers OBJECT ${PROJECT_SOURCE_DIR}/tests/support/precompiled.cpp)
    target_link_libraries(adr_test_headers PRIVATE adr::adr adr_dev adr_dev::catch)
    target_compile_options(adr_test_headers PRIVATE ${ADR_TEST_OPTIMISATION})
    target_precompile_headers(adr_test_headers PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/precompiled.hpp)
  endif()
  # Kernels are tested as they are shipped: with the optimisation of the build.
  if(NOT name IN_LIST instruction_set_tests)
    target_compile_options(${name} PRIVATE ${ADR_TEST_OPTIMISATION})
    target_precompile_headers(${name} REUSE_FROM adr_test_headers)
  endif()
  if(NOT TARGET adr_test_layers)
    add_library(adr_test_layers STATIC
      ${PROJECT_SOURCE_DIR}/tests/support/layer_instances_float.cpp
      ${PROJECT_SOURCE_DIR}/tests/support/layer_instances_double.cpp)
    target_include_directories(adr_test_layers PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_link_libraries(adr_test_layers PRIVATE adr::adr adr_dev)
  endif()
  target_link_libraries(${name} PRIVATE adr_test_layers)
  catch_discover_tests(${name}
    TEST_PREFIX "${name}:"
    PROPERTIES LABELS ${arg_LABEL} SKIP_REGULAR_EXPRESSION "adr-test-skipped:")
endfunction()
