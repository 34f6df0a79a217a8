# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE=FOLDER -DOUT=FILE.cpp -P build_info.cmake: names the commit. Touches the file only if it changes. Without git
# (an image builder copies only the sources), the variables REVISION and SOURCE_DATE_EPOCH name it.
set(ENV{TZ} UTC)
set(commit "$ENV{REVISION}")
set(date "")
if(NOT commit)
  execute_process(COMMAND git -C ${SOURCE} -c safe.directory=* log -1 --format=%H OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
                  ERROR_QUIET)
  execute_process(COMMAND git -C ${SOURCE} -c safe.directory=* log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd
                  OUTPUT_VARIABLE date OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT commit)
  set(commit unknown)
endif()
if(NOT "$ENV{SOURCE_DATE_EPOCH}" STREQUAL "")
  string(TIMESTAMP date "%Y-%m-%dT%H:%M:%SZ" UTC)  # of SOURCE_DATE_EPOCH
endif()
if(NOT date)
  set(date unknown)
endif()
set(text "// SPDX-License-Identifier: Apache-2.0
#include \"app/ctl/build_info.hpp\"

namespace fallbackd::ctl {

const char* const kCommit = \"${commit}\";
const char* const kBuildDate = \"${date}\";

}  // namespace fallbackd::ctl
")
set(before "")
if(EXISTS ${OUT})
  file(READ ${OUT} before)
endif()
if(NOT before STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
