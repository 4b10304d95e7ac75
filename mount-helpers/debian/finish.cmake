# SPDX-License-Identifier: Apache-2.0
# Debian's own habits, on the staged tree before it becomes a .deb: compressed manual pages, its changelog,
# its copyright file, and which of the files in /etc are the administrator's to change.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()
set(root "${CPACK_TEMPORARY_DIRECTORY}")
set(doc "${root}/usr/share/doc/batchweave")
file(GLOB pages "${root}/usr/share/man/man*/*")
file(COPY_FILE "${CPACK_BW_DEBIAN}/changelog" "${doc}/changelog")
file(COPY_FILE "${CPACK_BW_DEBIAN}/copyright" "${doc}/copyright")
execute_process(COMMAND gzip -9n ${pages} "${doc}/changelog" COMMAND_ERROR_IS_FATAL ANY)
file(REMOVE "${doc}/LICENSE")
file(GLOB made "${doc}/*.gz" "${root}/usr/share/man/man*/*.gz" "${doc}/copyright")
file(CHMOD ${made} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
