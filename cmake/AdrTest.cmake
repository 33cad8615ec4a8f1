# adr_add_tests(<name> LABEL <label> SOURCES <file>... [LIBRARIES <target>...])
#
# Builds one executable from Catch2 sources and registers every test case of it with ctest under
# "<name>:<test case>". A test case that prints "adr-test-skipped:" (tests/support/skip.hpp) counts as
# skipped: Catch2 2 knows no skipping.
#
# All sources of a name are compiled as one translation unit, each in a namespace of its own, behind the includes of
# all of them: most of what a test compiles is headers and the templates that it shares with its neighbours.

if(TARGET adr_dev::catch)
  include(Catch)
endif()

# The passes of layers, as adr/extern_layers.hpp declares them: compiled once, and in full.
add_library(adr_test_layers STATIC EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/layer_instances_float.cpp)
if(NOT ADR_TEST_SELECTION STREQUAL "memory")
  target_sources(adr_test_layers PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/layer_instances_double.cpp)
endif()
target_include_directories(adr_test_layers PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(adr_test_layers PRIVATE adr::adr adr_dev)
if(ADR_QUICK_PROGRAMS)
  target_compile_options(adr_test_layers PRIVATE ${ADR_QUICK_OPTIMISATION})
else()
  # Programs run on floats.
  set_source_files_properties(${PROJECT_SOURCE_DIR}/tests/support/layer_instances_double.cpp PROPERTIES
    COMPILE_OPTIONS ${ADR_QUICK_OPTIMISATION})
endif()

# adr_write_joined_source(<file> <includes variable> <source>...) writes the translation unit and returns its includes.
function(adr_write_joined_source file includes_variable)
  set(includes "")
  set(bodies "")
  foreach(source IN LISTS ARGN)
    file(STRINGS ${source} source_includes REGEX "^#include ")
    list(APPEND includes ${source_includes})
    get_filename_component(name ${source} NAME_WE)
    string(APPEND bodies "namespace ${name} {\n#include \"${source}\"\n}  // namespace ${name}\n")
  endforeach()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
  list(REMOVE_DUPLICATES includes)
  list(JOIN includes "\n" include_lines)
  file(CONFIGURE OUTPUT ${file} CONTENT "@include_lines@\n\n@bodies@" @ONLY)
  set(${includes_variable} "${includes}" PARENT_SCOPE)
endfunction()

# adr_precompile_headers_of_tests(<name>) shares one precompiled header among the tests that are compiled alike, but for
# those that replace macros of the library.
function(adr_precompile_headers_of_tests name)
  get_property(owner GLOBAL PROPERTY adr_owner_of_precompiled_headers)
  if(name MATCHES "assertions")
    return()
  elseif(owner)
    target_precompile_headers(${name} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${name} PRIVATE <adr/adr.hpp> ${PROJECT_SOURCE_DIR}/tests/support/catch.hpp)
    set_property(GLOBAL PROPERTY adr_owner_of_precompiled_headers ${name})
  endif()
endfunction()

function(adr_add_tests name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL" "SOURCES;LIBRARIES")
  set(joined ${CMAKE_CURRENT_BINARY_DIR}/joined/${name}.cpp)
  adr_write_joined_source(${joined} includes ${arg_SOURCES})
  add_executable(${name} ${joined})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE adr::adr adr_dev adr_dev::catch ${arg_LIBRARIES})
  if(includes MATCHES "extern_layers.hpp")
    target_link_libraries(${name} PRIVATE adr_test_layers)
  endif()
  # Kernels are tested as they are shipped: with the optimisation of the build.
  if(NOT name MATCHES "_kernels$")
    target_compile_options(${name} PRIVATE ${ADR_QUICK_OPTIMISATION})
    adr_precompile_headers_of_tests(${name})
  endif()
  catch_discover_tests(${name}
    TEST_PREFIX "${name}:"
    PROPERTIES LABELS ${arg_LABEL} SKIP_REGULAR_EXPRESSION "adr-test-skipped:")
endfunction()
