# Finds what the library's headers include. The build and the installed adrConfig.cmake share this file.
#
# Reads ADR_OPENMP. Sets adr_dependency_error to a sentence when something is missing; the build turns
# it into an error, the installed package into "adr not found".

set(adr_dependency_error "")

# Eigen. No version is passed to find_package: the version file of Eigen 3.4 rejects ranges and the one
# of Eigen 5 rejects "3.4".
if(NOT TARGET Eigen3::Eigen)
  find_package(Eigen3 CONFIG QUIET)
  if(NOT TARGET Eigen3::Eigen)
    string(APPEND adr_dependency_error
      "adr needs Eigen 3.4 or later (Debian, Ubuntu: libeigen3-dev). ")
  elseif(Eigen3_VERSION VERSION_LESS 3.4)
    string(APPEND adr_dependency_error
      "adr needs Eigen 3.4 or later, found ${Eigen3_VERSION} in ${Eigen3_DIR}. ")
  endif()
endif()

# xsimd. Its own package is bypassed: Debian's target links a library "xtl" that does not exist, and
# later packages require xtl to be installed. The library is a folder of headers, so the folder will do.
if(NOT TARGET adr::xsimd)
  set(adr_xsimd_include_dirs "")
  set(adr_xsimd_folder "")
  if(TARGET xsimd)
    get_target_property(adr_xsimd_include_dirs xsimd INTERFACE_INCLUDE_DIRECTORIES)
    # Of a target that is built with the project, the folder may stand in a generator expression.
    string(REGEX REPLACE "\\$<BUILD_INTERFACE:([^>]*)>" "\\1" adr_xsimd_folder "${adr_xsimd_include_dirs}")
    string(GENEX_STRIP "${adr_xsimd_folder}" adr_xsimd_folder)
    find_path(adr_xsimd_folder_of_target xsimd/config/xsimd_config.hpp PATHS ${adr_xsimd_folder} NO_DEFAULT_PATH)
    set(adr_xsimd_folder ${adr_xsimd_folder_of_target})
    unset(adr_xsimd_folder_of_target CACHE)
  else()
    find_path(ADR_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp DOC "Folder that holds xsimd/xsimd.hpp")
    mark_as_advanced(ADR_XSIMD_INCLUDE_DIR)
    if(ADR_XSIMD_INCLUDE_DIR)
      set(adr_xsimd_folder ${ADR_XSIMD_INCLUDE_DIR})
      set(adr_xsimd_include_dirs ${ADR_XSIMD_INCLUDE_DIR})
    endif()
  endif()
  if(adr_xsimd_folder)
    set(adr_xsimd_version_line "")
    file(STRINGS ${adr_xsimd_folder}/xsimd/config/xsimd_config.hpp adr_xsimd_version_line
      REGEX "#define XSIMD_VERSION_MAJOR +[0-9]+")
    string(REGEX MATCH "[0-9]+" adr_xsimd_version_major "${adr_xsimd_version_line}")
    if(NOT adr_xsimd_version_major OR adr_xsimd_version_major LESS 8)
      string(APPEND adr_dependency_error
        "adr needs xsimd 8 or later, found ${adr_xsimd_version_major} in ${adr_xsimd_folder}. ")
    endif()
  elseif(NOT adr_xsimd_include_dirs)
    string(APPEND adr_dependency_error
      "adr needs xsimd 8 or later (Debian, Ubuntu: libxsimd-dev); "
      "set ADR_XSIMD_INCLUDE_DIR to the folder that holds xsimd/xsimd.hpp. ")
  endif()
  if(adr_xsimd_include_dirs)
    add_library(adr::xsimd INTERFACE IMPORTED)
    target_include_directories(adr::xsimd SYSTEM INTERFACE ${adr_xsimd_include_dirs})
  endif()
endif()

if(ADR_OPENMP AND NOT TARGET OpenMP::OpenMP_CXX)
  find_package(OpenMP COMPONENTS CXX QUIET)
  if(NOT TARGET OpenMP::OpenMP_CXX)
    string(APPEND adr_dependency_error
      "adr with threads needs a C++ compiler with OpenMP (clang on Debian, Ubuntu: libomp-dev); "
      "configure adr with ADR_OPENMP=OFF to do without. ")
  endif()
endif()
