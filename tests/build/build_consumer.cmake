# cmake -DWAY=find_package|add_subdirectory ... -P build_consumer.cmake
# Configures, builds and runs the small project in the folder <WAY>, as a user of the library would. For
# find_package the library is first installed, and the installation moved: a package has to work wherever
# it is unpacked.

file(REMOVE_RECURSE ${WORK_DIR})
set(options
  -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_BUILD_TYPE=Debug
  -DCMAKE_CXX_FLAGS_DEBUG=-O0  # information for debuggers takes as long to write as the rest
  -DADR_XSIMD_INCLUDE_DIR=${ADR_XSIMD_INCLUDE_DIR})

if(WAY STREQUAL "find_package")
  execute_process(COMMAND_ERROR_IS_FATAL ANY
    COMMAND ${CMAKE_COMMAND} --install ${ADR_BINARY_DIR} --prefix ${WORK_DIR}/installed)
  file(RENAME ${WORK_DIR}/installed "${WORK_DIR}/moved away")
  list(APPEND options "-Dadr_DIR=${WORK_DIR}/moved away/${ADR_PACKAGE_DIR}")
else()
  list(APPEND options -DADR_SOURCE_DIR=${ADR_SOURCE_DIR} -DADR_OPENMP=${ADR_OPENMP})
endif()

execute_process(COMMAND_ERROR_IS_FATAL ANY
  COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/${WAY} -B ${WORK_DIR}/build ${options})
execute_process(COMMAND_ERROR_IS_FATAL ANY
  COMMAND ${CMAKE_COMMAND} --build ${WORK_DIR}/build --config Debug)
execute_process(COMMAND_ERROR_IS_FATAL ANY
  COMMAND ${CMAKE_COMMAND} --build ${WORK_DIR}/build --config Debug --target run_consumer)
