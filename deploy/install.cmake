# SPDX-License-Identifier: Apache-2.0
# At installation: the systemd unit and the configuration, with the folders of this prefix, and the shells' completions.
set(root "$ENV{DESTDIR}")
# As GNUInstallDirs has it: below / the configuration of /usr is in /etc.
if(CMAKE_INSTALL_PREFIX MATCHES "^/(usr)?/?$")
  set(configuration /etc/fallbackd)
else()
  set(configuration "${CMAKE_INSTALL_PREFIX}/etc/fallbackd")
endif()

file(READ "${source}/systemd/fallbackd.service" unit)
string(REPLACE /usr/bin/fallbackd "${CMAKE_INSTALL_PREFIX}/${bin}/fallbackd" unit "${unit}")
string(REPLACE /etc/fallbackd/fallbackd.yaml "${configuration}/fallbackd.yaml" unit "${unit}")
set(place "${CMAKE_INSTALL_PREFIX}/lib/systemd/system/fallbackd.service")
message(STATUS "Installing: ${root}${place}")
file(WRITE "${root}${place}" "${unit}")

# A configuration that is there is somebody's work. file(INSTALL) adds DESTDIR by itself.
set(place "${configuration}/fallbackd.yaml")
if(NOT EXISTS "${root}${place}")
  file(INSTALL DESTINATION "${configuration}" TYPE FILE FILES "${source}/systemd/fallbackd.yaml" PERMISSIONS
    OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endif()

# Programs of another architecture need an emulator to write them.
set(emulator "$ENV{EMULATOR}")
if(foreign AND NOT emulator)
  message(STATUS "No completions: fallbackctl does not run on this machine")
else()
  foreach(one bash:bash-completion/completions/fallbackctl zsh:zsh/site-functions/_fallbackctl
              fish:fish/vendor_completions.d/fallbackctl.fish)
    string(REGEX MATCH "^([a-z]+):(.*)$" one "${one}")
    set(place "${root}${CMAKE_INSTALL_PREFIX}/${data}/${CMAKE_MATCH_2}")
    execute_process(COMMAND ${emulator} "${fallbackctl}" completion "${CMAKE_MATCH_1}" OUTPUT_VARIABLE text
      COMMAND_ERROR_IS_FATAL ANY)
    message(STATUS "Installing: ${place}")
    file(WRITE "${place}" "${text}")
  endforeach()
endif()
