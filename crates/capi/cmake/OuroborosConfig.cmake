# find_package(Ouroboros): Ouroboros::dev and Ouroboros::irm, also by their long names.
get_filename_component(_ouroboros_libdir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
find_path(Ouroboros_INCLUDE_DIR ouroboros/dev.h
          HINTS "${_ouroboros_libdir}/../include" "${_ouroboros_libdir}/../../include" REQUIRED)
include("${CMAKE_CURRENT_LIST_DIR}/OuroborosTargets.cmake")
unset(_ouroboros_libdir)
