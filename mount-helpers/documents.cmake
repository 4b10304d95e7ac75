# SPDX-License-Identifier: Apache-2.0
# At installation: the pages, which lie side by side then, with README.md and what they link to.
# source: the source tree; work: a folder to write to; doc: where to, below the prefix if it is no absolute path.
cmake_path(ABSOLUTE_PATH doc BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
file(GLOB pages "${source}/docs/*.md")
file(MAKE_DIRECTORY "${work}")
foreach(page IN LISTS pages ITEMS "${source}/README.md")
  get_filename_component(name "${page}" NAME)
  file(READ "${page}" text)
  # Manual pages are read with man(1).
  string(REPLACE "[docs/man](docs/man)" "man pages" text "${text}")
  string(REPLACE "[the manual page](man/batchweave.1)" "batchweave(1)" text "${text}")
  string(REPLACE "](docs/" "](" text "${text}")
  string(REPLACE "](../README.md" "](README.md" text "${text}")
  string(REPLACE "](../mount-helpers/" "](examples/" text "${text}")
  file(WRITE "${work}/${name}" "${text}")
  file(INSTALL DESTINATION "${doc}" TYPE FILE FILES "${work}/${name}")
endforeach()
