# What both consumer projects do once adr::adr exists: check what it brings along, and use it.

# The library leaves the instruction set, the optimisation and the warnings to its user.
foreach(property IN ITEMS INTERFACE_COMPILE_OPTIONS INTERFACE_LINK_OPTIONS INTERFACE_LINK_DIRECTORIES)
  get_target_property(value adr::adr ${property})
  if(value)
    message(FATAL_ERROR "adr::adr leaks ${property}: ${value}")
  endif()
endforeach()
get_target_property(definitions adr::adr INTERFACE_COMPILE_DEFINITIONS)
if(definitions AND NOT definitions STREQUAL "ADR_OPENMP")
  message(FATAL_ERROR "adr::adr leaks INTERFACE_COMPILE_DEFINITIONS: ${definitions}")
endif()
if(TARGET adr_dev)
  message(FATAL_ERROR "The target adr_dev, for developers of the library, reached a user's project.")
endif()

add_executable(consumer ${CMAKE_CURRENT_LIST_DIR}/consumer.cpp)
target_link_libraries(consumer PRIVATE adr::adr)
add_custom_target(run_consumer COMMAND consumer)
