# Installs the headers and the CMake package: afterwards find_package(adr) gives the target adr::adr.

include(CMakePackageConfigHelpers)

set(adr_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/adr)

install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/include/adr
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp")

install(TARGETS adr EXPORT adrTargets)
install(EXPORT adrTargets NAMESPACE adr:: DESTINATION ${adr_package_dir})

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/adrConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/adrConfig.cmake
  INSTALL_DESTINATION ${adr_package_dir}
  NO_SET_AND_CHECK_MACRO)

# Before 1.0 a minor version may break its users; headers alone fit every architecture.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/adrConfigVersion.cmake
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)

install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/adrConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/adrConfigVersion.cmake
    ${CMAKE_CURRENT_LIST_DIR}/AdrDependencies.cmake
  DESTINATION ${adr_package_dir})
