# SPDX-License-Identifier: Apache-2.0
# A .deb (target package) and a tarball of the sources (target package_source).
set(BW_MAINTAINER "The BatchWeave authors <maintainers@batchweave.example>" CACHE STRING
    "Who answers for packages built here, as Debian's control field has it")

set(CPACK_PACKAGE_NAME batchweave)
set(CPACK_PACKAGE_VENDOR "BatchWeave")
set(CPACK_PACKAGE_CONTACT "${BW_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "filesystem that turns an object store into training data")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
# Files for /etc are among them.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_GENERATOR DEB)
set(debian ${CMAKE_CURRENT_SOURCE_DIR}/debian)
set(CPACK_BW_DEBIAN ${debian})
set(CPACK_PRE_BUILD_SCRIPTS ${debian}/finish.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS fuse3)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion, logrotate")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)
string(CONCAT CPACK_DEBIAN_PACKAGE_DESCRIPTION
       "Producers write one file for each data-parallel rank, and the close of the\n"
       "last one commits them together as the next step: for all ranks or for none,\n"
       "durable, in one global order, on every mount.\n"
       "\n"
       "Training jobs read /step/N/rank/R as plain files. There is no server, only\n"
       "mounts that share a directory or an S3 bucket.")

set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME batchweave-${PROJECT_VERSION})
set(CPACK_SOURCE_IGNORE_FILES "/build/" "/\\\\.git/" "/\\\\.git$" "/__pycache__/" "\\\\.o$" "/compile_commands\\\\.json$")
include(CPack)
