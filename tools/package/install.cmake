# make install and the .deb: the library, the public headers (those directly in kvstore/), the CMake
# package, pkg-config's file and kvctl.
include(CMakePackageConfigHelpers)

# Whoever may read the files may enter their directories, whatever the umask.
set(directory_permissions OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS ${directory_permissions})
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS ${directory_permissions})

set(cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/kvstore")
install(TARGETS kvstore EXPORT kvstoreTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES ${public_headers} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/kvstore")
install(EXPORT kvstoreTargets NAMESPACE kvstore:: DESTINATION "${cmake_dir}")
if(TARGET kvctl)
  install(TARGETS kvctl RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

configure_package_config_file(tools/package/kvstoreConfig.cmake.in "${PROJECT_BINARY_DIR}/kvstoreConfig.cmake"
  INSTALL_DESTINATION "${cmake_dir}" NO_SET_AND_CHECK_MACRO)
# While the major version is 0 a minor version may change the API, so only the same one is compatible.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/kvstoreConfigVersion.cmake" COMPATIBILITY ${compatibility})
install(FILES "${PROJECT_BINARY_DIR}/kvstoreConfig.cmake" "${PROJECT_BINARY_DIR}/kvstoreConfigVersion.cmake"
  DESTINATION "${cmake_dir}")

# pkg-config's two install styles: a prefix under which everything lies, or absolute directories.
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(pc_${dir} "${CMAKE_INSTALL_${dir}}")
  else()
    set(pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
# A static library leaves its own needs to whoever links it; a shared one carries them.
set(pc_requires "")
if(NOT BUILD_SHARED_LIBS)
  set(pc_requires "fmt spdlog")
endif()
configure_file(tools/package/kvstore.pc.in "${PROJECT_BINARY_DIR}/kvstore.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/kvstore.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

foreach(document LICENSE README.md CHANGELOG.md kvstore/FORMAT.md kvstore/DESIGN.md)
  install(FILES "${PROJECT_SOURCE_DIR}/${document}" DESTINATION "${CMAKE_INSTALL_DOCDIR}" OPTIONAL)
endforeach()

# The Debian package: `make deb`.
if(top_level)
  set(CPACK_GENERATOR DEB)
  set(CPACK_PACKAGE_NAME kvstore)
  set(CPACK_PACKAGE_VENDOR "the kvstore authors")
  set(CPACK_PACKAGE_CONTACT "the kvstore authors <kvstore@localhost>")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_STRIP_FILES ON)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SECTION database)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
  set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "kvctl, the library and its headers.
 All live data sits in memory; every change is one line of JSON in a log that jq can read.")
  include(CPack)
endif()
