# The packages kvstore uses: the system's where it has them, otherwise their released sources.
# CMake's own FETCHCONTENT_SOURCE_DIR_<NAME> points a fallback at sources already on disk.
include(FetchContent)

# Looks for a package quietly; unless it is found, adds its sources, pinned by tag, as part of this build.
macro(kvstore_package name minimum_version repository tag)
  find_package(${name} ${minimum_version} QUIET)
  if(NOT ${name}_FOUND)
    message(STATUS "kvstore: no ${name} >= ${minimum_version} on this system, building ${repository} ${tag}")
    FetchContent_Declare(${name} GIT_REPOSITORY "https://github.com/${repository}.git" GIT_TAG "${tag}" GIT_SHALLOW ON)
    FetchContent_MakeAvailable(${name})
  endif()
endmacro()

# A static kvstore that gets installed needs these two installed beside it.
set(FMT_INSTALL "${KVSTORE_INSTALL}")
set(SPDLOG_INSTALL "${KVSTORE_INSTALL}")
set(SPDLOG_FMT_EXTERNAL ON)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
kvstore_package(fmt 9 fmtlib/fmt 9.1.0)
kvstore_package(spdlog 1.10 gabime/spdlog v1.10.0)
kvstore_package(nlohmann_json 3.11 nlohmann/json v3.11.2)
if(KVSTORE_BUILD_TOOLS)
  kvstore_package(CLI11 2.1 CLIUtils/CLI11 v2.1.2)
endif()
if(KVSTORE_BUILD_TESTS)
  set(INSTALL_GTEST OFF)
  kvstore_package(GTest 1.12 google/googletest release-1.12.1)
endif()
if(KVSTORE_BUILD_BENCH)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  kvstore_package(benchmark 1.7 google/benchmark v1.7.1)
endif()
