# The libraries as imported targets.
foreach(_lib dev irm)
  if(NOT TARGET Ouroboros::ouroboros-${_lib})
    add_library(Ouroboros::ouroboros-${_lib} SHARED IMPORTED)
    set_target_properties(Ouroboros::ouroboros-${_lib} PROPERTIES
      IMPORTED_LOCATION "${_ouroboros_libdir}/libouroboros-${_lib}.so"
      INTERFACE_INCLUDE_DIRECTORIES "${Ouroboros_INCLUDE_DIR}")
    add_library(Ouroboros::${_lib} INTERFACE IMPORTED)
    set_target_properties(Ouroboros::${_lib} PROPERTIES
      INTERFACE_LINK_LIBRARIES Ouroboros::ouroboros-${_lib})
  endif()
endforeach()
unset(_lib)
# Nothing is in it; some projects name it.
if(NOT TARGET Ouroboros::ouroboros-common)
  add_library(Ouroboros::ouroboros-common INTERFACE IMPORTED)
endif()
