# `cmake --install`: the program, the library, its headers and a pkg-config file; CPack makes .deb and .tar.gz of them.
include(GNUInstallDirs)
install(TARGETS hadal hadal_lib RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/hadal DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# The prefix is found from where the file lies, so that an installed tree can be moved.
file(RELATIVE_PATH HD_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/hadal.pc.in hadal.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/hadal.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_PACKAGE_CONTACT "the Hadal developers")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "A private DeepSeek service in one binary")
include(CPack)
